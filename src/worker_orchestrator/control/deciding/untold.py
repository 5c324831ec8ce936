"""Assignments that no client was told of, because the last one hung up before the reply. They are withdrawn."""

from __future__ import annotations

from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.core import commands

__all__ = ["UntoldAssignments"]


class UntoldAssignments:
    """The projects whose requests were abandoned, each with the generation that the fleet had before its request.

    No client knows of a machine that the project got after that generation, so the machine becomes idle again. This is
    repeated at every tick, since a failing store undoes it.
    """

    def __init__(self, state: ControlState) -> None:
        self._state = state
        self._generations: dict[str, int] = {}

    def __contains__(self, project: str) -> bool:
        return project in self._generations

    def add(self, project: str, generation: int) -> None:
        """No client was told of a machine that this project got after this generation."""
        self._generations[project] = generation
        self.give_back()

    def generation_of(self, project: str) -> int | None:
        """The generation after which this project was told nothing; None if it was told everything."""
        return self._generations.get(project)

    def discard(self, project: str) -> None:
        """From now on a client is told which machine this project has."""
        self._generations.pop(project, None)

    def give_back(self) -> None:
        """Withdraw every machine that no client was told of, again and again until that is stored."""
        state = self._state
        for project, generation in list(self._generations.items()):
            machine = state.fleet.of_project(project)
            if machine is not None and machine.generation > generation:
                commands.withdraw(state.fleet, state.spec, machine, state.now())
            elif not state.fleet.pending:
                del self._generations[project]
