"""Which sizes are looked at, which one is proposed, and that it is the cheapest that reaches the target."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.core.demands import DAY, START, bursts, independent, seconds

from worker_orchestrator.core.plan import Plan, Question, Row, plan
from worker_orchestrator.core.replay import Span, replay_fixed

SPAN = Span(START, START, START + DAY)
DAY_OF_DEMAND = sorted(independent(lambda _at: 1.0, 1, 1, 1.0) + bursts(1, 1))


def planned(arrivals: list[float], question: Question, span: Span = SPAN) -> Plan:
    return plan(arrivals, span, question)


def test_the_smallest_size_that_reaches_the_target_is_proposed() -> None:
    found = planned(DAY_OF_DEMAND, Question(0.99, 3.0, idle=2))
    assert found.proposed is not None
    assert found.proposed.outcome.hit_ratio >= 0.99
    smaller = replay_fixed(DAY_OF_DEMAND, SPAN, 3.0, found.proposed.idle - 1)
    assert smaller.hit_ratio < 0.99
    assert [row.idle for row in found.rows[:-1]] == sorted({row.idle for row in found.rows[:-1]})
    assert 2 in {row.idle for row in found.rows}, "what it has now"
    assert len(found.rows) < 20
    assert found.rows[-1].is_adaptive
    assert not any(row.is_adaptive for row in found.rows[:-1])


def test_with_parked_machines_few_are_idle() -> None:
    plain = planned(DAY_OF_DEMAND, Question(0.99, 3.0, idle=2)).proposed
    parking = planned(DAY_OF_DEMAND, Question(0.99, 3.0, idle=2, parked=1, can_park=True))
    found = parking.proposed
    assert plain is not None
    assert found is not None
    assert found.idle + found.parked == plain.idle
    assert found.idle <= 2 < found.parked
    assert found.outcome.hit_ratio >= 0.99
    assert found.cost < plain.cost
    assert (2, 1) in {(row.idle, row.parked) for row in parking.rows}, "what it has now"
    assert parking.rows[-1].parked > 0


def test_a_machine_that_is_parked_costs_half_of_one_that_is_idle() -> None:
    outcome = replay_fixed([START], SPAN, 3.0, 1)
    one_of_each = replace(outcome, idle_hours=24.0, parked_hours=24.0)
    assert Row(1, 1, one_of_each).cost == pytest.approx(36)


BURSTS = sorted(START + 900 * number + one / 1000 for number in range(96) for one in range(20))
"""Of twenty each, and nobody else."""
STEADY = [START + second / 2 for second in range(2 * int(DAY))]


@pytest.mark.parametrize("now", [(0, 0), (2, 0), (2, 20), (20, 0), (40, 60)])
@pytest.mark.parametrize("arrivals", [BURSTS, DAY_OF_DEMAND])
def test_what_a_pool_has_now_does_not_matter(arrivals: list[float], now: tuple[int, int]) -> None:
    question = Question(0.99, 3.0, *now, can_park=True)
    none_now = planned(arrivals, replace(question, idle=0, parked=0))
    found = planned(arrivals, question)
    assert found.proposed == none_now.proposed
    assert now in {(row.idle, row.parked) for row in found.rows}
    assert len(found.rows) < 25


def test_bursts_are_for_the_reserve_although_most_come_in_them() -> None:
    found = planned(BURSTS, Question(0.99, 3.0, idle=18, parked=2, can_park=True)).proposed
    assert found is not None
    assert (found.idle, found.parked) == (1, 19)


def test_ordinary_times_are_for_idle_machines() -> None:
    """Two a second, and three seconds to warm: six are on their way at any time."""
    found = planned(
        STEADY[:7200], Question(0.99, 3.2, idle=0, can_park=True), Span(START, START, START + 3600)
    ).proposed
    assert found is not None
    assert (found.idle, found.parked) == (7, 0)


def test_a_reserve_stays_within_the_limit_of_the_pool() -> None:
    found = planned(BURSTS, Question(0.99, 3.0, idle=0, can_park=True, most=20))
    assert max(row.idle + row.parked for row in found.rows[:-1]) == 20
    assert found.proposed is not None
    capped = planned(BURSTS, Question(0.99, 3.0, idle=0, can_park=True, most=19))
    assert capped.proposed is None
    assert capped.is_enough


def test_the_sizes_of_a_pool_that_follows_demand_have_no_row() -> None:
    found = planned(BURSTS, Question(0.99, 3.0, idle=3, parked=40, can_park=True, is_adaptive=True))
    assert (3, 40) not in {(row.idle, row.parked) for row in found.rows}
    assert found.proposed == planned(BURSTS, Question(0.99, 3.0, idle=0, can_park=True)).proposed


def test_if_one_idle_machine_is_enough_none_is_parked() -> None:
    found = planned([START + hour * 3600 for hour in range(24)], Question(0.99, 3.0, idle=0, can_park=True))
    assert found.proposed is not None
    assert (found.proposed.idle, found.proposed.parked) == (1, 0)
    assert not any(row.parked for row in found.rows)


def sizes_of(found: Plan) -> list[tuple[int, int]]:
    """Those of all rows but the one that follows demand."""
    return [(row.idle, row.parked) for row in found.rows[:-1]]


def test_the_best_size_is_shown_with_some_above_and_below_it() -> None:
    """Each one below a small one, and about a dozen below a large one; the largest is a quarter above it."""
    four = [at for at in BURSTS if round(at * 1000) % 20 < 4]
    found = planned(four, Question(0.99, 3.0, idle=0))
    assert sizes_of(found) == [(idle, 0) for idle in (0, 1, 2, 3, 4, 5, 6)]
    found = planned(BURSTS, Question(0.99, 3.0, idle=0))
    assert sizes_of(found) == [(idle, 0) for idle in (*range(0, 20, 2), 20, 21, 26)]


def test_a_reserve_is_shown_with_a_smaller_and_a_larger_one_and_with_half_of_it_idle() -> None:
    """From the smallest size to the largest, idle and parked together."""
    found = planned(BURSTS, Question(0.99, 3.0, idle=0, can_park=True))
    assert sizes_of(found) == [
        *((idle, 0) for idle in (0, 2, 4, 6, 8)),
        (1, 9),
        *((idle, 0) for idle in (10, 12, 14, 16, 18)),
        *((1, 19), (10, 10), (20, 0)),
        (21, 0),
        (1, 24),
        (26, 0),
    ]


def test_of_sizes_that_cost_the_same_the_smallest_is_proposed() -> None:
    """All come at once in the beginning, and no machine is ready before the end: none is ever idle for long."""
    found = planned([START] * 20, Question(0.5, 2 * DAY, idle=0))
    assert {row.cost for row in found.rows[:-1] if row.idle <= 20} == {0}
    assert found.proposed is not None
    assert (found.proposed.idle, found.proposed.outcome.hit_ratio) == (10, 0.5), "just the ratio that is wanted"


def test_what_follows_demand_gives_machines_up_after_the_time_of_its_pool() -> None:
    soon, late = (planned(BURSTS, Question(0.99, 3.0, idle=0, shrink_after_s=after_s)) for after_s in (30.0, 3e5))
    assert soon.rows[-1].outcome.idle_hours < late.rows[-1].outcome.idle_hours


def test_what_follows_demand_keeps_at_least_what_it_is_told_to() -> None:
    for least_parked in (0, 2):
        found = planned([], Question(0.99, 3.0, idle=0, least=7, least_parked=least_parked, can_park=True))
        assert (found.rows[-1].idle, found.rows[-1].parked) == (7, least_parked)
    found = planned([], Question(0.99, 3.0, idle=0, least=7, least_parked=2))
    assert found.rows[-1].parked == 0, "where the engine pauses nothing, whatever is asked for"


def test_nothing_is_proposed_where_nobody_came_or_the_pool_may_not_be_so_large() -> None:
    nobody = planned([], Question(0.99, 3.0, idle=2, can_park=True))
    assert nobody.proposed is None
    assert not nobody.is_enough
    assert nobody.rows[-1].outcome.arrivals == 0
    capped = planned(DAY_OF_DEMAND, Question(0.99, 3.0, idle=9, most=5))
    assert capped.proposed is None
    assert max(row.idle for row in capped.rows if not row.is_adaptive) == 9, "what it has now, although it is more"
    assert capped.rows[-1].idle <= 5


@pytest.mark.parametrize(
    ("count", "lasts_s", "is_enough"), [(20, 3600, True), (19, 3600, False), (20, 3599, False), (2000, 60, False)]
)
def test_of_too_little_no_size_follows(count: int, lasts_s: float, is_enough: bool) -> None:  # noqa: FBT001
    times = [START + lasts_s * number / count for number in range(count)]
    found = planned(times, Question(0.99, 3.0, idle=1, can_park=True), Span(START, START, START + lasts_s))
    assert found.is_enough is is_enough
    assert (found.proposed is not None) is is_enough
    assert found.rows[0].outcome.arrivals == count, "it is replayed all the same"


def test_what_came_before_is_only_learned_from() -> None:
    before = [START + second for second in (0, 0, 0, 0, 39_999, 39_999)]
    times = before + [START + 50_000 + 600 * number for number in range(20)]
    found = planned(times, Question(0.99, 3.0, idle=1), Span(START, START + 40_000, START + DAY))
    assert {row.outcome.arrivals for row in found.rows} == {20}
    assert found.proposed is not None
    assert found.proposed.idle == 1
    seconds = DAY - 40_000 - 20 * 3.0 - 2.0
    assert found.proposed.outcome.idle_hours == pytest.approx(seconds / 3600), "one was still on its way"


@given(
    st.lists(seconds(0, 3600), min_size=20, max_size=80).map(sorted),
    st.sampled_from([0.5, 0.9, 0.99]),
    seconds(0.5, 300),
)
@example([1e-300] * 19 + [300.0], 0.9, 300.0)  # ready when the last one comes, as far as a sum of floats can tell
@settings(max_examples=50, deadline=None)
def test_no_smaller_size_would_do(times: list[float], target: float, warm_s: float) -> None:
    span = Span(0, 0, 3600)
    found = planned(times, Question(target, warm_s, idle=0), span).proposed
    assert found is not None
    ratios = [replay_fixed(times, span, warm_s, idle).hit_ratio for idle in range(found.idle + 1)]
    assert ratios[-1] >= target or ratios[-1] == pytest.approx(target)
    assert all(ratio < target for ratio in ratios[:-1])
