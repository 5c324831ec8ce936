"""Which pools get the room that is left in the fleet, and what makes room where there is none.

Room goes to one machine after the other, in this order::

    0. sleeping machines     whose projects wait for them: they need a place under `max_awake` alone (`core/sleep`)
    1. projects that wait    whoever waits longest, over all pools
    2. below min_idle        the pool that has least of its `min_idle`; of two equal ones the first by name
    3. below `spare`         the pool that has least of what it wants
    4. below `parked`        by name, and only while nobody waits for a machine that is on its way
    5. outdated machines     one replacement per pool, by name

A pool that could not use room now (it is paused, without a template, braked, or at its own limit) claims none, so it keeps
none from the others. If no slot or no port is left while projects wait, a parked machine of another pool goes, else an idle
one that another pool has above its `min_idle`. For a machine that is to wake, any idle machine goes if nothing else can.

A pool that has fewer idle machines than were asked for in writing gets the places of machines that another pool has parked
and nobody asked for in writing: those are there because demand is expected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace, merge
from itertools import islice

from msgspec.structs import replace

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Cause, State
from worker_orchestrator.core.reasons import DISPLACED, DISPLACED_BY_MIN_IDLE, DISPLACED_BY_WAKER
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.wanted import count_ailing, shortage, startable

__all__ = [
    "Claim",
    "claim_of",
    "displace",
    "displace_for_wakers",
    "fair_order",
    "make_room",
    "may_displace",
    "retire_machine",
]


@dataclass(slots=True, eq=False)
class Claim:
    """The room that one pool could use now: for projects that wait, for idle machines, and for parked ones.

    `served`: how many projects at the head of its line have a machine coming already. `has`: its idle machines, with those
    that come to be idle. Those that cannot serve now do not count while projects wait. `least_idle` of `min_idle` are asked
    for in writing.
    """

    pool: str
    template: str
    waiting: int
    idle: int
    served: int
    has: int
    min_idle: int
    least_idle: int
    wanted_idle: int
    parked: int

    @property
    def is_for_reserve(self) -> bool:
        """Whether the next place is for its reserve: all else has what it lacks."""
        return not (self.waiting or self.idle)


def claim_of(fleet: Fleet, spec: Spec, name: str, template: str, now: float) -> Claim:
    """What this pool claims now. It is not paused, and `template` is its own."""
    wanted, waiting = spec.pool(name), len(fleet.pool(name).line)
    lacks, most = shortage(fleet, wanted, name), startable(fleet, spec, name, template, now)
    for_line = min(lacks.waiting, most)
    served = waiting - lacks.waiting
    has = fleet.count_idle(name) - count_ailing(fleet, wanted, name) + len(fleet.coming(name, template)) - served
    wanted_idle = wanted.wanted_idle(fleet.assigned_in(name))
    idle = min(lacks.idle, most - for_line)
    parked = min(lacks.parked, most - idle)  # where somebody waits none is begun
    return Claim(name, template, for_line, idle, served, has, wanted.min_idle, wanted.least_idle, wanted_idle, parked)


def _is_quiet(fleet: Fleet) -> bool:
    """Whether nobody waits for a machine that is on its way: each start would make that slower."""
    return not fleet.unparking and not any(fleet.count_coming(name) for name in set(fleet.waiting.values()))


def fair_order(fleet: Fleet, claims: Sequence[Claim]) -> Iterator[Claim]:
    """The claim that gets the next place, one after the other, until all are met.

    It has got the place, and counts down, when the one after it is asked for.
    """
    by_ticket = merge(*(_tickets(fleet, number, claim) for number, claim in enumerate(claims)))
    for _, number in by_ticket:
        yield claims[number]
        claims[number].waiting -= 1
    if not _is_quiet(fleet):
        for claim in claims:
            claim.parked = 0
    by_need = [(*_need(claim), claim.pool, number) for number, claim in enumerate(claims) if claim.idle or claim.parked]
    heapify(by_need)
    while by_need:
        number = by_need[0][-1]
        claim = claims[number]
        yield claim
        if claim.idle:
            claim.idle -= 1
            claim.has += 1
        else:
            claim.parked -= 1
        if claim.idle or claim.parked:
            heapreplace(by_need, (*_need(claim), claim.pool, number))
        else:
            heappop(by_need)


def _tickets(fleet: Fleet, number: int, claim: Claim) -> Iterator[tuple[int, int]]:
    line = fleet.pool(claim.pool).line.values()
    return ((ticket, number) for ticket in islice(line, claim.served, claim.served + claim.waiting))


def _need(claim: Claim) -> tuple[int, float]:
    """The smaller, the earlier it gets an idle machine."""
    if claim.has < claim.min_idle:
        return 0, claim.has / claim.min_idle
    if claim.has < claim.wanted_idle:
        return 1, claim.has / claim.wanted_idle
    return (3, 0.0) if claim.idle else (2, 0.0)


def may_displace(fleet: Fleet, spec: Spec, name: str, lacks: int) -> bool:
    """Whether this pool, which lacks so many idle machines that were asked for in writing, can have the places of others."""
    return lacks > 0 and next(_unwritten_of_others(fleet, spec, {name}), None) is not None


def displace(fleet: Fleet, spec: Spec, claims: Sequence[Claim], now: float) -> None:
    """Retire machines that other pools have parked, or idle above `min_idle`, for projects without a slot or a port.

    `claims` are those that are left. The machine that is parked or idle for longest goes first, and no more go than there
    are such projects, less the places that become free anyway. After that what nobody asked for in writing goes for idle
    machines that somebody did ask for.
    """
    waiting = sum(claim.waiting for claim in claims)
    if waiting:
        _displace_for_waiting(fleet, spec, claims, waiting - _ending(fleet, spec), now)
    lacking = {claim.pool: min(claim.idle, claim.least_idle - claim.has) for claim in claims}
    lacking = {name: count for name, count in lacking.items() if count > 0}
    if not lacking:
        return
    for _ in range(sum(lacking.values()) - max(0, _ending(fleet, spec) - waiting)):
        spared = list(_unwritten_of_others(fleet, spec, lacking))
        if not spared:
            return
        retire_machine(fleet, _oldest(fleet, spared), DISPLACED_BY_MIN_IDLE, now)


def _ending(fleet: Fleet, spec: Spec) -> int:
    """How many places become free anyway."""
    ending = len(fleet.all_leaving())
    return ending + fleet.falling_asleep if fleet.slots_held < spec.max_machines else ending


def _displace_for_waiting(fleet: Fleet, spec: Spec, claims: Sequence[Claim], count: int, now: float) -> None:
    for _ in range(count):
        donors = [
            name
            for name, wanted in spec.pools.items()
            if fleet.count_idle(name) > wanted.min_idle and any(one.waiting and one.pool != name for one in claims)
        ]
        spared = _parked_of_others(fleet, claims) or [one for name in donors for one in fleet.first_idle(name)]
        if not spared:
            return
        retire_machine(fleet, _oldest(fleet, spared), DISPLACED, now)


def _parked_of_others(fleet: Fleet, claims: Sequence[Claim]) -> list[str]:
    """The parked machines of every pool that another one, in which projects wait, could use the places of."""
    waiting = {claim.pool for claim in claims if claim.waiting}
    return [one for name in fleet.pool_names if waiting - {name} for one in fleet.all_parked(name)]


def _unwritten_of_others(fleet: Fleet, spec: Spec, pools: Collection[str]) -> Iterator[str]:
    """The parked machines of pools with more than is asked for in writing, whose places another one of `pools` could use."""
    for name, wanted in spec.pools.items():
        groups = fleet.members(name).parked
        if groups and any(one != name for one in pools) and sum(map(len, groups.values())) > wanted.least_parked:
            yield from fleet.all_parked(name)


def _oldest(fleet: Fleet, ids: Sequence[str]) -> str:
    return min(ids, key=lambda machine_id: (fleet.watches[machine_id].since, machine_id))


def displace_for_wakers(fleet: Fleet, spec: Spec, now: float) -> None:
    """Retire idle machines, so that machines can wake whose projects wait for that: one for each, less what ends anyway.

    Parked ones go first, then those that a pool has idle above its `min_idle`; of these the one that is it for longest.
    """
    assert spec.max_awake is not None, "without max_awake nobody waits to wake a machine"
    ending = len(fleet.all_leaving()) + fleet.falling_asleep
    for _ in range(fleet.awake + len(fleet.wakers) - spec.max_awake - ending):
        above = [name for name in fleet.pool_names if fleet.count_idle(name) > spec.pool(name).min_idle]
        parked = [one for name in fleet.pool_names for one in fleet.all_parked(name)]
        spared = parked or [one for name in above or fleet.pool_names for one in fleet.first_idle(name)]
        if not spared:
            return
        retire_machine(fleet, _oldest(fleet, spared), DISPLACED_BY_WAKER, now)


def make_room(fleet: Fleet, spec: Spec) -> None:
    """Where projects wait for a slot or a port, give as many of the stopping workers as are needed no more time to end.

    In a pool that is at its own limit, only its own machines make room. One that starts nothing for now needs none.
    """
    needed = len(fleet.wakers)
    for name in dict.fromkeys(fleet.waiting.values()):
        pool, wanted = fleet.pool(name), spec.pool(name)
        if wanted.template is not None and not wanted.paused:
            lacks = len(pool.line) - len(fleet.coming(name, wanted.template))
            if wanted.is_at_limit(fleet.slots_held_by(name)):
                _hurry(fleet, list(fleet.leaving(name)), lacks)
            elif spec.is_full(fleet.slots_held, fleet.awake) or pool.out_of_ports:
                needed += max(0, lacks)
    if needed:
        _hurry(fleet, sorted(fleet.all_leaving(), key=lambda machine_id: fleet.watches[machine_id].since), needed)


def _hurry(fleet: Fleet, leaving: Sequence[str], needed: int) -> None:
    """Have so many of these gone soon. Those that end at once count."""
    slow = [machine_id for machine_id in leaving if fleet.watches[machine_id].ends_gently]
    for machine_id in slow[: max(0, needed - len(leaving) + len(slow))]:
        fleet.hurry(machine_id)


def retire_machine(fleet: Fleet, machine_id: str, reason: str, now: float) -> None:
    """Have this machine removed, which is idle or parked."""
    machine = fleet.machines[machine_id]
    fleet.apply(machine, replace(machine, state=State.STOPPING, reason=reason), Cause.RETIRED, now)
