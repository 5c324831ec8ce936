"""How a machine falls asleep and wakes: its container is stopped and started again in place, and its project keeps it.

A machine that sleeps is SLEEPING from the decision on. Its reason says how far that is, so it is stored as well::

    falling asleep   its container is to be stopped. If it runs, or if nobody knows whether it does, it is stopped (again)
    asleep           its container is known to have stopped: the engine said so, or a listing showed it. If it runs after
                     that, somebody else has started it, so the machine is awake

It wakes when its project asks for it: it is STARTING then, as one that is restarted is. If its container was only being
stopped, what answers may be about to end, so the machine must be restarted, whatever is seen of it until then.

With `max_awake` there may be no room to wake a machine. Its project waits for that in `Fleet.wakers`. It comes before
projects that wait for a new machine, since it needs none. If no room becomes free anyway, an idle machine goes for it.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.brake import schedule_restart
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.lease import EndsBy
from worker_orchestrator.core.machine import Cause, Holding, Machine, State
from worker_orchestrator.core.reasons import RUNS_AGAIN, WOKEN, WOKEN_EARLY, asleep, falling_asleep
from worker_orchestrator.core.spec import Spec

__all__ = [
    "has_room_to_wake",
    "must_be_stopped",
    "note_listed",
    "note_stopped",
    "put_to_sleep",
    "serve_wakers",
    "try_at_once",
    "wake_or_wait",
]

_RUNS: Final = frozenset({Status.RUNNING, Status.PAUSED})
_STOPPED: Final = frozenset({Status.EXITED, Status.CREATED})


def put_to_sleep(fleet: Fleet, machine: Machine, why: str, now: float, deadline: EndsBy | None = None) -> Machine:
    """Have this READY machine of a project stopped, for this reason (a sentence). Returns it as it is then.

    `deadline` is the one that has passed, if that is the reason.
    """
    assert machine.state is State.READY, f"{machine.id} is {machine.state}, so it cannot be put to sleep"
    after = replace(machine, state=State.SLEEPING, reason=falling_asleep(why), evidence="")
    return fleet.apply(machine, after, Cause.SLEPT, now, deadline=deadline).machine


def note_stopped(fleet: Fleet, machine: Machine, now: float) -> None:
    """The container of this sleeping machine has stopped."""
    if not machine.is_asleep:
        fleet.apply(machine, replace(machine, reason=asleep(machine.reason)), Cause.ASLEEP, now)


def note_listed(fleet: Fleet, machine: Machine, status: Status, now: float) -> None:
    """A listing shows the container of this sleeping machine in this status."""
    if status in _STOPPED:
        note_stopped(fleet, machine, now)
    elif status in _RUNS and machine.is_asleep:
        holding = _with_new_lease(fleet, machine, now)
        fleet.apply(
            machine, replace(machine, state=State.STARTING, holding=holding, reason=RUNS_AGAIN), Cause.REVIVED, now
        )


def must_be_stopped(machine: Machine, status: Status) -> bool:
    """Whether the container of this sleeping machine, which is in this status, is still to be stopped."""
    return (status in _RUNS or status is Status.UNKNOWN) and not machine.is_asleep


def has_room_to_wake(fleet: Fleet, spec: Spec, machine: Machine) -> bool:
    """Whether this sleeping machine may run. One that is only falling asleep has its room still."""
    return not (machine.is_asleep and spec.is_at_max_awake(fleet.awake))


def wake_or_wait(fleet: Fleet, spec: Spec, machine: Machine, now: float) -> None:
    """Wake this sleeping machine for its project, or have the project wait for room to do so."""
    assert machine.holding is not None, f"{machine.id}: no project has it, so it does not sleep"
    if has_room_to_wake(fleet, spec, machine):
        _wake(fleet, machine, now)
    else:
        fleet.wakers.setdefault(machine.holding.project)


def serve_wakers(fleet: Fleet, spec: Spec, now: float) -> None:
    """Wake the machines of projects that wait for room, the first to ask first, as far as there is some."""
    while fleet.wakers and not spec.is_at_max_awake(fleet.awake):
        machine = fleet.of_project(next(iter(fleet.wakers)))
        assert machine is not None, "who waits to wake a machine has one"
        _wake(fleet, machine, now)


def try_at_once(fleet: Fleet, machine: Machine, now: float) -> None:
    """Try again to start this machine, whose host port was taken, without waiting any longer."""
    watch = fleet.watches[machine.id]
    if watch.port_is_taken:
        watch.not_before = min(watch.not_before, now)


def _wake(fleet: Fleet, machine: Machine, now: float) -> None:
    """It has all its restarts again, and its lease begins anew."""
    holding, reason = _with_new_lease(fleet, machine, now), WOKEN if machine.is_asleep else WOKEN_EARLY
    fleet.apply(machine, replace(machine, state=State.STARTING, holding=holding, reason=reason), Cause.WOKEN, now)
    watch = fleet.watches[machine.id]
    watch.restart_requests = 0 if machine.is_asleep else 1
    watch.tries, watch.obstructed_restarts = 0, 0
    schedule_restart(watch, now)


def _with_new_lease(fleet: Fleet, machine: Machine, now: float) -> Holding:
    """What its project has, from now on for as long as its terms say."""
    holding, at = machine.holding, fleet.lease_time(now)
    assert holding is not None, f"{machine.id}: no project has it, so it does not sleep"
    if holding.lease is None:
        return holding
    fleet.quiet(machine.id).note_activity(at)
    return replace(holding, lease=replace(holding.lease, renewed_at=at, is_used=True))
