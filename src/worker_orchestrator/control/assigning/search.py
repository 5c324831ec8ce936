"""The way of one project to a machine: at once, or from a seat in the line, at most three that turn out not to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from worker_orchestrator.control.assigning.seats import Found, HangUp
from worker_orchestrator.control.deciding.state import Decisions
from worker_orchestrator.control.telling.observer import AssignOutcome, Observer
from worker_orchestrator.control.telling.traces import RESTARTED, Steps, Trace, Traces
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.core import commands
from worker_orchestrator.core.machine import DEFAULT_POOL, Machine, State
from worker_orchestrator.core.outcomes import PROBE_S
from worker_orchestrator.errors import CommitFailed, MachineFailed, NoMachineAvailable

__all__ = ["Search"]

CANDIDATES: Final = 3
LEAST_S: Final = 1.5
"""Who does not wait in line still waits until a machine that was idle has answered."""
_STOPPING: Final = "The service is stopping."
WITHOUT_ENGINE_S: Final = 1.0
"""While the engine is lost only a released machine can come, as soon as it answers."""


class Search:
    """Assigns: reserve in memory and on disk, verify, reply."""

    def __init__(
        self, decisions: Decisions, probers: Probers, assign_timeout_s: float, observer: Observer, traces: Traces
    ) -> None:
        self._decisions, self._probers, self._observer, self._traces = decisions, probers, observer, traces
        self._fleet, self._journal, self._seats = decisions.fleet, decisions.journal, decisions.seats
        self._assign_timeout_s = assign_timeout_s
        self._untold: dict[str, int] = {}
        self._uncertain: set[asyncio.Task[None]] = set()  # of each who waits for a listing
        self._is_stopping = False

    async def assign(self, project: str, hung_up: HangUp | None = None, wait_s: float | None = None) -> Machine:
        """The machine of this project: stored before it is returned, and on a first assign it answers at this moment.

        In line it waits for `wait_s` (None: the usual time; 0: not at all), whoever else waits for the same project.
        Raises NoMachineAvailable, MachineFailed, CommitFailed; CancelledError when `hung_up` returned first.
        """
        wait_s = self._assign_timeout_s if wait_s is None else wait_s
        begun_at = self._observer.now()
        try:
            machine, trace = await self._machine_of(project, hung_up, begun_at, wait_s)
        except (NoMachineAvailable, MachineFailed, CommitFailed, asyncio.CancelledError) as error:
            self._observer.assign_ended(_outcome_of(error), self._observer.now() - begun_at, None)
            raise
        self._given(begun_at, trace)
        return machine

    def turn_all_away(self) -> None:
        """Answer everybody who waits: the service is stopping."""
        self._is_stopping = True
        self._seats.refuse_all(NoMachineAvailable(_STOPPING))
        for known in self._uncertain:
            known.cancel()

    def at_once(self, project: str, told: Callable[[Machine | BaseException], None]) -> bool:
        """The way without a wait but for the store: `told` gets the machine, or why it could not be stored; perhaps at once.

        False, and nothing is changed, where there is no such way.
        """
        begun_at = self._observer.now()
        taken = self._take_at_once(project)
        if taken is None:
            return False
        machine, is_new = taken

        def stored(failure: BaseException | None) -> None:
            told(failure or machine)
            if failure is None:
                self._given(begun_at, self._traces.at_once(machine, begun_at) if is_new else None)
            else:
                self._observer.assign_ended(AssignOutcome.STORE_FAILED, self._observer.now() - begun_at, None)

        if not is_new and not self._is_pending(machine):
            self._journal.soon(stored)
            return True
        self._journal.then(stored)
        self._decisions.resize_now()
        return True

    def _given(self, begun_at: float, trace: Trace | None) -> None:
        outcome = AssignOutcome.REPEAT if trace is None else _TOLD[trace.how]
        self._observer.assign_ended(outcome, self._observer.now() - begun_at, trace)

    def _take_at_once(self, project: str) -> tuple[Machine, bool] | None:
        """The machine that this project has, or an idle one that answered just now; and whether it is new to it."""
        if project in self._untold or (project in self._seats.projects and project in self._seats):
            return None
        if project in self._fleet.projects:
            own = self._fleet.of_project(project)
            serves = own is not None and own.state is State.READY and not self._fleet.is_doubted(own)
            return (own, False) if own is not None and serves else None
        try:
            machine = commands.assign_verified(self._fleet, self._decisions.spec, project, self._decisions.now())
        finally:
            self._journal.attribute()
        return None if machine is None else (machine, True)

    async def _machine_of(
        self, project: str, hung_up: HangUp | None, begun_at: float, wait_s: float
    ) -> tuple[Machine, Trace | None]:
        """The machine, and how the project came to it, if nobody was told of this assignment before."""
        waited_s = await self._certain(project, hung_up)
        taken = self._take_at_once(project)
        if taken is not None:
            machine, is_new = taken
            if is_new:
                self._decisions.resize()
                self._journal.attribute()
            if is_new or self._is_pending(machine):
                await self._journal.durable()
            self._journal.insist_on_going_on()
            return machine, self._traces.at_once(machine, begun_at) if is_new else None
        if project not in self._seats:
            untold = self._untold.get(project)  # what was handed over since then is new to it
            generation, asked_at = self._fleet.generation if untold is None else untold, self._decisions.now()
            found = self._take(project)
            self._untold.pop(project, None)
            if found is not None and found.generation <= generation:
                await self._journal.durable()
                return found, None
            if found is None and (not wait_s or self._comes_after(project, wait_s)):
                commands.leave_line(self._fleet, project)
                self._decisions.commit_soon()  # what was begun for it will be idle
                raise self._decisions.obstacle(project)
            steps = Steps(begun_at, asked_at)
            self._seats.open(project, generation, self._search(project, generation, found, steps))
        seat = await self._sit(project, hung_up, wait_s, waited_s)
        trace, seat.untold = seat.untold, None
        return seat.machine, trace

    def _comes_after(self, project: str, wait_s: float) -> bool:
        """Whether this project's machine is started again only after so many seconds: then waiting is no use."""
        own = self._fleet.of_project(project)
        if own is None or own.state is not State.STARTING:
            return False
        return self._fleet.watches[own.id].not_before - self._decisions.now() > wait_s

    async def _certain(self, project: str, hung_up: HangUp | None) -> float:
        """Wait for a listing where this project's machine is said to have ended, and return how many seconds that took.

        Raises NoMachineAvailable when all are turned away, and CancelledError when `hung_up` returned first: else a machine
        may be taken for nobody.
        """
        if not self._is_doubted(project):
            return 0.0
        asked_at = self._decisions.now()
        known = asyncio.ensure_future(self._known(project))
        self._uncertain.add(known)
        leaving = None if hung_up is None else asyncio.ensure_future(hung_up())
        try:
            ends = {known} if leaving is None else {known, leaving}
            await asyncio.wait(ends, timeout=LEAST_S, return_when=asyncio.FIRST_COMPLETED)
            if leaving is not None and leaving.done():
                raise asyncio.CancelledError("the client hung up")
            if self._is_stopping:
                raise NoMachineAvailable(_STOPPING)
        finally:
            self._uncertain.discard(known)
            known.cancel()
            if leaving is not None:
                leaving.cancel()
        return self._decisions.now() - asked_at  # if nothing was listed in time, nobody knows better than we do

    async def _known(self, project: str) -> None:
        while self._is_doubted(project):
            await self._decisions.next_news()

    def _is_doubted(self, project: str) -> bool:
        own = self._fleet.of_project(project)
        return own is not None and self._fleet.is_doubted(own)

    async def _sit(self, project: str, hung_up: HangUp | None, wait_s: float, waited_s: float) -> Found:
        """Wait with all who ask for this project, each as long as it is willing to, of which so much is over."""
        is_reserved = self._fleet.of_project(project) is not None
        try:
            return await self._seats.sit(project, hung_up, (max(wait_s, LEAST_S) if is_reserved else wait_s) - waited_s)
        except TimeoutError:
            raise self._decisions.obstacle(project) from None

    def _is_pending(self, machine: Machine) -> bool:
        """Whether something about it is decided and not stored. What becomes of others keeps nobody from what he has."""
        return any(change.machine.id == machine.id for change in self._fleet.pending)

    def _take(self, project: str) -> Machine | None:
        try:
            machine = commands.assign(self._fleet, self._decisions.spec, project, self._decisions.now())
            self._decisions.resize()
        finally:
            self._journal.attribute()
        return machine

    async def _search(self, project: str, generation: int, machine: Machine | None, steps: Steps) -> Found:
        """From reserved or in line to stored and verified; at most three machines that turn out not to answer.

        It goes on until it ends or nobody sits here any more.
        """
        try:
            for number in range(CANDIDATES):
                if machine is None:
                    machine = await self._from_line(project, steps)
                decided_at = self._observer.now()
                await self._journal.durable()
                steps.commit_s += self._observer.now() - decided_at
                if machine is None:
                    continue
                is_ours = self._fleet.machines.get(machine.id) == machine  # it may be released by now
                is_known = machine.generation <= generation
                is_last = number == CANDIDATES - 1
                if is_ours and (is_known or await self._answers(machine, steps, is_last=is_last)):
                    return self._found(machine, steps, is_known=is_known)
                machine = self._take(project)
        except TimeoutError:  # the engine is lost
            self.abandoned(project, generation)
            raise self._decisions.obstacle(project) from None
        except (NoMachineAvailable, MachineFailed, CommitFailed):
            self.abandoned(project, generation)
            raise
        self.abandoned(project, generation)
        if self._decisions.contact.problem is not None:
            raise self._decisions.obstacle()
        raise NoMachineAvailable(f"{CANDIDATES} machines in a row did not answer, or were taken away.")

    def _found(self, machine: Machine, steps: Steps, *, is_known: bool) -> Found:
        if not is_known:
            why = steps.why(self._fleet.watches[machine.id])
            return Found(machine, self._traces.found(machine, steps, why))
        if steps.line_s is not None:
            self._traces.found(machine, steps, RESTARTED)
        return Found(machine, None)

    async def _from_line(self, project: str, steps: Steps) -> Machine | None:
        line = self._fleet.pool(DEFAULT_POOL).line
        steps.ahead = len(line) - 1 if project in line else 0  # it came last
        steps.wanted = self._decisions.spec.pools[DEFAULT_POOL].min_idle
        began_at = self._observer.now()
        await self._journal.durable()  # what is begun for it starts when it is stored
        machine = await self._promised(project) or self._take(project)
        steps.line_s = (steps.line_s or 0.0) + self._observer.now() - began_at
        return machine

    async def _promised(self, project: str) -> Machine | None:
        if self._is_stopping:
            raise NoMachineAvailable(_STOPPING)
        own = self._fleet.of_project(project)
        if own is not None and own.state is State.READY:
            return own  # it was served between the decision and this turn
        if own is None and project not in self._fleet.pool(DEFAULT_POOL).line:
            raise self._decisions.obstacle()
        contact = self._decisions.contact
        with contact.waiting():
            async with asyncio.timeout(WITHOUT_ENGINE_S if contact.lost.is_set() else None):
                return await self._seats.promised(project)

    async def _answers(self, machine: Machine, steps: Steps, *, is_last: bool) -> bool:
        """Whether a machine that was just reserved serves. If not, it is withdrawn as broken.

        One that may only be slow is withdrawn as it is once another one is at hand; the last candidate has all its time.
        """
        is_verified = commands.is_verified(self._fleet, self._decisions.spec, machine, self._decisions.now())
        if is_verified and not self._fleet.is_doubted(machine):
            return True
        asked_at = self._observer.now()
        patience_s = self._probers.patience_s(machine)
        limit_s = PROBE_S if self._may_give_up(machine, is_last=is_last) else patience_s
        verdict = await self._probers.probe(machine, limit_s)
        steps.probe_s = (steps.probe_s or 0.0) + self._observer.now() - asked_at
        if self._fleet.machines.get(machine.id) != machine:
            return False  # released or destroyed by somebody else meanwhile
        if verdict.answered:
            self._probers.report(verdict)
            return True
        steps.failed_probes.append((machine.id, verdict.detail))
        if verdict.answered is None:  # another one may be known to serve; this one is as good as before
            commands.withdraw(self._fleet, self._decisions.spec, machine, self._decisions.now())
            self._journal.attribute()
            await self._journal.durable()
            return False
        is_slow = limit_s < patience_s and verdict.took_s > limit_s * 0.9  # it was given up, not refused
        reason = f"did not answer when it was to be handed out: {verdict.detail}"
        commands.withdraw(
            self._fleet, self._decisions.spec, machine, self._decisions.now(), broken="" if is_slow else reason
        )
        self._journal.attribute()
        await self._journal.durable()
        return False

    def _may_give_up(self, machine: Machine, *, is_last: bool) -> bool:
        """Whether to wait no longer than usual for one that this process has not heard yet, or that may be lost."""
        decisions = self._decisions
        if decisions.contact.lost.is_set():
            return True
        is_unknown = self._fleet.watches[machine.id].verified_at is None
        others = commands.next_idle(self._fleet, decisions.spec, machine.pool, decisions.now())
        return is_unknown and not is_last and others is not None

    def abandoned(self, project: str, generation: int) -> None:
        """Nobody waits for this project any more: leave the line, and give back what nobody was told of."""
        commands.leave_line(self._fleet, project)
        self._untold[project] = generation
        self.give_back()
        self._decisions.commit_soon()

    def give_back(self) -> None:
        """Withdraw every machine that was handed over and never told of, again and again until that is stored."""
        for project, generation in list(self._untold.items()):
            machine = self._fleet.of_project(project)
            if machine is not None and machine.generation > generation:
                commands.withdraw(self._fleet, self._decisions.spec, machine, self._decisions.now())
            elif not self._fleet.pending:
                del self._untold[project]


_TOLD: Final = {"warm": AssignOutcome.WARM, "cold": AssignOutcome.COLD}


def _outcome_of(error: BaseException) -> AssignOutcome:
    match error:
        case NoMachineAvailable() | MachineFailed():
            return AssignOutcome.UNAVAILABLE
        case CommitFailed():
            return AssignOutcome.STORE_FAILED
        case _:
            return AssignOutcome.ABANDONED
