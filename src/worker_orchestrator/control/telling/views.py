"""What is told of the fleet: the machines that can serve, the health, and which machine is in a container."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.control.deciding.state import Decisions
from worker_orchestrator.control.deciding.ticker import Ticker
from worker_orchestrator.core.machine import Change, Instance, Machine, Snapshot, State
from worker_orchestrator.core.machine import Status as InstanceStatus
from worker_orchestrator.core.reconcile import foreign, strays
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import CommitFailed, EngineError

__all__ = ["Health", "MachineView", "Status", "Views"]

PING_TIMEOUT_S: Final = 2.0
UNHEARD_S: Final = 1.0
"""While the engine tells of no ends, what a listing showed is believed for so long."""
_NATIVE_ID: Final = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine, with what the engine knows of it, and when it changed last (wall time; 0: nobody knows).

    `trouble` says why it can serve nobody although it has not ended, and what to do.
    """

    machine: Machine
    instance: Instance | None
    changed_ms: int = 0
    trouble: str = ""

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
    """What was shown last, and of which listing. A thousand people who look cost little more than one."""

    snapshot: Snapshot
    views: list[MachineView]


class Views:
    """Reads. None of them shows anything that may yet be undone.

    `changed_ms` says when each machine on record changed last, as far as that is known.
    """

    def __init__(self, engine: Engine, decisions: Decisions, ticker: Ticker, changed_ms: dict[str, int]) -> None:
        self._engine, self._decisions, self._ticker = engine, decisions, ticker
        self._fleet, self._changed_ms = decisions.fleet, changed_ms
        self._shown: _Shown | None = None

    def changed(self, changes: list[Change], wall_ms: int) -> None:
        """These were stored just now."""
        self._shown = None
        for change in changes:
            if change.after is None:
                self._changed_ms.pop(change.machine.id, None)
            else:
                self._changed_ms[change.machine.id] = wall_ms

    def doubted(self) -> None:
        """One of the machines may not be able to serve any more."""
        self._shown = None

    async def machines(self) -> list[MachineView]:
        """The machines that can serve, oldest first; the same list as before where nothing has changed since."""
        is_old = self._decisions.now() - self._ticker.snapshot.begun_at > UNHEARD_S
        if is_old and not self._fleet.hears and not self._decisions.contact.lost.is_set():
            await self._ticker.next()  # nobody would have told us of one that ended
        if self._shown is None or self._shown.snapshot is not self._ticker.snapshot or self._fleet.pending:
            await self._list_all_ready()
            await self.settled()
            snapshot = self._ticker.snapshot
            ready = sorted(self._ready(), key=lambda machine: machine.id)
            self._shown = _Shown(snapshot, [MachineView(one, snapshot.instances.get(one.id)) for one in ready])
        return self._shown.views

    async def records(self) -> list[MachineView]:
        """All machines on record, oldest first."""
        await self._list_all_ready()
        await self.settled()
        return [
            self._view(machine) for machine in sorted(self._fleet.machines.values(), key=lambda machine: machine.id)
        ]

    async def record(self, machine: Machine) -> MachineView:
        """One machine, with what the engine knows of it."""
        if machine.state is State.READY:
            await self._list_all_ready(machine)
        return self._view(machine)

    def _view(self, machine: Machine) -> MachineView:
        instance = self._ticker.snapshot.instances.get(machine.id)
        return MachineView(
            machine, instance, self._changed_ms.get(machine.id, 0), self._fleet.ailing.get(machine.id, "")
        )

    def status(self) -> Status:
        contact, listing, fleet = self._decisions.contact, self._ticker.snapshot, self._fleet
        return Status(
            contact.problem,
            self._decisions.journal.problem,
            contact.lost.is_set(),
            self._decisions.now() - listing.begun_at if listing.begun_at >= 0 else None,
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
        await self.settled()
        ready = self._ready()
        idle = sum(machine.project is None for machine in ready)
        return Health(connected=True, idle=idle, used=len(ready) - idle)

    async def by_native_id(self, name: str) -> Machine | None:
        """The machine in this container (12 or 64 hex digits)."""
        if not _NATIVE_ID.fullmatch(name):
            return None
        await self._list_all_ready()
        for instance in self._ticker.snapshot.instances.values():
            if instance.native_id.startswith(name):
                return self._fleet.machines.get(instance.id)
        return None

    async def settled(self) -> None:
        """Return once everything decided so far is stored or undone. Raises CommitFailed where neither may be true."""
        journal = self._decisions.journal
        journal.insist_on_going_on()
        while self._fleet.pending:  # while one batch is stored, the next is decided
            with contextlib.suppress(CommitFailed):
                await journal.durable()
            journal.insist_on_going_on()

    def _ready(self) -> list[Machine]:
        fleet = self._fleet
        return [one for one in fleet.machines.values() if one.state is State.READY and not fleet.is_doubted(one)]

    async def _list_all_ready(self, only: Machine | None = None) -> None:
        """See to it that the last listing knows every machine that can serve, or this one."""
        listed = self._ticker.snapshot.instances
        known = {instance.id for instance in listed.values() if instance.status is not InstanceStatus.CREATED}
        missing = any(machine.id not in known for machine in ([only] if only is not None else self._ready()))
        if missing and not self._decisions.contact.lost.is_set():
            await self._ticker.next()
