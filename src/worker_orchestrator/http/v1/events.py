"""Every transition of every machine, as server-sent events that can be taken up again at any place.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import lru_cache
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.telling.feed import Feed
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.server.streams import Closing, Streamed
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.shapes import event
from worker_orchestrator.store.rows import StoredEvent

__all__ = ["Events"]

PING_S: Final = 15.0
_ID: Final = re.compile(r"[0-9]{1,16}")
_HERE: Final = "id: %d\n\n"


class Events:
    """What is under /v1/events."""

    def __init__(self, orchestrator: Orchestrator, closing: Closing) -> None:
        self._feed, self._closing = orchestrator.feed, closing

    async def stream(self, request: Request) -> Response:
        query = request.query_params
        follow = parameters.flag(query, "follow", default=True)
        project, machine = parameters.text(query, "project", 128), parameters.text(query, "machine", 128)
        after = parameters.number(query, "after", 0, parameters.LARGEST)
        last = request.headers.get("last-event-id", "").strip()
        if last:
            if _ID.fullmatch(last) is None:
                raise InvalidInput(f"Last-Event-ID is {last[:40]!r}, but must be the id of an event.")
            after = int(last)

        def is_asked_for(stored: StoredEvent) -> bool:
            return (not project or stored.project == project) and (not machine or stored.machine == machine)

        source = _stream(self._feed, after, is_asked_for, follow=follow)
        return Streamed(source, self._closing, "text/event-stream", goes_on=follow)


async def _stream(
    feed: Feed, after: int | None, is_asked_for: Callable[[StoredEvent], bool], *, follow: bool
) -> AsyncGenerator[bytes, None]:
    oldest, newest = feed.range()
    place = (newest if follow else oldest - 1) if after is None else after
    head, is_whole = "retry: 1000\n", feed.can_go_on(place)
    while True:
        if not is_whole:
            place, reset = _reset(feed, follow=follow)
            head += reset
        yield (head + _HERE % place).encode()
        head, is_whole = "", True
        async with aclosing(_with_pauses(feed.follow(place) if follow else _kept(feed, place))) as pages:
            async for page in pages:
                if not feed.are_next(page, place):
                    is_whole = False
                    break
                told = [_encoded(one) for one in page if is_asked_for(one)]
                place = page[-1].id if page else place
                yield b"".join(told) if told else (f": ping\n{_HERE}" % place).encode()
        if is_whole:
            return


def _reset(feed: Feed, *, follow: bool) -> tuple[int, str]:
    """Where a stream goes on that lost some, and how that is told."""
    oldest, newest = feed.range()
    place = newest if follow else oldest - 1
    kept = msgspec.json.encode({"oldest": oldest, "newest": newest}).decode()
    return place, f"id: {place}\nevent: reset\ndata: {kept}\n\n"


async def _kept(feed: Feed, after: int) -> AsyncGenerator[list[StoredEvent], None]:
    while page := feed.kept(after):
        after = page[-1].id
        yield page


async def _with_pauses(pages: AsyncIterator[list[StoredEvent]]) -> AsyncGenerator[list[StoredEvent], None]:
    """The pages, and an empty one whenever nothing came for a while."""
    coming = asyncio.ensure_future(anext(pages, None))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=PING_S)
            if not done:
                yield []
                continue
            page = coming.result()
            if page is None:
                return
            coming = asyncio.ensure_future(anext(pages, None))
            yield page
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        close = getattr(pages, "aclose", None)
        if close is not None:
            await close()


@lru_cache(maxsize=4096)
def _encoded(stored: StoredEvent) -> bytes:
    """Once for all who follow."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stored.id, stored.cause.encode(), msgspec.json.encode(event(stored)))
