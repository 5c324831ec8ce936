"""What is told of the fleet: the machines that can serve, the health, and which machine is in a container."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.engines import Engine
from worker_orchestrator.errors import CommitFailed, EngineError
from worker_orchestrator.machine import Instance, Machine, State, Status
from worker_orchestrator.orchestrator.decisions import Decisions
from worker_orchestrator.orchestrator.ticker import Ticker

__all__ = ["Health", "MachineView", "Views"]

PING_TIMEOUT_S: Final = 2.0
_NATIVE_ID: Final = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine that can serve, with what the engine knows of it."""

    machine: Machine
    instance: Instance | None


@dataclass(frozen=True, slots=True)
class Health:
    connected: bool
    idle: int
    used: int


class Views:
    """Reads. None of them shows anything that may yet be undone."""

    def __init__(self, engine: Engine, decisions: Decisions, ticker: Ticker) -> None:
        self._engine, self._decisions, self._ticker = engine, decisions, ticker
        self._fleet = decisions.fleet

    async def machines(self) -> list[MachineView]:
        """The machines that can serve, oldest first."""
        await self._list_all_ready()
        await self.settled()
        ready = sorted(self._ready(), key=lambda machine: machine.id)
        return [MachineView(machine, self._ticker.snapshot.instances.get(machine.id)) for machine in ready]

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
        """Return once everything decided so far is stored or undone."""
        while self._fleet.pending:  # while one batch is stored, the next is decided
            with contextlib.suppress(CommitFailed):
                await self._decisions.journal.durable()

    def _ready(self) -> list[Machine]:
        return [machine for machine in self._fleet.machines.values() if machine.state is State.READY]

    async def _list_all_ready(self) -> None:
        """See to it that the last listing knows every machine that can serve."""
        listed = self._ticker.snapshot.instances
        known = {instance.id for instance in listed.values() if instance.status is not Status.CREATED}
        missing = any(machine.id not in known for machine in self._ready())
        if missing and not self._decisions.contact.lost.is_set():
            await self._ticker.next()
