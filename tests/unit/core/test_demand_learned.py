"""What is learned of demand, and the sizes that follow from it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.core.demands import DAY, HOUR, START, WEEK, bursts, independent, seconds

from worker_orchestrator.core.base_stock import base_stock
from worker_orchestrator.core.demand import Demand, Forecast, found_by, smallest_fixed

STEP = 60.0


def learned(
    arrivals: Sequence[float], until: float, *, warm_s: float = 3.0, demand: Demand | None = None, park: bool = False
) -> Demand:
    """As a service learns it that looks once a minute."""
    found = demand or Demand()
    if demand is None:
        found.note_warm_up(warm_s)
    at, place = max(START, found.at_s), 0
    while at < START + until:
        at += STEP
        first = place
        while place < len(arrivals) and arrivals[place] < at:
            place += 1
        found.step(at, arrivals[first:place])
        found.forecast(0.99, can_park=park)
    return found


def regular(per_minute: float, since: float, until: float) -> list[float]:
    count = int((until - since) / 60 * per_minute)
    return [START + since + number * 60 / per_minute for number in range(count)]


# rates


def test_nothing_is_wanted_of_a_pool_for_which_nobody_came() -> None:
    assert Demand().forecast(0.99, can_park=True) == Forecast(0, 0)
    assert learned([], DAY).forecast(0.99, can_park=True) == Forecast(0, 0)


def test_the_rate_of_the_last_minutes_is_followed() -> None:
    demand = learned(regular(12, 0, HOUR - 60), HOUR - 60)
    found = demand.forecast(0.99, can_park=False)
    assert found.rate == pytest.approx(12, rel=0.01)
    assert found.idle == found.ordinary == base_stock(12 / 60 * 3, 1, 0.99)
    demand = learned([], 1.2 * HOUR, demand=demand)
    assert demand.recent < 3, "and forgotten within minutes"


def test_what_chance_explains_is_not_more_than_what_is_usual() -> None:
    """Where an hour is known, the last minutes count as far as they are above it by more than a standard deviation."""
    demand = learned(regular(12, 0, DAY), DAY)
    assert demand.forecast(0.99, can_park=False).rate == pytest.approx(12, rel=0.01)
    demand.recent = 13.0
    assert demand.forecast(0.99, can_park=False).rate == pytest.approx(12, rel=0.01)
    demand.recent = 30.0
    assert demand.forecast(0.99, can_park=False).rate == pytest.approx(28.1, rel=0.01)


def test_an_hour_of_the_week_is_remembered_before_it_comes() -> None:
    """Also of a day that is not known yet, from other days; and some way ahead of the change."""
    day = regular(30, 9 * HOUR, 10 * HOUR)
    demand = learned(day, DAY + 9 * HOUR - 60)
    assert demand.recent < 0.01
    assert demand.forecast(0.99, can_park=False).rate == pytest.approx(30, rel=0.02)
    assert learned([], 2 * DAY, demand=demand).forecast(0.99, can_park=False).rate < 0.01


def test_between_the_middles_of_two_hours_the_rate_is_on_a_line() -> None:
    demand = learned(regular(10, 0, HOUR) + regular(20, HOUR, 2 * HOUR), 2 * HOUR)
    demand.recent, demand.at_s = 0.0, START + WEEK + HOUR - 60
    assert demand.forecast(0.99, can_park=False).rate == pytest.approx(20, rel=0.05), "that of the hour that begins"
    demand.at_s = START + WEEK + 0.75 * HOUR - 60
    assert demand.forecast(0.99, can_park=False).rate == pytest.approx(12.5, rel=0.05)


def test_the_newest_week_counts_two_fifths() -> None:
    demand = learned(regular(10, 0, HOUR), HOUR)
    learned(regular(20, WEEK, WEEK + HOUR), WEEK + HOUR, demand=demand)
    assert demand.rates[int(START // HOUR) % 168] == pytest.approx(14, rel=0.05)


def test_an_hour_in_which_the_service_was_down_teaches_nothing() -> None:
    demand = learned(regular(10, 0, HOUR / 4), HOUR / 4)
    demand.step(START + HOUR + 1, ())
    assert set(demand.rates) == {-1.0}


def test_a_clock_that_is_put_back_does_no_harm() -> None:
    demand = learned(regular(10, 0, 3 * HOUR), 3 * HOUR)
    demand.step(START + HOUR, [START + HOUR - 1])
    assert demand.last == [START + HOUR]
    demand.step(START + HOUR + 60, [START + HOUR + 30])
    assert demand.forecast(0.99, can_park=False).idle >= 1
    demand.step(START + HOUR + 60, [START + HOUR + 60])  # twice at one time


def test_an_arrival_that_is_told_late_counts_as_if_it_came_now() -> None:
    demand = learned(regular(1, 0, HOUR), HOUR)
    demand.step(START + HOUR + 60, [START, START + HOUR + 59.5])
    assert demand.last == [START + HOUR + 59.5]


# the time to warm


def test_the_time_to_warm_is_that_in_which_nine_of_ten_machines_were_ready() -> None:
    demand = Demand()
    assert demand.warm_s == 5
    demand.note_warm_up(2.0)
    assert demand.warm_s == 2
    for took in [1.0] * 89 + [4.0] * 11:
        demand.note_warm_up(took)
    assert len(demand.warm_ups) == 100
    assert demand.warm_s == pytest.approx(4)


# groups and bursts


def test_arrivals_in_groups_need_more_than_as_many_that_come_one_by_one() -> None:
    alone = sorted(START + random.Random(1).uniform(0, DAY) for _ in range(1))
    drawn = random.Random(2)
    singles = sorted(START + drawn.uniform(0, DAY) for _ in range(2880))
    groups = sorted(START + at for at in [drawn.uniform(0, DAY) for _ in range(960)] for _ in range(3))
    few, many = (learned(times, DAY) for times in (singles, groups))
    assert few.ratio == pytest.approx(1, abs=0.2)
    assert many.ratio > 1.5
    assert many.base > few.base
    assert learned(alone, 2 * HOUR).ratio <= 1.0


def test_a_burst_is_expected_again_about_its_time_on_the_next_days_and_in_the_next_weeks() -> None:
    minute = regular(1, 0, 14 * HOUR)
    demand = learned([*minute, *(START + 14 * HOUR + 0.01 * n for n in range(30))], 14.1 * HOUR)
    assert demand.bursts[-1][1] >= 26
    assert demand.forecast(0.99, can_park=False).burst > 20, "for half an hour"
    demand = learned(regular(1, 14.1 * HOUR, 30 * DAY), 14.6 * HOUR, demand=demand)
    assert demand.forecast(0.99, can_park=False).idle < 5
    for at, is_expected in (
        (DAY + 14 * HOUR, True),
        (DAY + 12 * HOUR, False),
        (3 * DAY + 14.4 * HOUR, True),
        (4 * DAY + 14 * HOUR, False),
        (WEEK + 13.6 * HOUR, True),
        (4 * WEEK + 14.4 * HOUR, True),
    ):
        demand.at_s, demand.capped_at_s = START + at, 0.0
        assert (demand.forecast(0.9999, can_park=False).burst > 20) is is_expected, at / DAY


def test_parked_machines_stand_by_for_a_burst_at_any_time() -> None:
    minute = regular(1, 0, 14 * HOUR)
    demand = learned([*minute, *(START + 14 * HOUR + 0.01 * n for n in range(30))], 20 * HOUR, park=True)
    found = demand.forecast(0.99, can_park=True)
    assert found.idle == found.ordinary < 4
    assert found.idle + found.parked == found.burst <= found.largest
    assert found.parked > 15


def test_bursts_are_covered_as_far_as_the_target_asks() -> None:
    minute = regular(1, 0, 14 * HOUR)
    burst = [START + 14 * HOUR + 0.01 * n for n in range(30)]
    demand, wanted = learned([*minute, *burst], 14.1 * HOUR, park=True), list[int]()
    for target in (0.8, 0.97, 0.99, 0.9999):
        demand.capped_at_s = 0.0
        wanted.append(demand.forecast(target, can_park=True).burst)
    assert wanted == sorted(wanted)
    assert wanted[0] == 1
    assert wanted[-1] >= 29


def test_bursts_that_keep_to_no_times_are_covered_all_the_time() -> None:
    """Where machines cannot be parked, once that was missed on two days. The first day of all proves nothing."""
    drawn = random.Random(4)
    times = independent(lambda _at: 0.2, 6, 3, 0.2)
    demand = learned(times, DAY)
    assert not demand.always
    for day in range(6):
        for _ in range(4):
            begin = START + day * DAY + drawn.uniform(0, 23) * HOUR
            times += [begin + 0.01 * number for number in range(20)]
    demand = learned(sorted(times), 6 * DAY)
    found = demand.forecast(0.99, can_park=False)
    assert found.always
    assert found.idle == found.burst > 15


def test_days_and_bursts_are_forgotten() -> None:
    demand = learned(regular(1, 0, HOUR) + bursts(1, 1), DAY)
    assert demand.days
    assert demand.bursts
    demand = learned([], 9 * DAY, demand=demand)
    assert demand.days == []
    assert demand.forecast(0.99, can_park=True) == Forecast(0, 0)
    assert demand.bursts
    assert learned([], 30 * DAY, demand=demand).bursts == []


# bounds


def test_it_takes_a_few_kilobytes_and_comes_back_as_it_was() -> None:
    drawn = random.Random(5)
    times = sorted(START + drawn.uniform(0, 8 * DAY) for _ in range(20_000))
    times += [START + 8 * DAY + drawn.uniform(0, 1) for _ in range(1_000)]
    demand = learned(sorted(times), 8 * DAY + 60)
    stored = msgspec.json.encode(demand)
    assert len(stored) < 40_000
    again = msgspec.json.decode(stored, type=Demand)
    assert again.forecast(0.99, can_park=True) == demand.forecast(0.99, can_park=True)
    assert msgspec.json.encode(again) == msgspec.json.encode(demand)


def test_a_rush_that_is_larger_than_any_pool_is_counted_as_one() -> None:
    demand = learned([], HOUR)
    demand.step(START + HOUR + 60, [START + HOUR + 59 + number / 20_000 for number in range(12_000)])
    assert len(demand.last) == 10_000
    assert demand.bursts[-1][1] == 10_001
    assert max(demand.days[-1].found) >= 9_000
    assert len(demand.days[-1].found) < 400


@given(st.lists(seconds(0, 100), max_size=50).map(sorted), seconds(0.01, 50), st.integers(0, 50))
def test_how_many_were_found_is_the_same_in_pieces(times: list[float], warm_s: float, cut: int) -> None:
    slowly = [sum(1 for other in times[:number] if other + warm_s > at) for number, at in enumerate(times)]
    assert list(found_by(times, warm_s)) == slowly
    assert list(found_by(times[cut:], warm_s, times[:cut])) == slowly[cut:]


@given(st.dictionaries(st.integers(0, 40), st.integers(1, 30), max_size=12), st.floats(0.0001, 0.5))
@settings(max_examples=200)
def test_the_smallest_fixed_size_is_the_smallest(found: dict[int, int], may_miss: float) -> None:
    size = smallest_fixed(found, may_miss)

    def missed(of: int) -> int:
        return sum(count for number, count in found.items() if number >= of)

    assert size >= 1
    assert missed(size) <= may_miss * sum(found.values()) + 1e-6
    assert size == 1 or missed(size - 1) > may_miss * sum(found.values())


def test_who_came_just_as_long_ago_as_a_machine_takes_to_warm_has_one_again() -> None:
    assert list(found_by([0.0, 1.0, 3.0, 3.5], 3.0)) == [0, 1, 1, 2]


def test_what_is_less_than_a_millionth_of_an_arrival_is_an_error_of_rounding() -> None:
    assert smallest_fixed({0: 1, 1: 1}, math.nextafter(0.5, 0)) == 1
    assert smallest_fixed({0: 1, 1: 1}, 0.5 - 2e-7) == 1
    assert smallest_fixed({0: 1, 1: 1}, 0.5 - 1e-6) == 2
