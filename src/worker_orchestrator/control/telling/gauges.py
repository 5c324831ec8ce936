"""How the fleet stands at this moment, in numbers that a monitoring system draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from worker_orchestrator.control.deciding.state import Decisions
from worker_orchestrator.control.deciding.ticker import Ticker
from worker_orchestrator.core.machine import Machine, PoolSpec, State

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
    """Reads the fleet. What lasts it notes at each `look`, which is cheap: once per commit."""

    def __init__(self, decisions: Decisions, ticker: Ticker) -> None:
        self._decisions, self._ticker = decisions, ticker
        self._short_since: dict[str, float] = {}

    def look(self) -> None:
        """Note which pools are short of idle machines."""
        for name, wanted in self._decisions.spec.pools.items():
            idle = self._decisions.fleet.idle(name, wanted.template)
            if wanted.paused or len(idle) >= wanted.min_idle:
                self._short_since.pop(name, None)
            else:
                self._short_since.setdefault(name, self._decisions.now())

    def read(self) -> Gauges:
        """How it stands now: looks at every machine."""
        self.look()
        decisions, listed_at = self._decisions, self._ticker.snapshot.begun_at
        counts = Counter((machine.pool, word(machine)) for machine in decisions.fleet.machines.values())
        return Gauges(
            pools={name: self._pool(name, wanted, counts) for name, wanted in decisions.spec.pools.items()},
            max_machines=decisions.spec.max_machines,
            slots_held=decisions.fleet.held,
            waiting=len(decisions.seats),
            engine_answers=decisions.contact.problem is None,
            listing_age_s=None if listed_at < 0 else decisions.now() - listed_at,
        )

    def _pool(self, name: str, wanted: PoolSpec, counts: Mapping[tuple[str, Word], int]) -> PoolGauges:
        now, brake = self._decisions.now(), self._decisions.fleet.brake(name, wanted.template)
        return PoolGauges(
            machines={state: counts[name, state] for state in WORDS},
            min_idle=wanted.min_idle,
            refill_lag_s=now - self._short_since.get(name, now),
            image_fails=brake is not None and brake.tripped,
            paused=wanted.paused,
        )
