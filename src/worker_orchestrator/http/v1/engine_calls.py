"""Calls of the engine for one request: only while it answers at all, and only as long as the client waits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import NotSupported
from worker_orchestrator.http.server.request_body import until_hang_up

__all__ = ["EngineCalls", "not_supported"]

_T = TypeVar("_T")


def not_supported(what: str) -> NotSupported:
    """The error of a call that this engine cannot carry out; `what` completes "This engine cannot …"."""
    return NotSupported(f"This engine cannot {what}.")


class EngineCalls:
    """Calls of the orchestrator's engine."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.engine: Engine = orchestrator.engine
        self._contact = orchestrator.contact

    async def when_reachable(self, work: Coroutine[Any, Any, _T], within_s: float = math.inf) -> _T:
        """What this work returns or raises. It begins when the engine answers, and has all its time from then on.

        Raises EngineUnavailable if the engine does not answer within these seconds.
        """
        try:
            await self._contact.heard(within_s)
        except BaseException:
            work.close()
            raise
        return await work

    async def ask(self, request: Request, question: Coroutine[Any, Any, _T]) -> _T:
        """The engine's answer, unless it does not answer in time, or the client hangs up."""
        return await self.unless_hung_up(request, self._contact.answer_of(question))

    @staticmethod
    async def unless_hung_up(
        request: Request, work: Coroutine[Any, Any, _T], body_read: asyncio.Event | None = None
    ) -> _T:
        """What this work returns or raises. If the client hangs up, it is cancelled.

        `body_read`: the work itself reads the body of the request, and sets this when it has read all of it.
        """

        async def hung_up() -> None:
            if body_read is not None:
                await body_read.wait()
            await until_hang_up(request.receive)

        working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(hung_up())
        ends: set[asyncio.Future[Any]] = {working, leaving}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise asyncio.CancelledError("the client hung up")
            return working.result()
        finally:
            leaving.cancel()
            if not working.done():
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
