"""Machines that sleep, as people ask for it: put to sleep, and woken without being asked for."""

from __future__ import annotations

from worker_orchestrator.control.assigning.carrying_out import CarryingOut
from worker_orchestrator.control.assigning.search import Search
from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.seats import HangUp
from worker_orchestrator.core import commands, due_actions
from worker_orchestrator.core.action import Stop
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.sleep import try_at_once
from worker_orchestrator.errors import NotRunning, NotSupported, ProjectHasNoMachine

__all__ = ["Sleepers"]


class Sleepers:
    """Puts the machines of projects to sleep, and wakes them."""

    def __init__(self, decisions: Decisions, search: Search, carrying_out: CarryingOut) -> None:
        self._state, self._fleet, self._journal = decisions.state, decisions.fleet, decisions.journal
        self._search, self._carrying_out = search, carrying_out

    async def sleep(self, project: str, *generations: int) -> Machine:
        """Put the machine of this project to sleep. Its container has stopped when this returns. Returns it as it is then.

        It must be of these generations. Raises ProjectHasNoMachine, GenerationMismatch, NotRunning, NotSupported,
        EngineError, CommitFailed.
        """
        machine = await self._machine_of(project, *generations)
        if not self._state.spec.restarts_in_place:
            raise NotSupported("This engine cannot start a machine again in place, so none can sleep.")
        machine = commands.sleep(self._fleet, machine, self._state.now())
        self._journal.attribute()
        await self._journal.durable()
        action = Stop(machine.id, machine.pool)
        if due_actions.still_wanted(self._fleet, action):
            await self._carrying_out.done(action, f"{machine.id} will be put to sleep")
            await self._journal.durable()
        return self._fleet.machines.get(machine.id, machine)

    async def wake(
        self, project: str, *generations: int, hung_up: HangUp | None = None, wait_s: float | None = None
    ) -> Machine:
        """Wake the machine of this project, and return it when it serves. One that is awake is returned as `assign` does.

        It must be of these generations. Waits as `assign` does. Raises ProjectHasNoMachine, GenerationMismatch,
        NotRunning if its container is gone, and what `assign` raises.
        """
        machine = await self._machine_of(project, *generations)
        if machine.gone:
            raise NotRunning(f"The container of {machine.id} no longer exists, so it cannot be woken.")
        if machine.state is State.STARTING:
            try_at_once(self._fleet, machine, self._state.now())
            self._state.wake.set()
        woken = await self._search.assign(project, None, hung_up, wait_s, only_own=True)
        if woken.generation != machine.generation:
            raise ProjectHasNoMachine(f"{machine.id} does not belong to {project} any more, so it was not woken.")
        return woken

    async def _machine_of(self, project: str, *generations: int) -> Machine:
        await self._journal.drain()
        machine = self._fleet.of_project(project)
        if machine is None:
            raise ProjectHasNoMachine(f"The project {project} has no machine.")
        for generation in generations:
            commands.check_generation(machine, generation)
        return machine
