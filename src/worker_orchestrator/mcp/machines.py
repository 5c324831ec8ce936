"""Which machine a call is for: the one of its project, assigned at first use and kept for as long as it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.client import AsyncClient
from worker_orchestrator.errors import MachineNotFound, OrchestratorError, ProjectHasNoMachine
from worker_orchestrator.mcp.failures import ToolFailed
from worker_orchestrator.wire.v1 import Machine

__all__ = ["Limits", "Machines"]

MARK: Final = {"assigned-by": "mcp"}
_KEEPS: Final = 3
"""So many keepalives are sent in the shortest deadline that they put off, as the Python client does."""
_REPLACED: Final = "Note: {} has another machine than before. The earlier one is gone, with its files."


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model may use. `max_machines`: in one session. `pool` None: the default. Deadlines in seconds, 0: none."""

    ttl_s: float = 3600.0
    idle_timeout_s: float = 1800.0
    max_machines: int = 3
    longest_command_s: float = 600.0
    output_characters: int = 30_000
    pool: str | None = None
    is_read_only: bool = False
    is_pinned: bool = True


class Machines:
    """The machines of one session. `project` is the one to which it is pinned, or the default one."""

    def __init__(self, client: AsyncClient, project: str, limits: Limits) -> None:
        self.client, self.project, self.limits = client, project, limits
        self._made: set[str] = set()
        self._seen: dict[str, int] = {}
        self._assigning = asyncio.Lock()

    @asynccontextmanager
    async def of(self, project: str | None, notes: list[str]) -> AsyncIterator[Machine]:
        """The machine of this project, kept while the block runs. What the model ought to know is added to `notes`.

        Raises OrchestratorError, and ToolFailed.
        """
        machine = await self.ready(project or self.project, notes)
        keeping = asyncio.create_task(self._keep(machine), name="mcp keepalive")
        try:
            yield machine
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def ready(self, project: str, notes: list[str], pool: str | None = None) -> Machine:
        """The machine of this project: woken if it slept, assigned if it has none and this session may do so."""
        if project != self.project and self.limits.is_pinned:
            raise ToolFailed("pinned", f"This server uses the project {self.project} alone. Leave the project out.")
        async with self._assigning:
            machine = await self._found_or_made(project, pool)
        known = self._seen.get(project, machine.generation)
        if known != machine.generation:
            notes.append(_REPLACED.format(project))
        self._seen[project] = machine.generation
        return machine

    async def _found_or_made(self, project: str, pool: str | None) -> Machine:
        try:
            machine = await self.client.machine_of(project)
        except ProjectHasNoMachine:
            if self.limits.is_read_only:
                raise
            self._made.discard(project)
            return await self._make(project, pool)
        return machine if self.limits.is_read_only else await self.client.assign(project, pool=pool)

    async def _make(self, project: str, pool: str | None) -> Machine:
        if len(self._made) >= self.limits.max_machines:
            for other in list(self._made):  # some may be gone by now
                with suppress(OrchestratorError):
                    await self._forget_if_gone(other)
        if len(self._made) >= self.limits.max_machines:
            raise ToolFailed(
                "too_many_machines",
                f"This session has {len(self._made)} machines ({', '.join(sorted(self._made))}), and may have no more. "
                "Release one, or use one of them.",
            )
        self._made.add(project)  # also if the reply is lost: it may have been assigned
        try:
            return await self.client.assign(
                project,
                pool=pool or self.limits.pool,
                ttl=self.limits.ttl_s,
                idle_timeout=self.limits.idle_timeout_s,
                metadata=MARK,
            )
        except OrchestratorError:
            with suppress(OrchestratorError):
                await self._forget_if_gone(project)
            raise

    async def _forget_if_gone(self, project: str) -> None:
        try:
            await self.client.machine_of(project)
        except ProjectHasNoMachine:
            self._made.discard(project)

    async def release(self, project: str) -> Machine:
        """Give the machine of this project back, if a model got it. Raises OrchestratorError, and ToolFailed."""
        machine = await self.client.machine_of(project)
        if any(machine.metadata.get(name) != value for name, value in MARK.items()):
            raise ToolFailed(
                "not_yours",
                f"The machine of {project} was not assigned by a model, so it stays. Ask its user to release it.",
            )
        await self.client.release(project, generation=machine.generation)
        self._made.discard(project)
        self._seen.pop(project, None)
        return machine

    async def _keep(self, machine: Machine) -> None:
        """Keepalives while a call runs. The next call says it if the machine was lost all the same."""
        lease, project = machine.lease, machine.project
        limits = [] if lease is None else [limit for limit in (lease.ttl, lease.idle_timeout) if limit]
        if not limits or project is None or self.limits.is_read_only:
            return
        while True:
            await asyncio.sleep(min(limits) / _KEEPS)
            try:
                await self.client.keep(project, generation=machine.generation)
            except MachineNotFound:
                return
            except OrchestratorError:
                continue
