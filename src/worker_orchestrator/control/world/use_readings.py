"""Reads what instances have counted, and whether somebody is connected to them: how it is known that a worker is used."""

from __future__ import annotations

import asyncio
from typing import Final

from worker_orchestrator.core.activity import Counters
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import Activity
from worker_orchestrator.errors import OrchestratorError

__all__ = ["UseReadings"]

PARALLEL: Final = 8
LIMIT_S: Final = 3.0
"""For the engine to answer. What it does not tell in time is not known."""


class UseReadings:
    """Asks the engine, about few instances at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine if isinstance(engine, Activity) else None
        self._room = asyncio.Semaphore(PARALLEL)

    async def counters(self, machine_id: str, *, cpu: bool) -> Counters | None:
        """What this instance has counted, and with `cpu` what it has computed; None if that could not be read."""
        if self._engine is None:
            return None
        try:
            async with self._room, asyncio.timeout(LIMIT_S):
                return await self._engine.counters(machine_id, cpu=cpu)
        except (TimeoutError, OrchestratorError):  # whatever it is, it is not known whether the worker is used
            return None

    async def is_connected(self, machine_id: str) -> bool | None:
        """Whether a connection to the worker is open, as far as the engine can tell. None if it did not answer."""
        if self._engine is None:
            return None
        try:
            async with self._room, asyncio.timeout(LIMIT_S):
                return bool(await self._engine.is_connected(machine_id))
        except (TimeoutError, OrchestratorError):
            return None
