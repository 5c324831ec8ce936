"""Which sizes reach a hit ratio, and what they cost: recorded arrivals, replayed against several of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from worker_orchestrator.core.demand import Demand, found_by, smallest_fixed
from worker_orchestrator.core.replay import Adaptive, Fixed, Replayed, Span, replay, replay_fixed

__all__ = ["Plan", "Question", "Row", "plan"]

_MOST_ROWS: Final = 12
_MAY_WAKE: Final = 0.1
"""So many arrivals may get a parked machine where sizes are proposed: the others find one that is idle."""


class Question(msgspec.Struct, frozen=True):
    """What is asked of one pool: the sizes that reach `target`. It has `idle` and `parked` now, by its settings.

    `least`: what follows demand keeps so many idle at least. The pool warms a machine in `warm_s`, may have no more than
    `most` machines, and can park some where it `can_park`.
    """

    target: float
    warm_s: float
    idle: int
    parked: int = 0
    least: int = 0
    can_park: bool = False
    most: int = 10_000
    shrink_after_s: float = 300.0


class Row(msgspec.Struct, frozen=True):
    """Sizes, and what came of them. Where they follow demand (`is_adaptive`) these are the largest that it had."""

    idle: int
    parked: int
    outcome: Replayed
    is_adaptive: bool = False


class Plan(msgspec.Struct, frozen=True):
    """Rows from the smallest size to the largest; the last one follows demand. `proposed` is the cheapest fixed one that
    reaches the target; None if nobody came, or if it would need more machines than the pool may have.
    """

    rows: tuple[Row, ...]
    proposed: Row | None


def plan(arrivals: Sequence[float], span: Span, question: Question) -> Plan:
    """What happened before `span.count_from_s` is only learned from."""
    counted = arrivals[bisect_left(arrivals, span.count_from_s) :]
    found = Counter(found_by(counted, question.warm_s))
    best = min(smallest_fixed(found, 1 - question.target), question.most)
    rows = list[Row]()
    for idle in _sizes(best, question.idle, question.most):
        rows.append(Row(idle, 0, replay_fixed(arrivals, span, question.warm_s, idle)))
    pairs = {(question.idle, question.parked)} if question.parked else set[tuple[int, int]]()
    if question.can_park and counted:
        often = min(best, smallest_fixed(found, _MAY_WAKE))
        pairs |= {(often, best - often)} if best > often else set()
    for idle, parked in sorted(pairs):
        rows.append(Row(idle, parked, replay(arrivals, span, question.warm_s, Fixed(idle, parked))))
    rows.sort(key=lambda row: (row.idle + row.parked, row.idle))
    reaching = [row for row in rows if row.outcome.hit_ratio >= question.target]
    cheapest = min(reaching, key=lambda row: (row.idle, row.parked)) if counted and reaching else None
    demand = Demand()
    demand.note_warm_up(question.warm_s)
    following = Adaptive(demand, question.target, question.can_park, question.least, question.most)
    outcome = replay(arrivals, span, question.warm_s, following, question.shrink_after_s)
    rows.append(Row(outcome.most_idle, outcome.most_parked, outcome, is_adaptive=True))
    return Plan(tuple(rows), cheapest)


def _sizes(best: int, now: int, most: int) -> list[int]:
    """Sizes to look at: the one that is in force, the best one, a few above, and below it so many that it can be read."""
    step = max(1, -(-best // _MOST_ROWS))
    sizes = {*range(0, best, step), best, best + 1, best + 1 + best // 4, now}
    return sorted(size for size in sizes if size <= most or size == now)
