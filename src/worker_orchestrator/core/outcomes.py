"""What comes back from the world between two listings: the verdict of a probe, the outcome of an action.

Part of the pure core, with the two things that a change asks of it in turn: a host port, and an action of the engine
(`follow_up`). The action is derived from the change, and derived again from the fleet at every tick, so nothing here is a
queue of work.
"""

from __future__ import annotations

from msgspec.structs import replace

from worker_orchestrator.core.action import Action, Create, Destroy, Outcome, Restart, Result
from worker_orchestrator.core.brake import (
    Failure,
    fail,
    may_restart,
    obstruct,
    obstructed_restart,
    restart_later,
    try_later,
)
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.host_ports import no_port, take_port
from worker_orchestrator.core.instance import Verdict
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.waiting_line import serve_line

__all__ = ["PROBE_S", "is_awaited", "patience_s", "probed", "settle", "start_deadline"]


PORT_REFUSED_S = 60.0
UNSURE_S = 1.0  # before an action is asked for again that the engine did not answer for
MISSES_TO_FAIL = 3
PROBE_S = 1.0
"""So long a probe lasts at least before it counts as missed."""
PATIENCE = 2.0
"""How much longer than its slowest answer an idle machine may take for the next one."""


def patience_s(fleet: Fleet, spec: Spec, machine: Machine, now: float) -> float:
    """How many seconds a probe of this machine that begins now may take.

    A starting one has what is left of its start. A ready one has answered before: if it was slow then, it may be so again,
    and as long as this process has not heard it, nobody knows.
    """
    watch = fleet.watches[machine.id]
    if machine.state is State.STARTING:
        return max(PROBE_S, start_deadline(fleet, spec, machine) - now)
    longest_s = max(PROBE_S, spec.start_timeout_s)
    return longest_s if watch.verified_at is None else min(max(PROBE_S, PATIENCE * watch.slow_s), longest_s)


def start_deadline(fleet: Fleet, spec: Spec, machine: Machine) -> float:
    """Until when a starting machine has to answer, in monotonic seconds."""
    return fleet.watches[machine.id].since + spec.start_timeout_s


def is_awaited(fleet: Fleet, machine: Machine) -> bool:
    """Whether the answer of this machine would make it ready. One that is about to be restarted answers for nothing."""
    return machine.state is State.STARTING and not fleet.watches[machine.id].asked


def probed(fleet: Fleet, spec: Spec, verdict: Verdict, now: float) -> None:
    """Take in one probe: a starting machine that answers is ready; an idle one that misses three in a row failed.

    A probe never fails an assigned machine. One begun before the machine last changed hands proves nothing, and neither does
    one of a machine that is about to be restarted. One of which nobody can tell what it would have found ends the row of
    misses: whatever kept us from asking may have caused those before it.
    """
    machine = fleet.machines.get(verdict.machine_id)
    if machine is None or verdict.begun_at < fleet.watches[machine.id].since:
        return
    watch = fleet.watches[machine.id]
    if watch.asked:
        return
    if verdict.answered is None:
        watch.misses = 0
        return
    if verdict.answered:
        watch.verified_at, watch.misses = verdict.begun_at, 0
        watch.took_s, watch.slow_s = verdict.took_s, max(verdict.took_s, watch.slow_s / 2)
        if machine.is_idle:
            fleet.put_last(machine)
        if machine.state is State.STARTING:
            fleet.apply(machine, replace(machine, state=State.READY, reason="answered"), Cause.ANSWERED, now)
            serve_line(fleet, spec, machine.pool, now)
        return
    watch.missed_at, watch.missed_why = verdict.begun_at, verdict.detail
    watch.misses += 1
    if machine.is_idle and watch.misses >= MISSES_TO_FAIL:
        fail(fleet, spec, machine, now, Failure(f"stopped answering: {verdict.detail}"))


def settle(fleet: Fleet, spec: Spec, action: Action, outcome: Outcome, now: float) -> None:
    """Take in how an action ended. What is left to do, the next tick finds: the next tick is the retry.

    Where the machine moved on meanwhile, it ends in nothing: the tick compares it with what is there.
    """
    machine = fleet.machines.get(action.machine_id)
    if machine is None:
        return
    if isinstance(action, Restart) and action.stop_first and outcome.result is not Result.UNAVAILABLE:
        fleet.watches[machine.id].asked = 0
    if outcome.result in {Result.UNKNOWN, Result.UNAVAILABLE}:
        fleet.watches[machine.id].not_before = now + UNSURE_S
    match action:
        case Create() if machine.is_coming and action.machine == machine:
            _settle_create(fleet, spec, machine, outcome, now)
        case Restart() if machine.state is State.STARTING and machine.holding is not None:
            _settle_restart(fleet, spec, machine, outcome, now)
        case Destroy():
            watch = fleet.watches[machine.id]
            if outcome.result is Result.DONE:
                watch.destroyed_at = now
            elif outcome.result not in {Result.UNKNOWN, Result.UNAVAILABLE}:
                try_later(watch, now)


def _settle_create(fleet: Fleet, spec: Spec, machine: Machine, outcome: Outcome, now: float) -> None:
    if outcome.result is Result.DONE and fleet.obstacle(machine.pool, machine.template) is not None:
        fleet.pool(machine.pool).obstacle = None
    if outcome.result is Result.REJECTED:
        fail(fleet, spec, machine, now, Failure(outcome.message, outcome.evidence))
    elif outcome.result is Result.OBSTRUCTED:
        obstruct(fleet, machine, now, outcome.message)
    elif outcome.result is Result.PORT_TAKEN and machine.port is not None:
        fleet.refused_ports[machine.port] = now + PORT_REFUSED_S
        port = take_port(fleet, spec, now)
        if port is None:
            obstruct(fleet, machine, now, f"{no_port(spec)} {outcome.message}")
            return
        fleet.apply(machine, replace(machine, port=port, reason=outcome.message), Cause.MOVED, now)


def _settle_restart(fleet: Fleet, spec: Spec, machine: Machine, outcome: Outcome, now: float) -> None:
    watch = fleet.watches[machine.id]
    if outcome.result is Result.DONE:
        watch.restarted, watch.obstructed = True, 0
        watch.since = now  # it has the whole start time-out from here on, however long it waited
    elif outcome.result in {Result.OBSTRUCTED, Result.PORT_TAKEN}:
        obstructed_restart(fleet, machine, now, outcome.message)
    elif outcome.result is Result.REJECTED:
        reason = f"could not be restarted: {outcome.message}"
        if may_restart(watch):
            fleet.apply(machine, replace(machine, reason=reason), Cause.RESTARTED, now)
            restart_later(watch, now)
        else:
            fail(fleet, spec, machine, now, Failure(reason))
