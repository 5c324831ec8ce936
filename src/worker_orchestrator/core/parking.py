"""The reserve of a pool: machines that answered once and are paused until somebody needs them.

A paused worker uses no processor, and goes on within some ten milliseconds, where a start takes hundreds. A pool that wants
`parked` machines has them beside its idle ones. They come from there and go back there::

    READY, free  ──── more idle than wanted, for 2 s ────►  PARKED     its container is paused
    PARKED       ──── fewer idle than wanted, or a ──────►  STARTING   its container goes on, and it has to answer
                      project waits, or it is to show                  within 5 s
                      that it still answers
    STARTING     ──── it answered ───────────────────────►  READY      as any other, so whoever waits longest gets it

Whoever waits is served from the idle machines, then from the parked ones, and by new machines only then. New machines for
the reserve are begun only while nobody waits and none is on its way out of it, because each start makes these slower.

Only a machine that is known to be paused is taken out of the reserve, so that no pause is under way any more when it is to
go on. If nobody knows how a pause ended, and then the container runs, it may still be paused at any moment, when a project
has it: so it is removed. So is one that runs when the service starts: the last run may have ended while it was being paused.
If the engine refuses to pause a machine, that becomes idle again and nothing more is parked for a minute. If it turns out
not to run, the refusal was about this machine alone, and the minute is over.

How the container of a parked machine is found, and what is done::

    paused          nothing
    runs            it is paused (again), unless it may be paused late: then it is removed
    unknown         it is paused (again), unless it may be paused late: then it is removed if that is still so after a minute
    ended, gone,    its machine FAILED, and is replaced. That says nothing about its image
    on no network

Whoever waits does not have to wait for a wake that hangs while others are parked. If nothing that wakes in a pool has
answered for 1 s, and nothing was woken meanwhile, one more machine is woken, and the next ones 2 s, 4 s and so on later,
until one answers. So an engine that is slow with a burst, but gets on with it, is asked for no more than before.

A machine that was begun for the reserve, or comes from there, goes after `shed_after_s` if it is idle, nobody wants it, and
it never had a project: a smaller reserve was wanted meanwhile, or another machine has taken its place. What projects gave
back stays.

A machine in which somebody has a command or a terminal open is not parked: nothing in what is paused can be ended, so a
command whose time is up would go on later, beside a project.

We considered to have a machine paused in the turn in which it is too many, and decided against it: under `reuse` each
release would pause a machine and each assign wake one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.brake import Failure, fail_machine
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.pool import Pool
from worker_orchestrator.core.reasons import (
    ANSWERED,
    NOT_TO_BE_PARKED,
    OUTDATED,
    PARK_REFUSED,
    PARKED,
    PARKED_UNCERTAIN,
    STILL_ANSWERS,
    TOO_MANY_PARKED,
    UNKNOWN_POOL,
    UNPARKED,
    UNPARKED_FOR_CHECK,
    sentence,
)
from worker_orchestrator.core.room import retire_machine
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.core.waiting_line import does_not_come_up
from worker_orchestrator.core.wanted import count_ailing, to_be_parked

__all__ = [
    "HELD_UP_S",
    "is_due_later",
    "keep_reserve",
    "next_of_reserve",
    "note_listed",
    "note_pause_unknown",
    "note_paused",
    "note_refused",
    "note_refused_is_dead",
    "note_unpark_refused",
    "retire_unknown_reserve",
]

PARK_AFTER_S: Final = 2.0
"""How long idle machines must have been too many before they are parked."""
REFUSED_PAUSE_S: Final = 60.0
"""For how long nothing is parked after the engine refused to pause a machine."""
HELD_UP_S: Final = 1.0
"""For how long no machine that wakes may have answered until one more is woken for whoever waits."""
UNCERTAIN_S: Final = 60.0
"""How long a machine may be one that nobody can use: the engine may pause it late, and cannot say whether it runs."""


def keep_reserve(fleet: Fleet, spec: Spec, name: str, now: float) -> bool:
    """Wake what is needed of this pool's reserve, park what is idle beyond that, and retire what is too much of it.

    Returns whether more of that is due after a while, though nothing changes until then.
    """
    wanted, pool = spec.pool(name), fleet.pool(name)
    if fleet.members(name).parked:
        _wake_missing(fleet, wanted, name, now)
    if wanted.template is None or wanted.paused:
        pool.parks_since = pool.too_many_parked_since = pool.unneeded_since = None
        return False
    _park_surplus(fleet, wanted, name, wanted.template, now)
    _retire(fleet, wanted, name, wanted.template, now)
    if pool.checked not in fleet.coming(name, wanted.template):
        _note_checked(fleet, pool.checked, now)
        pool.checked = ""  # it went back, or is needed: from now on it is as any other
    _wake_for_check(fleet, wanted, name, wanted.template, now)
    _retire_unneeded(fleet, wanted, name, wanted.template, now)
    return is_due_later(pool)


def is_due_later(pool: Pool) -> bool:
    """Whether something of this pool's reserve is due after a while, though nothing changes until then."""
    is_parking, is_shrinking = pool.parks_since is not None, pool.too_many_parked_since is not None
    return is_parking or is_shrinking or pool.unneeded_since is not None


def retire_unknown_reserve(fleet: Fleet, name: str, now: float) -> None:
    """Let the parked machines of a pool go that the settings do not name."""
    for machine_id in list(fleet.all_parked(name)):
        retire_machine(fleet, machine_id, UNKNOWN_POOL, now)


def note_listed(fleet: Fleet, machine: Machine, status: Status, now: float) -> None:
    """A listing shows the container of this parked machine, which has not ended, in this status."""
    watch = fleet.watches[machine.id]
    if status is Status.PAUSED:
        note_paused(fleet, machine)
        return
    watch.is_paused = False
    is_certain = status is not Status.UNKNOWN or now >= watch.state_since + UNCERTAIN_S
    if is_certain and watch.may_be_paused_late:
        retire_machine(fleet, machine.id, PARKED_UNCERTAIN, now)


def note_paused(fleet: Fleet, machine: Machine) -> None:
    """The container of this parked machine is paused, so it may be taken out of the reserve."""
    watch = fleet.watches[machine.id]
    watch.is_paused, watch.may_be_paused_late = True, False
    fleet.unsettled.add(machine.pool)


def note_pause_unknown(fleet: Fleet, machine: Machine) -> None:
    """Nobody knows whether the container of this parked machine was paused, or whether it will be."""
    fleet.watches[machine.id].may_be_paused_late = True


def note_refused(fleet: Fleet, machine: Machine, now: float) -> None:
    """The engine refused to pause this parked machine, so it has to answer and becomes idle."""
    fleet.pool(machine.pool).parks_not_before = now + REFUSED_PAUSE_S
    _unpark(fleet, machine, PARK_REFUSED, now)


def note_unpark_refused(fleet: Fleet, spec: Spec, machine: Machine, why: str, now: float) -> None:
    """The engine refused to let this machine go on. Nobody has files in it, so it is replaced."""
    note_refused_is_dead(fleet, machine)
    failure = Failure(FailureKind.HELD_UP, sentence(why), harmless=True)
    fail_machine(fleet, spec, machine, now, failure)


def note_refused_is_dead(fleet: Fleet, machine: Machine) -> None:
    """This machine, which was to go on, does not run: if the engine had refused to pause it, it would pause others."""
    if machine.reason == PARK_REFUSED:
        fleet.pool(machine.pool).parks_not_before = 0.0


def next_of_reserve(fleet: Fleet, spec: Spec) -> Iterator[float]:
    """When a parked machine is to be checked next, and when idle ones are to be parked, in monotonic seconds."""
    for name in fleet.pool_names:
        wanted, pool = spec.pool(name), fleet.pool(name)
        if pool.parks_since is not None:
            yield max(pool.parks_since + PARK_AFTER_S, pool.parks_not_before)
        if pool.too_many_parked_since is not None:
            yield pool.too_many_parked_since + wanted.shrink_after_s
        if pool.unneeded_since is not None:
            yield pool.unneeded_since + wanted.shed_after_s
        if pool.line and pool.waking and fleet.members(name).parked:
            yield _hastens_at(pool)
        for machine_id in islice(fleet.parked(name, wanted.template), 1):
            yield fleet.watches[machine_id].since + wanted.parked_check_s


def _wake_missing(fleet: Fleet, wanted: PoolSpec, name: str, now: float) -> None:
    """Wake as many parked machines as projects wait for and as idle ones are missing, though some are being created.

    Those of an older template are woken only for projects, and only while the current one does not come up.
    """
    pool, starts = fleet.pool(name), wanted.template is not None and not wanted.paused
    line, waking = len(pool.line), fleet.out_of_reserve(name)
    if pool.waking - {machine.id for machine in waking}:  # one has answered, or failed
        pool.woken_at, pool.hastened = now, 0
    is_held_up = bool(line and waking) and now >= _hastens_at(pool)
    needed = line + (wanted.wanted_idle(fleet.assigned_in(name)) if starts else 0)
    serve = len(fleet.idle(name, wanted.template)) - count_ailing(fleet, wanted, name)
    awake = sum(one.template == wanted.template for one in waking)
    woken = _paused(fleet, fleet.parked(name, wanted.template), max(needed - serve - awake, is_held_up))
    if does_not_come_up(fleet, wanted, name):
        others = (one for one in fleet.all_parked(name) if one not in woken)
        count = max(line - len(waking) - len(woken), is_held_up - len(woken))
        woken = [*woken, *_paused(fleet, others, count)]
    for machine_id in woken:
        _unpark(fleet, fleet.machines[machine_id], UNPARKED, now)
    if woken:
        pool.woken_at, pool.hastened = now, pool.hastened + is_held_up
    pool.waking = frozenset(machine.id for machine in fleet.out_of_reserve(name))


def _hastens_at(pool: Pool) -> float:
    """When one more machine is to be woken, if nothing of what wakes has answered until then and somebody still waits."""
    return pool.woken_at + HELD_UP_S * 2.0**pool.hastened


def _paused(fleet: Fleet, ids: Iterable[str], count: int) -> list[str]:
    """The first of these that are known to be paused."""
    return list(islice((one for one in ids if fleet.watches[one].is_paused), max(0, count)))


def _unpark(fleet: Fleet, machine: Machine, why: str, now: float) -> None:
    fleet.apply(machine, replace(machine, state=State.STARTING, reason=why), Cause.UNPARKED, now)
    fleet.watches[machine.id].unparked_at = now
    fleet.pool(machine.pool).for_reserve.add(machine.id)


def _retire(fleet: Fleet, wanted: PoolSpec, name: str, template: str, now: float) -> None:
    """Retire as many of older templates as new ones have replaced, and what was too much for long enough."""
    pool, current = fleet.pool(name), fleet.parked(name, template)
    stale, count = list(fleet.stale_parked(name, template)), len(current) + fleet.count_checked(name, template)
    if stale and fleet.has_come_up(name, template):
        replaced = len(stale) - max(0, wanted.parked - count)
        for machine_id in stale[: max(0, replaced)]:
            retire_machine(fleet, machine_id, OUTDATED, now)
        stale = []  # those that are left are none too many
    surplus = len(stale) + count - wanted.parked
    if surplus <= 0:
        pool.too_many_parked_since = None
        return
    if pool.too_many_parked_since is None:
        pool.too_many_parked_since = now
    if now >= pool.too_many_parked_since + wanted.shrink_after_s:
        for machine_id in [*stale, *current][:surplus]:
            retire_machine(fleet, machine_id, TOO_MANY_PARKED, now)
        pool.too_many_parked_since = None


def _retire_unneeded(fleet: Fleet, wanted: PoolSpec, name: str, template: str, now: float) -> None:
    """Retire what came up for the reserve, or comes from there, and was wanted by nobody for long enough."""
    pool, idle = fleet.pool(name), fleet.idle(name, template)
    surplus = len(idle) - wanted.wanted_idle(fleet.assigned_in(name)) - to_be_parked(fleet, wanted, name)
    if surplus > 0 or not wanted.parked or len(pool.for_reserve) > 2 * fleet.members(name).count:
        pool.for_reserve = {one for one in pool.for_reserve if _may_be_unneeded(fleet.machines.get(one))}
    candidates = [one for one in idle if one in pool.for_reserve] if surplus > 0 else []
    unneeded = [one for one in candidates if not fleet.machines[one].generation]
    if not unneeded:
        pool.unneeded_since = None
        return
    if pool.unneeded_since is None:
        pool.unneeded_since = now
    if now >= pool.unneeded_since + wanted.shed_after_s:
        for machine_id in unneeded[:surplus]:
            retire_machine(fleet, machine_id, NOT_TO_BE_PARKED, now)
        pool.unneeded_since = None


def _may_be_unneeded(machine: Machine | None) -> bool:
    """Whether this machine has had no project, or one that it was given to a moment ago: that may be undone."""
    return machine is not None and (machine.holding is not None or not machine.generation)


def _wake_for_check(fleet: Fleet, wanted: PoolSpec, name: str, template: str, now: float) -> None:
    """Have the machine answer that has not for longest, one after the other, and only while no other one comes."""
    if fleet.count_coming(name):
        return
    for machine_id in _paused(fleet, fleet.parked(name, template), 1):
        if now >= fleet.watches[machine_id].since + wanted.parked_check_s:
            fleet.pool(name).checked = machine_id
            _unpark(fleet, fleet.machines[machine_id], UNPARKED_FOR_CHECK, now)


def _note_checked(fleet: Fleet, machine_id: str, now: float) -> None:
    """This machine has shown that it answers. If it stays idle that is news, which its answer was not."""
    machine = fleet.machines.get(machine_id)
    if machine is not None and machine.is_idle and machine.reason == STILL_ANSWERS:
        fleet.apply(machine, replace(machine, reason=ANSWERED), Cause.ANSWERED, now)


def _park_surplus(fleet: Fleet, wanted: PoolSpec, name: str, template: str, now: float) -> None:
    """Park what is idle beyond what is wanted, the machine that answered last first. One that was only checked goes back."""
    pool, idle = fleet.pool(name), fleet.idle(name, template)
    surplus = min(to_be_parked(fleet, wanted, name), len(idle) - wanted.wanted_idle(fleet.assigned_in(name)))
    if surplus <= 0 or pool.line:
        pool.parks_since = None
        return
    if pool.parks_since is None:
        pool.parks_since = now
    if now < pool.parks_not_before:
        return
    is_time = now >= pool.parks_since + PARK_AFTER_S
    may_go: Iterable[str] = reversed(idle) if is_time else idle.keys() & {pool.checked}
    sound = list(islice((one for one in may_go if one not in fleet.doubted and one not in fleet.used), surplus))
    for machine_id in sound:
        _park(fleet, machine_id, now)
    if is_time:
        pool.parks_since = None


def _park(fleet: Fleet, machine_id: str, now: float) -> None:
    machine = fleet.machines[machine_id]
    fleet.apply(machine, replace(machine, state=State.PARKED, reason=PARKED), Cause.PARKED, now)
