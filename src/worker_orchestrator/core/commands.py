"""What people ask of the fleet: assign, release, destroy, and the line in which those wait for whom nothing is idle.

Part of the pure core: each function decides and changes the fleet at once, without I/O, so that a command is as fast at
10,000 machines as at ten.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec.structs import replace

from worker_orchestrator.core.brake import raise_backoff, restart_later
from worker_orchestrator.core.fleet import RESTART_ASKED, Fleet
from worker_orchestrator.core.machine import Cause, FailureKind, Machine, PoolSpec, Spec, State
from worker_orchestrator.errors import (
    GenerationMismatch,
    MachineFailed,
    MachineNotFound,
    NoMachineAvailable,
    NotAssigned,
    NotRunning,
)

__all__ = [
    "ailing",
    "annotate",
    "assign",
    "assign_verified",
    "destroy",
    "failed",
    "insist",
    "is_verified",
    "leave_line",
    "next_idle",
    "no_port",
    "obstacle",
    "refusal",
    "release",
    "restart",
    "restarting",
    "serve_line",
    "turn_away",
    "withdraw",
]

AILING_RETRY_S = 10.0


def assign(fleet: Fleet, spec: Spec, project: str, now: float, pool: str) -> Machine | None:
    """The machine of this project: its own, an idle one, or None: it stands in line, or its own is being restarted.

    Raises NoMachineAvailable, with the reason, where nothing can come or its own cannot serve now; MachineFailed where its
    own failed for good.
    """
    machine = fleet.of_project(project)
    if machine is not None and machine.gone:
        fleet.apply(machine, None, Cause.FORGOTTEN, now)
        machine = None
    if machine is not None:
        if machine.state is State.FAILED:
            raise failed(spec, machine)
        if machine.id in fleet.ailing:
            raise ailing(fleet, machine)
        return machine if machine.state is State.READY else None
    line = fleet.pool(pool).line
    idle = None if line else next_idle(fleet, spec, pool, now)
    if idle is not None:
        return _hand_over(fleet, idle, project, now)
    why_not = refusal(fleet, spec, pool, now)
    if why_not is not None:
        raise why_not
    line.setdefault(project)
    return None


def failed(spec: Spec, machine: Machine) -> MachineFailed:
    """For the project of a machine that failed for good: to wait is no use."""
    if not spec.restarts_in_place:
        return MachineFailed(
            f"The machine {machine.id} of this project failed: {machine.reason}. Release or destroy it to get a new one."
        )
    return MachineFailed(
        f"The machine {machine.id} of this project failed: {machine.reason}. "
        f"Its files are kept: mend them with `orchestrator cp`, then `orchestrator restart {machine.project}`; "
        "or release or destroy it to get a new one."
    )


def restarting(fleet: Fleet, machine: Machine, now: float) -> NoMachineAvailable:
    """For the project of a machine that is being started again, and does not serve yet: how it stands, and what to do."""
    watch = fleet.watches[machine.id]
    if watch.restarted:
        so_far = f": {watch.missed_why.rstrip('.')}" if watch.missed_why else ""
        return NoMachineAvailable(
            f"The machine {machine.id} of this project was started again, and does not answer yet{so_far}."
        )
    left_s = max(0, math.ceil(watch.not_before - now))
    why = machine.reason.rstrip(".")
    if not left_s:
        return NoMachineAvailable(f"The machine {machine.id} of this project is being started again: {why}.")
    return NoMachineAvailable(
        f"The machine {machine.id} of this project is started again in {left_s} s: {why}. Its files are kept: mend them "
        f"with `orchestrator cp`, and `orchestrator restart {machine.project}` starts it at once.",
        retry_after_s=left_s,
    )


def ailing(fleet: Fleet, machine: Machine) -> NoMachineAvailable:
    """For the project of a machine that has not ended, and can serve nobody: its address would lead nowhere."""
    return NoMachineAvailable(
        f"The machine {machine.id} of this project cannot serve now: {fleet.ailing[machine.id]}. The project keeps it with "
        "its files.",
        retry_after_s=AILING_RETRY_S,
    )


def assign_verified(fleet: Fleet, spec: Spec, project: str, now: float, pool: str) -> Machine | None:
    """An idle machine that has just answered, for a project that has none; None, and nothing is changed: it takes more."""
    if fleet.pool(pool).line:
        return None
    idle = next_idle(fleet, spec, pool, now)
    if idle is None or not is_verified(fleet, spec, idle, now):
        return None
    return _hand_over(fleet, idle, project, now)


def release(fleet: Fleet, spec: Spec, machine: Machine, now: float) -> Machine | None:
    """Take a machine from its project. Returns it as it is then, or None where nothing is left of it.

    One of an older template is used again as long as the current one has not come up: there may be nothing better.
    A free machine stays as it is. Raises MachineNotFound for one that is on its way out.
    """
    if machine.project is None:
        if machine.state in {State.STOPPING, State.FAILED}:
            raise MachineNotFound
        return machine
    if machine.gone:
        fleet.apply(machine, None, Cause.RELEASED, now)
        return None
    pool = spec.pool(machine.pool)
    if machine.state is not State.READY or pool.recycle:
        return _stop(fleet, machine, Cause.RELEASED, now, "released")
    if pool.template not in {machine.template, None} and fleet.has_come_up(machine.pool, pool.template):
        return _stop(fleet, machine, Cause.RELEASED, now, "released, and made of an older image or setting")
    answers = is_verified(fleet, spec, machine, now) and not fleet.watches[machine.id].misses
    fresh = answers and not fleet.is_doubted(machine)
    state = State.READY if fresh else State.STARTING
    after = replace(machine, state=state, project=None, reason="released", metadata="")
    fleet.apply(machine, after, Cause.RELEASED, now)
    serve_line(fleet, spec, machine.pool, now)
    return fleet.machines[machine.id]


def destroy(fleet: Fleet, machine: Machine, now: float, *, at_once: bool = False) -> Machine | None:
    """Let a machine go with all it holds. Returns it as it is then, or None where nothing is left to remove.

    `at_once`: its worker gets no time to end.
    """
    if machine.gone:
        fleet.apply(machine, None, Cause.DESTROYED, now)
        return None
    if machine.state is not State.STOPPING:
        machine = _stop(fleet, machine, Cause.DESTROYED, now, "destroyed on request")
    if at_once:
        fleet.hurry(machine.id)
    return machine


def restart(fleet: Fleet, machine: Machine, now: float) -> Machine:
    """Start a project's machine again in place, since somebody asked for it. Returns it as it is then.

    It has all its tries again, also where it had failed for good. Raises NotAssigned for one that no project has, NotRunning
    where its container is gone.
    """
    if machine.project is None:
        raise NotAssigned(
            f"No project has {machine.id}, and only a project's machine is restarted: destroy it, and the pool makes "
            "another."
        )
    if machine.gone:
        raise NotRunning(
            f"{machine.id} has no container any more, and its files are gone: release {machine.project} to get a new one."
        )
    after = replace(machine, state=State.STARTING, reason=RESTART_ASKED, evidence="")
    fleet.apply(machine, after, Cause.RESTARTED, now)
    watch = fleet.watches[machine.id]
    watch.since, watch.asked, watch.restarted = now, watch.asked + 1, False
    watch.tries, watch.obstructed = 0, 0
    restart_later(watch, now)
    return after


def withdraw(fleet: Fleet, spec: Spec, machine: Machine, now: float, *, broken: str = "") -> None:
    """Take back an assignment that nobody was told of: to idle, or, if it is `broken`, to FAILED with that reason.

    One that is not READY any more (it exited meanwhile) is let go.
    """
    if broken:
        free = replace(machine, project=None, state=State.FAILED, reason=broken, metadata="")
        raise_backoff(fleet, spec, free, now)
        fleet.apply(machine, free, Cause.WITHDRAWN, now, FailureKind.STOPPED_ANSWERING)
    elif machine.state is State.READY:
        free = replace(machine, project=None, reason="not taken", metadata="")
        fleet.apply(machine, free, Cause.WITHDRAWN, now)
        serve_line(fleet, spec, machine.pool, now)
    elif machine.gone:
        fleet.apply(machine, None, Cause.WITHDRAWN, now)
    else:
        _stop(fleet, machine, Cause.WITHDRAWN, now, "not taken")


def annotate(fleet: Fleet, machine: Machine, metadata: str, now: float) -> Machine:
    """Keep what its project says of a machine, instead of what it said before. Returns the machine as it is then."""
    if machine.metadata == metadata:
        return machine
    after = replace(machine, metadata=metadata)
    fleet.apply(machine, after, Cause.ANNOTATED, now)
    return after


def insist(machine: Machine, generation: int) -> None:
    """The fence of a release or destroy that comes late.

    Raises GenerationMismatch where the machine has changed hands since this generation.
    """
    if machine.generation != generation:
        why = " was assigned anew since then: it" if machine.generation > generation else ""
        raise GenerationMismatch(
            f"{machine.id}{why} is of generation {machine.generation}, not {generation}, so nothing was changed.",
            generation=machine.generation,
        )


def leave_line(fleet: Fleet, project: str) -> None:
    """Forget that this project waits. What is being made for it becomes idle."""
    for pool in fleet.pools.values():
        pool.line.pop(project, None)


def serve_line(fleet: Fleet, spec: Spec, pool: str, now: float) -> None:
    """Give what is idle to those who wait, first come first."""
    line = fleet.pool(pool).line
    while line and (idle := next_idle(fleet, spec, pool, now)) is not None:
        project = next(iter(line))
        del line[project]
        _hand_over(fleet, idle, project, now)


def next_idle(fleet: Fleet, spec: Spec, pool: str, now: float) -> Machine | None:
    """The idle machine to hand out next. One of an older template serves only while none of the current one comes up.

    The one that waited longest, unless it would have to be asked first whether it still serves, and another one has just
    answered: so an assign beside ten thousand idle machines is as quick as beside ten.
    """
    wanted = spec.pool(pool)
    idle = fleet.idle(pool, wanted.template)
    first = _first(fleet, idle)
    if first is not None and not is_verified(fleet, spec, first, now):
        last = fleet.machines[next(reversed(idle))]
        if is_verified(fleet, spec, last, now) and not fleet.is_doubted(last):
            return last
    if first is None and _does_not_come_up(fleet, wanted, pool):
        return _first(fleet, fleet.stale(pool, wanted.template))
    return first


def _first(fleet: Fleet, ids: Iterable[str]) -> Machine | None:
    for machine_id in ids:
        if machine_id not in fleet.doubted:
            return fleet.machines[machine_id]
    return None


def is_verified(fleet: Fleet, spec: Spec, machine: Machine, now: float) -> bool:
    """Whether it answered a probe so recently that it need not be asked again.

    That is enough only as long as the engine would have told of its end since.
    """
    watch = fleet.watches[machine.id]
    is_recent = watch.verified_at is not None and now - watch.verified_at - watch.took_s <= spec.verify_after_s
    return fleet.hears and is_recent


def turn_away(fleet: Fleet, spec: Spec, now: float) -> dict[str, NoMachineAvailable]:
    """Empty the lines in which nothing can come, with the reason for each project.

    Whom an older machine may serve, it serves first: what trips the brake is what lets it.
    """
    away: dict[str, NoMachineAvailable] = {}
    for name, pool in fleet.pools.items():
        serve_line(fleet, spec, name, now)
        why_not = refusal(fleet, spec, name, now) if pool.line else None
        if why_not is not None:
            away.update(dict.fromkeys(pool.line, why_not))
            pool.line.clear()
    return away


def refusal(fleet: Fleet, spec: Spec, pool: str, now: float) -> NoMachineAvailable | None:
    """Why nothing can come in this pool; None where waiting makes sense."""
    wanted = spec.pool(pool)
    if wanted.template is None:
        return None if wanted.pending else NoMachineAvailable(wanted.problem, retry_after_s=10.0)
    if wanted.paused and not fleet.coming(pool, wanted.template):
        return NoMachineAvailable(_paused(pool), retry_after_s=10.0)
    hold = fleet.hold(pool, wanted.template)
    if hold is None or hold.until <= now or fleet.coming(pool, wanted.template):
        return None
    return NoMachineAvailable(hold.says(), retry_after_s=hold.until - now)


def obstacle(fleet: Fleet, spec: Spec, pool: str) -> str:
    """What stood in the way of somebody who waited in vain, in words."""
    wanted, known = spec.pool(pool), fleet.pool(pool)
    if wanted.template is None:
        return wanted.problem
    hold = fleet.hold(pool, wanted.template)
    if hold is not None:
        return hold.says()
    if wanted.paused:
        return _paused(pool)
    if fleet.held >= spec.max_machines:
        return f"All {spec.max_machines} machines (max_machines) are in use."
    if known.out_of_ports:
        return no_port(spec)
    return ""


def no_port(spec: Spec) -> str:
    """That the range of host ports is used up."""
    return (
        f"No host port from {spec.first_port} to {spec.last_port} is free: free some, or serve with a wider range "
        "(--first-port, --last-port)."
    )


def _paused(pool: str) -> str:
    return f"No machine is idle, and the pool {pool} is paused: resume it to have one started."


def _does_not_come_up(fleet: Fleet, wanted: PoolSpec, pool: str) -> bool:
    if wanted.template is None:
        return bool(wanted.problem)
    return wanted.paused or fleet.hold(pool, wanted.template) is not None


def _hand_over(fleet: Fleet, machine: Machine, project: str, now: float) -> Machine:
    fleet.generation += 1
    after = replace(machine, project=project, generation=fleet.generation, reason="assigned")
    fleet.apply(machine, after, Cause.ASSIGNED, now)
    return after


def _stop(fleet: Fleet, machine: Machine, cause: Cause, now: float, reason: str) -> Machine:
    after = replace(machine, state=State.STOPPING, project=None, reason=reason, metadata="")
    fleet.apply(machine, after, cause, now)
    return after
