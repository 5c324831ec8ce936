"""Reads pods: all of them, one of them, or what changes.

A listing asks for a quorum each time, in pages of one and the same state of the cluster. A watch goes on from there: the
server ends it after a while, and it is opened again at the last version seen, so that a connection that is only half open is
noticed soon, and nothing is missed. If that version is too old, everything is listed anew.
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

__all__ = ["Pod", "list_pods", "watch_pods"]

Pod = dict[str, Any]
_PAGE: Final = 500
_MOST_LISTINGS: Final = 3
_WATCH_S: Final = 45
"""So long a watch lasts. The server sends a bookmark once a minute at most, so silence proves nothing before."""
_SILENCE_S: Final = _WATCH_S + 15.0


async def list_pods(client: Client) -> tuple[list[Pod], str]:
    """Every pod with our label as of now, but for copies, and the version of that state. Raises as `Client.call` does."""
    for listing in range(1, _MOST_LISTINGS + 1):
        try:
            return await _list_once(client)
        except Refusal as error:  # it took longer than the server keeps a state
            if error.status != HTTPStatus.GONE or listing == _MOST_LISTINGS:
                raise
    raise AssertionError("the last listing returns or raises")


async def _list_once(client: Client) -> tuple[list[Pod], str]:
    pods: list[Pod] = []
    more = ""
    while True:
        params = [("labelSelector", MACHINE), ("limit", str(_PAGE))]
        page = await client.call("GET", client.pods(), params + ([("continue", more)] if more else []))
        pods += [pod for pod in page.get("items") or [] if not is_copy(pod)]
        more = page["metadata"].get("continue") or ""
        if not more:
            return pods, page["metadata"]["resourceVersion"]


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
