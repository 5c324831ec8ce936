"""Tells the engine which machines may be configured next, so that it can prepare for that where it pays."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import Foreseeing

__all__ = ["Foresight"]

INTERVAL_S: Final = 1.0


class Foresight:
    """Tells it for as long as `run` runs."""

    def __init__(self, state: ControlState, engine: Engine) -> None:
        self._state, self._engine = state, engine

    async def run(self) -> None:
        while isinstance(self._engine, Foreseeing):
            self._engine.foresee(self._may_be_configured())
            await asyncio.sleep(INTERVAL_S)

    def _may_be_configured(self) -> Sequence[Machine]:
        """Those that are idle, and that no project ever had: one could have changed what becomes of values there."""
        pools = {name for name, pool in self._state.spec.pools.items() if pool.late is not None and pool.late.directory}
        if not pools:
            return ()
        machines = self._state.fleet.machines.values()
        return [machine for machine in machines if machine.pool in pools and machine.is_idle and not machine.generation]
