"""How the pool fared: a sample every ten seconds for an hour, and every two minutes for a day, kept beyond a restart.

A sample says how the fleet stood at its time, and counts what happened since the one before. It is stored within a minute,
and at a clean stop; where the service did not run there is none. An assign costs an addition and a logarithm: durations are
counted in classes of 5 %, so that a step takes the same room however many there were, and steps can be added up.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import msgspec

from worker_orchestrator.control.reading.gauges import Gauges
from worker_orchestrator.control.telling.observer import AssignOutcome, Observer
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.store.store import Store

__all__ = ["LONGEST_S", "History", "Sample"]

FINE_S: Final = 10
FINE_FOR_S: Final = 3_600
RECENT_S: Final = 300
COARSE_S: Final = 120
LONGEST_S: Final = 86_400
STEPS_TO_SAVE: Final = 6
_CLASS: Final = math.log(1.05)
_SHORTEST_S: Final = 1e-6
_NOTHING_GIVEN: Final = frozenset({AssignOutcome.UNAVAILABLE, AssignOutcome.STORE_FAILED})


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet at one time (wall time), machines by `gauges.WORDS`, and what was counted in the step that ends there.

    `p50_ms`, `p99_ms`: of the first assigns, warm and cold, from the request to its reply; None where there was none.
    `assigns` counts these assigns by pool, without the pools that had none.
    """

    at_ms: int
    idle: int
    starting: int
    assigned: int
    restarting: int
    stopping: int
    failed: int
    limit: int
    waiting: int
    refill_lag_s: float
    warm: int
    cold: int
    unavailable: int
    p50_ms: float | None
    p99_ms: float | None
    parked: int = 0
    sleeping: int = 0
    assigns: dict[str, int] = {}


class History(Observer):
    """The samples of one store, and what is being counted."""

    def __init__(self, store: Store, wall_ms: Callable[[], int]) -> None:
        super().__init__()
        self._store, self._wall_ms = store, wall_ms
        self._fine = _Ring(FINE_S, FINE_FOR_S // FINE_S, store)
        self._coarse = _Ring(COARSE_S, LONGEST_S // COARSE_S, store)
        self._steps = 0

    def samples(self, past_s: int) -> tuple[int, list[Sample]]:
        """Seconds of a step, and the samples of so many seconds until now, oldest first."""
        ring = self._fine if past_s <= FINE_FOR_S else self._coarse
        since_ms = self._wall_ms() - past_s * 1000
        return ring.step_s, [sample for sample in ring.samples if sample.at_ms >= since_ms]

    def assigns_per_minute(self, pool: str) -> float:
        """First assigns of this pool in a minute, on average over the last five, or over as many as were counted."""
        counted, (_, recent) = self._fine.counts.assigns[pool], self.samples(RECENT_S)
        steps = max(1, len(recent))  # the one that is being counted is short, and must not make much of a single assign
        return (counted + sum(sample.assigns.get(pool, 0) for sample in recent)) * 60 / (steps * FINE_S)

    def assign_ended(self, outcome: AssignOutcome, took_s: float, trace: Trace | None, pool: str) -> None:
        counts = self._fine.counts
        if trace is not None:
            if outcome is AssignOutcome.WARM:
                counts.warm += 1
            else:
                counts.cold += 1
            counts.assigns[pool] += 1
            counts.took[math.floor(math.log(max(took_s, _SHORTEST_S)) / _CLASS)] += 1
        elif outcome in _NOTHING_GIVEN:
            counts.unavailable += 1

    def take(self, gauges: Gauges, *, is_last: bool = False) -> None:
        """A step is over."""
        at_ms = self._wall_ms()
        self._coarse.counts.add(self._fine.counts)
        self._fine.close(at_ms, gauges)
        if is_last or self._steps % (COARSE_S // FINE_S) == 0:
            self._coarse.close(at_ms, gauges)
        if is_last or self._steps % STEPS_TO_SAVE == 0:
            self.save()
        self._steps += 1

    def save(self) -> None:
        """Store what is new. What cannot be stored is tried again with what follows."""
        rings = [ring for ring in (self._fine, self._coarse) if ring.unsaved]
        rows = [(ring.step_s, one.at_ms, msgspec.json.encode(one).decode()) for ring in rings for one in ring.unsaved]
        spans = {ring.step_s: (ring.samples[0].at_ms, ring.samples[-1].at_ms) for ring in rings}
        if rows and self._store.keep_history(rows, spans):
            for ring in rings:
                ring.unsaved.clear()

    async def run(self, read: Callable[[], Gauges]) -> None:
        """Take samples until cancelled, and a last one then."""
        try:
            while True:
                self.take(read())
                await asyncio.sleep(FINE_S)
        finally:
            self.take(read(), is_last=True)


class _Counts:
    """What happened in one step: `took` counts the durations by their class."""

    __slots__ = ("assigns", "cold", "took", "unavailable", "warm")

    def __init__(self) -> None:
        self.warm = self.cold = self.unavailable = 0
        self.took: Counter[int] = Counter()
        self.assigns: Counter[str] = Counter()

    def add(self, other: _Counts) -> None:
        self.warm += other.warm
        self.cold += other.cold
        self.unavailable += other.unavailable
        self.took.update(other.took)
        self.assigns.update(other.assigns)

    def below_ms(self, share: float) -> float | None:
        """What this share of the durations did not exceed, to within 3 %."""
        missing = share * self.took.total()
        for number in sorted(self.took):
            missing -= self.took[number]
            if missing <= 0:
                return round(math.exp((number + 0.5) * _CLASS) * 1000, 3)
        return None


class _Ring:
    """The last samples of one length of step."""

    def __init__(self, step_s: int, most: int, store: Store) -> None:
        self.step_s = step_s
        saved = (msgspec.json.decode(sample, type=Sample) for sample in store.history(step_s))
        self.samples: deque[Sample] = deque(saved, maxlen=most)
        self.unsaved: deque[Sample] = deque(maxlen=most)
        self.counts = _Counts()

    def close(self, at_ms: int, gauges: Gauges) -> None:
        while self.samples and self.samples[-1].at_ms >= at_ms:  # somebody has put the clock back
            self.samples.pop()
        sample = _sample(at_ms, gauges, self.counts)
        self.samples.append(sample)
        self.unsaved.append(sample)
        self.counts = _Counts()


def _sample(at_ms: int, gauges: Gauges, counts: _Counts) -> Sample:
    pools = gauges.pools.values()
    machines = Counter[str]()
    for pool in pools:
        machines.update(pool.machines)
    return Sample(
        at_ms=at_ms,
        idle=machines["idle"],
        parked=machines["parked"],
        starting=machines["starting"],
        assigned=machines["assigned"],
        restarting=machines["restarting"],
        sleeping=machines["sleeping"],
        stopping=machines["stopping"],
        failed=machines["failed"],
        limit=gauges.max_machines,
        waiting=gauges.waiting,
        refill_lag_s=round(max((pool.refill_lag_s for pool in pools), default=0.0), 3),
        warm=counts.warm,
        cold=counts.cold,
        unavailable=counts.unavailable,
        p50_ms=counts.below_ms(0.5),
        p99_ms=counts.below_ms(0.99),
        assigns=dict(counts.assigns),
    )
