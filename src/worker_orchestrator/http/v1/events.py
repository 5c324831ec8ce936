"""Every transition of every machine, as server-sent events. A client can resume the stream after any event that it has.

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

from worker_orchestrator.control.caller import CALLER, recorded
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.telling.feed import Feed
from worker_orchestrator.core.key import own_name
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.server.streamed_response import ServiceEnd, StreamedResponse
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import event
from worker_orchestrator.store.rows import StoredEvent

__all__ = ["Events"]

PING_S: Final = 15.0
_ID: Final = re.compile(r"[0-9]{1,16}")
_PLACE: Final = "id: %d\n\n"


class Events:
    """What is under /v1/events."""

    def __init__(self, orchestrator: Orchestrator, service_end: ServiceEnd) -> None:
        self._feed, self._service_end = orchestrator.feed, service_end

    async def stream(self, request: Request) -> Response:
        query = request.query_params
        follow = parameters.flag(query, "follow", default=True)
        project, machine = parameters.text(query, "project", 128), parameters.text(query, "machine", 128)
        key = CALLER.get()
        project = project and recorded(project)
        after = parameters.number(query, "after", 0, parameters.LARGEST)
        last = request.headers.get("last-event-id", "").strip()
        if last:
            if _ID.fullmatch(last) is None:
                raise InvalidInput(f"Last-Event-ID is {last[:40]!r}, but must be the id of an event.")
            after = int(last)

        def matches(event: StoredEvent) -> bool:
            is_own = key is None or own_name(key.name, event.project) is not None
            is_of = not project or event.project == project
            return is_own and is_of and (not machine or event.machine == machine)

        source = _stream(self._feed, after, matches, follow=follow)
        return StreamedResponse(source, self._service_end, "text/event-stream", goes_on=follow)


async def _stream(
    feed: Feed, after: int | None, matches: Callable[[StoredEvent], bool], *, follow: bool
) -> AsyncGenerator[bytes, None]:
    oldest, newest = feed.range()
    place = (newest if follow else oldest - 1) if after is None else after
    head, is_whole = "retry: 1000\n", feed.can_go_on(place)
    while True:
        if not is_whole:
            place, reset = _reset(feed, follow=follow)
            head += reset
        yield (head + _PLACE % place).encode()
        head, is_whole = "", True
        async with aclosing(_with_pings(feed.follow(place) if follow else _kept(feed, place))) as pages:
            async for page in pages:
                if not feed.are_next(page, place):
                    is_whole = False
                    break
                encode = _encode_event if CALLER.get() is None else _encode_event.__wrapped__
                frames = [encode(one) for one in page if matches(one)]
                place = page[-1].id if page else place
                yield b"".join(frames) if frames else (f": ping\n{_PLACE}" % place).encode()
        if is_whole:
            return


def _reset(feed: Feed, *, follow: bool) -> tuple[int, str]:
    """Where a stream goes on that has lost events, and the frame that tells the client so."""
    oldest, newest = feed.range()
    place = newest if follow else oldest - 1
    kept = msgspec.json.encode({"oldest": oldest, "newest": newest}).decode()
    return place, f"id: {place}\nevent: reset\ndata: {kept}\n\n"


async def _kept(feed: Feed, after: int) -> AsyncGenerator[list[StoredEvent], None]:
    while page := feed.kept(after):
        after = page[-1].id
        yield page


async def _with_pings(pages: AsyncIterator[list[StoredEvent]]) -> AsyncGenerator[list[StoredEvent], None]:
    """The pages, and an empty one whenever nothing came for `PING_S`."""
    next_page = asyncio.ensure_future(anext(pages, None))
    try:
        while True:
            done, _ = await asyncio.wait({next_page}, timeout=PING_S)
            if not done:
                yield []
                continue
            page = next_page.result()
            if page is None:
                return
            next_page = asyncio.ensure_future(anext(pages, None))
            yield page
    finally:
        next_page.cancel()
        await asyncio.gather(next_page, return_exceptions=True)
        close = getattr(pages, "aclose", None)
        if close is not None:
            await close()


@lru_cache(maxsize=4096)
def _encode_event(one: StoredEvent) -> bytes:
    """The frame of an event. It is encoded once for all clients."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (one.id, one.cause.encode(), msgspec.json.encode(event(one)))
