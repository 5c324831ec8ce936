"""The line in which projects wait when no machine is idle, and which idle machine is handed out next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.lease import Asked, Lease, agreed
from worker_orchestrator.core.machine import Cause, Holding, Machine
from worker_orchestrator.core.reasons import ASSIGNED
from worker_orchestrator.core.refusals import pool_refusal
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.errors import NoMachineAvailable

__all__ = [
    "does_not_come_up",
    "goes_stale",
    "hand_over",
    "is_verified",
    "leave_line",
    "next_idle",
    "serve_line",
    "turn_away",
]

RECENT_S: Final = 15.0
"""For so long a worker's answer says enough of a machine in which commands will run.

Idle machines answer at each refresh, every 10 s by default, and the end of one is reported at once.
"""
_ASSIGNED: Final = Cause.ASSIGNED


def leave_line(fleet: Fleet, project: str) -> None:
    """Forget that this project waits. A machine that is being made for it becomes idle."""
    fleet.leave_line(project)


def serve_line(fleet: Fleet, spec: Spec, pool: str, now: float) -> None:
    """Hand idle machines to the projects that wait, the first in line first."""
    line = fleet.pool(pool).line
    while line and (idle := next_idle(fleet, spec, pool, now)) is not None:
        project = next(iter(line))
        asked = fleet.asked.get(project)
        fleet.leave_line(project)
        hand_over(fleet, spec, idle, project, now, asked)


def turn_away(fleet: Fleet, spec: Spec, now: float) -> dict[str, NoMachineAvailable]:
    """Empty the lines of pools in which no machine can come. Returns the reason for each project that waited there.

    Each line is served first, because a brake that has just been raised lets machines of an older template serve.
    """
    away: dict[str, NoMachineAvailable] = {}
    if not fleet.waiting:
        return away
    for name, pool in fleet.pools.items():
        serve_line(fleet, spec, name, now)
        why_not = pool_refusal(fleet, spec, name, now) if pool.line else None
        if why_not is not None:
            for project in list(pool.line):
                away[project] = why_not
                fleet.leave_line(project)
    return away


def next_idle(fleet: Fleet, spec: Spec, pool: str, now: float, *, for_commands: bool = False) -> Machine | None:
    """The idle machine to hand out next; None if there is none.

    It is the one that waited longest, unless that one would have to be probed first and another one has just answered. So an
    assign with ten thousand idle machines is as fast as with ten. A machine of an older template serves only while the
    current template does not come up. `for_commands` is as in `Asked`.
    """
    wanted = spec.pool(pool)
    idle = fleet.idle(pool, wanted.template)
    first = _first_undoubted(fleet, idle)
    if first is not None and not is_verified(fleet, spec, first, now, for_commands=for_commands):
        last = fleet.machines[next(reversed(idle))]
        if is_verified(fleet, spec, last, now, for_commands=for_commands) and not fleet.is_doubted(last):
            return last
    if first is None and does_not_come_up(fleet, wanted, pool):
        return _first_undoubted(fleet, fleet.stale(pool, wanted.template))
    return first


def _first_undoubted(fleet: Fleet, ids: Iterable[str]) -> Machine | None:
    for machine_id in ids:
        if machine_id not in fleet.doubted:
            return fleet.machines[machine_id]
    return None


def is_verified(fleet: Fleet, spec: Spec, machine: Machine, now: float, *, for_commands: bool = False) -> bool:
    """Whether it answered a probe so recently that it need not be probed again. `for_commands` is as in `Asked`.

    A recent answer is enough only if the engine would have reported the machine's end since, and if it came after the last
    doubt: a listing that denies a doubt shows that the worker runs, and not that it serves.
    """
    watch = fleet.watches[machine.id]
    if watch.verified_at is None or watch.verified_at < watch.doubted_until:
        return False
    longest_s = max(RECENT_S, spec.verify_after_s) if for_commands else spec.verify_after_s
    return fleet.hears_events and now - watch.verified_at - watch.answer_s <= longest_s


def goes_stale(fleet: Fleet, spec: Spec, machine: Machine, now: float) -> bool:
    """Whether the last answer of this machine, which is idle, counts no longer than half as long as one does."""
    verified_at = fleet.watches[machine.id].verified_at
    return verified_at is None or now - verified_at > spec.verify_after_s / 2


def does_not_come_up(fleet: Fleet, wanted: PoolSpec, pool: str) -> bool:
    """Whether no machine of the current template is to be expected soon."""
    if wanted.template is None:
        return bool(wanted.problem)
    return wanted.paused or fleet.brake_in_force(pool, wanted.template) is not None


def hand_over(
    fleet: Fleet, spec: Spec, machine: Machine, project: str, now: float, asked: Asked | None = None
) -> Machine:
    """Assign an idle machine to a project, on the terms of its pool but for what the project `asked`.

    Returns it as it is then, with its own generation.
    """
    fleet.generation += 1
    pool = spec.pool(machine.pool)
    holding = Holding(project)
    if asked is not None:
        holding = _as_asked(pool, project, asked, fleet.lease_time(now))
    elif pool.terms is not None:
        at = fleet.lease_time(now)
        holding = Holding(project, lease=Lease(pool.terms, at, at, on_expiry=pool.on_expiry))
    after = replace(machine, holding=holding, generation=fleet.generation, reason=ASSIGNED)
    fleet.apply(machine, after, _ASSIGNED, now)
    return after


def _as_asked(pool: PoolSpec, project: str, asked: Asked, at: float) -> Holding:
    terms = agreed(pool.terms, asked.terms)
    lease = Lease(terms, at, at, on_expiry=pool.on_expiry) if terms else None
    return Holding(project, asked.metadata or "", lease)
