"""What is told of the fleet: the machines that can serve, the health, and which machine is in a container."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.control.deciding.journal import Journal
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.telling.last_changes import LastChanges
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.core.brake import next_restart_at
from worker_orchestrator.core.expiry import expected_end
from worker_orchestrator.core.instance import Instance, Snapshot
from worker_orchestrator.core.instance import Status as InstanceStatus
from worker_orchestrator.core.lease import EndsBy, Terms
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.reasons import UNREACHABLE
from worker_orchestrator.core.spec import PoolSpec
from worker_orchestrator.core.unreachable import is_unreachable
from worker_orchestrator.core.unrecorded import foreign, strays
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import EngineError

__all__ = ["Health", "LeaseView", "MachineView", "Status", "Views", "configured"]

PING_TIMEOUT_S: Final = 2.0
UNHEARD_S: Final = 1.0
"""While the engine tells of no ends, what a listing showed is believed for so long."""
CLOCK_MOVED_MS: Final = 500
"""The two clocks drift: a time that lies ahead is told the same way until they have drifted this far."""


@dataclass(frozen=True, slots=True)
class LeaseView:
    """The deadlines of an assignment. `ends_ms` is the wall time at which it ends, `by` this deadline, if nobody uses it or
    asks for it until then. `active_ms` is that of its last activity; None if none is known.
    """

    terms: Terms
    ends_ms: int | None
    by: EndsBy | None
    active_ms: int | None


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine, with what the engine knows of it, and when it changed last (wall time; 0: nobody knows).

    `trouble` says why it can serve nobody although it has not ended, and what to do. `next_try_ms` is the wall time of its
    next restart, if it waits for that. `is_outdated`: it is of another template than new machines of its pool.
    `is_configured`: its project's values are in it; None if no project has it, or if its pool takes none.
    """

    machine: Machine
    instance: Instance | None
    changed_ms: int = 0
    trouble: str = ""
    next_try_ms: int | None = None
    is_outdated: bool = False
    lease: LeaseView | None = None
    is_configured: bool | None = None

    @property
    def reason(self) -> str:
        """Why it is as it is, in words."""
        return self.trouble or self.machine.reason


@dataclass(frozen=True, slots=True)
class Health:
    connected: bool
    idle: int
    used: int


@dataclass(frozen=True, slots=True)
class Status:
    """How the service is. `problem` says why the engine does not answer; None while it does.

    `store_problem` says why nothing can be stored, as far as somebody tried; empty where it can. `is_lost`: the engine has
    been away so long that nobody waits for it. `listing_age_s` is None before the first listing.
    """

    problem: str | None
    store_problem: str
    is_lost: bool
    listing_age_s: float | None
    waiting: int
    strays: int
    foreign: int


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was shown last, and of what. A thousand people who look cost little more than one."""

    snapshot: Snapshot
    version: int
    views: list[MachineView]


def configured(machine: Machine, pool: PoolSpec) -> bool | None:
    """Whether its project's values are in it; None if no project has it, or if this pool, which is its own, takes none."""
    takes_values = pool.late is not None or machine.configuration is not None
    return machine.is_configured if takes_values and machine.holding is not None else None


class Views:
    """Reads. None of them shows anything that may yet be undone."""

    def __init__(
        self, engine: Engine, state: ControlState, journal: Journal, contact: Contact, last_changes: LastChanges
    ) -> None:
        self._engine, self._state, self._fleet = engine, state, state.fleet
        self._journal, self._contact, self._last_changes = journal, contact, last_changes
        self._shown = _Shown(Snapshot(-math.inf, {}), -1, [])
        self._clocks_apart_ms = 0  # wall time less loop time

    async def machines(self) -> list[MachineView]:
        """The machines that can serve, oldest first; the same list as before where nothing has changed since."""
        is_old = self._state.now() - self._state.snapshot.begun_at > UNHEARD_S
        if is_old and not self._fleet.hears_events and not self._contact.lost.is_set():
            await self._state.next_listing()  # nobody would have told us of one that ended
        shown = self._shown
        is_same = shown.snapshot is self._state.snapshot and shown.version == self._last_changes.version
        if not is_same or self._fleet.pending:
            await self._list_all_ready()
            await self._journal.drain()
            snapshot = self._state.snapshot
            ready = sorted(self._ready(), key=lambda machine: machine.id)
            views = [MachineView(one, snapshot.instances.get(one.id)) for one in ready]
            self._shown = _Shown(snapshot, self._last_changes.version, views)
        return self._shown.views

    async def records(self) -> list[MachineView]:
        """All machines on record, oldest first."""
        await self._list_all_ready()
        await self._journal.drain()
        return [self._view(machine) for _, machine in sorted(self._journal.as_stored().items())]

    async def record(self, machine: Machine) -> MachineView:
        """One machine, with what the engine knows of it."""
        if machine.state is State.READY:
            await self._list_all_ready(machine)
        return self._view(machine)

    def _view(self, machine: Machine) -> MachineView:
        instance = self._state.snapshot.instances.get(machine.id)
        changed_ms, trouble = self._last_changes.at_ms.get(machine.id, 0), self._fleet.ailing.get(machine.id, "")
        if not trouble and is_unreachable(self._fleet, machine):
            trouble = UNREACHABLE
        pool = self._state.spec.pool(machine.pool)
        next_try_ms, lease = self._next_try_ms(machine), self._lease(machine)
        return MachineView(
            machine,
            instance,
            changed_ms,
            trouble,
            next_try_ms,
            pool.is_outdated(machine.template),
            lease,
            configured(machine, pool),
        )

    def _next_try_ms(self, machine: Machine) -> int | None:
        """The wall time of the next restart of a project's machine; None if it waits for none."""
        at = next_restart_at(self._fleet, machine)
        if at is None or at <= self._state.now():
            return None
        return self._wall_ms_of(at)

    def _lease(self, machine: Machine) -> LeaseView | None:
        if machine.lease is None:
            return None
        end, active_at = expected_end(self._fleet, machine), self._fleet.quiet(machine.id).active_at
        return LeaseView(
            machine.lease.terms,
            None if end is None else self._wall_ms_of(end.at),
            None if end is None else end.by,
            None if active_at is None else self._wall_ms_of(active_at - self._fleet.lease_offset),
        )

    def _wall_ms_of(self, at: float) -> int:
        """The wall time of this monotonic time; the same one every time, as long as nobody sets the clock."""
        now = self._state.now()
        apart_ms = self._state.wall_ms() - round(now * 1000)
        if abs(apart_ms - self._clocks_apart_ms) > CLOCK_MOVED_MS:
            self._clocks_apart_ms = apart_ms
        return round(at * 1000) + self._clocks_apart_ms

    def status(self) -> Status:
        contact, listing, fleet = self._contact, self._state.snapshot, self._fleet
        return Status(
            contact.problem,
            self._journal.problem,
            contact.lost.is_set(),
            self._state.now() - listing.begun_at if listing.begun_at >= 0 else None,
            sum(len(pool.line) for pool in fleet.pools.values()),
            len(strays(fleet, listing)),
            len(foreign(fleet, listing)),
        )

    async def health(self) -> Health:
        """Whether the engine answers within 2 s, and how many machines can serve."""
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self._engine.ping()
        except (TimeoutError, EngineError):
            return Health(connected=False, idle=0, used=0)
        await self._journal.drain()
        ready = self._ready()
        idle = sum(machine.project is None for machine in ready)
        return Health(connected=True, idle=idle, used=len(ready) - idle)

    async def by_native_id(self, name: str) -> Machine | None:
        """The machine in this container, which has an id of the engine's, or the short form of one."""
        if not self._engine.is_native_id(name):
            return None
        await self._list_all_ready()
        for instance in self._state.snapshot.instances.values():
            if instance.native_id.startswith(name):
                return self._fleet.machines.get(instance.id)
        return None

    def _ready(self) -> list[Machine]:
        fleet, machines = self._fleet, self._journal.as_stored()
        return [one for one in machines.values() if one.state is State.READY and not fleet.is_doubted(one)]

    async def _list_all_ready(self, only: Machine | None = None) -> None:
        """See to it that the last listing knows every machine that can serve, or this one."""
        listed = self._state.snapshot.instances
        known = {instance.id for instance in listed.values() if instance.status is not InstanceStatus.CREATED}
        missing = any(machine.id not in known for machine in ([only] if only is not None else self._ready()))
        if missing and not self._contact.lost.is_set():
            await self._state.next_listing()
