"""What is counted and remembered of demand, number by number, and exactly when.

Each test begins with what is known so far. So it needs no hours of arrivals, and nothing that is near enough passes.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.core.demands import DAY, HOUR, START, WEEK

from worker_orchestrator.core.base_stock import base_stock
from worker_orchestrator.core.demand import Day, Demand, Forecast

HALF_HOUR = HOUR / 2
TODAY = int(START // DAY)
HOUR_NOW = int(START // HOUR)
PLACE_NOW = HOUR_NOW % 168


def known(**fields: Any) -> Demand:
    """Of a pool that warms a machine in three seconds, for which somebody came today; it is midnight, UTC."""
    begun: dict[str, Any] = {"at_s": START, "began_s": START - WEEK, "hour": HOUR_NOW}
    return Demand(**{**begun, "warm_ups": [3.0], "days": [Day(TODAY, {0: 1})], **fields})


def rates(since: int = 0, **known_ones: float) -> list[float]:
    """By the hours from then on: `h0` is the one so many hours from now."""
    found = [-1.0] * 168
    for name, rate in known_ones.items():
        found[(PLACE_NOW + since + int(name[1:])) % 168] = rate
    return found


# what one step counts


def test_of_six_that_come_at_once_each_counts_by_what_it_finds() -> None:
    """Two find what is idle anyway, four are more than could be foreseen, and two are more than chance explains."""
    demand = known(at_s=START - 60, recent=20.0, base=2, stock=3, explained=4, hour=HOUR_NOW - 1, days=[])
    demand.step(START - 1, [START - 2] * 6)
    assert demand.days == [Day(TODAY - 1, {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}, unforeseen=3)]
    assert demand.bursts == [(START - 2, 6)]
    assert (demand.hour_count, demand.hour_alone) == (6, 2)
    assert demand.hour_found == pytest.approx(0 + 1 - 2 * 1.0), "one is expected within three seconds"
    demand.step(START - 0.5, [START - 1, START - 1])
    assert demand.days == [Day(TODAY - 1, {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1}, unforeseen=5)]
    assert (demand.bursts, demand.hour_count) == ([(START - 2, 8)], 8)


def test_one_more_than_chance_explains_is_a_burst() -> None:
    demand = known(explained=3)
    demand.step(START + 5, [START + 5] * 3)
    assert demand.bursts == []
    demand.step(START + 6, [START + 6])
    assert demand.bursts == [(START + 6, 4)]


def test_the_next_day_is_counted_by_itself() -> None:
    demand = known(days=[Day(TODAY - 1, {3: 1}), Day(TODAY, {0: 1})])
    demand.step(START + 60, [START + 10, START + 20])
    assert demand.days == [Day(TODAY - 1, {3: 1}), Day(TODAY, {0: 3})]
    demand.step(START + DAY + 60, [START + DAY + 10])
    assert demand.days[-1] == Day(TODAY + 1, {0: 1})
    assert len(demand.days) == 3


def test_large_numbers_are_counted_by_classes() -> None:
    demand = known(days=[])
    demand.step(START + 60, [START] * 201)
    assert list(demand.days[0].found) == [*range(65), *range(66, 129, 2), *range(132, 201, 4)]
    assert sum(demand.days[0].found.values()) == 201


@pytest.mark.parametrize(("before_s", "unforeseen"), [(DAY, 1), (DAY - 1, 0)])
def test_the_first_day_proves_nothing_of_what_could_be_foreseen(before_s: float, unforeseen: int) -> None:
    demand = known(began_s=START - before_s, days=[])
    demand.step(START + 60, [START, START])
    assert demand.days[0].unforeseen == unforeseen


def test_who_came_longer_ago_than_a_machine_takes_to_warm_is_forgotten() -> None:
    demand = known(last=[START - 1])
    demand.step(START + 60, [START + 7, START + 8, START + 10])
    assert demand.last == [START + 8, START + 10]


def test_what_comes_within_half_an_hour_is_one_burst() -> None:
    demand = known(bursts=[(START - DAY, 50)])
    for at, count in ((10.0, 20), (10.0 + HALF_HOUR - 5, 30), (10.0 + HALF_HOUR, 10)):
        demand.step(START + at, [START + at] * count)
    assert demand.bursts == [(START - DAY, 50), (START + 10, 30), (START + 10 + HALF_HOUR, 10)]


# the rate of the last minutes


def test_the_first_step_is_taken_for_a_minute() -> None:
    demand = Demand()
    demand.step(START + 5, [START + 1, START + 2, START + 3])
    assert (demand.began_s, demand.at_s, demand.hour, demand.hour_seen_s) == (START + 5, START + 5, HOUR_NOW, 60)
    assert demand.recent == pytest.approx(3 * (1 - 0.5 ** (1 / 3)))


def test_what_is_older_than_three_minutes_counts_half() -> None:
    demand = known(recent=8.0)
    demand.step(START + 180, [START + 180] * 6)
    assert demand.recent == pytest.approx(8 / 2 + 2 / 2)


def test_a_second_look_at_the_same_time_only_counts_who_came() -> None:
    demand = known(recent=8.0, hour_seen_s=50.0, last=[START - 1])
    demand.step(START, [])
    assert (demand.recent, demand.hour_seen_s, demand.last) == (8, 50, [START - 1])


@pytest.mark.parametrize(("step_s", "seen_s"), [(1.0, 51.0), (120.0, 170.0), (121.0, 50.0)])
def test_a_long_step_was_not_seen(step_s: float, seen_s: float) -> None:
    """The service, or the computer, may have slept."""
    demand = known(hour_seen_s=50.0)
    demand.step(START + step_s, [])
    assert demand.hour_seen_s == seen_s


# the end of an hour


def after_hour(**fields: Any) -> Demand:
    """What is learned of an hour when it has just ended."""
    demand = known(at_s=START + 5, hour=HOUR_NOW - 1, **fields)
    demand.step(START + 5, [])
    return demand


@pytest.mark.parametrize(
    ("seen_s", "before", "rate"),
    [(1800.0, -1.0, 3.0), (1799.0, -1.0, -1.0), (1800.0, 0.0, 1.2), (1800.0, 0.5, 1.5), (1800.0, 10.0, 7.2)],
)
def test_the_rate_of_an_hour_of_which_half_was_seen_counts_two_fifths(
    seen_s: float, before: float, rate: float
) -> None:
    demand = after_hour(hour_count=90, hour_seen_s=seen_s, rates=rates(h167=before))
    assert demand.rates == [pytest.approx(one) for one in rates(h167=rate)]


@pytest.mark.parametrize(
    ("alone", "found", "ratio"), [(500, 250.0, 2.5), (1000, 0.0, 1.5), (500, -1000.0, 1.5), (0, 0.0, 3.0)]
)
def test_the_ratio_follows_who_found_what_within_five_hundred_arrivals(alone: int, found: float, ratio: float) -> None:
    """One more than twice as many as their rate explains, on average; and never less than none."""
    demand = after_hour(ratio=3.0, hour_alone=alone, hour_found=found)
    assert demand.ratio == pytest.approx(ratio)


def test_the_next_hour_is_counted_from_nothing() -> None:
    demand = after_hour(hour_count=5, hour_alone=4, hour_found=3.0, hour_seen_s=2000.0)
    assert demand.hour == HOUR_NOW
    assert (demand.hour_count, demand.hour_alone, demand.hour_found, demand.hour_seen_s) == (0, 0, 0, 0)


def test_bursts_are_remembered_for_four_weeks_and_days_for_one() -> None:
    times = [START - 4 * WEEK - HALF_HOUR - 1, START - 4 * WEEK - HALF_HOUR, START - 0.5, START, START + 1]
    numbers = [TODAY - 8, TODAY - 7, TODAY, TODAY + 1]
    demand = known(bursts=[(at, 9) for at in times], days=[Day(number) for number in numbers], hour=HOUR_NOW - 1)
    demand.step(START, [])
    assert [at for at, _ in demand.bursts] == times[1:4], "not what comes later, by a clock that was put back"
    assert [day.day for day in demand.days] == numbers[1:3]
    demand.step(START + 23 * HOUR, [])
    assert [day.day for day in demand.days] == numbers[1:3], "at any time of the day"


# sizes


def test_while_no_hour_is_known_the_last_minutes_count_in_full() -> None:
    assert known(recent=13.0).forecast(0.99, can_park=False).rate == 13


def test_the_rate_is_that_of_a_minute_later_or_of_twice_the_time_to_warm() -> None:
    """From the middle of an hour to that of the next one it is on a line, and no less than that of the hour."""
    falls = rates(h167=10.0, h0=40.0, h1=10.0, h2=10.0)
    for warm_s, ahead_s in ((3.0, 60.0), (30.0, 60.0), (40.0, 80.0)):
        demand = known(rates=falls, warm_ups=[warm_s], at_s=START - HALF_HOUR + 600)
        assert demand.forecast(0.99, can_park=False).rate == pytest.approx(10 + 30 * (600 + ahead_s) / HOUR)
    for at, rate in ((600.0, 40.0), (HOUR + 600 - 60, 10 + 30 * (HALF_HOUR - 600) / HOUR), (HOUR + HALF_HOUR, 10.0)):
        demand = known(rates=falls, at_s=START + at)
        assert demand.forecast(0.99, can_park=False).rate == pytest.approx(rate), at


@pytest.mark.parametrize(
    ("others", "rate"),
    [
        ({"h0": 0.0, "h24": 10.0}, 0.0),
        ({"h0": 0.5, "h24": 10.0}, 0.5),
        ({"h24": 10.0, "h48": 0.0, "h144": 0.5}, 3.5),
        ({"h1": 10.0, "h25": 10.0, "h23": 10.0}, 0.0),
    ],
)
def test_an_hour_that_is_not_known_is_taken_for_the_mean_of_the_same_hour_on_other_days(
    others: dict[str, float], rate: float
) -> None:
    for later in (0, 30):
        demand = known(rates=rates(later, **others), at_s=START + later * HOUR + HALF_HOUR - 60)
        assert demand.forecast(0.99, can_park=False).rate == pytest.approx(rate)


@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_without_bursts_ordinary_times_may_miss_all_that_may_be_missed(ratio: float) -> None:
    demand = known(recent=2000.0, ratio=ratio)
    found = demand.forecast(0.9, can_park=True)
    idle = base_stock(100, ratio, 0.9)
    assert found == Forecast(idle, 0, idle, 2000, 3.0)
    assert (demand.base, demand.stock) == (idle, idle)
    assert demand.explained == base_stock(100, ratio, 0.99999), "more than that at once are a burst"


def test_with_bursts_ordinary_times_may_miss_half_of_it() -> None:
    demand = known(recent=2000.0, bursts=[(START - 5 * HOUR, 7)])
    found = demand.forecast(0.9, can_park=True)
    idle = base_stock(100, 1, 0.95)
    assert found == Forecast(idle, 0, idle, 2000, 3.0, burst=1, largest=7)


LATELY = [Day(TODAY, dict.fromkeys(range(40), 1))]
"""Forty that came at once, so 38 would have been enough for nineteen of twenty."""


@pytest.mark.parametrize(
    ("can_park", "ago_s", "idle", "parked", "burst"),
    [
        (True, 600.0, 1, 37, 38),
        (True, 5 * HOUR, 1, 37, 38),
        (True, 3 * WEEK + HOUR, 1, 0, 0),
        (False, 600.0, 38, 0, 38),
        (False, 5 * HOUR, 1, 0, 0),
    ],
)
def test_bursts_are_covered_by_parked_machines_at_any_time_else_by_idle_ones_about_their_time(
    can_park: bool,  # noqa: FBT001
    ago_s: float,
    idle: int,
    parked: int,
    burst: int,
) -> None:
    demand = known(days=LATELY, bursts=[(START - ago_s, 60)])
    found = demand.forecast(0.9, can_park=can_park)
    assert found == Forecast(idle, parked, 1, 0.0, 3.0, burst, 60 if burst else 0)
    assert demand.stock == (38 if ago_s == 600 else 1), "what could be foreseen, parked or idle"


def test_no_more_are_kept_for_a_burst_than_came_in_one() -> None:
    demand = known(days=LATELY, bursts=[(START - 600, 12), (START - 300, 20)])
    assert demand.forecast(0.9, can_park=False).idle == demand.stock == 20


def test_a_burst_of_four_weeks_ago_is_larger_than_any_of_this_week() -> None:
    demand = known(days=LATELY, bursts=[(START - 4 * WEEK, 30), (START - 5 * HOUR, 20)])
    found = demand.forecast(0.9, can_park=True)
    assert (found.burst, found.largest) == (30, 30)


def test_it_says_whether_the_time_to_warm_is_a_guess() -> None:
    found = known(warm_ups=[]).forecast(0.9, can_park=True)
    assert (found.warm_s, found.is_warm_s_assumed) == (5.0, True)


@pytest.mark.parametrize(
    ("ago_s", "is_expected"),
    [
        (HALF_HOUR, True),
        (HALF_HOUR + 1, False),
        (DAY - HALF_HOUR - 1, False),
        (DAY - HALF_HOUR, True),
        (DAY + HALF_HOUR, True),
        (DAY + HALF_HOUR + 1, False),
        (3 * DAY + HALF_HOUR, True),
        (3 * DAY + HALF_HOUR + 1, False),
        (4 * DAY, False),
        (WEEK - HALF_HOUR - 1, False),
        (WEEK - HALF_HOUR, True),
        (WEEK + HALF_HOUR, True),
        (WEEK + HALF_HOUR + 1, False),
    ],
)
def test_a_burst_may_come_again_half_an_hour_before_and_after_its_time(ago_s: float, is_expected: bool) -> None:  # noqa: FBT001
    demand = known(days=LATELY, bursts=[(START - ago_s, 60)])
    assert (demand.forecast(0.9, can_park=False).burst == 38) is is_expected


@pytest.mark.parametrize(
    ("missed", "always"),
    [((2, 2), False), ((3, 3), True), ((3, 0), False), ((8, 0), False), ((3, 2), False), ((3, 3, 0), False)],
)
def test_bursts_come_at_any_time_once_more_than_may_be_were_missed_on_two_days(
    missed: tuple[int, ...],
    always: bool,  # noqa: FBT001
) -> None:
    """Of eight a day, two may be missed. On all days together it must be too many as well."""
    days = [Day(TODAY - number, {0: 4, 30: 4}, unforeseen=count) for number, count in enumerate(missed)]
    demand = known(days=days, bursts=[(START - 5 * HOUR, 31)])
    found = demand.forecast(0.75, can_park=False)
    assert found.always is always
    assert (found.idle, found.burst) == ((31, 31) if always else (1, 0))


def test_bursts_are_looked_at_every_five_minutes_and_after_each_one() -> None:
    demand = known()
    assert demand.forecast(0.9, can_park=True).burst == 0
    demand.days, demand.bursts = LATELY, [(START - 600, 60)]
    for at, burst in ((0.0, 0), (299.0, 0), (300.0, 38)):
        demand.at_s = START + at
        assert demand.forecast(0.9, can_park=True).burst == burst, at
    demand.step(START + 360, [START + 350] * 80)
    assert demand.forecast(0.9, can_park=True).largest == 80
