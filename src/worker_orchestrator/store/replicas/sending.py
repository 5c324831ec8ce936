"""Sends the calls of `store/cluster` to an API server, and says how each of them ended.

Whatever may have been carried out, or may still be, is UNKNOWN: a connection that broke, a server that gave up in the
middle, no answer in time. What was not carried out for now (too many requests, credentials that are to be renewed) is
UNKNOWN as well, since whoever asked looks then, and asks again.
Source: docs/kubernetes.md, "Facts of the API, by running".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from worker_orchestrator.engines.kubernetes.calls import Refusal
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.listing import is_copy
from worker_orchestrator.engines.kubernetes.template import MACHINE, OWNER, label_value
from worker_orchestrator.errors import EngineError
from worker_orchestrator.store.cluster.calls import Answer, Call, Create, Delete, Kind, Patch, Read, ReadAll, Verdict

__all__ = ["ANSWER_LIMIT_S", "Sender"]

ANSWER_LIMIT_S: Final = 3.0
"""Less than a leader may write without a renewal: one call that hangs costs no term."""
_GRACE_S: Final = 1
"""A pod is given the least time to end that leaves it to its node to say that it has ended."""
_PAGE: Final = 500
_BROKEN: Final = (aiohttp.ClientError, OSError, TimeoutError, EngineError)
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError, LookupError, TypeError, AttributeError)
_NOT_NOW: Final = frozenset({
    HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GONE, HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT,
})  # fmt: skip
_TAKEN: Final = "AlreadyExists"


class Sender:
    """One namespace, and what is this owner's in it."""

    def __init__(self, client: Client, owner: str) -> None:
        self._client = client
        self._ours = f"{MACHINE},{OWNER}={label_value(owner)}"

    async def answer(self, call: Call, limit_s: float = ANSWER_LIMIT_S) -> Answer:
        """How this call ended. Raises nothing but CancelledError: then it may have been carried out."""
        try:
            if isinstance(call, ReadAll):
                return Answer(Verdict.DONE, items=tuple(await self._all(call.kind)))
            found = await self._client.call(*_request(call, self._path(call.kind, call.name)), limit_s=limit_s)
            return Answer(Verdict.DONE, _object_of(found))
        except Refusal as refusal:
            return Answer(_verdict_of(refusal), message=refusal.message)
        except (*_BROKEN, *_UNREADABLE) as error:
            return Answer(Verdict.UNKNOWN, message=f"{type(error).__name__}: {error}")

    def _path(self, kind: Kind, name: str = "") -> str:
        return self._client.pods(name) if kind is Kind.POD else self._client.leases(name)

    async def _all(self, kind: Kind) -> list[Mapping[str, Any]]:
        """In pages of one state. One that is too old meanwhile ends it (410): then all is to be read anew."""
        found: list[Mapping[str, Any]] = []
        more = ""
        while True:
            params = [("labelSelector", self._ours), ("limit", str(_PAGE)), *([("continue", more)] if more else [])]
            page = await self._client.call("GET", self._path(kind), params)
            found += map(_object_of, page.get("items") or ())
            more = page["metadata"].get("continue") or ""
            if not more:
                return [each for each in found if kind is not Kind.POD or not is_copy(each)]


def _request(call: Create | Patch | Delete | Read, path: str) -> tuple[str, str, Sequence[tuple[str, str]], Any]:
    """Method, path, parameters and body."""
    match call:
        case Create():
            return "POST", path.removesuffix(f"/{call.name}"), (), call.body
        case Patch():
            metadata = {**call.body.get("metadata", {}), "resourceVersion": call.version}
            return "PATCH", path, (), {**call.body, "metadata": metadata}
        case Delete():
            conditions = {"uid": call.uid, "resourceVersion": call.version}
            grace = {"gracePeriodSeconds": _GRACE_S} if call.kind is Kind.POD else {}
            return (
                "DELETE",
                path,
                (),
                {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": conditions, **grace},
            )
        case Read():
            return "GET", path, (), None


def _object_of(found: Any) -> Mapping[str, Any]:
    """Raises TypeError for what is no object, as a proxy may answer."""
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


def _verdict_of(refusal: Refusal) -> Verdict:
    match refusal.status:
        case HTTPStatus.NOT_FOUND:
            return Verdict.MISSING
        case HTTPStatus.CONFLICT:
            return Verdict.TAKEN if refusal.reason == _TAKEN else Verdict.CONFLICT
        case status if status in _NOT_NOW:
            return Verdict.UNKNOWN
    return Verdict.REFUSED
