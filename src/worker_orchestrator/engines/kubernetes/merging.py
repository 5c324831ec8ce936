"""Merges what the operator wants of a pod over what we make of it. What is ours cannot be changed, and says so.

Tables are merged. Lists of containers, variables, volumes, ports and mounts are merged by what each entry is known by; to
any other list entries are added. A value that we set stays: one that differs from it is refused. So is what would lead a
worker to its node, or make one pod look like another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from worker_orchestrator.errors import EngineRejected

__all__ = ["KEYS", "merged"]

KEYS: Final = {
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
}
"""By what an entry of these lists is known."""
_OURS: Final = frozenset({
    "metadata.name", "metadata.generateName", "metadata.namespace", "metadata.ownerReferences", "metadata.finalizers",
    "metadata.uid", "metadata.resourceVersion", "status", "spec.restartPolicy", "spec.automountServiceAccountToken",
    "spec.enableServiceLinks", "spec.ephemeralContainers",
})  # fmt: skip
_OF_NODE: Final = frozenset({"hostNetwork", "hostPID", "hostIPC", "hostPath", "hostPort", "privileged"})
"""With these a worker is not apart from its node any more."""
PREFIX: Final = "worker-orchestrator/"


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """A new pod of both. Raises EngineRejected, with the place in `pod_template` and what to do."""
    _look_through(theirs, "")
    return _tables(ours, theirs, "")


def _look_through(value: Any, path: str) -> None:
    if path in _OURS:
        raise EngineRejected(f"`pod_template` sets {path}, which is always the service's own. Leave it out.")
    if isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(key, str):
                raise EngineRejected(f"`pod_template` has the key {key!r} in {path or 'it'}, but keys must be texts.")
            if key in _OF_NODE and each not in (False, None):
                raise EngineRejected(
                    f"`pod_template` sets {_join(path, key)}, which would let a worker at its node. Leave it out."
                )
            if path in {"metadata.labels", "metadata.annotations"} and key.startswith(PREFIX):
                raise EngineRejected(
                    f"`pod_template` sets {path}[{key}], but {PREFIX} is the service's own. Leave it out."
                )
            _look_through(each, _join(path, key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            _look_through(each, f"{path}[]")


def _tables(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str) -> dict[str, Any]:
    result = dict(ours)
    for key, value in theirs.items():
        result[key] = _one(ours[key], value, _join(path, key)) if key in ours else value
    return result


def _one(ours: Any, theirs: Any, path: str) -> Any:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return _tables(ours, theirs, path)
    if isinstance(ours, list) and isinstance(theirs, list):
        return _lists(ours, theirs, path)
    if ours != theirs:
        raise EngineRejected(
            f"`pod_template` sets {path}, which the service sets itself. Leave it out, or change the setting for it."
        )
    return ours


def _lists(ours: list[Any], theirs: list[Any], path: str) -> list[Any]:
    result, key = list(ours), KEYS.get(path.rpartition(".")[2])
    for each in theirs:
        known = each.get(key) if isinstance(each, Mapping) else None
        same = [i for i, one in enumerate(ours) if known is not None and one.get(key) == known]
        if same:
            result[same[0]] = _tables(ours[same[0]], each, f"{path}[{known}]")
        elif each not in result:
            result.append(each)
    return result


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
