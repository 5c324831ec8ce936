"""How the fleet stands at this moment, in numbers that a monitoring system draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from worker_orchestrator.control.deciding.seats import Seats
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.spec import PoolSpec

__all__ = ["WORDS", "Gauge", "Gauges", "PoolGauges", "Word", "word"]

Word = Literal["idle", "starting", "assigned", "restarting", "stopping", "failed"]
WORDS: Final[tuple[Word, ...]] = ("idle", "starting", "assigned", "restarting", "stopping", "failed")


def word(machine: Machine) -> Word:
    """Its state and whether it is somebody's, in one word."""
    match machine.state:
        case State.STARTING:
            return "starting" if machine.project is None else "restarting"
        case State.READY:
            return "idle" if machine.project is None else "assigned"
        case State.STOPPING:
            return "stopping"
        case State.FAILED:
            return "failed"


@dataclass(frozen=True, slots=True)
class PoolGauges:
    """One pool. `refill_lag_s`: for how long fewer machines than `min_idle` have been idle; 0 where it is full, or paused.

    `image_fails`: the image of this pool does not come up, so that attempts go one at a time.
    """

    machines: Mapping[Word, int]
    min_idle: int
    refill_lag_s: float
    image_fails: bool
    paused: bool


@dataclass(frozen=True, slots=True)
class Gauges:
    """The fleet. `slots_held`: machines whose container is not known to be gone, each of which counts in `max_machines`.

    `waiting` counts projects; `listing_age_s` is None before the first listing.
    """

    pools: Mapping[str, PoolGauges]
    max_machines: int
    slots_held: int
    waiting: int
    engine_answers: bool
    listing_age_s: float | None


class Gauge:
    """Reads the fleet."""

    def __init__(self, state: ControlState, seats: Seats, contact: Contact) -> None:
        self._state, self._seats, self._contact = state, seats, contact

    def read(self) -> Gauges:
        """How it stands now: looks at every machine."""
        state, listed_at = self._state, self._state.snapshot.begun_at
        state.note_short_pools()
        counts = Counter((machine.pool, word(machine)) for machine in state.fleet.machines.values())
        return Gauges(
            pools={name: self._pool(name, wanted, counts) for name, wanted in state.spec.pools.items()},
            max_machines=state.spec.max_machines,
            slots_held=state.fleet.slots_held,
            waiting=len(self._seats),
            engine_answers=self._contact.answers,
            listing_age_s=None if listed_at < 0 else state.now() - listed_at,
        )

    def _pool(self, name: str, wanted: PoolSpec, counts: Mapping[tuple[str, Word], int]) -> PoolGauges:
        now, brake = self._state.now(), self._state.fleet.image_brake(name, wanted.template)
        return PoolGauges(
            machines={state: counts[name, state] for state in WORDS},
            min_idle=wanted.min_idle,
            refill_lag_s=now - self._state.short_since.get(name, now),
            image_fails=brake is not None and brake.is_on,
            paused=wanted.paused,
        )
