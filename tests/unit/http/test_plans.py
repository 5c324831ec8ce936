"""What is told of a plan: how much it is based on, and what is in force now."""

from __future__ import annotations

from typing import Final

import pytest
from msgspec.structs import replace

from worker_orchestrator.control.reading.plans import PlanOfPool
from worker_orchestrator.core.plan import Plan, Question, plan
from worker_orchestrator.core.replay import Span
from worker_orchestrator.http.v1.plans import planned

HOUR: Final = 3600.0
ASKED: Final = Question(0.99, 3.1, idle=2, parked=1)


def found(count: int, lasts_s: float, *, is_cut: bool = False, question: Question = ASKED) -> PlanOfPool:
    span = Span(0, 0, lasts_s)
    return PlanOfPool(question, span, plan([lasts_s * n / count for n in range(count)], span, question), is_cut)


@pytest.mark.parametrize(
    ("count", "lasts_s", "said"),
    [
        (8, 40, "8 assigns in 40 s"),
        (1, 119, "1 assign in 119 s"),
        (8, 120, "8 assigns in 2 min"),
        (20, HOUR - 1, "20 assigns in 60 min"),
        (19, 30 * HOUR, "19 assigns in 30.0 hours"),
    ],
)
def test_how_little_is_on_record_is_said_and_nothing_is_proposed(count: int, lasts_s: float, said: str) -> None:
    told = planned("web", found(count, lasts_s))
    assert told.sentence == (
        f"{said}, replayed with 3.1 s until a new machine answers. That is too little to propose a size, which takes an "
        "hour and 20 assigns."
    )
    assert not told.enough
    assert told.proposed is None
    assert len(told.sizes) > 2


def test_of_enough_a_size_is_proposed() -> None:
    told = planned("web", found(200, 50 * HOUR, is_cut=True))
    assert told.sentence == (
        "200 assigns in 2.1 days, replayed with 3.1 s until a new machine answers. These are the last ones: more are on "
        "record than are replayed."
    )
    assert told.enough
    assert told.proposed is not None
    assert (told.proposed.idle, told.proposed.parked) == (1, 0)
    assert (told.sizing, told.now.idle, told.now.parked) == ("fixed", 2, 1)
    assert planned("web", found(20, HOUR, question=replace(ASKED, is_adaptive=True))).sizing == "adaptive"


def test_where_nobody_came_it_says_so() -> None:
    span = Span(0, 1, 2)
    for nothing in (PlanOfPool(ASKED, None, Plan((), None)), PlanOfPool(ASKED, span, plan([], span, ASKED))):
        told = planned("web", nothing)
        assert told.sentence.startswith("No assign of the pool web is on record in this time")
        assert (told.arrivals, told.enough, told.proposed) == (0, False, None)
