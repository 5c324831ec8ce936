"""How machines fail, when a failed step is tried again, and the two brakes that keep failures from becoming a storm.

A brake belongs to one template of one pool. It counts attempts and not machines: those that were begun before the last count
belong to the attempt that it counted. While it is on, machines are created one at a time::

    brake                    is raised by                   pause before the next      is let go
    Pool.image_brake         a machine that fails before    1 s, doubling to 300 s     when one comes up; the level is
                             it is READY, or within 10 s                               forgotten 10 minutes later
    Pool.obstacle            a create that something        1 s, doubling to 60 s      when one create succeeds
                             outside prevents (full disk,
                             no address left)

The first machine that comes up and dies within 10 s is noted and costs nothing yet. What belongs to a project never raises a
brake, and has pauses of its own::

    restart of a worker that died                    0, 10, 30, 60, 120, 240 s, then it has failed for good
    restart that something outside prevents          1 s, doubling to 60 s, for as long as it lasts; not counted as a try
    removal that the engine refuses                  1 s, doubling to 60 s
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.reasons import GONE, GONE_AT_START, failed_machine, restart_put_off
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.watch import Watch

__all__ = [
    "RESTART_PAUSES_S",
    "Failure",
    "clear_obstacle",
    "drop_obstructed",
    "fail_machine",
    "failed_predecessor",
    "has_restarts_left",
    "next_restart_at",
    "put_off_orphan",
    "put_off_restart",
    "raise_brake",
    "schedule_restart",
    "schedule_retry",
    "why_gone",
]


BRAKE_MAX_S = 300.0
BRAKE_FORGIVEN_AFTER_S = 600.0
QUICK_DEATH_S = 10.0
RESTART_PAUSES_S = (0.0, 10.0, 30.0, 60.0, 120.0, 240.0)
"""The pause before each restart of a project's machine.

The first restart follows at once, because one death may be chance. The others are spread over minutes, in which a worker
that somebody broke can be repaired. After the last one it has failed for good.
"""
RETRY_MAX_S = 60.0
OBSTACLE_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with a machine: its kind, in words, with its last log lines.

    `gone`: its container is known not to exist. `harmless`: it says nothing about the image, so it raises no brake.
    """

    kind: FailureKind
    reason: str
    evidence: str = ""
    gone: bool = False
    harmless: bool = False


def fail_machine(fleet: Fleet, spec: Spec, machine: Machine, now: float, failure: Failure) -> None:
    """Move a machine to FAILED. It stays with its project, if it has one; else the failure raises the image's brake.

    An address that the engine gave goes to others soon, so a failed machine has none.
    """
    after = replace(machine, state=State.FAILED, reason=failure.reason, evidence=failure.evidence, gone=failure.gone)
    if spec.first_port is None:
        after = replace(after, host="", port=None)
    if machine.holding is None and not failure.harmless:
        raise_brake(fleet, spec, after, now)
    fleet.apply(machine, after, Cause.FAILED, now, failure.kind)


def why_gone(fleet: Fleet, machine: Machine) -> str:
    """The reason of this machine, whose container does not exist any more.

    What is gone already when the service starts may have been removed by the service: a restored database does not know.
    """
    return GONE_AT_START if machine.id in fleet.unlisted else GONE


def schedule_retry(watch: Watch, now: float) -> None:
    """Count one more try of a removal, and say when the next one is due."""
    watch.tries += 1
    watch.not_before = now + _doubling(watch.tries, RETRY_MAX_S)


def put_off_orphan(fleet: Fleet, machine_id: str, now: float) -> None:
    """Count one more removal of an orphan that did not succeed, and say when the next one is due. It has no watch."""
    tries = fleet.orphan_retries.get(machine_id, (0, 0.0))[0] + 1
    fleet.orphan_retries[machine_id] = (tries, now + _doubling(tries, RETRY_MAX_S))


def has_restarts_left(watch: Watch) -> bool:
    """Whether a project's machine may be restarted once more before it has failed for good."""
    return watch.tries < len(RESTART_PAUSES_S)


def next_restart_at(fleet: Fleet, machine: Machine) -> float | None:
    """When the next restart of a project's machine is due, in monotonic seconds; None if none is."""
    watch = fleet.watches.get(machine.id)
    waits = machine.state is State.STARTING and machine.holding is not None
    return watch.not_before if waits and watch is not None and not watch.restart_acknowledged else None


def schedule_restart(watch: Watch, now: float) -> None:
    """Count one more restart of a project's machine, and say when that is due."""
    watch.not_before = now + RESTART_PAUSES_S[min(watch.tries, len(RESTART_PAUSES_S) - 1)]
    watch.tries += 1


def put_off_restart(fleet: Fleet, machine: Machine, now: float, message: str) -> None:
    """Put off a restart that something outside prevents. That is not counted as a try, however long it lasts."""
    watch = fleet.watches[machine.id]
    watch.obstructed_restarts += 1
    watch.not_before = now + _doubling(watch.obstructed_restarts, OBSTACLE_MAX_S)
    reason = restart_put_off(message)
    if machine.reason != reason:
        fleet.apply(machine, replace(machine, reason=reason), Cause.OBSTRUCTED, now)


def drop_obstructed(fleet: Fleet, machine: Machine, now: float, message: str) -> None:
    """Stop a new machine whose create something outside prevents, and raise the obstacle's brake by one attempt."""
    last = fleet.obstacle(machine.pool, machine.template)
    if last is None or fleet.watches[machine.id].born >= last.raised_at:
        level = 1 if last is None else last.level + 1
        until = now + _doubling(level, OBSTACLE_MAX_S)
        fleet.pool(machine.pool).obstacle = Brake(machine.template, level, now, until, is_on=True, reason=message)
    fleet.apply(machine, replace(machine, state=State.STOPPING, reason=message), Cause.OBSTRUCTED, now)


def clear_obstacle(fleet: Fleet, machine: Machine) -> None:
    """A machine of this template was made: no cause outside stands in the way any more."""
    if fleet.obstacle(machine.pool, machine.template) is not None:
        fleet.pool(machine.pool).obstacle = None


def raise_brake(fleet: Fleet, spec: Spec, failed: Machine, now: float) -> None:
    """Count one failed attempt of a template to come up, unless it was counted already or proves nothing."""
    watch, pool = fleet.watches[failed.id], fleet.pool(failed.pool)
    if failed.template != spec.pool(failed.pool).template:
        return
    if watch.ready_at is not None and now - watch.ready_at > QUICK_DEATH_S:
        return
    last = fleet.image_brake(failed.pool, failed.template)
    if last is not None and watch.born < last.raised_at:
        return
    if last is not None and last.good_since is not None and now - last.good_since > BRAKE_FORGIVEN_AFTER_S:
        last = None
    came_up = watch.ready_at is not None
    level = last.level + 1 if last is not None else 0 if came_up else 1
    pool.image_brake = Brake(
        template=failed.template,
        level=level,
        raised_at=now,
        until=now + (_doubling(level, BRAKE_MAX_S) if level else 0.0),
        is_on=level > 0,
        reason=failed_machine(failed.id, failed.reason),
        evidence=failed.evidence,
        good_since=None if level else now,
    )


def failed_predecessor(fleet: Fleet, spec: Spec, name: str) -> Brake | None:
    """The brake of the image before the current one, while it is unknown whether the current one is better.

    It is known once a machine of the current template came up, or failed and raised a brake of its own. None where nothing
    is tried: in a paused pool, and in one that keeps nothing idle while no project waits.
    """
    pool, wanted = fleet.pool(name), spec.pool(name)
    brake, template = pool.image_brake, wanted.template
    if brake is None or not brake.is_on or template is None or template == brake.template or wanted.paused:
        return None
    if pool.proven_at >= brake.raised_at or fleet.has_come_up(name, template):
        return None
    return brake if wanted.wanted_idle(fleet.assigned_in(name)) or fleet.coming(name, template) else None


def _doubling(count: int, longest_s: float) -> float:
    """1 s for the first, doubling, up to `longest_s`."""
    return min(2.0 ** min(count - 1, 30), longest_s)
