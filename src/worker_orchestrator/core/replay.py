"""What sizes would have been worth: recorded arrivals, replayed against a fixed size or against one that follows demand.

A replayed pool does what a pool does: it orders a machine for each one that it lacks, each takes the same time to warm, and
those who wait get them in turn. Where idle machines are missing, parked ones wake in `WAKE_S`, for arrivals first. Idle
machines that are too many for `shrink_after_s` are given up, and parked ones at once. No limit on machines, no failure and
no release is replayed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import msgspec

from worker_orchestrator.core.demand import Demand

__all__ = ["LOOK_S", "WAKE_S", "Adaptive", "Fixed", "Replayed", "Span", "replay", "replay_fixed", "under_way"]

WAKE_S: Final = 0.05
LOOK_S: Final = 30.0
"""A replayed pool that follows demand looks at it so often."""


class Replayed(msgspec.Struct, frozen=True):
    """What came of it. Waits are in seconds, over all arrivals; hours are machine-hours."""

    arrivals: int
    hits: int
    p50_wait_s: float
    p99_wait_s: float
    idle_hours: float
    parked_hours: float
    most_idle: int
    most_parked: int

    @property
    def hit_ratio(self) -> float:
        """The share of arrivals that found a machine, idle or parked; 1 where nobody came."""
        return self.hits / self.arrivals if self.arrivals else 1.0


class Span(msgspec.Struct, frozen=True):
    """A replay begins at `begin_s` and ends at `until_s`; what happened since `count_from_s` is counted."""

    begin_s: float
    count_from_s: float
    until_s: float


class Fixed(msgspec.Struct, frozen=True):
    """The same sizes all the time."""

    idle: int
    parked: int = 0
    look_s: ClassVar[float] = math.inf

    def look(self, _at_s: float, _arrivals: Sequence[float]) -> tuple[int, int]:
        return self.idle, self.parked


class Adaptive(msgspec.Struct, frozen=True):
    """Sizes that follow `demand`, which learns as it is replayed, within these limits."""

    demand: Demand
    target: float
    can_park: bool
    least: int = 0
    most: int = 10_000
    least_parked: int = 0
    look_s: ClassVar[float] = LOOK_S

    def look(self, at_s: float, arrivals: Sequence[float]) -> tuple[int, int]:
        """The sizes from now on; `arrivals` are those since the last look."""
        self.demand.step(at_s, arrivals)
        found = self.demand.forecast(self.target, can_park=self.can_park)
        idle = max(self.least, min(found.idle, self.most))
        return idle, max(self.least_parked, min(found.parked, self.most - idle)) if self.can_park else 0


def replay_fixed(arrivals: Sequence[float], span: Span, warm_s: float, idle: int) -> Replayed:
    """As `replay` with `Fixed(idle)`, in a fraction of the time.

    Machines get ready in the order in which they were ordered, one for each arrival. So the machine of an arrival is the one
    that was ordered `idle` arrivals before it.
    """
    since_s = span.count_from_s
    ready = [span.begin_s] * idle + [at_s + warm_s for at_s in arrivals]
    waits = sorted(ready_s - at_s for at_s, ready_s in zip(arrivals, ready, strict=False) if ready_s > at_s >= since_s)
    taken = [*arrivals, *[span.until_s] * idle]
    idle_s = sum(max(0.0, end_s - max(ready_s, since_s)) for ready_s, end_s in zip(ready, taken, strict=True))
    count = len(arrivals) - bisect_left(arrivals, since_s)
    hits = count - len(waits)
    p50_s, p99_s = _after_zeros(waits, hits, 0.5), _after_zeros(waits, hits, 0.99)
    return Replayed(count, hits, p50_s, p99_s, idle_s / 3600, 0.0, idle, 0)


def under_way(arrivals: Sequence[float], span: Span, warm_s: float) -> Mapping[int, float]:
    """For how many seconds so many machines were on their way, whatever the size: one for each that came of late."""
    changes = sorted([*((at_s, 1) for at_s in arrivals), *((at_s + warm_s, -1) for at_s in arrivals)])
    lasted, count, since_s = defaultdict[int, float](float), 0, span.count_from_s
    for at_s, by in [*changes, (span.until_s, 0)]:
        until_s = min(max(at_s, since_s), span.until_s)
        lasted[count] += until_s - since_s
        since_s, count = until_s, count + by
    return lasted


def replay(
    arrivals: Sequence[float],
    span: Span,
    warm_s: float,
    sizes: Fixed | Adaptive,
    shrink_after_s: float = 300.0,
) -> Replayed:
    """Replay arrivals, which are in order and within the span."""
    pool = _Pool(warm_s, shrink_after_s, span, *sizes.look(span.begin_s, ()))
    place, at_s = 0, span.begin_s
    while at_s < span.until_s:
        first, at_s = place, min(at_s + sizes.look_s, span.until_s)
        while place < len(arrivals) and arrivals[place] < at_s:
            pool.arrive(arrivals[place])
            place += 1
        pool.pass_time(at_s)
        pool.resize(*sizes.look(at_s, arrivals[first:place]))
    return pool.outcome()


class _Pool:
    """One pool as it is replayed; at the beginning it has so many machines as it wants.

    `_coming`: when new machines will be warm. `_waking`: when parked ones will be awake. `_waiting`: when those came who
    still wait.
    """

    def __init__(self, warm_s: float, shrink_after_s: float, span: Span, idle: int, parked: int) -> None:
        self._warm_s, self._shrink_after_s, self._count_from_s = warm_s, shrink_after_s, span.count_from_s
        self._at_s, self._too_many_since = span.begin_s, math.inf
        self._idle, self._parked, self._most_idle, self._most_parked = idle, parked, 0, 0
        self._coming, self._waking, self._waiting = deque[float](), deque[float](), deque[float]()
        self._idle_s = self._parked_s = 0.0
        self._waits = list[float]()
        self._count = self._hits = 0
        self.resize(idle, parked)

    def resize(self, idle: int, parked: int) -> None:
        """Keep so many from now on."""
        self._want_idle, self._want_parked = idle, parked
        if self._at_s >= self._count_from_s:
            self._most_idle, self._most_parked = max(self._most_idle, idle), max(self._most_parked, parked)
        self._parked = min(self._parked, parked)
        if self._idle <= idle:
            self._too_many_since = math.inf
        elif self._at_s >= self._too_many_since + self._shrink_after_s:
            self._idle, self._too_many_since = idle, math.inf
        else:
            self._too_many_since = min(self._too_many_since, self._at_s)
        self._order()

    def arrive(self, at_s: float) -> None:
        self.pass_time(at_s)
        is_counted = at_s >= self._count_from_s
        self._count += is_counted
        if not (self._idle or self._waking or self._parked):
            self._waiting.append(at_s)
        elif self._idle:
            self._idle -= 1
            self._hits += is_counted
        else:
            if not self._waking:
                self._wake()
            wait_s = self._waking.popleft() - at_s
            self._hits += is_counted
            if is_counted:
                self._waits.append(wait_s)
        self._order()

    def pass_time(self, until_s: float) -> None:
        while (next_s := min(self._coming[0] if self._coming else math.inf, self._next_awake())) <= until_s:
            self._sum_up(next_s)
            if next_s == self._next_awake():
                self._waking.popleft()
                self._idle += 1
                continue
            self._coming.popleft()
            if self._waiting:
                arrived_s = self._waiting.popleft()
                if arrived_s >= self._count_from_s:
                    self._waits.append(next_s - arrived_s)
            elif self._idle + len(self._waking) >= self._want_idle and self._parked < self._want_parked:
                self._parked += 1
            else:
                self._idle += 1
        self._sum_up(until_s)

    def _next_awake(self) -> float:
        return self._waking[0] if self._waking else math.inf

    def outcome(self) -> Replayed:
        """Those who still wait count with the time until they get a machine."""
        waits = self._waits + [
            ready_s - arrived_s for ready_s, arrived_s in zip(self._coming, self._waiting, strict=False)
        ]
        waits.sort()
        zeros = self._count - len(waits)
        p50_s, p99_s = (_after_zeros(waits, zeros, share) for share in (0.5, 0.99))
        hours = (self._idle_s / 3600, self._parked_s / 3600)
        return Replayed(self._count, self._hits, p50_s, p99_s, *hours, self._most_idle, self._most_parked)

    def _order(self) -> None:
        """Wake what is missing of idle machines, and have new ones made of what is missing then."""
        while self._parked and self._idle + len(self._waking) < self._want_idle:
            self._wake()
        lacks = max(0, self._want_idle + len(self._waiting) - self._idle - len(self._waking))
        lacks += max(0, self._want_parked - self._parked)
        for _ in range(lacks - len(self._coming)):
            self._coming.append(self._at_s + self._warm_s)

    def _wake(self) -> None:
        self._parked -= 1
        self._waking.append(self._at_s + WAKE_S)

    def _sum_up(self, until_s: float) -> None:
        counted_s = max(0.0, until_s - max(self._at_s, self._count_from_s))
        self._idle_s += self._idle * counted_s
        self._parked_s += self._parked * counted_s
        self._at_s = until_s


def _after_zeros(waits: Sequence[float], zeros: int, share: float) -> float:
    """What this share of the waits did not exceed: these, which are in order, and beside them so many of no time at all."""
    place = math.ceil(share * (zeros + len(waits))) - 1 - zeros
    return waits[place] if place >= 0 and waits else 0.0
