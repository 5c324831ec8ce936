"""The engine's stream of events, opened again whenever it ends. A lost event costs the time until the next refresh."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.world.reports import Ended, EngineChanged, EventsStopped, Shown, Tell
from worker_orchestrator.engines.base import INSTANCES, EndOf, Engine, RecoveryOf
from worker_orchestrator.errors import EngineError

__all__ = ["EngineEvents"]

FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 1.0

_log = structlog.get_logger(__name__)


class EngineEvents:
    """Reports what the engine says of its instances, for as long as `run` runs."""

    def __init__(self, engine: Engine, background: Background, tell: Tell, observer: Observer) -> None:
        self._engine, self._background, self._tell, self._observer = engine, background, tell, observer
        self._awaited: dict[str, bool] = {}  # id of an instance that is to be shown -> whether it was named again since

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
        if machine_id is None or machine_id == INSTANCES:
            self._tell(EngineChanged(templates=machine_id is None))
            return
        if isinstance(machine_id, RecoveryOf):
            self._background.spawn(self._look_when_shown(machine_id), f"recovery of {machine_id}")
            return
        self._tell(Ended(machine_id, is_certain=isinstance(machine_id, EndOf)))
        if machine_id in self._awaited:
            self._awaited[machine_id] = True
            return
        self._awaited[machine_id] = False
        self._background.spawn(self._report_when_shown(machine_id), f"end of {machine_id}")

    async def _report_when_shown(self, machine_id: str) -> None:
        """Docker tells of an end before its listings show it, and only a listing tells what is to be done.

        One end has several signs. What came while the engine was asked may be another end, so it is asked once more.
        """
        try:
            await self._engine.until_shown(machine_id)
            while self._awaited[machine_id]:
                self._awaited[machine_id] = False
                await self._engine.until_shown(machine_id)
        finally:
            del self._awaited[machine_id]
            self._tell(Shown(machine_id))

    async def _look_when_shown(self, machine_id: str) -> None:
        """A machine that may serve again is not doubted for that: whoever asks for it would wait for nothing."""
        try:
            await self._engine.until_shown(machine_id)
        finally:
            self._tell(EngineChanged(templates=False))
