"""The steps that follow a decision: size the pool, turn away those for whom nothing can come, and store what was decided."""

from __future__ import annotations

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.deciding.journal import STORE_RETRY_S, Journal
from worker_orchestrator.control.deciding.seats import Seats
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.world.actions import Actions
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.control.world.templates import Templates
from worker_orchestrator.core import refusals, waiting_line
from worker_orchestrator.core.machine import State
from worker_orchestrator.core.sizing import resize
from worker_orchestrator.errors import CommitFailed, NoMachineAvailable

__all__ = ["Decisions"]


class Decisions:
    """What every part of the shell that decides does after it."""

    def __init__(  # all that a decision may concern
        self,
        state: ControlState,
        journal: Journal,
        seats: Seats,
        contact: Contact,
        actions: Actions,
        templates: Templates,
        background: Background,
    ) -> None:
        self.state, self.fleet, self.journal, self.seats = state, state.fleet, journal, seats
        self.contact, self._actions, self._templates = contact, actions, templates
        self._background = background

    def resize(self) -> None:
        """Begin what is missing in this very turn. While the engine is away, the tick that finds it does so instead."""
        if self.contact.problem is None:
            resize(self.fleet, self.state.spec, self.state.now(), self.state.new_id)
        if self.fleet.hurried:
            self.hurry_workers()

    def hurry_workers(self) -> None:
        """End the workers at once whose slots are waited for, or that an operator wants removed now."""
        hurried, self.fleet.hurried = self.fleet.hurried, []
        for machine_id in hurried:
            self._actions.hurry(machine_id)

    def resize_behind_reply(self) -> None:
        """As `resize`, for a request that was answered, or is as soon as this turn's decisions are stored."""
        self.resize()
        self.journal.attribute()
        if not self.journal.is_due:
            self.commit_soon()

    def turn_away(self) -> None:
        """Answer the requests for which no machine can come."""
        for project, why_not in waiting_line.turn_away(self.fleet, self.state.spec, self.state.now()).items():
            self.seats.refuse(project, why_not)
        for project, until in self.seats.waiting_until():
            own = self.fleet.of_project(project)
            if own is not None and self.comes_after(project, until):
                self.seats.refuse(project, refusals.machine_restarting(self.fleet, own, self.state.now()))

    def comes_after(self, project: str, until: float) -> bool:
        """Whether this project's machine is started again only after that time: then waiting is no use.

        Nor is it while another process has its host port: nobody knows for how long.
        """
        own = self.fleet.of_project(project)
        if own is None or own.state is not State.STARTING:
            return False
        watch = self.fleet.watches[own.id]
        return watch.not_before > until or (watch.port_is_taken and watch.not_before > self.state.now())

    def turn_away_all_that_need_the_engine(self) -> None:
        """The engine is lost: answer all requests that wait for a machine."""
        self.seats.refuse_all(self._engine_is_away())

    def _engine_is_away(self) -> NoMachineAvailable:
        return NoMachineAvailable(f"The container engine is unavailable. {self.contact.problem}")

    def obstacle(self, pool: str, project: str = "") -> NoMachineAvailable:
        """The error for a request that waited in vain: what stood in the way of a new machine, or of this project's own."""
        if self.contact.problem is not None:
            return self._engine_is_away()
        own = self.fleet.of_project(project)
        if own is not None and own.id in self.fleet.ailing:
            return refusals.machine_ailing(self.fleet, own)
        if own is not None and own.state is State.SLEEPING:
            return refusals.machine_asleep(self.state.spec, own)
        if own is not None and own.state is State.STARTING:
            return refusals.machine_restarting(self.fleet, own, self.state.now())
        why = refusals.why_none_came(self.fleet, self.state.spec, pool)
        return NoMachineAvailable(why or self._templates.progress(pool))

    def apply_and_commit_soon(self) -> None:
        """A report changed the fleet or its spec: size the pools, answer requests that wait in vain, and store it."""
        self.resize()
        self.turn_away()
        self.commit_soon()

    def commit_soon(self) -> None:
        """Store what is decided within the next turns, though no request waits for it."""
        self.journal.attribute("")  # no request waits for it, so none caused it
        if self.fleet.pending:
            self._background.spawn(self._commit(), "commit")

    async def _commit(self) -> None:
        try:
            await self.journal.durable()
        except CommitFailed:
            self.state.wake_later(STORE_RETRY_S)
