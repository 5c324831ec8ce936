"""Which machine a call is for: the one of its project, assigned at first use and kept for as long as it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.client import AsyncClient
from worker_orchestrator.errors import MachineNotFound, OrchestratorError, ProjectHasNoMachine
from worker_orchestrator.mcp.failures import ToolFailed
from worker_orchestrator.wire.v1 import Machine

__all__ = ["Limits", "Machines", "Session"]

MARK: Final = {"assigned-by": "mcp"}
_KEEPS: Final = 3
"""So many keepalives are sent in the shortest deadline that they put off, as the Python client does."""
_REMEMBERED: Final = 1000
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


class Session:
    """What is known from call to call: of one session, or of one caller where there are no sessions.

    `made` are the projects for which it got a machine, `seen` the generations of the machines that it was told of.
    """

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.seen: dict[str, int] = {}
        self.under_way: list[str] = []
        self.counting = asyncio.Lock()

    def see(self, project: str, generation: int) -> bool:
        """Note which machine this project has. Whether it had another one when it was seen last."""
        known = self.seen.pop(project, generation)
        self.seen[project] = generation
        if len(self.seen) > _REMEMBERED:
            del self.seen[next(iter(self.seen))]
        return known != generation


class Machines:
    """The machines of one session. `project` is the one to which it is pinned, or the default one; empty for none.

    `is_own` tells the projects of this caller, where there are no sessions: then all that models have of these count.
    """

    def __init__(
        self,
        client: AsyncClient,
        project: str,
        limits: Limits,
        session: Session | None = None,
        is_own: Callable[[str], bool] | None = None,
    ) -> None:
        self.client, self.project, self.limits = client, project, limits
        self._session, self._is_own = session or Session(), is_own

    @asynccontextmanager
    async def of(self, project: str | None, notes: list[str]) -> AsyncIterator[Machine]:
        """The machine of this project, kept while the block runs. What the model ought to know is added to `notes`.

        Raises OrchestratorError, and ToolFailed.
        """
        name = project or self.project
        if not name:
            raise ToolFailed("no_project", "Say in project whose machine it is: any name, the same in each call.")
        machine = await self.ready(name, notes)
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
        machine = await self._found_or_made(project, pool)
        if self._session.see(project, machine.generation):
            notes.append(_REPLACED.format(project))
        return machine

    async def _found_or_made(self, project: str, pool: str | None) -> Machine:
        try:
            machine = await self.client.machine_of(project)
        except ProjectHasNoMachine:
            if self.limits.is_read_only:
                raise
            self._session.made.discard(project)
            return await self._make(project, pool)
        return machine if self.limits.is_read_only else await self.client.assign(project, pool=pool)

    async def _make(self, project: str, pool: str | None) -> Machine:
        session = self._session
        async with session.counting:
            made = (await self._made_by_now()) | set(session.under_way)
            if project not in made and len(made) >= self.limits.max_machines:
                raise ToolFailed(
                    "too_many_machines",
                    f"Models have {len(made)} machines here ({', '.join(sorted(made))}), and may have no more. "
                    "Release one, or use one of them.",
                )
            session.under_way.append(project)
        session.made.add(project)  # also if the reply is lost: it may have been assigned
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
        finally:
            session.under_way.remove(project)

    async def _made_by_now(self) -> set[str]:
        """The projects for which a machine was got, and that have one still."""
        if self._is_own is not None:
            listed = await self.client.machines()
            return {one.project for one in listed if one.project and self._is_own(one.project) and _is_marked(one)}
        if len(self._session.made) >= self.limits.max_machines:
            for other in list(self._session.made):  # some may be gone by now
                with suppress(OrchestratorError):
                    await self._forget_if_gone(other)
        return self._session.made

    async def _forget_if_gone(self, project: str) -> None:
        try:
            await self.client.machine_of(project)
        except ProjectHasNoMachine:
            self._session.made.discard(project)

    async def release(self, project: str) -> Machine:
        """Give the machine of this project back, if a model got it. Raises OrchestratorError, and ToolFailed."""
        machine = await self.client.machine_of(project)
        if not _is_marked(machine):
            raise ToolFailed(
                "not_yours",
                f"The machine of {project} was not assigned by a model, so it stays. Ask its user to release it.",
            )
        await self.client.release(project, generation=machine.generation)
        self._session.made.discard(project)
        self._session.seen.pop(project, None)
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


def _is_marked(machine: Machine) -> bool:
    """Whether a model got it."""
    return all(machine.metadata.get(name) == value for name, value in MARK.items())
