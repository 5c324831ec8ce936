"""Whether a machine that was just reserved serves: unless it has just answered, it is asked before a client is told."""

from __future__ import annotations

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.telling.traces import Steps
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.core import commands, reasons, waiting_line
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.outcomes import PROBE_S, patience_s

__all__ = ["Verification"]


class Verification:
    """Probes the candidates of a search."""

    def __init__(self, decisions: Decisions, probers: Probers, observer: Observer) -> None:
        self._state, self._fleet = decisions.state, decisions.fleet
        self._journal, self._contact = decisions.journal, decisions.contact
        self._probers, self._observer = probers, observer

    async def answers(self, machine: Machine, steps: Steps, *, is_last: bool) -> bool:
        """Whether a machine that was just reserved serves. If not, it is withdrawn as broken.

        One that may only be slow is withdrawn as it is once another one is at hand; the last candidate has all its time.
        """
        fleet, state = self._fleet, self._state
        if waiting_line.is_verified(fleet, state.spec, machine, state.now()) and not fleet.is_doubted(machine):
            return True
        begun_at = self._observer.now()
        longest_s = patience_s(fleet, state.spec, machine, state.now())
        limit_s = PROBE_S if self._may_give_up(machine, is_last=is_last) else longest_s
        verdict = await self._probers.probe(machine, limit_s)
        probe_s = self._observer.now() - begun_at
        steps.probe_s = (steps.probe_s or 0.0) + probe_s
        self._observer.stage_ended("probe", probe_s)
        if not self.is_still_assigned(machine):
            return False
        if verdict.answered:
            self._probers.report(verdict)
            self._state.note_answer(machine)
            return True
        steps.failed_probes.append((machine.id, verdict.detail))
        is_slow = limit_s < longest_s and verdict.took_s > limit_s * 0.9  # the time was up, it did not refuse
        may_serve = is_slow or verdict.answered is None  # it goes back to idle, and the next candidate is tried
        broken = "" if may_serve else reasons.silent_at_assignment(verdict.detail)
        commands.withdraw(fleet, state.spec, machine, state.now(), broken=broken)
        self._journal.attribute()
        await self._journal.durable()
        return False

    def is_still_assigned(self, machine: Machine) -> bool:
        """Whether nobody has released, destroyed or restarted it meanwhile. What its project says of it may be new."""
        now = self._fleet.machines.get(machine.id)
        if now is None or now.holding is None:
            return False
        return now.generation == machine.generation and now.state is machine.state

    def _may_give_up(self, machine: Machine, *, is_last: bool) -> bool:
        """Whether to wait no longer than usual for one that this process has not heard yet, or that may be lost."""
        if self._contact.lost.is_set():
            return True
        is_unknown = self._fleet.watches[machine.id].verified_at is None
        others = waiting_line.next_idle(self._fleet, self._state.spec, machine.pool, self._state.now())
        return is_unknown and not is_last and others is not None
