"""Keeps track of what the engine would run now, so that an image rebuilt under the same tag is noticed.

It runs beside the tick, because fetching a missing image takes minutes. As long as the engine cannot say, the last known
template stays in force: machines of it go on serving.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.world.reports import Tell, TemplateFound
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineUnavailable, OutcomeUnknown

__all__ = ["Templates"]

LEAST_GAP_S: Final = 1.0
FIRST_RETRY_S: Final = 10.0
LONGEST_RETRY_S: Final = 300.0
OBSTRUCTED_RETRY_S: Final = 60.0
"""A cause outside may be mended by somebody who waits for it to show."""

_log = structlog.get_logger(__name__)


class Templates:
    """Asks the engine for its template at every refresh, and looks after each `look_again`, at most once a second.

    A look fetches nothing: what others do to their images, a hundred times an hour on some computers, must not make a
    registry hear of an image that it lacks. Each answer is reported as `TemplateFound`.
    """

    def __init__(self, engine: Engine, refresh_interval_s: float, tell: Tell, observer: Observer) -> None:
        self._engine, self._refresh_interval_s, self._tell = engine, refresh_interval_s, tell
        self._observer = observer
        self._again = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._due_at = self._now()
        self._retry_s, self._answers = FIRST_RETRY_S, True

    @property
    def progress(self) -> str:
        """What the engine is busy with to find out, in words; empty where it is not."""
        return self._engine.progress

    def look_again(self) -> None:
        """Look at the image soon, and fetch nothing."""
        self._again.set()

    async def run(self) -> None:
        while True:
            self._again.clear()
            await self._ask(is_due=self._now() >= self._due_at)
            await asyncio.sleep(LEAST_GAP_S)
            try:
                async with asyncio.timeout(max(0.0, self._due_at - self._now())):
                    await self._again.wait()
            except TimeoutError:
                continue

    async def _ask(self, *, is_due: bool) -> None:
        """Ask for the template, with all that it takes if that is due."""
        pause_s = self._refresh_interval_s
        try:
            template = await self._observer.measure("template", self._engine.template(fetch=is_due))
        except (EngineUnavailable, OutcomeUnknown) as error:
            if self._answers:
                _log.warning("the image cannot be checked", why=error.message)
            self._answers = False
        except EngineError as error:
            if is_due:
                _log.error("no machine can be created", why=error.message)
                longest_s = OBSTRUCTED_RETRY_S if isinstance(error, EngineObstructed) else LONGEST_RETRY_S
                pause_s, self._retry_s = min(self._retry_s, longest_s), min(self._retry_s * 2, longest_s)
            self._answers = True
            self._tell(TemplateFound("", error.message))
        else:
            self._answers = True
            if not template:
                return  # it is fetched when that is due
            is_due, self._retry_s = True, FIRST_RETRY_S
            self._tell(TemplateFound(template, ""))
        if is_due:
            self._due_at = self._now() + pause_s
