"""A model of the API server as leaders use it: versions, preconditions, names. It answers as docs/kubernetes.md says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from worker_orchestrator.engines.kubernetes.template import MACHINE
from worker_orchestrator.store.cluster.calls import Answer, Call, Create, Delete, Kind, Patch, Read, ReadAll, Verdict

__all__ = ["ModelApi", "merge"]

Object = Mapping[str, Any]
_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_LONGEST_LABEL: Final = 63


def merge(target: Any, patch: Any) -> Any:
    """A merge patch (RFC 7386). Neither of the two is changed."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


class ModelApi:
    """Objects of one namespace. A write that changes nothing leaves the version as it is."""

    def __init__(self) -> None:
        self._objects: dict[tuple[Kind, str], Object] = {}
        self._version = 0

    def of(self, kind: Kind) -> dict[str, Object]:
        """All of our objects of this kind, by name."""
        return {
            name: found
            for (each, name), found in self._objects.items()
            if each is kind and MACHINE in (found["metadata"].get("labels") or {})
        }

    def find(self, kind: Kind, name: str) -> Object | None:
        return self._objects.get((kind, name))

    def carry_out(self, call: Call) -> Answer:
        match call:
            case Create():
                return self._create(call)
            case Patch():
                return self._checked(call, call.version, lambda found: self._write(call, merge(found, call.body)))
            case Delete():
                return self._checked(call, call.version, lambda _: self._remove(call))
            case Read():
                found = self.find(call.kind, call.name)
                return Answer(Verdict.MISSING) if found is None else Answer(Verdict.DONE, found)
            case ReadAll():
                return Answer(Verdict.DONE, items=tuple(self.of(call.kind).values()))

    def change(self, kind: Kind, name: str, patch: Object) -> None:
        """Somebody else writes, without a condition."""
        self._write(Read(kind, name), merge(self._objects[kind, name], patch))

    def remove(self, kind: Kind, name: str) -> None:
        """Somebody else removes it."""
        self._objects.pop((kind, name), None)

    def _create(self, call: Create) -> Answer:
        if (call.kind, call.name) in self._objects:
            return Answer(Verdict.TAKEN)
        assert call.body["metadata"]["name"] == call.name
        self._version += 1
        return self._write(call, merge(call.body, {"metadata": {"uid": f"uid-{self._version}"}}))

    def _checked(self, call: Patch | Delete, version: str, then: Callable[[Object], Answer]) -> Answer:
        found = self.find(call.kind, call.name)
        if found is None:
            return Answer(Verdict.MISSING)
        metadata = found["metadata"]
        is_other = isinstance(call, Delete) and call.uid != metadata["uid"]
        return Answer(Verdict.CONFLICT) if is_other or version != metadata["resourceVersion"] else then(found)

    def _remove(self, call: Delete) -> Answer:
        return Answer(Verdict.DONE, self._objects.pop((call.kind, call.name)))

    def _write(self, call: Create | Patch | Read, body: Object) -> Answer:
        _insist_on_valid(body)
        before = self._objects.get((call.kind, call.name))
        if before != body:
            self._version += 1
            body = merge(body, {"metadata": {"resourceVersion": str(self._version)}})
            self._objects[call.kind, call.name] = body
        return Answer(Verdict.DONE, body)


def _insist_on_valid(body: Object) -> None:
    """What a real server refuses."""
    labels, spec = body["metadata"].get("labels") or {}, body.get("spec") or {}
    assert all(len(value) <= _LONGEST_LABEL for value in labels.values()), labels
    assert all(isinstance(value, str) for value in (body["metadata"].get("annotations") or {}).values())
    for key in ("renewTime", "acquireTime"):
        assert _MICRO_TIME.fullmatch(spec.get(key, "2026-01-01T00:00:00.000000Z")), spec
