"""Reads the machines whose deadlines depend on their use, each in its time, and tells the core what that shows.

A machine is read right after its assignment, then at regular intervals, and once more exactly when a deadline would pass.
Before that ends anything, one last look at the open connections spares a client that is connected and silent. Whatever
cannot be read proves nothing, so nothing expires then: while the engine is away, while a container does not serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.uses import Uses
from worker_orchestrator.control.world.use_readings import UseReadings
from worker_orchestrator.core import expiry
from worker_orchestrator.core.activity import Counters, Traffic, are_comparable, shows_activity
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.readings import Silence, is_readable, meaning_of_silence, needs_readings, next_reading
from worker_orchestrator.core.timers import Timers

__all__ = ["ActivityWatch"]

COUNT_AGAIN_S: Final = 5.0
"""How often all machines with deadlines are counted. A new one is told at once; one whose release failed is found so."""


@dataclass(slots=True)
class _Last:
    """The last reading of a machine, in the assignment of this generation."""

    generation: int
    counters: Counters


class ActivityWatch:
    """Reads for as long as `run` runs: each machine once in `interval_s` at least, more often where a deadline is short."""

    def __init__(  # what a reading may concern
        self,
        decisions: Decisions,
        uses: Uses,
        readings: UseReadings,
        background: Background,
        interval_s: float,
    ) -> None:
        self._decisions, self._state, self._fleet = decisions, decisions.state, decisions.fleet
        self._uses, self._readings = uses, readings
        self._background, self._interval_s = background, interval_s
        self._due = Timers()  # by machine id, in loop time
        self._last: dict[str, _Last] = {}
        self._reading: set[str] = set()

    async def run(self) -> None:
        count_at = self._state.now()
        while True:
            now = self._state.now()
            if now >= count_at:
                self._read_soon(now, *self._fleet.leased)
                count_at = now + COUNT_AGAIN_S
            self._read_soon(now, *self._state.new_leases, anew=True)
            self._state.new_leases.clear()
            self._state.leases.clear()
            for machine_id in self._due.take_due(now):
                self._reading.add(machine_id)
                self._background.spawn(self._read(machine_id), f"use of {machine_id}")
            due_at = self._due.first()
            pause_s = (count_at if due_at is None else min(due_at, count_at)) - now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._state.leases.wait()

    def set_interval(self, interval_s: float) -> None:
        """From now on read each machine so often."""
        if interval_s == self._interval_s:
            return
        self._interval_s = interval_s
        for machine_id in sorted(self._fleet.leased):
            if machine_id in self._due:
                self._plan(self._fleet.machines[machine_id])

    def _read_soon(self, now: float, *machine_ids: str, anew: bool = False) -> None:
        """Read these now that are not read yet; `anew`: or that are, but have other deadlines."""
        for machine_id in machine_ids:
            is_known = machine_id in self._due or machine_id in self._reading
            if (anew or not is_known) and needs_readings(self._fleet.machines.get(machine_id)):
                self._due.set(machine_id, now)

    async def _read(self, machine_id: str) -> None:
        """Read a machine once, and plan its next reading if it needs one."""
        machine = self._fleet.machines.get(machine_id)
        if machine is not None and needs_readings(machine):
            counters = await self._counters(machine)
            await self._judge(machine, counters)
        self._reading.discard(machine_id)
        machine = self._fleet.machines.get(machine_id)
        if machine is None or not needs_readings(machine):
            self._last.pop(machine_id, None)
            self._state.asked_until.pop(machine_id, None)
            self._due.discard(machine_id)
        elif machine_id not in self._due:
            self._plan(machine)

    def _plan(self, machine: Machine) -> None:
        """Read this machine again when it is time."""
        self._due.set(machine.id, next_reading(self._fleet, machine, self._state.now(), self._interval_s))
        self._state.leases.set()

    async def _counters(self, machine: Machine) -> Counters | None:
        """What its container counts; None if that cannot be read, or says nothing."""
        rules = self._state.spec.pool(machine.pool).activity
        if not is_readable(self._fleet, machine) or not self._decisions.contact.answers:
            return None
        if not self._state.spec.knows(machine.pool):
            return None  # what counts as use there is not known any more
        if not rules.needs_counters:
            return Counters(self._state.now())
        return await self._readings.counters(machine.id, cpu=rules.cpu is not None)

    async def _judge(self, machine: Machine, counters: Counters | None) -> None:
        """Tell the core what this reading shows, or nothing where it decides nothing yet."""
        if counters is not None and counters.at < self._state.asked_until.get(machine.id, -math.inf):
            return  # that the service itself asked it since is no use of it: it is read anew
        now, last = self._state.now(), self._last.pop(machine.id, None)
        if counters is not None:
            self._last[machine.id] = _Last(machine.generation, counters)
        if self._uses.is_open(machine):
            self._note(machine, now, is_active=True)
        elif counters is None or self._uses.is_set_up(machine):
            self._note(machine, now, is_active=None)
        elif last is None or not self._is_before(last, machine, counters):
            self._note(machine, now, is_active=None)  # what was before is not known
            self._note(machine, now, is_active=False)
        else:
            rules = self._state.spec.pool(machine.pool).activity
            is_active = shows_activity(last.counters, counters, rules)
            if is_active is False:
                await self._judge_silence(machine, counters.at, looks=rules.traffic is not Traffic.OFF)
            else:
                self._note(machine, now, is_active=is_active)

    def _is_before(self, last: _Last, machine: Machine, counters: Counters) -> bool:
        """Whether all that was counted since this last reading came from others, while the same project had the machine."""
        is_asked_since = last.counters.at < self._state.asked_until.get(machine.id, -math.inf)
        is_same = last.generation == machine.generation and not is_asked_since
        return is_same and are_comparable(last.counters, counters)

    async def _judge_silence(self, machine: Machine, at: float, *, looks: bool) -> None:
        """The counters that were read then show no use. `looks`: an open connection counts as use all the same."""
        own = self._fleet.machines.get(machine.id)
        if own is None or own.generation != machine.generation or own.lease is None:
            return
        match meaning_of_silence(self._fleet, own, at):
            case Silence.GOES_ON:
                self._note(machine, at, is_active=False)
            case Silence.ENDS:
                is_connected = await self._readings.is_connected(machine.id) if looks else False
                self._note(machine, self._state.now() if is_connected else at, is_active=is_connected)
                self._state.wake.set()
            case Silence.SPARED:
                pass

    def _note(self, machine: Machine, at: float, *, is_active: bool | None) -> None:
        expiry.note_reading(self._fleet, machine.id, machine.generation, at, is_active=is_active)
        if self._fleet.pending:
            self._decisions.commit_soon()
