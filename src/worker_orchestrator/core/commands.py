"""What people ask of the fleet: assign, release, destroy, and the line in which those wait for whom nothing is idle.

Part of the pure core: each function decides and changes the fleet at once, without I/O, so that a command is as fast at
10,000 machines as at ten.
"""

from __future__ import annotations

from msgspec.structs import replace

from worker_orchestrator.core.brake import raise_backoff, restart_later
from worker_orchestrator.core.fleet import RESTART_ASKED, Fleet
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.refusals import ailing, failed, refusal
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.waiting_line import hand_over, is_verified, next_idle, serve_line
from worker_orchestrator.errors import (
    GenerationMismatch,
    MachineNotFound,
    NotAssigned,
    NotRunning,
)

__all__ = ["annotate", "assign", "assign_verified", "destroy", "insist", "release", "restart", "withdraw"]


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
            raise failed(machine)
        if machine.id in fleet.ailing:
            raise ailing(fleet, machine)
        return machine if machine.state is State.READY else None
    line = fleet.pool(pool).line
    idle = None if line else next_idle(fleet, spec, pool, now)
    if idle is not None:
        return hand_over(fleet, idle, project, now)
    why_not = refusal(fleet, spec, pool, now)
    if why_not is not None:
        raise why_not
    line.setdefault(project)
    return None


def assign_verified(fleet: Fleet, spec: Spec, project: str, now: float, pool: str) -> Machine | None:
    """An idle machine that has just answered, for a project that has none; None, and nothing is changed: it takes more."""
    if fleet.pool(pool).line:
        return None
    idle = next_idle(fleet, spec, pool, now)
    if idle is None or not is_verified(fleet, spec, idle, now):
        return None
    return hand_over(fleet, idle, project, now)


def release(fleet: Fleet, spec: Spec, machine: Machine, now: float) -> Machine | None:
    """Take a machine from its project. Returns it as it is then, or None where nothing is left of it.

    One of an older template is used again as long as the current one has not come up: there may be nothing better.
    A free machine stays as it is. Raises MachineNotFound for one that is on its way out.
    """
    if machine.holding is None:
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
    after = replace(machine, state=state, holding=None, reason="released")
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
    if machine.holding is None:
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
        free = replace(machine, holding=None, state=State.FAILED, reason=broken)
        raise_backoff(fleet, spec, free, now)
        fleet.apply(machine, free, Cause.WITHDRAWN, now)
    elif machine.state is State.READY:
        free = replace(machine, holding=None, reason="not taken")
        fleet.apply(machine, free, Cause.WITHDRAWN, now)
        serve_line(fleet, spec, machine.pool, now)
    elif machine.gone:
        fleet.apply(machine, None, Cause.WITHDRAWN, now)
    else:
        _stop(fleet, machine, Cause.WITHDRAWN, now, "not taken")


def annotate(fleet: Fleet, machine: Machine, metadata: str, now: float) -> Machine:
    """Keep what its project says of a machine, instead of what it said before. Returns the machine as it is then."""
    assert machine.holding is not None, f"{machine.id}: no project has it, so none says anything of it"
    if machine.holding.metadata == metadata:
        return machine
    after = replace(machine, holding=replace(machine.holding, metadata=metadata))
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


def _stop(fleet: Fleet, machine: Machine, cause: Cause, now: float, reason: str) -> Machine:
    after = replace(machine, state=State.STOPPING, holding=None, reason=reason)
    fleet.apply(machine, after, cause, now)
    return after
