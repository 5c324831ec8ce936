"""Replays of arrivals against sizes: what happens to each arrival, and what it costs."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.demands import seconds

from worker_orchestrator.core.demand import Demand
from worker_orchestrator.core.replay import (
    LOOK_S,
    WAKE_S,
    Adaptive,
    Fixed,
    Replayed,
    Span,
    replay,
    replay_fixed,
    under_way,
)

SPAN = Span(0, 0, 3600)


def fixed(arrivals: list[float], idle: int, parked: int = 0, *, warm_s: float = 10.0, span: Span = SPAN) -> Replayed:
    return replay(arrivals, span, warm_s, Fixed(idle, parked))


def test_an_idle_machine_is_taken_at_once_and_replaced_after_the_time_to_warm() -> None:
    found = fixed([100, 105, 120], 1)
    assert (found.arrivals, found.hits) == (3, 2)
    assert found.hit_ratio == pytest.approx(2 / 3)
    assert (found.p50_wait_s, found.p99_wait_s) == (0, 5)
    # idle until 100; the machine of 105 was ordered at 100; then from 115 to 120, and from 130 on
    assert found.idle_hours == pytest.approx((100 + 5 + 3600 - 130) / 3600)
    assert (found.most_idle, found.most_parked) == (1, 0)


def test_without_idle_machines_each_waits_the_time_to_warm() -> None:
    found = fixed([0, 1, 2], 0)
    assert (found.hits, found.p50_wait_s, found.p99_wait_s, found.idle_hours) == (0, 10, 10, 0)


def test_parked_machines_wake_where_idle_ones_are_missing() -> None:
    found = fixed([100, 101, 102], 1, 1)
    assert (found.hits, found.p50_wait_s, found.p99_wait_s) == (2, 0, 8)
    assert found.parked_hours == pytest.approx((100 + 3600 - 112) / 3600)
    assert found.idle_hours == pytest.approx((100 + 1 - WAKE_S + 3600 - 111) / 3600)


def test_who_finds_no_idle_machine_waits_for_a_parked_one_to_wake() -> None:
    """One that is about to wake anyway comes first."""
    found = fixed([100, 100.03, 100.03, 100.03], 1, 2)
    assert found.hits == 3
    waits = [fixed([100, 100.03, 100.03][:count], 1, 2).p99_wait_s for count in (2, 3)]
    assert waits == [pytest.approx(0.02), pytest.approx(WAKE_S)]
    assert fixed([100], 0, 1).p99_wait_s == pytest.approx(WAKE_S)
    last = fixed([100, 100.03], 1, 1)
    assert last.hits == 2, "also if none is parked any more"
    assert last.p99_wait_s == pytest.approx(0.02)


def test_what_comes_up_while_another_one_wakes_to_be_idle_is_parked() -> None:
    found = fixed([100, 109.98], 1, 2)
    parked_s = 2 * 100 + (109.98 - 100) + (109.98 + 10 - 110) + 2 * (3600 - 119.98)
    assert found.parked_hours == pytest.approx(parked_s / 3600)


def test_who_comes_as_a_machine_gets_ready_does_not_wait() -> None:
    for found in (fixed([100, 110], 1), replay_fixed([100, 110], SPAN, 10.0, 1)):
        assert (found.hits, found.p99_wait_s) == (2, 0)


def test_only_what_comes_later_is_counted() -> None:
    span = Span(0, 1800, 3600)
    for found in (fixed([0, 1, 2000], 1, span=span), replay_fixed([0, 1, 2000], span, 10.0, 1)):
        assert (found.arrivals, found.hits, found.p99_wait_s) == (1, 1, 0)
        assert found.idle_hours == pytest.approx((1800 - 10) / 3600)


def test_who_comes_just_when_it_begins_to_count_is_counted() -> None:
    span = Span(0, 1800, 3600)
    for found in (fixed([1795, 1800], 1, span=span), replay_fixed([1795, 1800], span, 10.0, 1)):
        assert (found.arrivals, found.hits, found.p99_wait_s) == (1, 0, 5)
    assert fixed([1800], 1, span=span).hits == 1
    woken = fixed([1800], 0, 1, span=span)
    assert woken.hits == 1
    assert woken.p99_wait_s == pytest.approx(WAKE_S)


def test_who_gets_a_parked_machine_before_it_begins_to_count_is_not_counted() -> None:
    found = fixed([1795, 1795, 1795], 1, 2, span=Span(0, 1800, 3600))
    assert (found.arrivals, found.hits, found.p99_wait_s) == (0, 0, 0)


def test_who_waits_when_it_begins_to_count_is_not_counted() -> None:
    found = fixed([1795, 1796], 1, span=Span(0, 1800, 3600))
    assert (found.arrivals, found.hits, found.p99_wait_s) == (0, 0, 0)
    assert found.hit_ratio == 1.0


def test_who_waits_to_the_end_counts_with_the_time_that_is_left() -> None:
    assert fixed([3599], 0).p99_wait_s == 10


TIMES = st.lists(seconds(0, 3600), max_size=60).map(sorted)


@given(TIMES, st.integers(0, 8), seconds(0.1, 400), seconds(0, 3600))
def test_the_short_way_for_fixed_sizes_says_the_same(
    times: list[float], idle: int, warm_s: float, since: float
) -> None:
    span = Span(0, since, 3600)
    step_by_step, short = fixed(times, idle, warm_s=warm_s, span=span), replay_fixed(times, span, warm_s, idle)
    assert (step_by_step.arrivals, step_by_step.most_idle) == (short.arrivals, short.most_idle)
    assert step_by_step.hits == short.hits
    assert step_by_step.p50_wait_s == pytest.approx(short.p50_wait_s, abs=1e-6)
    assert step_by_step.p99_wait_s == pytest.approx(short.p99_wait_s, abs=1e-6)
    assert step_by_step.idle_hours == pytest.approx(short.idle_hours, abs=1e-6)
    assert (short.parked_hours, short.most_parked) == (0, 0)


@given(TIMES, st.integers(0, 6), st.integers(0, 6))
def test_parked_machines_are_hits_as_idle_ones_are(times: list[float], idle: int, parked: int) -> None:
    assert fixed(times, idle, parked).hits == fixed(times, idle + parked).hits


class Falling(Fixed, frozen=True):
    """Sizes that fall at one time, and may grow back at another one."""

    at_s: float = 600
    again_s: float = 1e9
    look_s: ClassVar[float] = LOOK_S

    def look(self, at_s: float, _arrivals: object) -> tuple[int, int]:
        return (1, 0) if self.at_s <= at_s < self.again_s else (self.idle, self.parked)


def test_machines_that_are_too_many_are_given_up_after_a_while() -> None:
    kept = replay([], SPAN, 10, Falling(5, 3))
    assert kept.idle_hours == pytest.approx((900 * 5 + 2700) / 3600), "five minutes, unless something else is said"
    assert kept.parked_hours == pytest.approx(600 * 3 / 3600)
    spared = replay([], SPAN, 10, Falling(5, 0, again_s=810), 300)
    assert spared.idle_hours == pytest.approx(5), "they were wanted again before that"
    soon = replay([], SPAN, 10, Falling(5, 0), 60)
    assert soon.idle_hours == pytest.approx((660 * 5 + 2940) / 3600)


@pytest.mark.parametrize(("at_s", "most"), [(30, (5, 3)), (1800, (1, 0)), (1830, (5, 3))])
def test_the_largest_sizes_since_it_began_to_count_are_told(at_s: float, most: tuple[int, int]) -> None:
    """Those of the beginning count as well, if it counts from there."""
    since_s = 0 if at_s == 30 else 1800
    found = replay([], Span(0, since_s, 3600), 10, Falling(5, 3, at_s=at_s))
    assert (found.most_idle, found.most_parked) == most


def test_who_comes_when_sizes_change_finds_the_new_ones() -> None:
    found = replay([600], SPAN, 10, Falling(2, 0))
    assert found.idle_hours == pytest.approx((600 * 2 + 3000) / 3600), "the one that is taken was too many"


def test_what_comes_up_for_a_reserve_that_is_wanted_no_more_is_idle_until_it_is_given_up() -> None:
    found = replay([595], SPAN, 10, Falling(1, 1))
    assert found.parked_hours == pytest.approx(595 / 3600)
    idle_s = 595 + (605 - 595 - WAKE_S) + 2 * (930 - 605) + (3600 - 930)
    assert found.idle_hours == pytest.approx(idle_s / 3600)


def test_sizes_that_follow_demand_stay_within_their_limits() -> None:
    times = [60.0 * minute + second for minute in range(60) for second in range(10)]
    limited = Adaptive(Demand(), 0.99, can_park=True, least=2, most=4, least_parked=1)
    found = replay(times, SPAN, 30.0, limited)
    assert (found.most_idle, found.most_parked) == (4, 1)
    plain = replay(times, SPAN, 30.0, Adaptive(Demand(), 0.99, can_park=False))
    assert plain.most_idle > 4
    assert plain.most_parked == 0


def test_what_follows_demand_parks_no_more_than_its_limit_leaves_beside_the_idle_ones() -> None:
    burst = [100 + number / 100 for number in range(30)]
    free = replay(burst, SPAN, 10.0, Adaptive(Demand(), 0.99, can_park=True))
    found = replay(burst, SPAN, 10.0, Adaptive(Demand(), 0.99, can_park=True, least=3, most=9))
    assert free.most_parked > 9
    assert found.most_parked == 6


def test_how_long_so_many_were_on_their_way() -> None:
    assert under_way([], SPAN, 10.0) == {0: 3600}
    assert under_way([100, 105, 3595], SPAN, 10.0) == {0: 3600 - 15 - 5, 1: 5 + 5 + 5, 2: 5}
    assert under_way([1795, 1798], Span(0, 1800, 3600), 10.0) == {0: 1800 - 8, 1: 3, 2: 5}
