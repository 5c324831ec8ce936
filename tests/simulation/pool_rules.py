"""What must hold where several pools share one fleet, said without the words of the code that decides.

`Before` is looked at before the pools are sized, and compared with what was decided: nobody who waits was passed by anybody
who came later, no limit was passed, and nobody lost what is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from worker_orchestrator.core import reasons
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Cause, Change, State
from worker_orchestrator.core.spec import PoolSpec, Spec

__all__ = ["Before", "PoolState", "limits", "reserve", "sizing"]


@dataclass(frozen=True, slots=True)
class PoolState:
    """One pool as it is at a moment, counted one by one."""

    spec: PoolSpec
    limit: int  # of all pools
    tickets: list[int]  # of those in line
    current: int  # idle machines of the template that is wanted now, which can serve or soon may
    stale: int
    coming: int
    assigned: int
    held: int  # slots
    is_braked: bool
    may_try: bool  # one machine may be begun, though a brake is on
    parked: int  # of the template that is wanted now
    paused: int  # those of them that are known to be paused
    parked_before: int  # of other templates
    checked: int  # those that are out of the reserve only to show that they answer

    @property
    def lacks_parked(self) -> int:
        return max(0, self.spec.parked - self.parked - self.checked)

    @property
    def idle(self) -> int:
        return self.current + self.stale

    @property
    def covered(self) -> int:
        """How many of those in line something comes for."""
        return min(len(self.tickets), self.coming if self.stale else self.coming + self.current)

    @property
    def can_start(self) -> int:
        """How many machines of it could be begun now if the fleet had room."""
        if self.spec.template is None or self.spec.paused:
            return 0
        if self.is_braked and (self.coming or not self.may_try):
            return 0
        room = self.limit if self.spec.max_machines is None else max(0, self.spec.max_machines - self.held)
        return min(room, 1) if self.is_braked else room

    @property
    def wanted(self) -> int:
        spare = -(-Fraction(str(self.spec.spare)) * self.assigned // 1)
        most = spare if self.spec.max_idle is None else min(spare, self.spec.max_idle)
        return max(self.spec.min_idle, int(most))

    @property
    def unserved(self) -> list[int]:
        """Tickets of those for whom nothing comes, though it could."""
        return self.tickets[self.covered :][: self.can_start]

    @property
    def has(self) -> int:
        """Idle machines, with those that come to be idle."""
        return self.idle + self.coming - self.covered


def _state(fleet: Fleet, spec: Spec, name: str, now: float) -> PoolState:
    wanted = spec.pool(name)
    machines = [machine for machine in fleet.machines.values() if machine.pool == name]
    idle = [machine for machine in machines if machine.is_idle]
    tickets = list(fleet.pool(name).line.values())
    serves = [m for m in idle if m.template == wanted.template and not (tickets and m.id in fleet.ailing)]
    parked = [machine for machine in machines if machine.state is State.PARKED]
    checked = [machine for machine in machines if machine.is_coming and machine.reason == reasons.UNPARKED_FOR_CHECK]
    brakes = (fleet.image_brake(name, wanted.template), fleet.obstacle(name, wanted.template))
    on = [brake for brake in brakes if brake is not None and brake.is_on]
    return PoolState(
        wanted,
        spec.max_machines,
        tickets,
        len(serves),
        sum(machine.template != wanted.template for machine in idle),
        sum(machine.is_coming and machine.template == wanted.template for machine in machines),
        sum(machine.holding is not None for machine in machines),
        sum(not machine.gone for machine in machines),
        bool(on),
        bool(on) and max(brake.until for brake in on) <= now,
        sum(machine.template == wanted.template for machine in parked),
        sum(machine.template == wanted.template and fleet.watches[machine.id].is_paused for machine in parked),
        sum(machine.template != wanted.template for machine in parked),
        sum(machine.template == wanted.template for machine in checked),
    )


@dataclass(frozen=True, slots=True)
class Before:
    """The fleet right before its pools are sized, when whoever can be served by an idle machine has been."""

    pools: Mapping[str, PoolState]
    held: int
    leaving: int
    decided: int  # changes

    @classmethod
    def look(cls, fleet: Fleet, spec: Spec, now: float) -> Before:
        leaving = sum(machine.is_leaving for machine in fleet.machines.values())
        pools = {name: _state(fleet, spec, name, now) for name in spec.pools}
        return cls(pools, fleet.slots_held, leaving, len(fleet.pending))


def limits(fleet: Fleet, spec: Spec, before: Mapping[str, int]) -> Iterator[str]:
    """What is above a limit and was not before (`before`: slots held by pool, and by all under "")."""
    slots = [machine.pool for machine in fleet.machines.values() if not machine.gone]
    if len(slots) > max(spec.max_machines, before.get("", 0)):
        yield f"{len(slots)} machines of {spec.max_machines}"
    for name, wanted in spec.pools.items():
        held = slots.count(name)
        if wanted.max_machines is not None and held > max(wanted.max_machines, before.get(name, 0)):
            yield f"{held} machines of {wanted.max_machines} of the pool {name}"
        if held != fleet.slots_held_by(name):
            yield f"{name} holds {held} slots, and {fleet.slots_held_by(name)} are counted"


def sizing(before: Before, fleet: Fleet, spec: Spec, now: float) -> Iterator[str]:
    """What is unfair about what was decided since then."""
    after = Before.look(fleet, spec, now)
    changes = fleet.pending[before.decided :]
    yield from _waiters(before, after, changes)
    yield from _idle(before, after, fleet, changes)
    yield from _displaced(before, after, fleet, spec, changes)


def reserve(before: Before, fleet: Fleet, spec: Spec) -> Iterator[str]:
    """What is wrong with what came out of the reserves since then, and with what was put there."""
    changes = fleet.pending[before.decided :]
    for name, wanted in spec.pools.items():
        pool = _state(fleet, spec, name, 0.0)
        parked = [one for one in changes if one.cause is Cause.PARKED and one.machine.pool == name]
        if parked and pool.parked > wanted.parked:
            yield f"{name} parks {len(parked)}, and has {pool.parked} of {wanted.parked}"
        if parked and pool.current < pool.wanted:
            yield f"{name} parks {len(parked)}, and has {pool.current} idle of {pool.wanted}"
        if wanted.template is None or not pool.paused:
            continue
        lacks = len(pool.tickets) + (0 if wanted.paused else pool.wanted) - pool.current - pool.coming
        if lacks > 0:
            yield f"{name} lacks {lacks} machines, and {pool.paused} that are paused stay so"


def _begun(changes: Sequence[Change], pool: str) -> int:
    return sum(change.cause is Cause.CREATED and change.machine.pool == pool for change in changes)


def _woken(changes: Sequence[Change], pool: str, template: str | None) -> int:
    """How many machines came out of the reserve."""
    woken = (change.machine for change in changes if change.cause is Cause.UNPARKED)
    return sum(machine.pool == pool and machine.template == template for machine in woken)


def _waiters(before: Before, after: Before, changes: Sequence[Change]) -> Iterator[str]:
    """Nobody is passed by whoever came later, nor by a machine that shall be idle."""
    for name, pool in before.pools.items():
        begun, woken = _begun(changes, name), _woken(changes, name, pool.spec.template)
        served = pool.tickets[pool.covered + woken :][:begun]
        for other, now in after.pools.items():
            if other == name or not now.unserved:
                continue
            if any(ticket > now.unserved[0] for ticket in served):
                yield f"{other} waits with {now.unserved[0]}, and {served} of {name} were served"
            if begun > len(served):
                yield f"{other} waits with {now.unserved[0]}, and {name} begins an idle machine"


def _idle(before: Before, after: Before, fleet: Fleet, changes: Sequence[Change]) -> Iterator[str]:
    """What shall be idle goes to who has least of it."""
    if any(fleet.pool(name).out_of_ports for name in after.pools):
        return
    for name, pool in after.pools.items():
        was = before.pools[name]
        begun, lacked = _begun(changes, name), len(was.tickets) - was.covered
        if begun <= max(0, lacked - _woken(changes, name, pool.spec.template)):
            continue
        is_for_reserve = was.stale == 0 and pool.has > max(was.wanted, was.spec.min_idle)
        if is_for_reserve and (fleet.unparking or any(one.tickets and one.coming for one in after.pools.values())):
            yield f"{name} begins a machine for its reserve, and somebody waits for one that comes"
        had = pool.has - 1  # before the last one that was begun
        for other, poor in after.pools.items():
            is_replaced = before.pools[other].stale > 0  # one by one, and an old one may have gone just now
            is_poor = other != name and poor.can_start and not is_replaced and poor.has < poor.spec.min_idle
            if is_poor and had >= pool.spec.min_idle:
                yield f"{other} has {poor.has} of {poor.spec.min_idle}, and {name} got one beside {had}"
            elif is_poor and Fraction(had, pool.spec.min_idle) > Fraction(poor.has, poor.spec.min_idle):
                yield f"{other} has {poor.has} of {poor.spec.min_idle}, and {name} got one beside {had} of its"
        if was.stale == 0 and pool.has > max(was.wanted, was.spec.min_idle) + pool.lacks_parked:
            yield f"{name} begins {pool.has}, and wants {was.wanted}, and {pool.lacks_parked} to be parked"


def _displaced(before: Before, after: Before, fleet: Fleet, spec: Spec, changes: Sequence[Change]) -> Iterator[str]:
    """A parked machine, or else an idle one, goes only for a project of another pool, from a full fleet.

    No idle one goes unless its pool has more than `min_idle`.
    """
    displaced = [one for one in changes if one.cause is Cause.RETIRED and one.machine.reason == reasons.DISPLACED]
    gone = [one.machine for one in displaced]
    was_idle = {one.machine.id for one in displaced if one.before is not None and one.before.is_idle}
    unserved = {name: len(pool.unserved) for name, pool in after.pools.items() if pool.unserved}
    leaving = sum(machine.is_leaving for machine in fleet.machines.values())
    for machine in gone:
        if machine.id in was_idle and fleet.count_idle(machine.pool) < spec.pool(machine.pool).min_idle:
            yield f"{machine.id} of {machine.pool} was displaced below min_idle"
        if not set(unserved) - {machine.pool}:
            yield f"{machine.id} of {machine.pool} was displaced for nobody"
    is_full = fleet.slots_held >= spec.max_machines or any(fleet.pool(name).out_of_ports for name in unserved)
    if gone and not is_full:
        yield f"{gone[0].id} was displaced beside free places"
    others = leaving - len(gone)
    if len(gone) > max(0, sum(unserved.values()) - before.leaving):
        yield f"{len(gone)} were displaced for {unserved}, and {others} leave"
    for name, pool in after.pools.items():
        waits = set(unserved) - {name}
        if is_full and waits and leaving < sum(unserved.values()) and pool.idle > pool.spec.min_idle:
            yield f"{waits} wait, and {name} has {pool.idle} idle of {pool.spec.min_idle}"
        is_spared = pool.parked + pool.parked_before > 0 and waits and is_full
        if is_spared and (was_idle or leaving < sum(unserved.values())):
            yield f"{waits} wait, and {name} has {pool.parked} and {pool.parked_before} parked machines"
