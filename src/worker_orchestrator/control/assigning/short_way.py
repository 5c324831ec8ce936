"""The short way of an assign or a release: decided at once, waiting for nothing but the store, without a task of its own.

Almost all requests go this way. It decides with the same functions of the core as every other one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.journal import Reply
from worker_orchestrator.control.deciding.untold import UntoldAssignments
from worker_orchestrator.control.telling.observer import AssignOutcome, Observer
from worker_orchestrator.control.telling.traces import Trace, Traces
from worker_orchestrator.core import commands
from worker_orchestrator.core.expiry import keep
from worker_orchestrator.core.lease import Asked
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.errors import MachineNotFound

__all__ = ["AssignReply", "ShortWay"]

AssignReply = Callable[[Machine | BaseException], None]
"""Called once with the machine, or with the reason why it could not be stored."""

_OUTCOMES = {"warm": AssignOutcome.WARM, "cold": AssignOutcome.COLD}


class ShortWay:
    """Assigns what can be assigned, and releases what can be released, without waiting for the engine or for others."""

    def __init__(self, decisions: Decisions, untold: UntoldAssignments, observer: Observer, traces: Traces) -> None:
        self._decisions, self._state, self._fleet = decisions, decisions.state, decisions.fleet
        self._journal, self._seats, self._untold = decisions.journal, decisions.seats, untold
        self._observer, self._traces = observer, traces

    def assign(self, project: str, pool: str | None, reply: AssignReply) -> bool:
        """Give this project its machine, or an idle one. `reply` is called when that is stored: perhaps before this returns.

        `pool` is as for `commands.assign`. False, and nothing is changed, where it takes more than that.
        """
        is_stored = self._assign(project, pool, reply)
        if is_stored:
            self._decisions.resize_behind_reply()
        return is_stored is not None

    async def assigned(self, project: str, pool: str | None, asked: Asked) -> Machine | None:
        """As `assign`, as it `asked`, for a caller with a task: the machine once that is stored. None where it takes more.

        The pool is sized in the next turn, so a caller that replies without a pause does so before. Raises CommitFailed.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Machine | BaseException] = loop.create_future()

        def tell(result: Machine | BaseException) -> None:
            if not answer.cancelled():
                answer.set_result(result)

        is_stored = self._assign(project, pool, tell, asked)
        if is_stored is None:
            return None
        if is_stored:
            loop.call_soon(self._decisions.resize_behind_reply)
        result = await answer
        if isinstance(result, BaseException):
            raise result
        return result

    def _assign(self, project: str, pool: str | None, reply: AssignReply, asked: Asked | None = None) -> bool | None:
        """Whether it is being stored, or nothing had to be; None, and nothing is changed, where it takes more than that."""
        begun_at = self._observer.now()
        taken = self.take_ready(project, pool, asked)
        if taken is None:
            return None
        machine, is_new = taken

        def stored(failure: BaseException | None) -> None:
            reply(failure or machine)
            if failure is None:
                self.note_assigned(machine, begun_at, self._traces.add_short(machine, begun_at) if is_new else None)
            else:
                took_s = self._observer.now() - begun_at
                self._observer.assign_ended(AssignOutcome.STORE_FAILED, took_s, None, machine.pool)

        if not is_new and not self.is_pending(machine):
            self._journal.reply_soon(stored)
            return False
        self._store(stored)
        return True

    def release(self, name: str, reply: Reply) -> bool:
        """Take the machine with this id or of this project from its project. `reply` is called as for `assign`.

        False, and nothing is changed, where it takes more than that.
        """
        if not self.take_back(name):
            return False
        self._journal.attribute()
        if self._fleet.pending:
            self._store(reply)
        else:
            self._journal.reply_soon(reply)
        self._decisions.resize_behind_reply()
        return True

    def _store(self, reply: Reply) -> None:
        if self._journal.is_quiet:
            self._journal.store_now(reply)
        else:
            self._journal.store_later(reply)

    # the steps, which the long way takes as well

    def take_ready(self, project: str, pool: str | None, asked: Asked | None = None) -> tuple[Machine, bool] | None:
        """The machine that this project has, or an idle one that answered just now; and whether it is new to it.

        A new one is assigned as it `asked`.

        None, and nothing is changed, where neither can be had at once.
        """
        if project in self._untold or (project in self._seats.projects and project in self._seats):
            return None
        if project in self._fleet.projects:
            own = self._fleet.of_project(project)
            if own is None or (pool is not None and pool != own.pool):
                return None
            if own.state is not State.READY or self._fleet.is_doubted(own):
                return None
            if self._fleet.watches[own.id].unreachable_s is not None:
                return None
            try:
                return keep(self._fleet, own, self._state.now()), False
            finally:
                self._journal.attribute()
        try:
            machine = commands.assign_verified(self._fleet, self._state.spec, project, self._state.now(), pool, asked)
        finally:
            self._journal.attribute()
        return None if machine is None else (machine, True)

    def take_back(self, name: str) -> bool:
        """Release the machine with this id or of this project; False where there is none that can be."""
        machine = self._fleet.machines.get(name) or self._fleet.of_project(name)
        if machine is None:
            return False
        try:
            commands.release(self._fleet, self._state.spec, machine, self._state.now())
        except MachineNotFound:
            return False
        return True

    def is_pending(self, machine: Machine) -> bool:
        """Whether a change of this machine is not stored yet. Changes of other machines do not delay a reply about it."""
        return any(change.machine.id == machine.id for change in self._fleet.pending)

    def note_assigned(self, machine: Machine, begun_at: float, trace: Trace | None) -> None:
        """A request was answered with this machine. `trace` is None if an earlier reply told of this assignment."""
        outcome = AssignOutcome.REPEAT if trace is None else _OUTCOMES[trace.how]
        self._observer.assign_ended(outcome, self._observer.now() - begun_at, trace, machine.pool)
