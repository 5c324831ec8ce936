"""Probes all idle machines in turn, each once per refresh, so that few must be probed when they are handed out.

Where machines are handed on as they are, one that comes and goes all the time is hardly ever idle when its turn comes. An
answer is enough for a second, so once in a second a project would have to wait for a probe, which takes long where requests
keep the event loop busy. So such a machine is probed as it is released, once half of its second is over.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Final, cast

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.outcomes import PROBE_S, patience_s
from worker_orchestrator.core.waiting_line import goes_stale

__all__ = ["IdleProbes"]

PARALLEL: Final = 50
STEP_S: Final = 0.25
"""Three hundred machines are probed eight at a time. One by one, with cold caches, they took twice the time."""


class IdleProbes:
    """Goes round the idle machines for as long as `run` runs."""

    def __init__(self, state: ControlState, probers: Probers, background: Background) -> None:
        self._state, self._probers, self._background = state, probers, background
        self._room = asyncio.Semaphore(PARALLEL)
        self._slow: set[str] = set()  # machines that may take long to answer, and that have not yet
        self._again: set[str] = set()  # machines that are probed since they were released
        self._round: set[asyncio.Task[None]] = set()  # the probes for which this round waits

    async def run(self, interval_s: float) -> None:
        while True:
            ids = [machine.id for machine in self._state.fleet.machines.values() if machine.is_idle]
            await self._go_round(ids, interval_s)

    async def _go_round(self, ids: Sequence[str], within_s: float) -> None:
        """One probe of each of these, spread over so many seconds: all at once would delay requests.

        Returns when the time is over, or the last one has answered. A slow one is left out until it has answered.
        """
        steps = max(1, min(len(ids), math.floor(within_s / STEP_S)))
        begun_at = self._state.now()
        for step in range(steps):
            for machine_id in ids[step::steps]:
                task = self._background.spawn(self._probe(machine_id), f"probe {machine_id}")
                self._round.add(task)
                task.add_done_callback(self._round.discard)
            await asyncio.sleep(begun_at + (step + 1) * within_s / steps - self._state.now())
        if self._round:
            await asyncio.wait(self._round)

    async def _probe(self, machine_id: str) -> None:
        async with self._room:
            machine = self._still_idle(machine_id)
            if machine is None or machine_id in self._slow:
                return
            limit_s = patience_s(self._state.fleet, self._state.spec, machine, self._state.now())
            if limit_s <= PROBE_S:
                await self._probers.ask(machine, limit_s)
                return
        self._slow.add(machine_id)
        self._round.discard(cast("asyncio.Task[None]", asyncio.current_task()))  # the round does not wait for this one
        try:
            await self._probers.ask(machine, limit_s)
        finally:
            self._slow.discard(machine_id)

    def released(self, machine: Machine) -> None:
        """This machine has just become idle as it is. Probe it before its last answer is too old, beside its turns."""
        if machine.id in self._again or not goes_stale(self._state.fleet, self._state.spec, machine, self._state.now()):
            return
        self._again.add(machine.id)
        task = self._background.spawn(self._probe(machine.id), f"probe {machine.id}")
        task.add_done_callback(lambda _: self._again.discard(machine.id))

    def _still_idle(self, machine_id: str) -> Machine | None:
        """The machine, if it is still idle when its turn comes. The machine of a project is not probed here."""
        machine = self._state.fleet.machines.get(machine_id)
        return machine if machine is not None and machine.is_idle else None
