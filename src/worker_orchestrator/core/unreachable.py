"""Machines of projects that the engine has lost sight of, as when their node does not report.

Nobody knows whether such a machine still runs. So its project keeps it, with its address, however long that lasts: a node
that was only cut off comes back with all files. An operator for whom a new machine is worth more than these files sets
`unreachable_grace`. Even then nothing happens by itself: only a project that asks again, after the grace, gets another one.

The time that counts is that of the last listing, so none passes while the engine itself is away. It begins anew with each
run of the service.
"""

from __future__ import annotations

from msgspec.structs import replace

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.reasons import RELEASED_UNREACHABLE
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.waiting_line import does_not_come_up, next_idle

__all__ = ["give_up", "is_unreachable"]


def is_unreachable(fleet: Fleet, machine: Machine) -> bool:
    """Whether the engine could not tell, when it listed last, what became of this machine of a project."""
    watch = fleet.watches.get(machine.id)  # none of one that is shown as it was when its record went
    return machine.holding is not None and watch is not None and watch.unreachable_s is not None


def give_up(fleet: Fleet, spec: Spec, project: str, pool: str | None, now: float) -> str | None:
    """Take an unreachable machine from its project, which asks for one, if its pool's grace is over.

    Returns the pool of that machine, where the project gets its next one; None, and nothing is changed, if it keeps what it
    has: also if it asks for another `pool`, and if no other machine would come.
    """
    machine = fleet.of_project(project)
    if machine is None or machine.state not in {State.READY, State.STARTING} or pool not in {None, machine.pool}:
        return None
    wanted, lost_s = spec.pool(machine.pool), fleet.watches[machine.id].unreachable_s
    if not wanted.unreachable_grace_s or lost_s is None or lost_s <= wanted.unreachable_grace_s:
        return None
    if does_not_come_up(fleet, wanted, machine.pool) and next_idle(fleet, spec, machine.pool, now) is None:
        return None
    after = replace(machine, state=State.STOPPING, holding=None, reason=RELEASED_UNREACHABLE, evidence="")
    fleet.apply(machine, after, Cause.RELEASED, now)
    return machine.pool
