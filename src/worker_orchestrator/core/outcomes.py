"""What is reported between two listings: the verdict of a probe, and the outcome of an action.

What each verdict does::

    machine               it answered           it did not answer                      unknown
    STARTING              READY                 missed: a listing after the deadline   ends the row of misses
                                                may fail it
    READY, free           moves to the end of   FAILED after three in a row            ends the row of misses
                          the idle ones
    READY, assigned       is verified           nothing: a probe never fails it        ends the row of misses
    restart requested,    nothing: it answers   nothing                                nothing
    or to be cleaned      for what is stopped

A machine that comes out of the reserve has 5 s to answer, and then a listing shows that it failed.

What each outcome does. After any other, the next tick asks for the action again if it is still due::

                   create                         restart                                stop             destroy
    done           the obstacle's brake goes      the start time-out begins              it is asleep     a later listing
                                                                                                          may confirm it
    rejected       FAILED                         again after a pause, or FAILED         again after a    again after a
                                                                                         pause            pause
    obstructed     STOPPING, and the obstacle's   again after a pause that is no try     again after a    again after a
                   brake is raised                                                       pause            pause
    port taken     another port, or as            again after a pause that is no try;    -                -
                   obstructed                     its project hears it at once
    unavailable,   again after 1 s                again after 1 s                        again after 1 s  again after 1 s
    unknown

A machine that could not be parked has to answer and becomes idle. One that the engine refuses to let go on is FAILED; if
something obstructs that, it is tried again after 1 s while its time lasts. If nobody knows how a call of either kind ended,
the next listing shows it. One that may still be paused is then not parked again: see `parking`.

A cleaning that is done leaves a machine that has to answer anew. If the engine was unavailable it is tried again after 1 s.
After any other outcome the machine is STOPPING: what is not known to have ended may restart it when another project has it.
It is STOPPING after each, and at the next listing, if its pool recycles by then: the settings may have changed meanwhile.
"""

from __future__ import annotations

from msgspec.structs import replace

from worker_orchestrator.core.action import Action, Clean, Create, Destroy, Outcome, Park, Restart, Result, Stop, Unpark
from worker_orchestrator.core.brake import (
    Failure,
    clear_obstacle,
    drop_obstructed,
    fail_machine,
    has_restarts_left,
    put_off_orphan,
    put_off_restart,
    schedule_restart,
    schedule_retry,
)
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.host_ports import move_ports, no_port_left
from worker_orchestrator.core.instance import Verdict
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.parking import note_pause_unknown, note_paused, note_refused, note_unpark_refused
from worker_orchestrator.core.reasons import (
    ANSWERED,
    CLEANED,
    CLEANED_TOO_SLOWLY,
    NOT_REUSED,
    STILL_ANSWERS,
    UNPARKED_FOR_CHECK,
    answers_elsewhere,
    not_cleaned,
    restart_failed,
    sentence,
    stopped_answering,
)
from worker_orchestrator.core.sleep import note_stopped
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.waiting_line import serve_line
from worker_orchestrator.core.watch import Watch

__all__ = [
    "PROBE_S",
    "apply_outcome",
    "apply_verdict",
    "drop_dirty",
    "is_awaited",
    "judge_cleaning",
    "patience_s",
    "start_deadline",
]

UNSURE_S = 1.0  # the pause after an action for which the engine gave no answer
MISSES_TO_FAIL = 3
PROBE_S = 1.0
"""How long a probe lasts at least before it counts as missed."""
UNPARK_S = 5.0
"""How long a machine that was parked may take until it answers again, unless it has shown to be slower."""
PATIENCE = 2.0
"""How much longer than its slowest answer an idle machine may take for the next one."""


def patience_s(fleet: Fleet, spec: Spec, machine: Machine, now: float) -> float:
    """How many seconds a probe of this machine that begins now may take.

    A starting machine has what is left of its start time-out. A ready one may need twice its slowest answer of late; while
    this process has no answer of it yet, it gets the whole start time-out.
    """
    watch = fleet.watches[machine.id]
    if machine.state is State.STARTING:
        return max(PROBE_S, start_deadline(fleet, spec, machine) - now)
    longest_s = max(PROBE_S, spec.start_timeout_of(machine.pool))
    return longest_s if watch.verified_at is None else min(max(PROBE_S, PATIENCE * watch.slowest_answer_s), longest_s)


def start_deadline(fleet: Fleet, spec: Spec, machine: Machine) -> float:
    """When a starting machine must have answered, in monotonic seconds."""
    if machine.is_unparking:
        watch = fleet.watches[machine.id]
        return watch.since + max(UNPARK_S, PATIENCE * watch.slowest_answer_s)
    return fleet.watches[machine.id].since + spec.start_timeout_of(machine.pool)


def is_awaited(fleet: Fleet, machine: Machine) -> bool:
    """Whether an answer of this machine would make it ready. If it is to be restarted or cleaned, what answers will be
    stopped.
    """
    return machine.state is State.STARTING and not machine.is_dirty and not fleet.watches[machine.id].restart_requests


def apply_verdict(fleet: Fleet, spec: Spec, verdict: Verdict, now: float) -> None:
    """Apply what one probe found: see the table above.

    A probe that began before the machine last changed its state proves nothing. If only its project has changed since, an
    answer proves that the worker served then, and anything else proves nothing. One without a result ends the row of misses,
    because whatever prevented it may have caused the misses before it.
    """
    machine = fleet.machines.get(verdict.machine_id)
    if machine is None or not _proves_something(fleet.watches[machine.id], machine, verdict):
        return
    watch = fleet.watches[machine.id]
    if watch.restart_requests or machine.is_dirty:
        return
    if verdict.answered is None:
        watch.misses = 0
        return
    other = _holder_of_address(fleet, verdict)
    if verdict.answered and other not in {None, machine.id}:
        verdict = replace(verdict, answered=False, detail=answers_elsewhere(other))
    if verdict.answered:
        watch.verified_at, watch.misses = verdict.begun_at, 0
        watch.answer_s, watch.slowest_answer_s = verdict.took_s, max(verdict.took_s, watch.slowest_answer_s / 2)
        if machine.is_idle:
            fleet.move_to_end(machine)
        if machine.state is State.STARTING:
            reason = STILL_ANSWERS if machine.reason == UNPARKED_FOR_CHECK else ANSWERED
            ready = replace(machine, state=State.READY, reason=reason, evidence="")
            if verdict.port is not None:
                ready = replace(ready, host=verdict.host, port=verdict.port)
            fleet.apply(machine, ready, Cause.ANSWERED, now)
            serve_line(fleet, spec, machine.pool, now)
        return
    watch.missed_at, watch.missed_why = verdict.begun_at, verdict.detail
    watch.misses += 1
    if machine.is_idle and watch.misses >= MISSES_TO_FAIL:
        failure = Failure(FailureKind.STOPPED_ANSWERING, stopped_answering(verdict.detail))
        fail_machine(fleet, spec, machine, now, failure)


def _proves_something(watch: Watch, machine: Machine, verdict: Verdict) -> bool:
    if verdict.begun_at >= watch.since:
        return True
    return verdict.answered is True and machine.state is State.READY and verdict.begun_at >= watch.state_since


def _holder_of_address(fleet: Fleet, verdict: Verdict) -> str | None:
    """The id of the machine that has on record the address, given by the engine, at which this probe was answered.

    Engines give addresses again. Which of two machines answered is clear once a listing shows what became of the other.
    """
    return None if verdict.port is None else fleet.ports.get((verdict.host, verdict.port))


def apply_outcome(fleet: Fleet, spec: Spec, action: Action, outcome: Outcome, now: float) -> None:
    """Apply how one action ended: see the table above.

    If the machine has changed meanwhile, the outcome is ignored: the next tick compares the machine with what is there.
    """
    machine = fleet.machines.get(action.machine_id)
    if machine is None:
        if isinstance(action, Destroy) and (outcome.result is not Result.DONE or outcome.under_way):
            put_off_orphan(fleet, action.machine_id, now)
        return
    if isinstance(action, Restart) and action.stop_first and outcome.result is not Result.UNAVAILABLE:
        fleet.watches[machine.id].restart_requests = 0
    if isinstance(action, Stop):
        _apply_stop(fleet, machine, outcome, now)
        return
    if outcome.result in {Result.UNKNOWN, Result.UNAVAILABLE}:
        fleet.watches[machine.id].not_before = now + UNSURE_S
    _apply_to(fleet, spec, machine, action, outcome, now)


def _apply_to(fleet: Fleet, spec: Spec, machine: Machine, action: Action, outcome: Outcome, now: float) -> None:
    """Apply it, if the machine is still as the action wants it."""
    match action:
        case Create() if machine.is_coming and action.machine == machine:
            _apply_create(fleet, spec, machine, outcome, now)
        case Restart() if machine.state is State.STARTING and machine.holding is not None:
            _apply_restart(fleet, spec, machine, outcome, now)
        case Clean() if machine.state is State.STARTING and machine.is_dirty:
            _apply_clean(fleet, spec, machine, outcome, now)
        case Park() if machine.state is State.PARKED:
            _apply_park(fleet, machine, outcome, now)
        case Unpark() if machine.is_unparking:
            _apply_unpark(fleet, spec, machine, outcome, now)
        case Destroy():
            _apply_destroy(fleet.watches[machine.id], outcome, now)


def drop_dirty(fleet: Fleet, machine: Machine, now: float, reason: str) -> None:
    """Have this machine removed, which could not be cleaned."""
    after = replace(machine, state=State.STOPPING, reason=reason, evidence="")
    fleet.apply(machine, after, Cause.RETIRED, now)


def judge_cleaning(fleet: Fleet, spec: Spec, machine: Machine, begun_at: float, now: float) -> None:
    """Have this dirty machine removed, which a listing that was begun then shows, unless it may still become clean."""
    if spec.pool(machine.pool).recycle:
        drop_dirty(fleet, machine, now, NOT_REUSED)
    elif begun_at > start_deadline(fleet, spec, machine):
        drop_dirty(fleet, machine, now, CLEANED_TOO_SLOWLY)


def _apply_clean(fleet: Fleet, spec: Spec, machine: Machine, outcome: Outcome, now: float) -> None:
    if spec.pool(machine.pool).recycle:
        drop_dirty(fleet, machine, now, NOT_REUSED)
    elif outcome.result is Result.DONE:
        fleet.apply(machine, replace(machine, configuration=None, reason=CLEANED), Cause.CLEANED, now)
        watch = fleet.watches[machine.id]
        watch.since, watch.not_before = now, 0.0  # only what answers from here on counts
        watch.misses, watch.missed_at, watch.missed_why = 0, None, ""
    elif outcome.result is not Result.UNAVAILABLE:
        drop_dirty(fleet, machine, now, not_cleaned(outcome.message))


def _apply_stop(fleet: Fleet, machine: Machine, outcome: Outcome, now: float) -> None:
    """One that was woken or removed meanwhile does not wait for anything because of this."""
    if machine.state is not State.SLEEPING:
        return
    if outcome.result is Result.DONE:
        note_stopped(fleet, machine, now)
    elif outcome.result in {Result.UNKNOWN, Result.UNAVAILABLE}:
        fleet.watches[machine.id].not_before = now + UNSURE_S
    else:
        schedule_retry(fleet.watches[machine.id], now)


def _apply_park(fleet: Fleet, machine: Machine, outcome: Outcome, now: float) -> None:
    if outcome.result is Result.DONE:
        note_paused(fleet, machine)
    elif outcome.result is Result.UNKNOWN:
        note_pause_unknown(fleet, machine)
    elif outcome.result is not Result.UNAVAILABLE:
        note_refused(fleet, machine, now)


def _apply_unpark(fleet: Fleet, spec: Spec, machine: Machine, outcome: Outcome, now: float) -> None:
    watch = fleet.watches[machine.id]
    if outcome.result in {Result.DONE, Result.UNAVAILABLE}:
        watch.since = now  # it has all its time from here on: that the engine is away is not its fault
    elif outcome.result in {Result.OBSTRUCTED, Result.PORT_TAKEN}:
        watch.not_before = now + UNSURE_S
    elif outcome.result is Result.REJECTED:
        note_unpark_refused(fleet, spec, machine, outcome.message, now)


def _apply_destroy(watch: Watch, outcome: Outcome, now: float) -> None:
    if outcome.result is Result.DONE:
        watch.destroyed_at = now
    if outcome.under_way or outcome.result not in {Result.DONE, Result.UNKNOWN, Result.UNAVAILABLE}:
        schedule_retry(watch, now)


def _apply_create(fleet: Fleet, spec: Spec, machine: Machine, outcome: Outcome, now: float) -> None:
    if outcome.result is Result.DONE:
        fleet.watches[machine.id].not_before = now + UNSURE_S  # it may not be listed at once
        if not outcome.under_way:
            clear_obstacle(fleet, machine)
    if outcome.result is Result.REJECTED:
        fail_machine(
            fleet,
            spec,
            machine,
            now,
            Failure(FailureKind.REJECTED, sentence(outcome.message), outcome.evidence),
        )
    elif outcome.result is Result.OBSTRUCTED:
        drop_obstructed(fleet, machine, now, sentence(outcome.message))
    elif outcome.result is Result.PORT_TAKEN and machine.port is not None:
        moved = move_ports(fleet, spec, machine, outcome.port, now)
        if moved is None:
            left = no_port_left(spec, len(machine.host_ports))
            drop_obstructed(fleet, machine, now, f"{left} {sentence(outcome.message)}")
            return
        fleet.apply(machine, replace(moved, reason=sentence(outcome.message)), Cause.MOVED, now)


def _apply_restart(fleet: Fleet, spec: Spec, machine: Machine, outcome: Outcome, now: float) -> None:
    watch = fleet.watches[machine.id]
    watch.port_is_taken = outcome.result is Result.PORT_TAKEN
    if outcome.result is Result.DONE:
        watch.restart_acknowledged, watch.obstructed_restarts = True, 0
        watch.since = now  # from here on it has the whole start time-out, however long it waited
    elif outcome.result in {Result.OBSTRUCTED, Result.PORT_TAKEN}:
        put_off_restart(fleet, machine, now, outcome.message)
    elif outcome.result is Result.REJECTED:
        reason = restart_failed(outcome.message)
        if has_restarts_left(watch):
            fleet.apply(machine, replace(machine, reason=reason), Cause.RESTARTED, now)
            schedule_restart(watch, now)
        else:
            fail_machine(fleet, spec, machine, now, Failure(FailureKind.NOT_RESTARTED, reason, machine.evidence))
