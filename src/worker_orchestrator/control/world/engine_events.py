"""The engine's stream of events, opened again whenever it ends. A lost event costs the time until the next refresh."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.world.reports import Ended, EngineChanged, EventsStopped, Shown, Tell
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import EngineError

__all__ = ["EngineEvents"]

FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 1.0

_log = structlog.get_logger(__name__)


class EngineEvents:
    """Reports what the engine says of its instances, for as long as `run` runs."""

    def __init__(self, engine: Engine, background: Background, tell: Tell, observer: Observer) -> None:
        self._engine, self._background, self._tell, self._observer = engine, background, tell, observer

    async def run(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                async for machine_id in self._engine.watch():
                    retry_s = FIRST_RETRY_S
                    self._report(machine_id)
            except EngineError as error:
                if retry_s == FIRST_RETRY_S:
                    _log.info("no events from the engine", why=error.message)
            self._observer.events_ended()
            self._tell(EventsStopped())
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    def _report(self, machine_id: str | None) -> None:
        if machine_id is None:
            self._tell(EngineChanged())
            return
        self._tell(Ended(machine_id))
        self._background.spawn(self._report_when_shown(machine_id), f"end of {machine_id}")

    async def _report_when_shown(self, machine_id: str) -> None:
        """Docker tells of an end before its listings show it, and only a listing tells what is to be done."""
        try:
            await self._engine.until_shown(machine_id)
        finally:
            self._tell(Shown(machine_id))
