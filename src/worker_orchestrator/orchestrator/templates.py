"""Keeps track of what the engine would run now, so that an image rebuilt under the same tag is noticed.

It runs beside the tick, because fetching a missing image takes minutes. As long as the engine cannot say, the last known
template stays in force: machines of it go on serving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from worker_orchestrator.engines import Engine
from worker_orchestrator.errors import EngineObstructed, EngineRejected, EngineUnavailable, OutcomeUnknown
from worker_orchestrator.orchestrator.observer import Observer

__all__ = ["Templates"]

LEAST_GAP_S: Final = 1.0
FIRST_RETRY_S: Final = 10.0
LONGEST_RETRY_S: Final = 300.0
OBSTRUCTED_RETRY_S: Final = 60.0
"""A cause outside may be mended by somebody who waits for it to show."""

_log = structlog.get_logger(__name__)


class Templates:
    """Asks the engine for its template at every refresh, and after each `look_again`, at most once a second.

    `found(template, problem)` gets what came out: one of the two is empty.
    """

    def __init__(
        self, engine: Engine, refresh_interval_s: float, found: Callable[[str, str], None], observer: Observer
    ) -> None:
        self._engine, self._refresh_interval_s, self._found = engine, refresh_interval_s, found
        self._observer = observer
        self._again = asyncio.Event()

    def look_again(self) -> None:
        self._again.set()

    async def run(self) -> None:
        retry_s, answers = FIRST_RETRY_S, True
        while True:
            self._again.clear()
            pause_s = self._refresh_interval_s
            try:
                self._found(await self._observer.measure("template", self._engine.template()), "")
                retry_s, answers = FIRST_RETRY_S, True
            except EngineRejected as error:
                _log.error("no machine can be created", why=error.message)
                self._found("", error.message)
                answers = True
                longest_s = OBSTRUCTED_RETRY_S if isinstance(error, EngineObstructed) else LONGEST_RETRY_S
                pause_s, retry_s = min(retry_s, longest_s), min(retry_s * 2, longest_s)
            except (EngineUnavailable, OutcomeUnknown) as error:
                if answers:
                    _log.warning("the image cannot be checked", why=error.message)
                answers = False
            await asyncio.sleep(LEAST_GAP_S)
            try:
                async with asyncio.timeout(max(0.0, pause_s - LEAST_GAP_S)):
                    await self._again.wait()
            except TimeoutError:
                continue
