"""The long way of one project to a machine: reserve one or wait in line, store that, verify. At most three are tried."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.control.assigning.certainty import LEAST_S, STOPPING, Certainty
from worker_orchestrator.control.assigning.outcome import outcome_of
from worker_orchestrator.control.assigning.short_way import ShortWay
from worker_orchestrator.control.assigning.verification import Verification
from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.seats import HangUp, SearchResult, Seat
from worker_orchestrator.control.deciding.untold import UntoldAssignments
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.telling.traces import RESTARTED, WOKEN, Steps, Trace, Traces
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.core import commands, refusals, waiting_line
from worker_orchestrator.core.lease import Asked
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.core.unreachable import give_up
from worker_orchestrator.errors import (
    CommitFailed,
    MachineFailed,
    NoMachineAvailable,
    PoolNotFound,
    ProjectHasNoMachine,
)
from worker_orchestrator.key_errors import KeyLimitReached

__all__ = ["Search"]

CANDIDATES: Final = 3
WITHOUT_ENGINE_S: Final = 1.0
"""While the engine is lost only a released machine can come, as soon as it answers."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a search is for. `generation` is the fleet's when it began: a machine with a later one is new to the project.

    `asked` is what the client asked for that began it.
    """

    project: str
    pool: str
    generation: int
    steps: Steps
    asked: Asked | None


class Search:
    """Assigns: reserve in memory and on disk, verify, reply."""

    def __init__(  # what an assign may need
        self,
        decisions: Decisions,
        short_way: ShortWay,
        untold: UntoldAssignments,
        probers: Probers,
        assign_timeout_s: float,
        observer: Observer,
        traces: Traces,
    ) -> None:
        self._decisions, self._state, self._fleet = decisions, decisions.state, decisions.fleet
        self._journal, self._seats, self._contact = decisions.journal, decisions.seats, decisions.contact
        self._short_way, self._untold = short_way, untold
        self._observer, self._traces = observer, traces
        self.assign_timeout_s = assign_timeout_s
        self._certainty = Certainty(decisions.state)
        self._verification = Verification(decisions, probers, observer)
        self._is_stopping = False

    async def assign(
        self,
        project: str,
        pool: str | None,
        hung_up: HangUp | None,
        wait_s: float | None,
        *,
        only_own: bool = False,
        asked: Asked | None = None,
    ) -> Machine:
        """The machine of this project: stored before it is returned, and on a first assign it answers at this moment.

        `pool` is the pool that it must be of; None: that of the machine it has, else the default one.
        If it gets one now, it is assigned as it `asked`, unless another client of the project came before.
        In line it waits for `wait_s` (None: the usual time; 0: not at all), even if other clients wait longer.
        Raises NoMachineAvailable, MachineFailed, OtherPool, PoolNotFound, CommitFailed; CancelledError when `hung_up`
        returned first; ProjectHasNoMachine if `only_own` and it has none, or has it no longer.
        """
        wait_s = self.assign_timeout_s if wait_s is None else wait_s
        begun_at = self._observer.now()
        self._observer.search_began()
        try:
            machine, trace = await self._machine_of(project, pool, hung_up, begun_at, wait_s, asked, only_own=only_own)
        except (NoMachineAvailable, MachineFailed, CommitFailed, asyncio.CancelledError) as error:
            took_s = self._observer.now() - begun_at
            self._observer.assign_ended(outcome_of(error), took_s, None, self._pool_of(project, pool))
            raise
        self._short_way.note_assigned(machine, begun_at, trace)
        return machine

    def turn_all_away(self) -> None:
        """Answer everybody who waits: the service is stopping."""
        self._is_stopping = True
        self._seats.refuse_all(NoMachineAvailable(STOPPING))
        self._certainty.turn_all_away()

    async def _machine_of(
        self,
        project: str,
        pool: str | None,
        hung_up: HangUp | None,
        begun_at: float,
        wait_s: float,
        asked: Asked | None,
        *,
        only_own: bool,
    ) -> tuple[Machine, Trace | None]:
        """The machine, and how the project came to it if this is the first reply that tells of this assignment."""
        waited_s = await self._certainty.await_listing(project, hung_up)
        own = self._fleet.of_project(project)
        if only_own and (own is None or own.gone):
            raise ProjectHasNoMachine(f"The project {project} has no machine any more, so none was woken.")
        if not only_own and project not in self._seats:
            pool = give_up(self._fleet, self._state.spec, project, pool, self._state.now()) or pool
        taken = self._short_way.take_ready(project, pool, asked)
        if taken is not None:
            machine, is_new = taken
            return await self._stored(machine, begun_at, is_new=is_new)
        of_pool = self._pool_for(project, pool)
        if project not in self._seats:
            known = await self._reserve(project, of_pool, begun_at, wait_s, asked)
            if known is not None:
                return known, None
        result = await self._wait_with_others(project, of_pool, hung_up, wait_s, waited_s, only_own=only_own)
        if pool not in {None, result.machine.pool}:  # the one of before, whose release could not be stored
            raise refusals.other_pool(project, result.machine.pool, of_pool, result.machine)
        trace, result.trace = result.trace, None
        return result.machine, trace

    def _pool_for(self, project: str, pool: str | None) -> str:
        """The pool in which this project gets its machine, or waits for it already. Raises OtherPool, PoolNotFound."""
        has, spec = self._seats.pool(project), self._state.spec
        if has is None:
            return commands.pool_for(self._fleet, spec, project, pool)
        if pool is not None and pool != has:
            if pool not in spec.pools:
                raise refusals.pool_not_found(spec, pool)
            raise refusals.other_pool(project, has, pool, self._fleet.of_project(project))
        return has

    def _pool_of(self, project: str, pool: str | None) -> str:
        """The pool that a request was about. It may have named one that there is not, which must not get time series."""
        if pool is not None and pool in self._state.spec.pools:
            return pool
        own = self._fleet.of_project(project)
        return own.pool if own is not None else self._fleet.waiting.get(project, DEFAULT_POOL)

    async def _stored(self, machine: Machine, begun_at: float, *, is_new: bool) -> tuple[Machine, Trace | None]:
        """This machine, once the assignment is stored. Raises NoMachineAvailable if it is known to serve nobody by then."""
        if is_new:
            self._decisions.resize()
            self._journal.attribute()
        if is_new or self._short_way.is_pending(machine):
            await self._journal.durable()
        self._journal.insist_on_going_on()
        if machine.id in self._fleet.ailing and not is_new:
            raise refusals.machine_ailing(self._fleet, machine)
        return machine, self._traces.add_short(machine, begun_at) if is_new else None

    async def _reserve(
        self, project: str, pool: str, begun_at: float, wait_s: float, asked: Asked | None
    ) -> Machine | None:
        """Reserve a machine or a place in the line, and open a seat for this project with a search that goes on from there.

        Returns the machine, and opens no seat, where the project had it before. Raises NoMachineAvailable where nothing can
        come within `wait_s`.
        """
        untold = self._untold.generation_of(project)  # a machine with a later generation is new to the project
        generation = self._fleet.generation if untold is None else untold
        wanted = _Wanted(project, pool, generation, Steps(begun_at, self._state.now()), asked)
        reserved = self._take(wanted)
        self._untold.discard(project)
        if reserved is not None and reserved.generation <= generation:
            await self._journal.durable()
            return reserved
        if reserved is None and (not wait_s or self._decisions.comes_after(project, self._state.now() + wait_s)):
            waiting_line.leave_line(self._fleet, project)
            self._decisions.commit_soon()  # a machine that was begun for it becomes idle
            raise self._decisions.obstacle(pool, project)
        self._seats.open(project, pool, generation, self._search(wanted, reserved))
        return None

    async def _wait_with_others(
        self, project: str, pool: str, hung_up: HangUp | None, wait_s: float, waited_s: float, *, only_own: bool
    ) -> SearchResult:
        """Wait on the seat of this project, for as long as this client is willing to; `waited_s` of that is over."""
        is_reserved = self._fleet.of_project(project) is not None
        left_s = (max(wait_s, LEAST_S) if is_reserved else wait_s) - waited_s
        seat = self._seats.join(project, self._state.now() + left_s)
        seat.only_own += only_own
        try:
            try:
                return await self._seats.wait(seat, hung_up, left_s)
            finally:
                seat.only_own -= only_own
                if self._seats.leave(seat) or (not self._has_own(seat) and self._seats.end_in_vain(seat)):
                    self._abandon(project, seat.generation)
                    seat.search.cancel()
        except TimeoutError:  # the reason comes last: what was reserved is given back by now
            raise self._decisions.obstacle(pool, project) from None

    def _has_own(self, seat: Seat) -> bool:
        """Whether the project has the machine still that it had when its seat was opened."""
        own = self._fleet.of_project(seat.project)
        return own is not None and not own.gone and own.generation <= seat.generation

    def _take(self, wanted: _Wanted) -> Machine | None:
        own = self._fleet.of_project(wanted.project)
        if own is None or own.gone:
            self._seats.insist_on_any(wanted.project)
        wanted.steps.is_wake |= own is not None and own.state is State.SLEEPING
        spec, now = self._state.spec, self._state.now()
        try:
            machine = commands.assign(self._fleet, spec, wanted.project, now, wanted.pool, wanted.asked)
            self._decisions.resize()
        finally:
            self._journal.attribute()
        return machine

    # the search, in a task of its own

    async def _search(self, wanted: _Wanted, machine: Machine | None) -> SearchResult:
        """From reserved or in line to stored and verified; at most three machines that turn out not to answer.

        It is cancelled when no client waits for it any more.
        """
        try:
            result = await self._first_that_answers(wanted, machine)
        except TimeoutError:  # the engine is lost
            self._abandon(wanted.project, wanted.generation)
            raise self._decisions.obstacle(wanted.pool, wanted.project) from None
        except PoolNotFound as error:  # it was taken out of the settings meanwhile
            self._abandon(wanted.project, wanted.generation)
            raise NoMachineAvailable(error.message) from None
        except (NoMachineAvailable, MachineFailed, CommitFailed, ProjectHasNoMachine, KeyLimitReached):
            self._abandon(wanted.project, wanted.generation)
            raise
        if result is not None:
            return result
        self._abandon(wanted.project, wanted.generation)
        if not self._contact.answers:
            raise self._decisions.obstacle(wanted.pool)
        raise NoMachineAvailable(f"{CANDIDATES} machines in a row did not answer or were removed. Try again.")

    async def _first_that_answers(self, wanted: _Wanted, machine: Machine | None) -> SearchResult | None:
        """The first machine of at most three that serves; None where none of them does."""
        for number in range(CANDIDATES):
            if machine is None:
                machine = await self._from_line(wanted)
            decided_at = self._observer.now()
            await self._journal.durable()
            commit_s = self._observer.now() - decided_at
            wanted.steps.commit_s += commit_s
            self._observer.stage_ended("commit", commit_s)
            if machine is None:
                continue
            is_ours = self._verification.is_still_assigned(machine)
            is_known = machine.generation <= wanted.generation
            is_last = number == CANDIDATES - 1
            if is_ours and (is_known or await self._verification.answers(machine, wanted.steps, is_last=is_last)):
                return self._result(machine, wanted.steps, is_known=is_known)
            machine = self._take(wanted)
        return None

    def _result(self, machine: Machine, steps: Steps, *, is_known: bool) -> SearchResult:
        if not is_known:
            watch = self._fleet.watches[machine.id]
            is_warm = steps.came_from_reserve(watch)
            return SearchResult(machine, self._traces.add_searched(machine, steps, steps.why(watch), is_warm=is_warm))
        if steps.is_wake:
            self._traces.add_searched(machine, steps, WOKEN)
            return SearchResult(machine, None)  # it is no assignment
        if steps.line_s is not None:
            self._traces.add_searched(machine, steps, RESTARTED)
        return SearchResult(machine, None)

    async def _from_line(self, wanted: _Wanted) -> Machine | None:
        line, steps = self._fleet.pool(wanted.pool).line, wanted.steps
        steps.ahead = len(line) - 1 if wanted.project in line else 0  # it came last
        steps.wanted = self._state.spec.pool(wanted.pool).min_idle
        began_at = self._observer.now()
        await self._journal.durable()  # a machine that is begun for it starts once it is stored
        machine = await self._promised(wanted) or self._take(wanted)
        wait_s = self._observer.now() - began_at
        steps.line_s = (steps.line_s or 0.0) + wait_s
        self._observer.stage_ended("wait", wait_s)
        return machine

    async def _promised(self, wanted: _Wanted) -> Machine | None:
        if self._is_stopping:
            raise NoMachineAvailable(STOPPING)
        own = self._fleet.of_project(wanted.project)
        if own is not None and own.state is State.READY:
            return own  # it was served between the decision and this turn
        if own is None and wanted.project not in self._fleet.pool(wanted.pool).line:
            raise self._decisions.obstacle(wanted.pool)
        with self._contact.waiting():
            async with asyncio.timeout(WITHOUT_ENGINE_S if self._contact.lost.is_set() else None):
                return await self._seats.promised(wanted.project)

    def _abandon(self, project: str, generation: int) -> None:
        """No client waits for this project any more: leave the line, and give back a machine that none was told of."""
        waiting_line.leave_line(self._fleet, project)
        self._untold.add(project, generation)
        self._decisions.commit_soon()
