"""Which sizes are looked at, which one is proposed, and that it is the cheapest that reaches the target."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.core.demands import DAY, START, bursts, independent

from worker_orchestrator.core.plan import Plan, Question, plan
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
    assert (2, 1) in {(row.idle, row.parked) for row in parking.rows}, "what it has now"
    assert parking.rows[-1].parked > 0


def test_if_one_idle_machine_is_enough_none_is_parked() -> None:
    found = planned([START + hour * 3600 for hour in range(24)], Question(0.99, 3.0, idle=0, can_park=True))
    assert found.proposed is not None
    assert (found.proposed.idle, found.proposed.parked) == (1, 0)


def test_nothing_is_proposed_where_nobody_came_or_the_pool_may_not_be_so_large() -> None:
    nobody = planned([], Question(0.99, 3.0, idle=2, can_park=True))
    assert nobody.proposed is None
    assert nobody.rows[-1].outcome.arrivals == 0
    capped = planned(DAY_OF_DEMAND, Question(0.99, 3.0, idle=9, most=5))
    assert capped.proposed is None
    assert max(row.idle for row in capped.rows if not row.is_adaptive) == 9, "what it has now, although it is more"
    assert capped.rows[-1].idle <= 5


def test_what_came_before_is_only_learned_from() -> None:
    times = [START + second for second in (0, 0, 0, 0, 50_000, 60_000)]
    found = planned(times, Question(0.99, 3.0, idle=1), Span(START, START + 40_000, START + DAY))
    assert {row.outcome.arrivals for row in found.rows} == {2}
    assert found.proposed is not None
    assert found.proposed.idle == 1


@given(
    st.lists(st.floats(0, 3600, exclude_max=True), min_size=1, max_size=80).map(sorted),
    st.sampled_from([0.5, 0.9, 0.99]),
    st.floats(0.5, 300),
)
@settings(max_examples=50, deadline=None)
def test_no_smaller_size_would_do(times: list[float], target: float, warm_s: float) -> None:
    span = Span(0, 0, 3600)
    found = planned(times, Question(target, warm_s, idle=0), span).proposed
    assert found is not None
    ratios = [replay_fixed(times, span, warm_s, idle).hit_ratio for idle in range(found.idle + 1)]
    assert ratios[-1] >= target or ratios[-1] == pytest.approx(target)
    assert all(ratio < target for ratio in ratios[:-1])
