"""What is learned of the demand for one pool, and the sizes that follow it.

Three things are learned, all of them numbers of bounded count, without any name of a project:

* *Rates.* Each hour of the week has a rate of its own, smoothed exponentially from week to week (seasonal exponential
  smoothing: Holt 1957, Winters 1960). A second rate follows the last minutes. The larger of the two is what is reckoned
  with: the first one knows what is coming, the second one what nobody could know.
* *Groups.* How many came in the time to warm before an arrival says whether arrivals come one by one or in groups: the ratio
  of variance to mean. What the present size serves anyway counts in this.
* *Bursts.* More at once than these can explain (once in `_FAR`) is a burst. When it was, and of how many, is kept for four
  weeks.

The size is a base stock (`core/base_stock`) that leaves half of what may be missed to ordinary times. The other half is left
to bursts: they are covered up to the smallest fixed size that would have reached that share over the last week. Machines
that can be parked stand by for a burst at any time. Where they cannot, as many are idle around the times at which bursts
came before: half an hour before and after, on the next three days and on this day of the week. If bursts keep to no times,
all the time.

Nothing here reads a clock; times are seconds since 1970, and hours and weeks are those of UTC.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import quantiles
from typing import Final

import msgspec

from worker_orchestrator.core.base_stock import base_stock

__all__ = ["LEAST_TARGET", "MOST_TARGET", "Day", "Demand", "Forecast", "found_by", "smallest_fixed"]

LEAST_TARGET: Final = 0.5
MOST_TARGET: Final = 0.9999
"""What may be wanted as a hit ratio."""
_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S
_WEEK_S: Final = 7 * _DAY_S
_HOURS_OF_WEEK: Final = 168
_OF_THIS_WEEK: Final = 0.4
"""The weight of the newest week in the rate of an hour."""
_RECENT_HALF_LIFE_S: Final = 180.0
_RECENT_MIN: Final = 2 * _RECENT_HALF_LIFE_S / math.log(2) / 60
"""So many minutes of counting tell a rate as exactly."""
_GROUPS_HALF_LIFE: Final = 500
"""Of so many arrivals."""
_LEAST_SEEN_S: Final = 1800.0
"""An hour of which less was seen says nothing: the service may have been down."""
_FIRST_STEP_S: Final = 60.0
_LONGEST_STEP_S: Final = 120.0
_FAR: Final = 0.99999
_AROUND_S: Final = 1800.0
_NEXT_DAYS_S: Final = 3 * _DAY_S + _AROUND_S
_BURSTS_FOR_S: Final = 4 * _WEEK_S + _AROUND_S
_DAYS: Final = 7
_CAP_FOR_S: Final = 300.0
_MOST_AT_ONCE: Final = 10_000
_WARM_UPS: Final = 100
_UNKNOWN_WARM_S: Final = 5.0


class Forecast(msgspec.Struct, frozen=True):
    """The sizes that are wanted now, and of what they were worked out.

    `idle` and `parked` machines; `ordinary` times need so many idle. `rate` is in arrivals per minute, `warm_s` the time in
    which nine of ten machines warm up, which `is_warm_s_assumed` while none was seen. `burst`: as many are covered when they
    come at once (0: no burst is expected now), of `largest` that did. `always`: bursts come at times that cannot be
    foreseen, so they are covered all the time.
    """

    idle: int
    parked: int
    ordinary: int = 0
    rate: float = 0.0
    warm_s: float = 0.0
    burst: int = 0
    largest: int = 0
    always: bool = False
    is_warm_s_assumed: bool = False


class Day(msgspec.Struct):
    """One day. `found` counts arrivals by how many had come in the time to warm before them.

    `unforeseen` counts those that would have found nothing, had only the bursts been covered that could be foreseen.
    """

    day: int
    found: dict[int, int] = {}
    unforeseen: int = 0


class Demand(msgspec.Struct):
    """What is known of one pool: JSON of a few KB. `at_s` is up to when; `began_s` since when (both 0: nothing is known).

    `rates` has arrivals per minute by the hour of the week, -1 where nothing is known; `recent` those of the last minutes.
    `bursts` are times and counts. `warm_ups` are the last durations from the record of a machine to its first answer.
    """

    at_s: float = 0.0
    began_s: float = 0.0
    rates: list[float] = msgspec.field(default_factory=lambda: [-1.0] * _HOURS_OF_WEEK)
    recent: float = 0.0
    ratio: float = 1.0
    bursts: list[tuple[float, int]] = []
    days: list[Day] = []
    warm_ups: list[float] = []
    hour: int = 0
    """The hour that is being counted, in hours since 1970, and of it: how many came, and for how long they were seen to."""
    hour_count: int = 0
    hour_seen_s: float = 0.0
    hour_alone: int = 0
    """Arrivals of this hour that found what is idle anyway; `hour_found`, how many had come just before them, less those
    that their rate explains."""
    hour_found: float = 0.0
    last: list[float] = []
    """Arrivals of so short a time ago that the next one may count them."""
    base: int = 1
    """By the last forecast: what ordinary times need. `stock`: with the bursts that could be foreseen. More at once than are
    `explained` by ordinary times are a burst."""
    stock: int = 1
    explained: int = 1
    cap: int = 0
    """How far bursts are covered, and how large those are that are remembered: `largest` of all, `foreseen` for now. With
    `always`, as in a `Forecast`, they were worked out at `capped_at_s`."""
    largest: int = 0
    foreseen: int = 0
    always: bool = False
    capped_at_s: float = 0.0

    @property
    def is_warm_s_assumed(self) -> bool:
        """Whether no machine was seen to warm up yet."""
        return not self.warm_ups

    @property
    def warm_s(self) -> float:
        """The time in which nine of ten machines were warm; a guess while none was seen."""
        if len(self.warm_ups) < 2:
            return self.warm_ups[0] if self.warm_ups else _UNKNOWN_WARM_S
        return quantiles(self.warm_ups, n=10, method="inclusive")[-1]

    def note_warm_up(self, took_s: float) -> None:
        self.warm_ups.append(took_s)
        del self.warm_ups[:-_WARM_UPS]

    def step(self, until_s: float, arrivals: Sequence[float]) -> None:
        """Learn what happened until now. Arrivals are in order; one that is told late counts as if it came just now.

        Where the clock was put back by more than an hour, that hour begins anew.
        """
        if not self.began_s:
            self.began_s, self.hour = until_s, int(until_s) // _HOUR_S
            self.at_s = until_s - _FIRST_STEP_S
        if until_s < self.at_s:
            self.at_s, self.last = until_s, []
        passed_s = max(0.0, until_s - self.at_s)
        self._count([max(self.at_s, min(at_s, until_s)) for at_s in arrivals])
        if passed_s:
            rate = 60 * len(arrivals) / passed_s
            self.recent += (1 - 0.5 ** (passed_s / _RECENT_HALF_LIFE_S)) * (rate - self.recent)
        self.hour_seen_s += passed_s if passed_s <= _LONGEST_STEP_S else 0.0
        self.at_s = until_s
        if int(until_s) // _HOUR_S != self.hour:
            self._close_hour(until_s)

    def _count(self, arrivals: Sequence[float]) -> None:
        if not arrivals:
            return
        warm_s, day = self.warm_s, self._day(arrivals[-1])
        expected = self.recent / 60 * warm_s
        is_known = self.at_s - self.began_s >= _DAY_S
        for at_s, found in zip(arrivals, found_by(arrivals, warm_s, self.last), strict=True):
            day.found[_class(found)] = day.found.get(_class(found), 0) + 1
            if found < self.base:
                self.hour_alone += 1
                self.hour_found += found - expected
            if found >= self.explained:
                self._note_burst(at_s, found + 1)
            if is_known and found >= self.stock:
                day.unforeseen += 1
        self.hour_count += len(arrivals)
        since_s = arrivals[-1] - warm_s
        self.last = [at_s for at_s in [*self.last, *arrivals][-_MOST_AT_ONCE:] if at_s > since_s]

    def _day(self, at_s: float) -> Day:
        number = int(at_s) // _DAY_S
        if not self.days or self.days[-1].day != number:
            self.days.append(Day(number, {}))
        return self.days[-1]

    def _note_burst(self, at_s: float, count: int) -> None:
        """One for each half hour, the largest."""
        if self.bursts and 0 <= at_s - self.bursts[-1][0] < _AROUND_S:
            begun_s, before = self.bursts[-1]
            self.bursts[-1] = (begun_s, max(before, count))
        else:
            self.bursts.append((at_s, count))
        self.capped_at_s = 0.0

    def _close_hour(self, until_s: float) -> None:
        if self.hour_seen_s >= _LEAST_SEEN_S:
            rate, place = 60 * self.hour_count / self.hour_seen_s, self.hour % _HOURS_OF_WEEK
            known = self.rates[place]
            self.rates[place] = rate if known < 0 else known + _OF_THIS_WEEK * (rate - known)
        if self.hour_alone:
            weight = 1 - 0.5 ** (self.hour_alone / _GROUPS_HALF_LIFE)
            self.ratio += weight * (max(0.0, 1 + 2 * self.hour_found / self.hour_alone) - self.ratio)
        self.bursts = [(at_s, count) for at_s, count in self.bursts if 0 <= until_s - at_s <= _BURSTS_FOR_S]
        self.days = [day for day in self.days if 0 <= int(until_s) // _DAY_S - day.day <= _DAYS]
        self.hour, self.hour_count, self.hour_alone = int(until_s) // _HOUR_S, 0, 0
        self.hour_found = self.hour_seen_s = 0.0

    # what follows from it

    def forecast(self, target: float, *, can_park: bool) -> Forecast:
        """The sizes that reach this hit ratio from now on."""
        if not self.days:
            return Forecast(0, 0)
        may_miss, warm_s = (1 - target) / 2, self.warm_s
        soon_s = self.at_s + max(60.0, 2 * warm_s)
        usual = max(self._usual(soon_s), self._usual_of_hour(soon_s))
        rate = max(usual, self.recent - math.sqrt(self.recent / _RECENT_MIN)) if usual else self.recent
        mean = rate / 60 * warm_s
        self._look_at_bursts(may_miss)
        self.base = base_stock(mean, self.ratio, 1 - (may_miss if self.largest else 2 * may_miss))
        self.explained = base_stock(mean, self.ratio, _FAR)
        burst = min(self.cap, self.largest if self.always or can_park else self.foreseen)
        self.stock = max(self.base, min(self.cap, self.foreseen))
        beyond = max(0, burst - self.base)
        idle, parked = (self.base, beyond) if can_park else (self.base + beyond, 0)
        largest = self.largest if burst else 0
        return Forecast(idle, parked, self.base, rate, warm_s, burst, largest, self.always, self.is_warm_s_assumed)

    def _usual_of_hour(self, at_s: float) -> float:
        """The rate of this hour of the week; while that is not known, that of this hour on other days; else 0."""
        place = int(at_s) // _HOUR_S % _HOURS_OF_WEEK
        if self.rates[place] >= 0:
            return self.rates[place]
        known = [rate for rate in self.rates[place % 24 :: 24] if rate >= 0]
        return sum(known) / len(known) if known else 0.0

    def _usual(self, at_s: float) -> float:
        """The rate of this moment: between the middles of two hours as on a straight line."""
        before_s = math.floor(at_s / _HOUR_S - 0.5) * _HOUR_S + _HOUR_S / 2
        share = (at_s - before_s) / _HOUR_S
        return (1 - share) * self._usual_of_hour(before_s) + share * self._usual_of_hour(before_s + _HOUR_S)

    def _look_at_bursts(self, may_miss: float) -> None:
        """Which bursts are covered now, and how far. Worked out anew every few minutes, and after each burst."""
        if 0 <= self.at_s - self.capped_at_s < _CAP_FOR_S:
            return
        self.capped_at_s, found = self.at_s, Counter[int]()
        for day in self.days:
            found.update(day.found)
        self.cap = smallest_fixed(found, may_miss)
        lately = [(self.at_s - at_s, count) for at_s, count in self.bursts]
        self.foreseen = max((count for ago_s, count in lately if _may_come_again(ago_s)), default=0)
        self.largest = max((count for ago_s, count in lately if ago_s <= _WEEK_S), default=0)
        self.largest = max(self.largest, self.foreseen)
        missed = [day.unforeseen > 2 * may_miss * sum(day.found.values()) for day in self.days]
        self.always = sum(missed) > 1 and sum(day.unforeseen for day in self.days) > 2 * may_miss * found.total()


def found_by(arrivals: Sequence[float], warm_s: float, before: Sequence[float] = ()) -> Iterator[int]:
    """How many came in the time to warm before each of these arrivals, which come after those `before`; all are in order."""
    all_of_them, first = [*before, *arrivals], 0
    for number in range(len(before), len(all_of_them)):
        while all_of_them[first] + warm_s <= all_of_them[number]:  # rounded as in a replay
            first += 1
        yield min(number - first, _MOST_AT_ONCE)


def smallest_fixed(found: Mapping[int, float], may_miss: float) -> int:
    """The smallest fixed size at which no larger share of these arrivals, or of this time, would have found nothing."""
    left = round(may_miss * sum(found.values()), 6)  # (1 - 0.9) * 10 is a little less than 1
    for size in sorted(found, reverse=True):
        left -= found[size]
        if left < 0:
            return size + 1
    return 1


def _may_come_again(ago_s: float) -> bool:
    """Whether a burst of so long ago may come again about now, the next days or a week later."""
    of_day, of_week = (min(ago_s % period_s, -ago_s % period_s) for period_s in (_DAY_S, _WEEK_S))
    return (of_day <= _AROUND_S and ago_s <= _NEXT_DAYS_S) or of_week <= _AROUND_S


def _class(found: int) -> int:
    """Numbers above 64 are counted by classes of about 3 %, so that a day takes the same room whatever comes; rounded up."""
    step = 1 << max(0, found.bit_length() - 6)
    return -(-found // step) * step
