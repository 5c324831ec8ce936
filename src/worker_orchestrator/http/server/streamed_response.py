"""A response that goes on: until there is nothing more, the client hangs up, its session ends, or the service stops.

Whichever comes first, the source is closed at once, so that nothing is held open for somebody who has gone, or who asked
for the headers alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker_orchestrator.errors import OrchestratorError

__all__ = ["LEASE", "Closing", "Held", "Lease", "Source", "Streamed", "first_of"]

LEASE: Final = "orchestrator.lease"
"""The key of a scope under which its caller's `Lease` is, where it has one."""


class Lease(Protocol):
    """How long a caller may go on."""

    async def over(self) -> None:
        """Return when it may no longer."""


class Closing:
    """Set when the service stops: whoever streams ends then."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def close(self) -> None:
        self._event.set()

    async def wait(self, scope: Scope) -> None:
        """Until whoever asked in this scope must go: when the service stops, or who asks may no longer."""
        lease: Lease | None = scope.get(LEASE)
        ends = [asyncio.ensure_future(self._event.wait()), *([asyncio.ensure_future(lease.over())] if lease else [])]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


_log = structlog.get_logger(__name__)
_NOTHING: Final = object()


class Source(Protocol):
    """What comes piece by piece, and can be closed before its end, or before its beginning."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class Held:
    """The items of a generator that holds something: `let_go` is called when it is closed, even where it never began.

    Of a generator that never began Python runs nothing, so its own `finally` would not do.
    """

    def __init__(self, items: AsyncGenerator[bytes, None], let_go: Callable[[], Awaitable[None]]) -> None:
        self._items, self._let_go = items, let_go

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._items

    async def aclose(self) -> None:
        try:
            await self._items.aclose()
        finally:
            await self._let_go()


async def first_of(source: AsyncIterator[bytes]) -> Held:
    """The same items, after the first one was had: what goes wrong at once is raised here, while a status can be sent.

    Raises what the source raises.
    """
    first: Any = await anext(source, _NOTHING)

    async def all_of_them() -> AsyncGenerator[bytes, None]:
        if first is not _NOTHING:
            yield first
            async for item in source:
                yield item

    async def let_go() -> None:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()

    return Held(all_of_them(), let_go)


class Streamed(Response):
    """Sends what `source` gives, and closes it. `goes_on`: it has no end of its own, so it is whole wherever it ends."""

    def __init__(self, source: Source, closing: Closing, media_type: str, *, goes_on: bool = False) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"  # else nginx keeps what is small until there is more
        self._source, self._closing, self._goes_on = source, closing, goes_on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await self._source.aclose()
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
            return
        flow = asyncio.ensure_future(self._send_all(send))
        ends = [flow, asyncio.ensure_future(_hung_up(receive)), asyncio.ensure_future(self._closing.wait(scope))]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            await self._source.aclose()
        if not flow.cancelled() and (error := flow.exception()) is not None:
            if not isinstance(error, OrchestratorError):
                raise error
            _log.info("a stream was cut off", why=error.message)
            return  # without an end, so that nobody takes it for the whole
        if flow.cancelled() and not self._goes_on:
            return  # as above
        if not ends[1].done() or ends[1].cancelled():
            with contextlib.suppress(OSError):
                await send({"type": "http.response.body", "body": b""})

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for part in self._source:
            await send({"type": "http.response.body", "body": part, "more_body": True})


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
