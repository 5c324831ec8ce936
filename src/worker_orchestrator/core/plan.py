"""Which sizes reach a hit ratio, and what they cost: recorded arrivals, replayed against several of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from worker_orchestrator.core.demand import Demand, found_by, smallest_fixed
from worker_orchestrator.core.replay import Adaptive, Fixed, Replayed, Span, replay, replay_fixed, under_way

__all__ = ["LEAST_ARRIVALS", "LEAST_S", "Plan", "Question", "Row", "plan"]

LEAST_ARRIVALS: Final = 20
LEAST_S: Final = 3600.0
"""Of fewer arrivals, or in less time, no size follows: nothing is proposed."""
_MOST_ROWS: Final = 12
_AT_MOST_OF_TIME: Final = 0.1
"""For so much of the time more machines may be on their way than are kept idle, where the others are parked."""
_WORTH_OF_PARKED: Final = 0.5
"""A machine costs memory and processor time, and a parked one the first of these two alone."""


class Question(msgspec.Struct, frozen=True):
    """What is asked of one pool: the sizes that reach `target`. It has `idle` and `parked` now, which are always replayed
    as well, unless they follow demand (`is_adaptive`). What is proposed does not depend on them.

    The pool warms a machine in `warm_s`, which `is_warm_s_assumed` while none was seen to. It may have no more than `most`
    machines, and can park some where it `can_park`. What follows demand keeps `least` idle and `least_parked` parked in any
    case, and gives idle machines up that were too many for `shrink_after_s`.
    """

    target: float
    warm_s: float
    idle: int
    parked: int = 0
    least: int = 0
    least_parked: int = 0
    can_park: bool = False
    most: int = 10_000
    shrink_after_s: float = 300.0
    is_adaptive: bool = False
    is_warm_s_assumed: bool = False


class Row(msgspec.Struct, frozen=True):
    """Sizes, and what came of them. Where they follow demand (`is_adaptive`) these are the largest that it had."""

    idle: int
    parked: int
    outcome: Replayed
    is_adaptive: bool = False

    @property
    def cost(self) -> float:
        """In hours of an idle machine."""
        return self.outcome.idle_hours + _WORTH_OF_PARKED * self.outcome.parked_hours


class Plan(msgspec.Struct, frozen=True):
    """Rows from the smallest size to the largest; the last one follows demand.

    `proposed` is the fixed one of the least cost that reaches the target, with so many idle as ordinary times need. None if
    too little is on record (`is_enough`), or if it would need more machines than the pool may have.
    """

    rows: tuple[Row, ...]
    proposed: Row | None
    is_enough: bool = False


def plan(arrivals: Sequence[float], span: Span, question: Question) -> Plan:
    """What happened before `span.count_from_s` is only learned from."""
    counted = arrivals[bisect_left(arrivals, span.count_from_s) :]
    late = Span(max(span.begin_s, span.count_from_s - 2 * question.warm_s), span.count_from_s, span.until_s)
    recent = arrivals[bisect_left(arrivals, late.begin_s) :]  # no fixed size knows of those before
    found = Counter(found_by(counted, question.warm_s))
    best = min(smallest_fixed(found, 1 - question.target), question.most)
    ordinary = smallest_fixed(under_way(recent, late, question.warm_s), _AT_MOST_OF_TIME)
    offered = {(idle, 0) for idle in _sizes(best, question.most)}
    if question.can_park and ordinary < best:
        offered |= _with_reserve(ordinary, best, question.most)
    now = set[tuple[int, int]]() if question.is_adaptive else {(question.idle, question.parked)}
    rows = [_row(recent, late, question, *sizes) for sizes in sorted(offered | now, key=lambda one: (sum(one), one))]
    is_enough = len(counted) >= LEAST_ARRIVALS and span.until_s - span.count_from_s >= LEAST_S
    fit = [row for row in rows if (row.idle, row.parked) in offered and row.outcome.hit_ratio >= question.target]
    # Of those that cost the same the smallest comes first.
    proposed = min(fit, key=lambda row: row.cost) if is_enough and fit else None
    return Plan((*rows, _following(arrivals, span, question)), proposed, is_enough)


def _row(arrivals: Sequence[float], span: Span, question: Question, idle: int, parked: int) -> Row:
    if not parked:
        return Row(idle, 0, replay_fixed(arrivals, span, question.warm_s, idle))
    return Row(idle, parked, replay(arrivals, span, question.warm_s, Fixed(idle, parked)))


def _following(arrivals: Sequence[float], span: Span, question: Question) -> Row:
    demand = Demand()
    demand.note_warm_up(question.warm_s)
    following = Adaptive(
        demand, question.target, question.can_park, question.least, question.most, question.least_parked
    )
    outcome = replay(arrivals, span, question.warm_s, following, question.shrink_after_s)
    return Row(outcome.most_idle, outcome.most_parked, outcome, is_adaptive=True)


def _sizes(best: int, most: int) -> list[int]:
    """Sizes to look at: the best one, a few above, and below it so many that it can be read."""
    step = max(1, -(-best // _MOST_ROWS))
    return [size for size in {*range(0, best, step), best, best + 1, best + 1 + best // 4} if size <= most]


def _with_reserve(ordinary: int, best: int, most: int) -> set[tuple[int, int]]:
    """Idle and parked machines to look at: as many as the best size has, all but those that ordinary times need parked, or
    half of these; and a smaller reserve and a larger one.
    """
    reserve = best - ordinary
    found = {(ordinary, parked) for parked in (reserve // 2, reserve, reserve + 1 + reserve // 4)}
    found.add((ordinary + reserve // 2, reserve - reserve // 2))
    return {(idle, parked) for idle, parked in found if parked and idle + parked <= most}
