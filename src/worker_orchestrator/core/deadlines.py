"""When to look again at the latest, because something is due then that nobody reports."""

from __future__ import annotations

from collections.abc import Iterator

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import State
from worker_orchestrator.core.outcomes import start_deadline
from worker_orchestrator.core.parking import next_of_reserve
from worker_orchestrator.core.spec import Spec

__all__ = ["next_deadline", "next_of_leases"]

OVERDUE_S = 0.25


def next_deadline(fleet: Fleet, spec: Spec, now: float) -> float | None:
    """When the next one is due, in monotonic seconds; None if none is.

    It is a start time-out, a retry, the end of a brake's pause, the end of an assignment or its announcement, the time at
    which idle machines were too many for long enough, or when the reserve is to be looked after.
    """
    times = [watch.not_before for watch in fleet.watches.values()]
    times += [not_before for _, not_before in fleet.orphan_retries.values()]
    times += [brake.until for pool in fleet.pools.values() for brake in (pool.image_brake, pool.obstacle) if brake]
    times += _shrinkings(fleet, spec)
    times += next_of_reserve(fleet, spec)
    leases_at = next_of_leases(fleet)
    times += [] if leases_at is None else [leases_at]
    for machine in fleet.machines.values():
        if machine.state is State.STARTING:
            deadline = start_deadline(fleet, spec, machine)
            overdue = machine.is_coming and deadline <= now  # it fails as soon as a probe begun after it is in
            times.append(now + OVERDUE_S if overdue else deadline)
    return min((t for t in times if t > now), default=None)


def next_of_leases(fleet: Fleet) -> float | None:
    """When the next assignment ends or its end is announced, in monotonic seconds; None if none does. Cheap."""
    first = min((at for at in (fleet.timers.first(), fleet.warnings.first()) if at is not None), default=None)
    return None if first is None else max(first, fleet.nothing_expires_before) - fleet.lease_offset


def _shrinkings(fleet: Fleet, spec: Spec) -> Iterator[float]:
    for name, wanted in spec.pools.items():
        pool = fleet.pool(name)
        if pool.too_many_since is not None:
            yield pool.too_many_since + wanted.shrink_after_s
        if pool.shed_since is not None:
            yield pool.shed_since + wanted.shed_after_s
