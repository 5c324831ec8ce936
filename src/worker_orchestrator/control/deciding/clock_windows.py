"""Puts the sizes of clock windows in force when they open, and takes them back when they close."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.sizes import PoolSizes
from worker_orchestrator.control.deciding.sizes_in_force import put_in_force
from worker_orchestrator.control.deciding.state import ControlState

__all__ = ["ClockWindows"]

LONGEST_PAUSE_S: Final = 30.0
"""The clock of a computer may be set, which no timer hears of. To look at the clock costs nothing, unlike the windows."""

_log = structlog.get_logger(__name__)


class ClockWindows:
    """Looks at the clock for as long as `run` runs. Where no pool has windows it only waits for `look_again`."""

    def __init__(self, state: ControlState, sizes: PoolSizes, decisions: Decisions) -> None:
        self._state, self._sizes, self._decisions = state, sizes, decisions
        self._again = asyncio.Event()
        self._looked_s = 0.0

    def look_again(self) -> None:
        """Pools have other windows."""
        self._again.set()

    async def run(self) -> None:
        while True:
            self._again.clear()
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._again.wait()
            except TimeoutError:
                self._look()

    def _look(self) -> None:
        """Apply the sizes if they are due, or if the clock was put back."""
        before_s, self._looked_s = self._looked_s, self._state.wall_ms() / 1000
        due_s = self._sizes.change_due_s
        if self._looked_s < before_s or (due_s is not None and self._looked_s >= due_s):
            self._apply()

    def _pause_s(self) -> float | None:
        due_s = self._sizes.change_due_s
        if due_s is None:
            return None
        return min(max(0.0, due_s - self._state.wall_ms() / 1000), LONGEST_PAUSE_S)

    def _apply(self) -> None:
        before = put_in_force(self._state, self._sizes, self._decisions)
        for name, pool in self._state.spec.pools.items() if before is not None else ():
            if before is not None and pool.min_idle != before.pools[name].min_idle:
                window = None if pool.window is None else pool.window.cron
                _log.info("a window opened or closed", pool=name, min_idle=pool.min_idle, window=window)
