"""Which sizes of a pool would have been right for the demand that is on record: read and replayed in a thread.

A replay is work for the processor. Python lets a thread have its turn for 5 ms, and an assign would wait for that. So
meanwhile turns are short.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Final

from worker_orchestrator.control.deciding.forecasts import Forecasts
from worker_orchestrator.control.deciding.sizes import PoolSizes
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.core.plan import Plan, Question, plan
from worker_orchestrator.core.refusals import pool_not_found
from worker_orchestrator.core.replay import Span
from worker_orchestrator.store.arrivals import KEPT_MIN, Minute

__all__ = ["LONGEST_DAYS", "PlanOfPool", "Plans"]

LONGEST_DAYS: Final = KEPT_MIN // (24 * 60)
MOST_ARRIVALS: Final = 100_000
"""The last ones are replayed. These take about a second."""
_TURN_S: Final = 0.0005
"""No thread waits for longer than this until it may run."""


@dataclass(frozen=True, slots=True)
class PlanOfPool:
    """The plan of one pool. `span` is the time that was replayed; None: nothing is on record.

    `is_cut`: more is on record than was replayed.
    """

    question: Question
    span: Span | None
    plan: Plan
    is_cut: bool = False


class Plans:
    """Answers one question at a time."""

    def __init__(self, state: ControlState, sizes: PoolSizes, forecasts: Forecasts) -> None:
        self._state, self._sizes, self._forecasts = state, sizes, forecasts
        self._one_at_a_time = asyncio.Lock()

    async def of(self, pool: str, target: float | None, days: int) -> PlanOfPool:
        """The plan of this pool for this hit ratio (None: that of its settings).

        Raises PoolNotFound, StoreError.
        """
        async with self._one_at_a_time:
            self._forecasts.look()
            record, question = self._forecasts.demands.record, self._question(pool, target)
            record.save({})
            now_s = self._state.wall_ms() / 1000
            last = int(now_s // 60)
            read = record.store.reader(pool, last - KEPT_MIN, last)
            with _short_turns():
                return await asyncio.to_thread(_replayed, read, question, days, now_s)

    def _question(self, pool: str, target: float | None) -> Question:
        if pool not in self._state.spec.pools:  # since a reload, perhaps, while another plan was made
            raise pool_not_found(self._state.spec, pool)
        spec = self._state.spec.pools[pool]
        wanted = self._sizes.in_force(pool)  # without windows, which a fixed size replaces
        now = (spec.min_idle, spec.parked) if spec.is_adaptive else (wanted.min_idle, wanted.parked or 0)
        most = [each for each in (spec.max_machines, self._state.spec.max_machines) if each is not None]
        demand = self._forecasts.demands.of(pool)
        return Question(
            target or spec.target,
            demand.warm_s,
            *now,
            can_park=self._sizes.can_park(pool),
            least=wanted.min_idle if spec.is_adaptive else min(1, wanted.min_idle),
            least_parked=(wanted.parked or 0) if spec.is_adaptive else 0,
            most=min(most),
            shrink_after_s=spec.shrink_after_s if spec.is_adaptive else spec.shed_after_s,
            is_adaptive=spec.is_adaptive,
            is_warm_s_assumed=demand.is_warm_s_assumed,
        )


@contextmanager
def _short_turns() -> Iterator[None]:
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)


def _replayed(read: Callable[[], list[Minute]], question: Question, days: int, now_s: float) -> PlanOfPool:
    minutes = read()
    kept = _last_of(minutes)
    if not kept:
        return PlanOfPool(question, None, Plan((), None))
    arrivals = [at_s for at_s in chain.from_iterable(minute.times() for minute in kept) if at_s <= now_s]
    begin_s = kept[0].minute * 60.0
    span = Span(begin_s, max(begin_s, now_s - days * 86_400), math.ceil(now_s))
    return PlanOfPool(question, span, plan(arrivals, span, question), is_cut=len(kept) < len(minutes))


def _last_of(minutes: list[Minute]) -> list[Minute]:
    """The last minutes that have at most so many arrivals together, at least one minute."""
    count, place = 0, len(minutes)
    while place and (count + minutes[place - 1].count <= MOST_ARRIVALS or place == len(minutes)):
        place -= 1
        count += minutes[place].count
    return minutes[place:]
