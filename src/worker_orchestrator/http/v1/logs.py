"""What a worker wrote, until now or as it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.engines.extras import Logs
from worker_orchestrator.http.server.streamed_response import (
    ClosableStream,
    ServiceEnd,
    StreamedResponse,
    with_first_item,
)
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.engine_calls import EngineCalls, not_supported

__all__ = ["WorkerLogs", "begin_following"]

MOST_LINES: Final = 1_000_000
_FIRST_LINE_S: Final = 0.25
"""So long an error of the engine is waited for, which can still become a status."""


class WorkerLogs:
    """What is under /v1/machines/{id}/logs."""

    def __init__(self, orchestrator: Orchestrator, calls: EngineCalls, service_end: ServiceEnd) -> None:
        self._orchestrator, self._calls, self._service_end = orchestrator, calls, service_end

    async def read(self, request: Request) -> Response:
        query = request.query_params
        machine = await parameters.path_machine(request, self._orchestrator)
        tail = parameters.number(query, "tail", 0, MOST_LINES)
        follow = parameters.flag(query, "follow", default=False)
        timestamps = parameters.flag(query, "timestamps", default=False)
        engine = self._calls.engine
        if not isinstance(engine, Logs):
            raise not_supported("read the logs of a worker")
        lines = engine.logs(machine.id, tail=tail, follow=follow, timestamps=timestamps)
        if follow:
            await self._orchestrator.contact.heard()
            source = await begin_following(lines)
        else:
            source = await self._calls.ask(request, with_first_item(lines))
        return StreamedResponse(source, self._service_end, "text/plain; charset=utf-8", goes_on=follow)


async def begin_following(lines: AsyncIterator[bytes]) -> ClosableStream:
    """The stream for a client that follows a log. It begins at once, though nothing may be written for hours."""
    first = asyncio.ensure_future(anext(lines, None))

    async def all_lines() -> AsyncGenerator[bytes, None]:
        item = await first
        while item is not None:
            yield item
            item = await anext(lines, None)

    async def close_lines() -> None:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        close = getattr(lines, "aclose", None)
        if close is not None:
            await close()

    try:
        await asyncio.wait({first}, timeout=_FIRST_LINE_S)
        if first.done():
            await first
    except BaseException:
        await close_lines()
        raise
    return ClosableStream(all_lines(), close_lines)
