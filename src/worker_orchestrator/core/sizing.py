"""How each pool keeps its size: which of its machines are surplus, and which are begun in the room that there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import chain, islice

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.host_ports import take_ports
from worker_orchestrator.core.indexes import Members
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.parking import is_due_later, keep_reserve, retire_unknown_reserve
from worker_orchestrator.core.pool import Pool
from worker_orchestrator.core.reasons import NEW, OUTDATED, SURPLUS, UNKNOWN_POOL, UNWANTED
from worker_orchestrator.core.room import (
    Claim,
    claim_of,
    displace,
    displace_for_wakers,
    fair_order,
    make_room,
    may_displace,
    retire_machine,
)
from worker_orchestrator.core.sleep import serve_wakers
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.core.waiting_line import serve_line
from worker_orchestrator.core.wanted import to_be_parked

__all__ = ["new_machine", "note_taken_away", "resize", "resize_all"]


def resize(fleet: Fleet, spec: Spec, now: float, new_id: Callable[[], str]) -> None:
    """Record the machines that are missing and retire the surplus. It needs no listing, so a command may call it at once.

    It looks only at the pools that may need it, so an assign beside a hundred other pools costs what it costs beside none.
    """
    if fleet.wakers:
        serve_wakers(fleet, spec, now)
    claims: list[Claim] = []
    for name in _unsettled(fleet, spec):
        claim = _claim(fleet, spec, name, now)
        if claim is not None:
            claims.append(claim)
    if claims:
        _begin_missing(fleet, spec, claims, now, new_id)
    if fleet.wakers:
        displace_for_wakers(fleet, spec, now)
    if fleet.waiting or fleet.wakers:
        make_room(fleet, spec)


def _claim(fleet: Fleet, spec: Spec, name: str, now: float) -> Claim | None:
    """What this pool claims, after its line was served and its surplus was retired; None where its size is right.

    That pool is looked at no more until something of it changes or, if it was crowded out, until there is room.
    """
    wanted, pool = spec.pools.get(name), fleet.pool(name)
    if wanted is None:
        _retire_unknown(fleet, name, now)
        fleet.unsettled.discard(name)
        return None
    if pool.line:
        serve_line(fleet, spec, name, now)
    members, is_due = fleet.members(name), is_due_later(pool)
    if wanted.parked or members.parked or pool.for_reserve or is_due:
        is_due = keep_reserve(fleet, spec, name, now)
    if wanted.template is None or wanted.paused:
        pool.too_many_since = None
    else:
        size = _size(fleet, wanted, name, wanted.template, pool, members, spec)
        if size is _Size.WRONG:
            _retire_surplus(fleet, wanted, name, wanted.template, now)
            _shed(fleet, wanted, name, wanted.template, now)
            return claim_of(fleet, spec, name, wanted.template, now)
        if size is _Size.CROWDED_OUT:
            fleet.crowded_out.add(name)
    if not (pool.line or is_due):
        fleet.unsettled.discard(name)
    return None


def resize_all(fleet: Fleet, spec: Spec, now: float, new_id: Callable[[], str]) -> None:
    """As `resize`, and look at every pool: once per tick, which trusts nothing that was noted before."""
    fleet.sized_for = None
    resize(fleet, spec, now, new_id)


class _Size(Enum):
    """How the size of a pool is."""

    RIGHT = "right"
    CROWDED_OUT = "crowded out"  # it lacks machines, and the fleet is full
    WRONG = "wrong"


def _unsettled(fleet: Fleet, spec: Spec) -> list[str]:
    """The pools whose size may not be right: first those that are not in the settings, then those that are, in their order.

    The size of any other pool was right, no matter what the others do, and no machine of it, nobody in its line and no
    setting has changed since.
    """
    if fleet.sized_for is not spec:
        fleet.sized_for, fleet.pool_order = spec, {name: place for place, name in enumerate(spec.pools)}
        fleet.unsettled, fleet.crowded_out = {*spec.pools, *fleet.pool_names}, set()
    elif fleet.crowded_out and fleet.slots_held < spec.max_machines and not spec.is_at_max_awake(fleet.awake):
        fleet.unsettled |= fleet.crowded_out
        fleet.crowded_out = set()
    names = list(fleet.unsettled)
    if len(names) > 1:  # seldom after an assign or a release
        names.sort(key=lambda name: (fleet.pool_order.get(name, -1), name))
    return names


def note_taken_away(fleet: Fleet, before: Spec, after: Spec, now: float) -> None:
    """Note which pools have no windows and no `spare` any more, since nothing else would ever shrink them again."""
    for name, had in before.pools.items():
        wanted = after.pools.get(name)
        if wanted is None or wanted.shrinks:
            fleet.pool(name).shed_since = None
        elif had.shrinks:
            fleet.pool(name).shed_since = now


def new_machine(fleet: Fleet, spec: Spec, pool: str, template: str, machine_id: str, now: float) -> Machine | None:
    """Record a machine that is to be created; None if too few host ports are free."""
    own, wanted = fleet.slots_held_by(pool), spec.pool(pool)
    ports: tuple[int, ...] | None = ()
    if spec.first_port is not None:
        ports = take_ports(fleet, spec, wanted.port_count, now)
        fleet.pool(pool).out_of_ports = ports is None
        if ports is None:
            return None
    named = tuple(zip(wanted.port_names, ports, strict=True)) if wanted.port_names and ports else ()
    assert fleet.slots_held < spec.max_machines, f"{fleet.slots_held} machines of {spec.max_machines}"
    assert not spec.is_at_max_awake(fleet.awake), f"{fleet.awake} machines are awake of {spec.max_awake}"
    assert not wanted.is_at_limit(own), f"{own} machines of {wanted.max_machines} of the pool {pool}"
    port = ports[0] if ports else None
    machine = Machine(machine_id, pool, template, State.STARTING, port, reason=NEW, ports=named)
    fleet.apply(None, machine, Cause.CREATED, now)
    return machine


def _size(  # all of it is at hand where this is called, after every assign and release
    fleet: Fleet, wanted: PoolSpec, name: str, template: str, pool: Pool, members: Members, spec: Spec
) -> _Size:
    """Whether a machine is missing or surplus: a quick check, since none is after almost every assign or release."""
    idle = len(members.idle.get(template, ()))
    has_stale = len(members.idle) > (idle > 0)
    if has_stale or pool.too_many_since is not None or pool.shed_since is not None:
        return _Size.WRONG
    least, most = wanted.min_idle, wanted.max_idle
    if wanted.spare or wanted.shrinks:
        least, most = wanted.wanted_idle(members.assigned), wanted.most_idle(members.assigned)
    reserve = to_be_parked(fleet, wanted, name) if wanted.parked else 0
    if (most is not None and idle > most + reserve) or len(members.parked) > (template in members.parked):
        return _Size.WRONG
    waiting = len(pool.line)
    if not (fleet.ailing and waiting) and idle + len(members.coming.get(template, ())) >= least + waiting + reserve:
        return _Size.RIGHT
    if wanted.is_at_limit(members.slots_held):
        return _Size.RIGHT
    if not waiting and (fleet.slots_held >= spec.max_machines or spec.is_at_max_awake(fleet.awake)):
        if len(spec.pools) == 1:
            return _Size.CROWDED_OUT
        lacks = wanted.least_idle - idle - len(members.coming.get(template, ()))
        return _Size.WRONG if may_displace(fleet, spec, name, lacks) else _Size.CROWDED_OUT
    return _Size.WRONG  # for those who wait, another pool may make room


def _begin_missing(fleet: Fleet, spec: Spec, claims: Sequence[Claim], now: float, new_id: Callable[[], str]) -> None:
    """Begin what there is room for, the one that is due first first, and have what is in the way removed."""
    following: Claim | None = None
    too_many, short = math.inf, set[str]()  # so many host ports are not free any more, and for which pools
    for following in fair_order(fleet, claims):
        if spec.is_full(fleet.slots_held, fleet.awake):
            break
        needs = spec.pool(following.pool).port_count
        if needs >= too_many:
            short.add(following.pool)
            continue
        new = new_machine(fleet, spec, following.pool, following.template, new_id(), now)
        if new is not None:
            if following.is_for_reserve:
                fleet.pool(following.pool).for_reserve.add(new.id)
        else:
            too_many = needs
            short.add(following.pool)
            if following.waiting or needs <= min(spec.pool(claim.pool).port_count for claim in claims):
                short.update(claim.pool for claim in claims if claim.waiting + claim.idle + claim.parked > 0)
                break
    for claim in claims if short else ():
        fleet.pool(claim.pool).out_of_ports = claim.pool in short
    displace(fleet, spec, claims, now)
    for claim in claims:
        if _must_break_first(fleet, spec, claim, now, is_next=claim is following):
            name, template = claim.pool, claim.template
            stale = chain(fleet.stale_parked(name, template), fleet.stale(name, template))
            retire_machine(fleet, next(stale), OUTDATED, now)


def _retire_surplus(fleet: Fleet, wanted: PoolSpec, name: str, template: str, now: float) -> None:
    """Retire what was too many for long enough, and as many machines of older templates as new ones have replaced."""
    idle, assigned, pool = fleet.idle(name, template), fleet.assigned_in(name), fleet.pool(name)
    most = wanted.most_idle(assigned)
    surplus = 0 if most is None else len(idle) - most - to_be_parked(fleet, wanted, name)
    if surplus <= 0:
        pool.too_many_since = None
    elif pool.too_many_since is None:
        pool.too_many_since = now
    if pool.too_many_since is not None and now >= pool.too_many_since + wanted.shrink_after_s:
        for machine_id in list(islice(idle, surplus)):
            retire_machine(fleet, machine_id, UNWANTED if wanted.max_idle is None else SURPLUS, now)
        pool.too_many_since = None
    if fleet.has_come_up(name, template):
        stale = list(fleet.stale(name, template))
        keep = max(0, wanted.wanted_idle(assigned) - len(fleet.idle(name, template)))
        for machine_id in stale[: max(0, len(stale) - keep)]:
            retire_machine(fleet, machine_id, OUTDATED, now)


def _shed(fleet: Fleet, wanted: PoolSpec, name: str, template: str, now: float) -> None:
    """Retire, once, what is left of windows or `spare` that were taken from it, unless `max_idle` says what may stay."""
    pool = fleet.pool(name)
    if pool.shed_since is None:
        return
    least = wanted.wanted_idle(fleet.assigned_in(name)) + to_be_parked(fleet, wanted, name)
    idle, coming = fleet.idle(name, template), len(fleet.coming(name, template)) - len(pool.line)
    if wanted.max_idle is not None or len(idle) + coming <= least:
        pool.shed_since = None
    elif now >= pool.shed_since + wanted.shed_after_s:
        for machine_id in list(islice(idle, max(0, len(idle) - least))):
            retire_machine(fleet, machine_id, UNWANTED, now)


def _retire_unknown(fleet: Fleet, name: str, now: float) -> None:
    """Let the idle and the parked machines of a pool go that the settings do not name."""
    pool = fleet.pool(name)
    pool.too_many_since = pool.too_many_parked_since = pool.parks_since = pool.unneeded_since = None
    retire_unknown_reserve(fleet, name, now)
    for machine_id in list(fleet.stale(name, None)):
        retire_machine(fleet, machine_id, UNKNOWN_POOL, now)


def _must_break_first(fleet: Fleet, spec: Spec, claim: Claim, now: float, *, is_next: bool) -> bool:
    """Whether a limit leaves no room for a replacement that is due, so that an old machine must go first.

    Not for an image that does not come up: that would cost what works. A cause outside is found to be mended by a try alone.
    While it is unknown whether the image comes up, its own pool must get the place: `is_next`, or one of its projects waits.
    """
    name, template = claim.pool, claim.template
    if not fleet.has_stale(name, template) and next(fleet.stale_parked(name, template), None) is None:
        return False
    under_way = fleet.coming(name, template) or fleet.leaving(name)
    brake, obstacle = fleet.image_brake(name, template), fleet.obstacle(name, template)
    is_braked = (brake is not None and brake.is_on) or (obstacle is not None and obstacle.until > now)
    is_at_limit = spec.pool(name).is_at_limit(fleet.slots_held_by(name))
    is_full = spec.is_full(fleet.slots_held, fleet.awake) and (
        is_next or claim.waiting > 0 or fleet.has_come_up(name, template)
    )
    return (is_full or is_at_limit) and not under_way and not is_braked
