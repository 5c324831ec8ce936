"""A response that goes on until its source ends, the client hangs up, the client's session ends, or the service stops.

Whichever comes first, the source is closed at once, so that nothing is held open for a client that has gone, or that asked
for the headers alone (HEAD).
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
from worker_orchestrator.http.server.request_body import until_hang_up

__all__ = ["LEASE", "ByteSource", "ClosableStream", "Lease", "ServiceEnd", "StreamedResponse", "with_first_item"]

LEASE: Final = "orchestrator.lease"
"""The key of an ASGI scope under which the `Lease` of its caller is, if there is one."""


class Lease(Protocol):
    """How long a caller may go on."""

    async def over(self) -> None:
        """Return when the caller may not go on any longer."""


class ServiceEnd:
    """Announced when the service stops: every stream ends then."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def announce(self) -> None:
        self._event.set()

    async def wait(self, scope: Scope) -> None:
        """Return when the caller in this scope must go: the service stops, or the caller's `Lease` is over."""
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


class ByteSource(Protocol):
    """Bytes that come piece by piece. It can be closed before its end, and before its beginning."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class ClosableStream:
    """The items of a generator that holds something open: `release` is called when it is closed, even if it never began.

    If a generator never began, Python does not run its own `finally`.
    """

    def __init__(self, items: AsyncGenerator[bytes, None], release: Callable[[], Awaitable[None]]) -> None:
        self._items, self._release = items, release

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._items

    async def aclose(self) -> None:
        try:
            await self._items.aclose()
        finally:
            await self._release()


async def with_first_item(source: AsyncIterator[bytes]) -> ClosableStream:
    """The same items, of which the first has come: an error at the beginning is raised here, while a status can be sent.

    Raises what the source raises.
    """
    first: Any = await anext(source, _NOTHING)

    async def all_items() -> AsyncGenerator[bytes, None]:
        if first is not _NOTHING:
            yield first
            async for item in source:
                yield item

    async def close_source() -> None:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()

    return ClosableStream(all_items(), close_source)


class StreamedResponse(Response):
    """Sends what `source` gives, and closes it. `goes_on`: it has no end of its own, so it is complete wherever it ends."""

    def __init__(self, source: ByteSource, service_end: ServiceEnd, media_type: str, *, goes_on: bool = False) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"  # else nginx holds small pieces back until there is more
        self._source, self._service_end, self._goes_on = source, service_end, goes_on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await self._source.aclose()
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
            return
        flow = asyncio.ensure_future(self._send_all(send))
        ends = [
            flow,
            asyncio.ensure_future(until_hang_up(receive)),
            asyncio.ensure_future(self._service_end.wait(scope)),
        ]
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
            return  # without the end of a response, so that the client does not take it for complete
        if flow.cancelled() and not self._goes_on:
            return  # as above
        if not ends[1].done() or ends[1].cancelled():
            with contextlib.suppress(OSError):
                await send({"type": "http.response.body", "body": b""})

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for part in self._source:
            await send({"type": "http.response.body", "body": part, "more_body": True})
