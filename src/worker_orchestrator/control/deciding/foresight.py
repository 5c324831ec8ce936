"""Tells the engine which machines may be configured next, so that it can prepare for that where it pays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.core.machine import Machine, State
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
            self._engine.foresee(self._may_be_configured(self._state.fleet.machines.values()))
            await asyncio.sleep(INTERVAL_S)

    def tell_of(self, machine_id: str) -> None:
        """Tell it of this machine, which is about to be paused: nothing can be prepared in it then."""
        machine = self._state.fleet.machines.get(machine_id)
        if machine is not None and isinstance(self._engine, Foreseeing):
            self._engine.foresee(self._may_be_configured([machine]), more=True)

    def _may_be_configured(self, machines: Iterable[Machine]) -> Sequence[Machine]:
        """Those that are idle or parked, and that no project ever had: it could have changed what becomes of values."""
        pools = {name for name, pool in self._state.spec.pools.items() if pool.late is not None and pool.late.directory}
        if not pools:
            return ()
        return [one for one in machines if one.pool in pools and not one.generation and _waits_for_a_project(one)]


def _waits_for_a_project(machine: Machine) -> bool:
    return machine.is_idle or machine.state is State.PARKED or machine.is_unparking
