"""Which action of the engine is due for a machine.

It is derived from a change the moment that is stored (`follow_up`), and again from the fleet at every tick (`due_action`).
So there is no queue of work, and an action that gets lost costs one tick::

    state, project        due                  unless
    PARKED                pause                its container is paused, or may be paused by an earlier call
    STARTING, from the    go on                its container runs
    reserve
    STARTING, free        create               its container exists, at the right port, and has been started
    STARTING, dirty       clean                -
    STARTING, assigned    restart              its container runs, and nobody requested a restart; or the engine cannot
    SLEEPING              stop                 its container does not run, or is known to have stopped: then somebody
                                               has started it
    STOPPING              destroy, gently if   -
                          it had a project
    FAILED, free          destroy              the container is gone; then only if it lands late
    any other             -
"""

from __future__ import annotations

from worker_orchestrator.core.action import Action, Clean, Create, Destroy, Park, Restart, Stop, Unpark
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Cause, Change, Machine, State
from worker_orchestrator.core.sleep import must_be_stopped
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.unrecorded import is_orphan

__all__ = ["due_action", "follow_up", "removal", "still_wanted"]

_MAYBE_PAUSED = frozenset({Status.PAUSED, Status.UNKNOWN})
_MAYBE_RUNNING = frozenset({Status.RUNNING, Status.UNKNOWN})


def follow_up(fleet: Fleet, change: Change, now: float) -> Action | None:
    """The action that a change makes due at once. The tick finds every action that is put off or got lost."""
    before, after = change.before, change.after
    if after is None or after.id not in fleet.machines:  # it may be gone by now, by a later change of the same batch
        return None
    if after.state is State.STOPPING or (after.state is State.FAILED and after.holding is None and not after.gone):
        return removal(fleet, after)
    if change.cause is Cause.PARKED:
        return Park(after.id)
    if change.cause is Cause.UNPARKED:
        return Unpark(after.id)
    if change.cause is Cause.SLEPT:
        return Stop(after.id, after.pool)
    if after.state is State.STARTING:
        if after.is_dirty:
            return Clean(after.id)
        if before is None or change.cause is Cause.MOVED:
            return Create(after)
        if change.cause in {Cause.RESTARTED, Cause.WOKEN} and fleet.watches[after.id].not_before <= now:
            return Restart(after.id, stop_first=fleet.watches[after.id].restart_requests > 0)
    return None


def removal(fleet: Fleet, machine: Machine) -> Destroy:
    """The removal of a machine, gently if it had a project."""
    if not fleet.watches[machine.id].ends_gently:
        return Destroy(machine.id)
    return Destroy(machine.id, gently=True, pool=machine.pool)


def due_action(fleet: Fleet, spec: Spec, machine: Machine, instance: Instance | None, now: float) -> Action | None:
    """The action that is due for a machine now, whatever happened before. `instance` is what the listing shows of it."""
    if fleet.watches[machine.id].not_before > now:
        return None
    match machine.state:
        case State.STARTING if machine.holding is None:
            return _due_of_coming(spec, machine, instance)
        case State.PARKED if not fleet.watches[machine.id].may_be_paused_late:
            return Park(machine.id) if instance is not None and instance.status in _MAYBE_RUNNING else None
        case State.STARTING if spec.restarts_in_place:
            is_stopped = instance is not None and instance.status in {Status.EXITED, Status.CREATED}
            is_requested = fleet.watches[machine.id].restart_requests > 0 and instance is not None
            return Restart(machine.id, stop_first=is_requested) if is_stopped or is_requested else None
        case State.SLEEPING if instance is not None and must_be_stopped(machine, instance.status):
            return Stop(machine.id, machine.pool)
        case State.STOPPING:
            return removal(fleet, machine)
        case State.FAILED if machine.holding is None and not machine.gone:
            return Destroy(machine.id)
        case State.FAILED if machine.holding is None and instance is not None and is_orphan(fleet, instance):
            # It was removed, and its create landed late. A container that had vanished by itself is left alone.
            return Destroy(machine.id)
    return None


def _due_of_coming(spec: Spec, machine: Machine, instance: Instance | None) -> Action | None:
    if machine.is_dirty:
        return Clean(machine.id)
    if machine.is_unparking:
        return Unpark(machine.id) if instance is not None and instance.status in _MAYBE_PAUSED else None
    waits = instance is None or instance.status is Status.CREATED
    is_moved = spec.first_port is not None and instance is not None and _is_elsewhere(machine, instance)
    return Create(machine) if waits or is_moved else None


def _is_elsewhere(machine: Machine, instance: Instance) -> bool:
    """Whether it has other host ports than were planned: an earlier create landed late."""
    return instance.port not in {None, machine.port} or instance.ports not in ((), machine.ports)


def still_wanted(fleet: Fleet, action: Action) -> bool:
    """Whether an action that was planned a moment ago is still right. A machine of a project is never destroyed."""
    machine = fleet.machines.get(action.machine_id)
    if isinstance(action, Create):
        return machine == action.machine and action.machine.is_coming
    if isinstance(action, Clean):
        return machine is not None and machine.state is State.STARTING and machine.is_dirty
    if isinstance(action, Park):
        return machine is not None and machine.state is State.PARKED
    if isinstance(action, Unpark):
        return machine is not None and machine.is_unparking
    if isinstance(action, Restart):
        return machine is not None and machine.state is State.STARTING and machine.holding is not None
    if isinstance(action, Stop):
        return machine is not None and machine.state is State.SLEEPING and not machine.is_asleep
    if machine is None:
        return action.machine_id in fleet.tombstones
    if machine.gone and action.machine_id not in fleet.tombstones:
        return False  # it vanished by itself: if a container turns up under its id, somebody may have files in it
    return machine.state is State.STOPPING or (machine.state is State.FAILED and machine.holding is None)
