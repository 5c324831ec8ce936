"""How machines fail, and the brake that keeps a broken image from becoming a storm.

Part of the pure core. The brake is per pool and template and counts attempts, not machines: 1 s doubling to 300 s, one
attempt at a time until one comes up, forgotten after ten good minutes. What is no fault of an image (a full disk, no address
left) has a brake of its own: 1 s doubling to a minute, gone as soon as one machine is made.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from worker_orchestrator.core.fleet import Backoff, Fleet, Watch
from worker_orchestrator.core.machine import Cause, FailureKind, Machine, Spec, State

__all__ = [
    "RESTART_PAUSES_S",
    "Failure",
    "clear_obstacle",
    "fail",
    "may_restart",
    "obstruct",
    "obstructed_restart",
    "raise_backoff",
    "restart_later",
    "try_later",
]


BACKOFF_MAX_S = 300.0
BACKOFF_FORGIVEN_AFTER_S = 600.0
QUICK_DEATH_S = 10.0
RESTART_PAUSES_S = (0.0, 10.0, 30.0, 60.0, 120.0, 240.0)
"""Before each restart of a project's machine: at once, since one death may be chance, then over minutes, in which somebody
may mend what he broke. After the last it failed for good."""
RETRY_MAX_S = 60.0
OBSTACLE_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with a machine: its kind, in words, the last log lines, and what it means.

    `gone`: its container is known not to exist. `harmless`: it says nothing of the image, so the brake stays off.
    """

    kind: FailureKind
    reason: str
    evidence: str = ""
    gone: bool = False
    harmless: bool = False


def fail(fleet: Fleet, spec: Spec, machine: Machine, now: float, failure: Failure) -> None:
    """Move a machine to FAILED. It keeps its project, if it has one; else its pool's brake learns of it.

    An address that the engine gave goes to others soon, so a failed machine has none.
    """
    after = replace(machine, state=State.FAILED, reason=failure.reason, evidence=failure.evidence, gone=failure.gone)
    if spec.first_port is None:
        after = replace(after, host="", port=None)
    if machine.project is None and not failure.harmless:
        raise_backoff(fleet, spec, after, now)
    fleet.apply(machine, after, Cause.FAILED, now, failure.kind)


def try_later(watch: Watch, now: float) -> None:
    """Count one more try, and put off the next one: 1 s, doubling."""
    watch.tries += 1
    watch.not_before = now + _doubling(watch.tries, RETRY_MAX_S)


def may_restart(watch: Watch) -> bool:
    """Whether a project's machine has tries left."""
    return watch.tries < len(RESTART_PAUSES_S)


def restart_later(watch: Watch, now: float) -> None:
    """Count one more restart of a project's machine, and say when it is due."""
    watch.not_before = now + RESTART_PAUSES_S[min(watch.tries, len(RESTART_PAUSES_S) - 1)]
    watch.tries += 1


def obstructed_restart(fleet: Fleet, machine: Machine, now: float, message: str) -> None:
    """Put off a restart that a cause outside stands in the way of: no try, and no end of tries, for as long as it lasts."""
    watch = fleet.watches[machine.id]
    watch.obstructed += 1
    watch.not_before = now + _doubling(watch.obstructed, OBSTACLE_MAX_S)
    reason = f"waits to be started again: {message}"
    if machine.reason != reason:
        fleet.apply(machine, replace(machine, reason=reason), Cause.OBSTRUCTED, now)


def obstruct(fleet: Fleet, machine: Machine, now: float, message: str) -> None:
    """Let a new machine go that a cause outside stands in the way of, and count one attempt, as `raise_backoff` does."""
    last = fleet.obstacle(machine.pool, machine.template)
    if last is None or fleet.watches[machine.id].born >= last.raised_at:
        level = 1 if last is None else last.level + 1
        until = now + _doubling(level, OBSTACLE_MAX_S)
        fleet.pool(machine.pool).obstacle = Backoff(machine.template, level, now, until, tripped=True, reason=message)
    fleet.apply(machine, replace(machine, state=State.STOPPING, reason=message), Cause.OBSTRUCTED, now)


def clear_obstacle(fleet: Fleet, machine: Machine) -> None:
    """A machine of this template was made: no cause outside stands in the way any more."""
    if fleet.obstacle(machine.pool, machine.template) is not None:
        fleet.pool(machine.pool).obstacle = None


def raise_backoff(fleet: Fleet, spec: Spec, failed: Machine, now: float) -> None:
    """Count one failed attempt of a template to come up.

    Machines that were begun before the last count belong to the attempt that it counted. The first machine that came up
    and died soon costs nothing yet.
    """
    watch, pool = fleet.watches[failed.id], fleet.pool(failed.pool)
    if failed.template != spec.pool(failed.pool).template:
        return
    if watch.ready_at is not None and now - watch.ready_at > QUICK_DEATH_S:
        return
    last = fleet.brake(failed.pool, failed.template)
    if last is not None and watch.born < last.raised_at:
        return
    if last is not None and last.good_since is not None and now - last.good_since > BACKOFF_FORGIVEN_AFTER_S:
        last = None
    came_up = watch.ready_at is not None
    level = last.level + 1 if last is not None else 0 if came_up else 1
    pool.backoff = Backoff(
        template=failed.template,
        level=level,
        raised_at=now,
        until=now + (_doubling(level, BACKOFF_MAX_S) if level else 0.0),
        tripped=level > 0,
        reason=f"{failed.id}: {failed.reason}",
        evidence=failed.evidence,
        good_since=None if level else now,
    )


def _doubling(count: int, longest_s: float) -> float:
    """1 s for the first, doubling, up to `longest_s`."""
    return min(2.0 ** min(count - 1, 30), longest_s)
