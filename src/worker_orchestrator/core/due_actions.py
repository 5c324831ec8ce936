"""Which action of the engine is due for a machine.

It is derived from a change the moment that is stored, and again from the fleet at every tick, so nothing here is a queue of
work, and an action that got lost costs one tick.
"""

from __future__ import annotations

from worker_orchestrator.core.action import Action, Create, Destroy, Restart
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Cause, Change, Machine, State
from worker_orchestrator.core.unrecorded import is_orphan

__all__ = ["follow_up", "still_wanted", "unfinished"]


def follow_up(fleet: Fleet, change: Change, now: float) -> Action | None:
    """What a change asks of the engine, at once. The tick asks again for whatever is put off or got lost."""
    before, after = change.before, change.after
    if after is None:
        return None
    if after.state is State.STOPPING or (after.state is State.FAILED and after.holding is None and not after.gone):
        return Destroy(after.id, gently=fleet.watches[after.id].held)
    if after.state is State.STARTING:
        if before is None or change.cause is Cause.MOVED:
            return Create(after)
        if change.cause is Cause.RESTARTED and fleet.watches[after.id].not_before <= now:
            return Restart(after.id, stop_first=fleet.watches[after.id].asked > 0)
    return None


def unfinished(fleet: Fleet, machine: Machine, instance: Instance | None, now: float) -> Action | None:
    if fleet.watches[machine.id].not_before > now:
        return None
    match machine.state:
        case State.STARTING if machine.holding is None:
            waits = instance is None or instance.status is Status.CREATED or instance.port not in {None, machine.port}
            return Create(machine) if waits else None
        case State.STARTING:
            stands = instance is not None and instance.status in {Status.EXITED, Status.CREATED}
            asked = fleet.watches[machine.id].asked > 0 and instance is not None
            return Restart(machine.id, stop_first=asked) if stands or asked else None
        case State.STOPPING:
            return Destroy(machine.id, gently=fleet.watches[machine.id].held)
        case State.FAILED if machine.holding is None and not machine.gone:
            return Destroy(machine.id)
        case State.FAILED if machine.holding is None and instance is not None and is_orphan(fleet, instance):
            return Destroy(machine.id)  # it was removed, and landed late; one that had vanished is left alone
    return None


def still_wanted(fleet: Fleet, action: Action) -> bool:
    """Whether an action that was planned a moment ago is still right. What holds a project is never destroyed."""
    machine = fleet.machines.get(action.machine_id)
    if isinstance(action, Create):
        return machine == action.machine and action.machine.is_coming
    if isinstance(action, Restart):
        return machine is not None and machine.state is State.STARTING and machine.holding is not None
    if machine is None:
        return action.machine_id in fleet.tombstones
    if machine.gone and action.machine_id not in fleet.tombstones:
        return False  # it vanished by itself: what turns up is not ours to judge
    return machine.state is State.STOPPING or (machine.state is State.FAILED and machine.holding is None)
