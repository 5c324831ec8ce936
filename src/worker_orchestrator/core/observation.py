"""One machine and what a listing shows of it: the changes that follow from that.

What the listing shows of a machine, and what follows::

    state, project       not listed           exited                  cannot serve (paused,   running
                                                                      no network)
    READY, free          FAILED, gone         FAILED                  FAILED after 5 s        -
    PARKED               FAILED, gone         FAILED                  FAILED, unless it is    paused again; STOPPING if a
                                                                      paused and no more      pause may still happen
    STARTING, from the   FAILED, gone         FAILED                  as STARTING, free,      as STARTING, free
    reserve                                                           unless it is paused
    READY, assigned      FAILED, gone         STARTING, restarted;    kept; its project       -
                                              FAILED after the last   hears why
    STARTING, free       FAILED at the        FAILED                  FAILED                  FAILED at the deadline,
                         deadline                                                             if it does not answer
    STARTING, dirty      STOPPING             as running              as running              STOPPING at the deadline,
                                                                                              or if its pool recycles
    STARTING, assigned   FAILED, gone         as READY, once the      kept; its project       READY at the deadline,
                                              restart has happened    hears why               answer or not
    SLEEPING             FAILED, gone         -                       as running, if paused   STARTING, revived, if it was
                                                                                              known to have stopped; else
                                                                                              it is stopped
    STOPPING             forgotten, after     -                       -                       -
                         its removal
    FAILED, free         gone, after its      -                       -                       -
                         removal; forgotten
                         `evidence_s` later
    FAILED, assigned     gone                 -                       -                       STARTING, revived

If a container turns up again for a machine that is FAILED, assigned and gone, the machine has it back as soon as its port
and a slot are free.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from worker_orchestrator.core import reasons
from worker_orchestrator.core.brake import (
    Failure,
    clear_obstacle,
    drop_obstructed,
    fail_machine,
    has_restarts_left,
    schedule_restart,
    why_gone,
)
from worker_orchestrator.core.doomed import ended_again
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Snapshot, Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.outcomes import drop_dirty, judge_cleaning, start_deadline
from worker_orchestrator.core.parking import note_listed, note_refused_is_dead
from worker_orchestrator.core.sleep import note_listed as note_sleeper_listed
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.watch import Watch

__all__ = ["AILING_S", "DEAD", "RESTARTS_FORGIVEN_AFTER_S", "Observation"]

RESTARTS_FORGIVEN_AFTER_S = 600.0
AILING_S = 5.0
"""How long an idle machine may be unable to serve before it is replaced. `docker commit` pauses what it copies."""

DEAD = frozenset({Status.EXITED, Status.CREATED, Status.TERMINATING})
"""The statuses of a container that has ended or never ran. A READY machine that is free is replaced then."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One machine and what the listing shows of it (None: nothing), and the changes that follow from that."""

    fleet: Fleet
    spec: Spec
    snapshot: Snapshot
    machine: Machine
    instance: Instance | None
    now: float
    ailing: dict[str, str]  # id -> why a machine cannot serve; what this listing shows is added

    def judge(self) -> None:
        if self._watch.verified_at is not None and self._watch.verified_at > self.snapshot.begun_at:
            return  # it has answered since, which is newer than anything that the listing shows
        match self.machine.state, self.machine.project:
            case State.READY, None:
                self._judge_idle()
            case State.READY, _:
                self._judge_assigned()
            case State.PARKED, _:
                self._judge_parked()
            case State.STARTING, None:
                self._judge_coming()
            case State.STARTING, _:
                self._judge_restarting()
            case State.SLEEPING, _:
                self._judge_sleeping()
            case State.STOPPING, _:
                if self._is_removed:
                    self._move(None, Cause.FORGOTTEN)
            case _:
                assert self.machine.state is State.FAILED, f"{self.machine.id} is in no known state"
                self._judge_failed()

    def _judge_idle(self) -> None:
        if self.instance is None:
            self._fail(FailureKind.VANISHED, why_gone(self.fleet, self.machine), gone=True, harmless=True)
        elif self.instance.status in DEAD:
            self._fail(self.instance.end, self._how_it_ended(self.instance), harmless=self.instance.killed)
        else:
            self._wait_out(self.instance.ailment)

    def _judge_parked(self) -> None:
        """Its end says nothing about its image: it served, and then it did nothing."""
        instance = self.instance
        if instance is None:
            self._fail(FailureKind.VANISHED, why_gone(self.fleet, self.machine), gone=True, harmless=True)
        elif instance.status in DEAD:
            self._fail(instance.end, self._how_it_ended(instance), harmless=True)
        elif instance.is_cut_off or (instance.trouble and instance.status is not Status.PAUSED):
            trouble = reasons.CUT_OFF if instance.is_cut_off else instance.trouble
            self._fail(FailureKind.HELD_UP, reasons.cannot_serve(trouble), harmless=True)
        else:
            note_listed(self.fleet, self.machine, instance.status, self.now)

    def _wait_out(self, ailment: str) -> None:
        """Do not hand it out meanwhile. If it stays like that it is replaced, since no project has files in it."""
        if self.machine.id not in self.fleet.ailing:
            self._watch.not_before = self.now + AILING_S
        if self.now >= self._watch.not_before:
            self._fail(FailureKind.HELD_UP, reasons.cannot_serve(ailment), harmless=True)
        else:
            self.ailing[self.machine.id] = ailment

    def _judge_assigned(self) -> None:
        if self.instance is None:
            self._fail(FailureKind.VANISHED, self._vanished, gone=True)
        elif self.instance.status is Status.EXITED:
            if self.now - self._watch.since > RESTARTS_FORGIVEN_AFTER_S:
                self._watch.tries = 0
            self._restart_or_fail(self.instance)
        elif self.instance.needs_restart and self.spec.restarts_in_place:
            self._start_again()
        else:
            self.ailing[self.machine.id] = self.instance.ailment

    def _judge_restarting(self) -> None:
        if self.instance is None:
            self._fail(FailureKind.VANISHED, self._vanished, gone=True)
        elif self._watch.restart_requests and self.spec.restarts_in_place:
            return  # it will be restarted in any state
        elif self.instance.status is Status.EXITED and ended_again(self._watch, self.spec):
            self._watch.restart_acknowledged = False
            self._restart_or_fail(self.instance)
        elif self.instance.needs_restart and self.spec.restarts_in_place:
            self._start_again()
        elif self.instance.trouble:
            self.ailing[self.machine.id] = self.instance.trouble
        elif self.instance.status is Status.RUNNING and self.snapshot.begun_at > self._deadline:
            reason = reasons.runs_silently(self._watch.missed_why)
            self._move(replace(self.machine, state=State.READY, reason=reason, evidence=""), Cause.ANSWERED)

    def _start_again(self) -> None:
        """It runs, and nobody can reach it until it is started again. What runs is stopped first, as on request."""
        after = replace(self.machine, state=State.STARTING, reason=reasons.NETWORK_LOST, evidence="")
        self._move(after, Cause.RESTARTED)
        self._watch.restart_requests, self._watch.restart_acknowledged = self._watch.restart_requests + 1, False
        schedule_restart(self._watch, self.now)

    def _judge_sleeping(self) -> None:
        if self.instance is None:
            self._fail(FailureKind.VANISHED, self._vanished, gone=True)
        else:
            note_sleeper_listed(self.fleet, self.machine, self.instance.status, self.now)

    def _restart_or_fail(self, instance: Instance) -> None:
        """Restart it, if the engine can and it has tries left. A death that was caused from outside never ends it for good.

        The reason is this death's own: a worker may end for another reason after each edit.
        """
        reason = self._how_it_ended(instance)
        if not self.spec.restarts_in_place:
            self._fail(instance.end, reason)
        elif not has_restarts_left(self._watch) and not instance.killed:
            self._fail(FailureKind.NOT_RESTARTED, reasons.failed_again(reason, self._watch.tries))
        else:
            evidence = self.snapshot.evidence.get(self.machine.id, "")
            after = replace(self.machine, state=State.STARTING, reason=reason, evidence=evidence)
            self._move(after, Cause.RESTARTED)
            schedule_restart(self._watch, self.now)

    def _judge_dirty(self) -> None:
        """One that is being cleaned never fails, since its death proves nothing and nobody waits for its files."""
        if self.instance is None:
            drop_dirty(self.fleet, self.machine, self.now, why_gone(self.fleet, self.machine))
        else:
            judge_cleaning(self.fleet, self.spec, self.machine, self.snapshot.begun_at, self.now)

    def _judge_coming(self) -> None:
        instance = self.instance
        if self.machine.is_dirty:
            self._judge_dirty()
        elif self.machine.is_unparking and (instance is None or instance.status in DEAD):
            note_refused_is_dead(self.fleet, self.machine)
            self._judge_parked()
        elif self.machine.is_unparking and instance is not None and instance.status is Status.PAUSED:
            self._judge_paused()
        elif instance is not None and instance.status in {Status.EXITED, Status.TERMINATING}:
            self._fail(instance.end, self._how_it_ended(instance))
        elif instance is not None and instance.trouble:  # caused from outside
            self._fail(FailureKind.HELD_UP, reasons.cannot_serve(instance.trouble), harmless=True)
        elif instance is not None and instance.unplaced:
            drop_obstructed(self.fleet, self.machine, self.now, reasons.sentence(instance.unplaced))
        else:
            if instance is not None and instance.status is Status.RUNNING:
                self._note_room()
            if self.snapshot.begun_at > self._deadline:
                self._judge_overdue()

    def _judge_paused(self) -> None:
        """It is to go on, and does not yet. While the engine was away, nobody could let it."""
        if self.snapshot.after_outage:
            self._watch.since = self.now
        elif self.snapshot.begun_at > self._deadline:
            self._judge_overdue()

    def _note_room(self) -> None:
        """An engine that only accepts creates found room for this one: nothing stands in the way of others any more."""
        obstacle = self.fleet.obstacle(self.machine.pool, self.machine.template)
        if obstacle is not None and self._watch.born >= obstacle.raised_at:
            clear_obstacle(self.fleet, self.machine)

    def _judge_overdue(self) -> None:
        instance = self.instance
        if instance is None or instance.status is not Status.RUNNING:
            is_unreachable = instance is not None and instance.unreachable_since is not None
            reason = reasons.started_too_slowly(self._limit_s)
            self._fail(FailureKind.START_TIMEOUT, reason, harmless=is_unreachable or self.machine.is_unparking)
        elif self._watch.missed_at is not None and self._watch.missed_at > self._deadline:
            reason = reasons.silent_after_start(self._limit_s, self._watch.missed_why)
            self._fail(FailureKind.ANSWER_TIMEOUT, reason, harmless=self.machine.is_unparking)
        # else no probe was begun after the deadline yet: this process may have slept until now

    def _judge_failed(self) -> None:
        if self.machine.holding is not None:
            self._judge_kept()
        elif self.machine.gone:
            if self.now - self._watch.since > self.spec.evidence_s:
                self._move(None, Cause.FORGOTTEN)
        elif self._is_removed:
            self._move(replace(self.machine, gone=True), Cause.REMOVED)

    def _judge_kept(self) -> None:
        """A failed machine of a project: somebody may remove its container, or start it again."""
        if self.machine.gone:
            if self.instance is not None and self._fits:
                self._move(replace(self.machine, gone=False, reason=reasons.EXISTS_AGAIN), Cause.FAILED)
        elif self.instance is None:
            self._move(replace(self.machine, gone=True, reason=self._vanished), Cause.REMOVED)
        elif self.instance.status is Status.RUNNING:
            self._move(
                replace(self.machine, state=State.STARTING, reason=reasons.RUNS_AGAIN, evidence=""), Cause.REVIVED
            )

    @property
    def _fits(self) -> bool:
        """Whether its ports and a slot of its pool are free: while it was thought to be gone, others may have got them."""
        if any((self.machine.host, port) in self.fleet.ports for port in self.machine.host_ports):
            return False
        pool = self.machine.pool
        is_full = self.spec.pool(pool).is_at_limit(self.fleet.slots_held_by(pool))
        return not is_full and not self.spec.is_full(self.fleet.slots_held, self.fleet.awake)

    @property
    def _vanished(self) -> str:
        return f"{why_gone(self.fleet, self.machine)} {reasons.FILES_GONE}"

    @property
    def _watch(self) -> Watch:
        return self.fleet.watches[self.machine.id]

    @property
    def _deadline(self) -> float:
        return start_deadline(self.fleet, self.spec, self.machine)

    @property
    def _limit_s(self) -> float:
        return self._deadline - self._watch.since

    @property
    def _is_removed(self) -> bool:
        destroyed_at = self._watch.destroyed_at
        return self.instance is None and destroyed_at is not None and destroyed_at < self.snapshot.begun_at

    def _move(self, after: Machine | None, cause: Cause) -> None:
        self.fleet.apply(self.machine, after, cause, self.now)

    def _fail(self, kind: FailureKind, reason: str, *, gone: bool = False, harmless: bool = False) -> None:
        harmless = harmless or self.snapshot.after_outage
        evidence = self.snapshot.evidence.get(self.machine.id, self.machine.evidence)
        failure = Failure(kind, reason, evidence, gone=gone, harmless=harmless)
        fail_machine(self.fleet, self.spec, self.machine, self.now, failure)

    @staticmethod
    def _how_it_ended(instance: Instance) -> str:
        return instance.detail or reasons.not_running(instance.status)
