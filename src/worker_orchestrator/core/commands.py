"""What clients and operators ask of the fleet: assign, sleep, release, withdraw, destroy, restart, annotate.

Each function decides and changes the fleet at once, without I/O and without looking at other machines, so a command is as
fast with 10,000 machines as with ten. What each does with a machine of a project::

                 READY                         STARTING        FAILED                     FAILED, container gone
    assign       returned, or refused if it    it is awaited   refused (MachineFailed)    forgotten, then another one
                 cannot serve now
    release      idle: READY if it has just    STOPPING        STOPPING                   forgotten
                 answered, else STARTING;
                 STARTING, to be cleaned, if
                 it was or could have been
                 configured;
                 STOPPING if the pool recycles
                 or there are keys,
                 a newer template came up, or
                 a configuration may still land
    withdraw     READY; FAILED if it did not   STOPPING        STOPPING                   forgotten
                 answer; STOPPING if it was
                 configured
    destroy      STOPPING                      STOPPING        STOPPING                   forgotten
    restart      STARTING                      STARTING        STARTING                   refused (NotRunning)
    sleep        SLEEPING                      refused (NotRunning), in all three

A machine that sleeps is woken by an assign and by a restart, which wait for room where `max_awake` leaves none (a restart is
refused then). A release and the others are as for one that is STARTING. To put it to sleep changes nothing.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.brake import raise_brake, schedule_restart
from worker_orchestrator.core.configuration import NOT_SENT
from worker_orchestrator.core.expiry import keep
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.key import insist_on_limit, is_full
from worker_orchestrator.core.lease import Asked
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.reasons import (
    CLEANING,
    CLEANING_ANYWAY,
    DESTROYED,
    NOT_RECEIVED,
    RELEASED,
    RELEASED_OUTDATED,
    RELEASED_UNCERTAIN,
    RESTART_REQUESTED,
    SLEEP_REQUESTED,
)
from worker_orchestrator.core.refusals import (
    machine_ailing,
    machine_failed,
    other_pool,
    pool_not_found,
    pool_refusal,
)
from worker_orchestrator.core.sleep import put_to_sleep, wake_or_wait
from worker_orchestrator.core.spec import DEFAULT_POOL, Spec
from worker_orchestrator.core.waiting_line import hand_over, is_verified, next_idle, serve_line
from worker_orchestrator.errors import (
    GenerationMismatch,
    MachineNotFound,
    NotAssigned,
    NotRunning,
)

__all__ = [
    "annotate",
    "assign",
    "assign_verified",
    "check_generation",
    "destroy",
    "pool_for",
    "release",
    "restart",
    "sleep",
    "withdraw",
]

_READY: Final = State.READY
_RELEASED: Final = Cause.RELEASED


def pool_for(fleet: Fleet, spec: Spec, project: str, pool: str | None) -> str:
    """The pool that a request of this project is about if it asks for `pool` (None: for none in particular).

    It is that of the machine that the project has or waits for. Without one it is the pool asked for, else that of a machine
    whose container is gone, else the default pool.

    Raises PoolNotFound if the settings do not name the pool asked for, unless it is the one that the project has; else
    OtherPool if that is another one.
    """
    machine = fleet.of_project(project)
    lost = machine.pool if machine is not None and machine.gone else None
    has = fleet.waiting.get(project) if machine is None or machine.gone else machine.pool
    if pool is not None and pool != has and pool not in spec.pools:
        raise pool_not_found(spec, pool)
    if has is None:
        return pool or (lost if lost in spec.pools else None) or DEFAULT_POOL
    if pool not in {None, has}:
        raise other_pool(project, has, pool, machine)
    return has


def assign(
    fleet: Fleet, spec: Spec, project: str, now: float, pool: str | None = None, asked: Asked | None = None
) -> Machine | None:
    """The machine of this project: its own or an idle one. None: its own is being restarted or woken, or it waits in line.

    `pool` is the pool that its machine must be of. None: whatever machine it has, else one of the default pool. A machine
    that it gets is assigned as it `asked`; one that it has is left as it is.
    Raises MachineFailed if its own has failed for good. Raises NoMachineAvailable, with the reason, if its own cannot serve
    now or if no machine can come. Raises OtherPool and PoolNotFound as `pool_for` does, and KeyLimitReached.
    """
    name = pool_for(fleet, spec, project, pool)
    machine = fleet.of_project(project)
    if machine is not None and machine.gone:
        fleet.apply(machine, None, Cause.FORGOTTEN, now)
        machine = None
    if machine is not None:
        if machine.state is State.FAILED:
            raise machine_failed(spec, machine)
        if machine.id in fleet.ailing:
            raise machine_ailing(fleet, machine)
        if machine.state is State.SLEEPING:
            wake_or_wait(fleet, spec, machine, now)
            return None
        machine = keep(fleet, machine, now)
        return machine if machine.state is _READY else None
    if fleet.keys:
        insist_on_limit(fleet, project)
    idle = None if fleet.pool(name).line else next_idle(fleet, spec, name, now)
    if idle is not None:
        return hand_over(fleet, spec, idle, project, now, asked)
    why_not = pool_refusal(fleet, spec, name, now)
    if why_not is not None:
        raise why_not
    fleet.join_line(name, project, asked)
    return None


def assign_verified(
    fleet: Fleet, spec: Spec, project: str, now: float, pool: str | None = None, asked: Asked | None = None
) -> Machine | None:
    """Hand an idle machine that has just answered to a project that has none. None, and no change, if there is none.

    For commands it must have answered in the last round of probes (`Asked`).

    `pool` and `asked` are as for `assign`. If the settings do not name the pool, or the project waits, that is for `assign`
    to judge.
    """
    name = DEFAULT_POOL if pool is None else pool
    if name not in spec.pools or project in fleet.waiting or fleet.pool(name).line:
        return None
    if fleet.keys and is_full(fleet, project):
        return None
    for_commands = asked is not None and asked.for_commands
    idle = next_idle(fleet, spec, name, now, for_commands=for_commands)
    if idle is None or not is_verified(fleet, spec, idle, now, for_commands=for_commands):
        return None
    return hand_over(fleet, spec, idle, project, now, asked)


def release(fleet: Fleet, spec: Spec, machine: Machine, now: float) -> Machine | None:
    """Take a machine from its project. Returns it as it is then, or None if it is no longer on record.

    A machine of an older template is used again until the current template has come up, because there may be no better one.
    A free machine is returned unchanged. Raises MachineNotFound for a free one that is being removed.
    """
    if machine.holding is None:
        if machine.state in {State.STOPPING, State.FAILED}:
            raise MachineNotFound
        return machine
    if machine.gone:
        fleet.apply(machine, None, _RELEASED, now)
        return None
    pool = spec.pool(machine.pool)
    if machine.state is not _READY or pool.recycle or fleet.keys:  # nobody gets what may hold files of another caller
        return _stop(fleet, machine, _RELEASED, now, RELEASED)
    if pool.template not in {machine.template, None} and fleet.has_come_up(machine.pool, pool.template):
        return _stop(fleet, machine, _RELEASED, now, RELEASED_OUTDATED)
    if machine.configuration is not None or pool.late is not None:
        return _have_cleaned(fleet, spec, machine, now)
    answers = is_verified(fleet, spec, machine, now) and not fleet.watches[machine.id].misses
    fresh = answers and not fleet.is_doubted(machine)
    state = _READY if fresh else State.STARTING
    after = replace(machine, state=state, holding=None, reason=RELEASED)
    fleet.apply(machine, after, _RELEASED, now)
    serve_line(fleet, spec, machine.pool, now)
    return fleet.machines[machine.id]


def _have_cleaned(fleet: Fleet, spec: Spec, machine: Machine, now: float) -> Machine:
    """Take a machine from its project, which is cleaned before another one gets it, or removed if it cannot be.

    One that was not configured may hold as much: what its project left running there would read what the next one sends.
    """
    configuration = machine.configuration or NOT_SENT
    if configuration.may_land or not spec.restarts_in_place:
        return _stop(fleet, machine, _RELEASED, now, RELEASED_UNCERTAIN if configuration.may_land else RELEASED)
    reason = CLEANING if configuration is machine.configuration else CLEANING_ANYWAY
    after = replace(machine, state=State.STARTING, holding=None, reason=reason, configuration=configuration)
    fleet.apply(machine, after, _RELEASED, now)
    return after


def destroy(fleet: Fleet, machine: Machine, now: float, *, at_once: bool = False) -> Machine | None:
    """Remove a machine with its files. Returns it as it is then, or None if there is no container to remove.

    `at_once`: its worker gets no time to end.
    """
    if machine.gone:
        fleet.apply(machine, None, Cause.DESTROYED, now)
        return None
    if machine.state is not State.STOPPING:
        machine = _stop(fleet, machine, Cause.DESTROYED, now, DESTROYED)
    if at_once:
        fleet.hurry(machine.id)
    return machine


def sleep(fleet: Fleet, machine: Machine, now: float) -> Machine:
    """Put a project's machine to sleep, on request. Returns it as it is then; one that sleeps already is left as it is.

    Raises NotAssigned if no project has it, NotRunning if it does not serve.
    """
    if machine.holding is None:
        raise NotAssigned(f"{machine.id} has no project, and only the machine of a project can sleep.")
    if machine.state is State.SLEEPING:
        return machine
    if machine.state is not _READY:
        what = "has failed" if machine.state is State.FAILED else "is being started"
        raise NotRunning(
            f"{machine.id} {what}, and only a machine that serves can be put to sleep. Nothing was changed."
        )
    return put_to_sleep(fleet, machine, SLEEP_REQUESTED, now)


def restart(fleet: Fleet, machine: Machine, now: float) -> Machine:
    """Start a project's machine again in place, on request. Returns it as it is then.

    It has all its restarts again, even if it had failed for good. Raises NotAssigned if no project has it, NotRunning if its
    container is gone. For one that sleeps there must be room (`refusals.insist_on_room`).
    """
    if machine.holding is None:
        raise NotAssigned(
            f"{machine.id} has no project, and only the machine of a project can be restarted. Destroy it instead."
        )
    if machine.gone:
        raise NotRunning(
            f"The container of {machine.id} no longer exists, and neither do its files. Release {machine.project} to get a "
            "new machine."
        )
    machine = keep(fleet, machine, now)
    after = replace(machine, state=State.STARTING, reason=RESTART_REQUESTED, evidence="")
    restarted = fleet.apply(machine, after, Cause.RESTARTED, now).machine
    watch = fleet.watches[machine.id]
    watch.since, watch.restart_requests, watch.restart_acknowledged = now, watch.restart_requests + 1, False
    watch.tries, watch.obstructed_restarts = 0, 0
    schedule_restart(watch, now)
    return restarted


def withdraw(fleet: Fleet, spec: Spec, machine: Machine, now: float, *, broken: str = "") -> None:
    """Take back an assignment that no client has heard of.

    The machine is idle again, or FAILED if `broken` says why it cannot serve. One that is not READY any more, because it
    exited meanwhile, is removed, and so is one that was configured, or may have been used by who looked for it under a key.
    """
    if broken:
        free = replace(machine, holding=None, state=State.FAILED, reason=broken)
        if spec.first_port is None:
            free = replace(free, host="", port=None)  # the engine soon gives this address to another machine
        raise_brake(fleet, spec, free, now)
        fleet.apply(machine, free, Cause.WITHDRAWN, now, FailureKind.STOPPED_ANSWERING)
    elif machine.state is _READY and machine.configuration is None and not fleet.keys:
        free = replace(machine, holding=None, reason=NOT_RECEIVED)
        fleet.apply(machine, free, Cause.WITHDRAWN, now)
        serve_line(fleet, spec, machine.pool, now)
    elif machine.gone:
        fleet.apply(machine, None, Cause.WITHDRAWN, now)
    else:
        _stop(fleet, machine, Cause.WITHDRAWN, now, NOT_RECEIVED)


def annotate(fleet: Fleet, machine: Machine, metadata: str, now: float) -> Machine:
    """Replace the metadata of a project's machine. Returns the machine as it is then."""
    assert machine.holding is not None, f"{machine.id}: no project has it, so none says anything of it"
    if machine.holding.metadata == metadata:
        return machine
    after = replace(machine, holding=replace(machine.holding, metadata=metadata))
    fleet.apply(machine, after, Cause.ANNOTATED, now)
    return after


def check_generation(machine: Machine, generation: int) -> None:
    """The fence against calls that come late.

    Raises GenerationMismatch if the machine has been assigned again since this generation.
    """
    if machine.generation != generation:
        why = ", because it was assigned again since then" if machine.generation > generation else ""
        raise GenerationMismatch(
            f"{machine.id} has generation {machine.generation}, not {generation}{why}. Nothing was changed.",
            generation=machine.generation,
        )


def _stop(fleet: Fleet, machine: Machine, cause: Cause, now: float, reason: str) -> Machine:
    """What its worker wrote is its project's alone, so none of it is kept."""
    after = replace(machine, state=State.STOPPING, holding=None, reason=reason, evidence="")
    fleet.apply(machine, after, cause, now)
    return after
