"""How the fleet stands at this moment, in numbers that a monitoring system draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from worker_orchestrator.control.deciding.seats import Seats
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.core.brake import failed_predecessor
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.spec import Spec

__all__ = ["WORDS", "Gauge", "Gauges", "PoolGauges", "Word", "names_of_pools", "word"]

Word = Literal["idle", "parked", "starting", "assigned", "restarting", "sleeping", "stopping", "failed"]
WORDS: Final[tuple[Word, ...]] = (
    "idle",
    "parked",
    "starting",
    "assigned",
    "restarting",
    "sleeping",
    "stopping",
    "failed",
)


def word(machine: Machine) -> Word:
    """Its state and whether it is somebody's, in one word."""
    match machine.state:
        case State.STARTING:
            return "starting" if machine.project is None else "restarting"
        case State.READY:
            return "idle" if machine.project is None else "assigned"
        case State.PARKED:
            return "parked"
        case State.SLEEPING:
            return "sleeping"
        case State.STOPPING:
            return "stopping"
        case State.FAILED:
            return "failed"


def names_of_pools(fleet: Fleet, spec: Spec) -> list[str]:
    """All pools: those of the settings, and after them those that the settings no longer name while they have machines.

    A mere record of a past failure, which has neither a container nor a project, is none.
    """
    others = sorted(fleet.pool_names - spec.pools.keys())
    return [*spec.pools, *(name for name in others if fleet.slots_held_by(name) or fleet.assigned_in(name))]


@dataclass(frozen=True, slots=True)
class PoolGauges:
    """One pool. `refill_lag_s`: for how long fewer machines have been idle than it wants; 0 where it is full, or paused.

    `image_fails`: the image of this pool does not come up, or it was replaced and the new one is not known to be better.
    `wanted_idle`: the idle machines that it wants now, whoever asks for them. `wanted_parked`: those in its reserve.
    `max_machines`: its own limit, None without one.
    `slots_held` and `waiting` are as in `Gauges`. A pool that is `retired` is not in the settings any more.
    """

    machines: Mapping[Word, int]
    min_idle: int
    wanted_idle: int
    max_machines: int | None
    slots_held: int
    waiting: int
    refill_lag_s: float
    image_fails: bool
    paused: bool
    retired: bool = False
    wanted_parked: int = 0


@dataclass(frozen=True, slots=True)
class Gauges:
    """The fleet. `pools` has those of the settings, and after them those that only machines on record belong to.

    `slots_held`: machines whose container is not known to be gone, each of which counts in `max_machines`.
    `key_machines`: by key, how many its projects have or wait for.
    `waiting` counts projects; `listing_age_s` is None before the first listing.
    """

    pools: Mapping[str, PoolGauges]
    max_machines: int
    slots_held: int
    waiting: int
    engine_answers: bool
    listing_age_s: float | None
    key_machines: Mapping[str, int] = field(default_factory=dict)


class Gauge:
    """Reads the fleet."""

    def __init__(self, state: ControlState, seats: Seats, contact: Contact) -> None:
        self._state, self._seats, self._contact = state, seats, contact

    def read(self) -> Gauges:
        """How it stands now: looks at every machine."""
        state, listed_at = self._state, self._state.snapshot.begun_at
        state.forget_former_pools()
        state.note_short_pools()
        counts = Counter((machine.pool, word(machine)) for machine in state.fleet.machines.values())
        waiting = self._seats.waiting()
        return Gauges(
            pools={name: self._pool(name, counts, waiting[name]) for name in names_of_pools(state.fleet, state.spec)},
            max_machines=state.spec.max_machines,
            slots_held=state.fleet.slots_held,
            waiting=len(self._seats),
            engine_answers=self._contact.answers,
            listing_age_s=None if listed_at < 0 else state.now() - listed_at,
            key_machines={key: state.fleet.count_of_key(key) for key in state.fleet.keys},
        )

    def _pool(self, name: str, counts: Mapping[tuple[str, Word], int], waiting: int) -> PoolGauges:
        now, fleet, wanted = self._state.now(), self._state.fleet, self._state.spec.pool(name)
        brake = fleet.image_brake(name, wanted.template) or failed_predecessor(fleet, self._state.spec, name)
        return PoolGauges(
            machines={state: counts[name, state] for state in WORDS},
            min_idle=wanted.min_idle,
            wanted_idle=wanted.wanted_idle(fleet.assigned_in(name)),
            max_machines=wanted.max_machines,
            slots_held=fleet.slots_held_by(name),
            waiting=waiting,
            refill_lag_s=now - self._state.short_since.get(name, now),
            image_fails=brake is not None and brake.is_on,
            paused=wanted.paused,
            retired=name not in self._state.spec.pools,
            wanted_parked=wanted.parked,
        )
