"""What comes back from the world between two listings: the verdict of a probe, the outcome of an action.

Part of the pure core, with the two things that a change asks of it in turn: a host port, and an action of the engine
(`follow_up`). The action is derived from the change, and derived again from the fleet at every tick, so nothing here is a
queue of work.
"""

from __future__ import annotations

from msgspec.structs import replace

from worker_orchestrator.core.brake import (
    Failure,
    clear_obstacle,
    fail,
    may_restart,
    obstruct,
    obstructed_restart,
    restart_later,
    try_later,
)
from worker_orchestrator.core.commands import no_port, serve_line
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.host_ports import next_port
from worker_orchestrator.core.machine import (
    Action,
    Cause,
    Change,
    Create,
    Destroy,
    FailureKind,
    Machine,
    Outcome,
    Restart,
    Result,
    Spec,
    State,
    Verdict,
)

__all__ = [
    "PROBE_S",
    "follow_up",
    "is_awaited",
    "new_machine",
    "patience_s",
    "probed",
    "settle",
    "start_deadline",
    "still_wanted",
]


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
    other = _holder_of_address(fleet, verdict)
    if verdict.answered and other not in {None, machine.id}:
        verdict = replace(verdict, answered=False, detail=f"what answers at its address may be {other}")
    if verdict.answered:
        watch.verified_at, watch.misses = verdict.begun_at, 0
        watch.took_s, watch.slow_s = verdict.took_s, max(verdict.took_s, watch.slow_s / 2)
        if machine.is_idle:
            fleet.put_last(machine)
        if machine.state is State.STARTING:
            ready = replace(machine, state=State.READY, reason="answered")
            if verdict.port is not None:
                ready = replace(ready, host=verdict.host, port=verdict.port)
            fleet.apply(machine, ready, Cause.ANSWERED, now)
            serve_line(fleet, spec, machine.pool, now)
        return
    watch.missed_at, watch.missed_why = verdict.begun_at, verdict.detail
    watch.misses += 1
    if machine.is_idle and watch.misses >= MISSES_TO_FAIL:
        failure = Failure(FailureKind.STOPPED_ANSWERING, f"stopped answering: {verdict.detail}")
        fail(fleet, spec, machine, now, failure)


def _holder_of_address(fleet: Fleet, verdict: Verdict) -> str | None:
    """The id of the machine that has on record the address, given by the engine, at which this probe was answered.

    Engines give addresses again. Which of two machines answered is clear once a listing shows what became of the other.
    """
    return None if verdict.port is None else fleet.ports.get((verdict.host, verdict.port))


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
        case Restart() if machine.state is State.STARTING and machine.project is not None:
            _settle_restart(fleet, spec, machine, outcome, now)
        case Destroy():
            watch = fleet.watches[machine.id]
            if outcome.result is Result.DONE:
                watch.destroyed_at = now
            if outcome.under_way or outcome.result not in {Result.DONE, Result.UNKNOWN, Result.UNAVAILABLE}:
                try_later(watch, now)


def _settle_create(fleet: Fleet, spec: Spec, machine: Machine, outcome: Outcome, now: float) -> None:
    if outcome.result is Result.DONE and not outcome.under_way:
        clear_obstacle(fleet, machine)
    if outcome.result is Result.REJECTED:
        fail(fleet, spec, machine, now, Failure(FailureKind.REJECTED, outcome.message, outcome.evidence))
    elif outcome.result is Result.OBSTRUCTED:
        obstruct(fleet, machine, now, outcome.message)
    elif outcome.result is Result.PORT_TAKEN and machine.port is not None:
        fleet.refused_ports[machine.port] = now + PORT_REFUSED_S
        port = _take_port(fleet, spec, now)
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
            fail(fleet, spec, machine, now, Failure(FailureKind.NOT_RESTARTED, reason))


def new_machine(  # a machine is made of these
    fleet: Fleet, spec: Spec, pool: str, template: str, machine_id: str, now: float
) -> Machine | None:
    """Record a machine that is to be created; None where no host port is free."""
    port = None
    if spec.first_port is not None:
        port = _take_port(fleet, spec, now)
        fleet.pool(pool).out_of_ports = port is None
        if port is None:
            return None
    assert fleet.held < spec.max_machines, f"{fleet.held} machines of {spec.max_machines}"
    machine = Machine(machine_id, pool, template, State.STARTING, port, reason="new")
    fleet.apply(None, machine, Cause.CREATED, now)
    return machine


def _take_port(fleet: Fleet, spec: Spec, now: float) -> int | None:
    """The next free host port, which counts as given from now on."""
    assert spec.first_port is not None, "the engine plans its addresses itself"
    fleet.refused_ports = {port: until for port, until in fleet.refused_ports.items() if until > now}
    port = next_port(fleet.last_port, spec.first_port, spec.last_port, fleet.is_port_taken)
    if port is not None:
        fleet.last_port = port
    return port


def follow_up(fleet: Fleet, change: Change, now: float) -> Action | None:
    """What a change asks of the engine, at once. The tick asks again for whatever is put off or got lost."""
    before, after = change.before, change.after
    if after is None:
        return None
    if after.state is State.STOPPING or (after.state is State.FAILED and after.project is None and not after.gone):
        return Destroy(after.id, gently=fleet.watches[after.id].held)
    if after.state is State.STARTING:
        if before is None or change.cause is Cause.MOVED:
            return Create(after)
        if change.cause is Cause.RESTARTED and fleet.watches[after.id].not_before <= now:
            return Restart(after.id, stop_first=fleet.watches[after.id].asked > 0)
    return None


def still_wanted(fleet: Fleet, action: Action) -> bool:
    """Whether an action that was planned a moment ago is still right. What holds a project is never destroyed."""
    machine = fleet.machines.get(action.machine_id)
    if isinstance(action, Create):
        return machine == action.machine and action.machine.is_coming
    if isinstance(action, Restart):
        return machine is not None and machine.state is State.STARTING and machine.project is not None
    if machine is None:
        return action.machine_id in fleet.tombstones
    if machine.gone and action.machine_id not in fleet.tombstones:
        return False  # it vanished by itself: what turns up is not ours to judge
    return machine.state is State.STOPPING or (machine.state is State.FAILED and machine.project is None)
