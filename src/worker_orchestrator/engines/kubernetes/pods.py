"""Reads pods: all of them, one of them, or what changes.

A listing asks for a quorum each time, in pages of one and the same state of the cluster. To read 2,000 pods takes a fifth
of a second, so one that is as it was at the last listing is not read again. A watch goes on from there: the server ends it
after a while, and it is opened again at the last version seen, so that a connection that is only half open is noticed soon,
and nothing is missed. If that version is too old, everything is listed anew.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import Any, Final, NoReturn

import msgspec

from worker_orchestrator.engines.kubernetes.calls import Refusal
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.listing import is_copy
from worker_orchestrator.engines.kubernetes.template import MACHINE

__all__ = ["KnownPods", "Pod", "list_pods", "watch_pods"]

Pod = dict[str, Any]
_PAGE: Final = 500
_MOST_LISTINGS: Final = 3
_WATCH_S: Final = 45
"""So long a watch lasts. The server sends a bookmark once a minute at most, so silence proves nothing before."""
_SILENCE_S: Final = _WATCH_S + 15.0


class _Metadata(msgspec.Struct):
    uid: str
    resourceVersion: str = ""  # noqa: N815 # the name that it has


class _Head(msgspec.Struct):
    """What of a pod tells it from any other, and from itself at another time."""

    metadata: _Metadata


class _PageMetadata(msgspec.Struct):
    resourceVersion: str  # noqa: N815
    more: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    metadata: _PageMetadata
    items: list[msgspec.Raw] | None = None


_PAGES: Final = msgspec.json.Decoder(_Page)
_HEADS: Final = msgspec.json.Decoder(_Head)
_PODS: Final = msgspec.json.Decoder(dict[str, Any])
_Key = tuple[str, str]
"""uid and version."""


class KnownPods:
    """The pods that the last listing showed. One that did not change since then is the same object in the next one."""

    def __init__(self) -> None:
        self._pods: dict[_Key, Pod] = {}

    def read(self, items: list[msgspec.Raw]) -> list[Pod]:
        return [self._pods.get(key) or _read(raw) for key, raw in zip(map(_key_of, items), items, strict=True)]

    def keep(self, pods: list[Pod]) -> None:
        """These are all of them."""
        keys = ((pod["metadata"]["uid"], pod["metadata"].get("resourceVersion", "")) for pod in pods)
        self._pods = {key: pod for key, pod in zip(keys, pods, strict=True) if key[1]}


def _key_of(raw: msgspec.Raw) -> _Key:
    metadata = _HEADS.decode(raw).metadata
    return metadata.uid, metadata.resourceVersion


def _read(raw: msgspec.Raw) -> Pod:
    """Without what nobody needs here: a third of it says who set which field."""
    pod = _PODS.decode(raw)
    pod["metadata"].pop("managedFields", None)
    return pod


async def list_pods(client: Client, known: KnownPods | None = None) -> tuple[list[Pod], str]:
    """Every pod with our label as of now, but for copies, and the version of that state. Raises as `Client.call` does."""
    known = known or KnownPods()
    for listing in range(1, _MOST_LISTINGS + 1):
        try:
            pods, version = await _list_once(client, known)
            known.keep(pods)
            return [pod for pod in pods if not is_copy(pod)], version
        except Refusal as error:  # it took longer than the server keeps a state
            if error.status != HTTPStatus.GONE or listing == _MOST_LISTINGS:
                raise
    raise AssertionError("the last listing returns or raises")


async def _list_once(client: Client, known: KnownPods) -> tuple[list[Pod], str]:
    pods: list[Pod] = []
    more = ""
    while True:
        params = [("labelSelector", MACHINE), ("limit", str(_PAGE))] + ([("continue", more)] if more else [])
        page: _Page = await client.call("GET", client.pods(), params, decoder=_PAGES)
        pods += known.read(page.items or [])
        more = page.metadata.more
        if not more:
            return pods, page.metadata.resourceVersion


async def watch_pods(client: Client, version: str) -> AsyncGenerator[tuple[str, Pod] | None, None]:
    """What happened to our pods since this version: ADDED, MODIFIED or DELETED, and the pod. None each time a watch is open.

    Ends when that version is too old. Raises as `Client.call` does, TimeoutError for silence.
    """
    while True:
        params = [
            ("watch", "1"), ("labelSelector", MACHINE), ("resourceVersion", version), ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(_WATCH_S)),
        ]  # fmt: skip
        try:
            async with client.stream(client.pods(), params) as lines:
                yield None
                while line := await _line(lines):
                    event = msgspec.json.decode(line)
                    kind, pod = event["type"], event["object"]
                    if kind == "ERROR":
                        _raise(pod)
                    version = pod["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK" and not is_copy(pod):
                        yield kind, pod
        except Refusal as error:
            if error.status != HTTPStatus.GONE:
                raise
            return


async def _line(lines: Any) -> bytes:
    async with asyncio.timeout(_SILENCE_S):
        return bytes(await lines.readuntil(b"\n"))


def _raise(status: Mapping[str, Any]) -> NoReturn:
    """The error that a watch ends with, of which the status of the reply knew nothing yet."""
    raise Refusal(int(status.get("code") or 0), str(status.get("reason")), str(status.get("message")))
