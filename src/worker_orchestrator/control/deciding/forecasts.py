"""Learns the demand for each pool, and has the sizes of those follow it whose settings say so.

Every few seconds it takes in who came, and how long new machines took to come up. Nothing of that is on the way of an
assign. It learns of all pools, also of those whose sizes are fixed: what sizes would be right for them can be asked at any
time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.sizes import PoolSizes
from worker_orchestrator.control.deciding.sizes_in_force import put_in_force
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.telling.arrivals import ArrivalRecord
from worker_orchestrator.core.demand import Demand, Forecast
from worker_orchestrator.errors import StoreError
from worker_orchestrator.store.arrivals import Minute

__all__ = ["LOOK_S", "Demands", "Forecasts"]

LOOK_S: Final = 10.0
LOOKS_TO_SAVE: Final = 6
SAVES_TO_KEEP_LEARNED: Final = 10
"""What was learned is a few KB, and can be learned again from the arrivals that are stored every minute: all but the
times to warm, of which no row tells. So it is stored at once when these have changed much."""
MUCH: Final = 0.2
"""By such a share of the time to warm."""
SAVES_TO_PRUNE: Final = 60

_log = structlog.get_logger(__name__)


class Demands:
    """What is known of the demand for each pool, by its name."""

    def __init__(self, record: ArrivalRecord, wall_ms: Callable[[], int]) -> None:
        self.record, self._wall_ms = record, wall_ms
        self._of = {name: self._read(name, learned) for name, learned in record.store.learned().items()}
        self._kept_warm_s = self._warm_s()

    def of(self, pool: str) -> Demand:
        if pool not in self._of:
            self._of[pool] = self._followed(pool, Demand())
        return self._of[pool]

    def save(self, *, with_learned: bool) -> None:
        """Store who came, and if it is due what was learned."""
        warm_s = self._warm_s()
        if self.record.save(self._learned() if with_learned else {}) and with_learned:
            self._kept_warm_s = warm_s

    def would_be_lost(self) -> bool:
        """Whether machines warm up in quite another time than is stored."""
        return any(
            abs(warm_s - self._kept_warm_s.get(pool, 0.0)) > MUCH * warm_s for pool, warm_s in self._warm_s().items()
        )

    def _warm_s(self) -> dict[str, float]:
        """By pool, the time to warm that was measured."""
        return {pool: demand.warm_s for pool, demand in self._of.items() if not demand.is_warm_s_assumed}

    def _learned(self) -> dict[str, str]:
        """As JSON, of each pool of which anything is known."""
        return {pool: msgspec.json.encode(one).decode() for pool, one in self._of.items() if one.days or one.warm_ups}

    def keep_only(self, pools: set[str]) -> None:
        self._of = {pool: demand for pool, demand in self._of.items() if pool in pools}

    def _read(self, pool: str, learned: str) -> Demand:
        """What an earlier run has learned. What a version with other numbers left is learned anew."""
        try:
            demand = msgspec.json.decode(learned, type=Demand)
        except msgspec.MsgspecError:
            demand = Demand()
        return self._followed(pool, demand)

    def _followed(self, pool: str, demand: Demand) -> Demand:
        """Learn what came after it was stored."""
        first, last = int(demand.at_s // 60), self._wall_ms() // 60_000
        minutes = list[Minute]()
        with contextlib.suppress(StoreError):  # what cannot be read is learned from what comes
            minutes = self.record.store.of(pool, first, last)
        for minute in minutes:
            times = [at_s for at_s in minute.times() if at_s > demand.at_s]
            if times:
                demand.step(max(times[-1], demand.at_s), times)
                demand.forecast(0.99, can_park=False)  # what of the arrivals that follow is a burst
        return demand


class Forecasts:
    """Looks at the demand for as long as `run` runs."""

    def __init__(self, state: ControlState, sizes: PoolSizes, decisions: Decisions, demands: Demands) -> None:
        self._state, self._sizes, self._decisions, self.demands = state, sizes, decisions, demands
        self._looked_at = state.now()
        self._saves = 0

    def of(self, pool: str) -> Forecast | None:
        """What the sizes of this pool follow; None if they are fixed, or nothing is known yet."""
        return self._sizes.forecasts.get(pool)

    def look(self) -> None:
        """Take in what happened since the last look, and put in force what follows from it."""
        forecasts = self._learn()
        if forecasts or self._sizes.forecasts:
            self._sizes.forecasts = forecasts
            self._put_in_force()

    def _learn(self) -> dict[str, Forecast]:
        at_s, came, took = self._state.wall_ms() / 1000, self.demands.record.take(), self._warm_ups()
        forecasts = dict[str, Forecast]()
        for name, pool in self._state.spec.pools.items():
            demand = self.demands.of(name)
            for took_s in took.get(name, ()):
                demand.note_warm_up(took_s)
            demand.step(at_s, came.get(name, ()))
            forecast = demand.forecast(pool.target, can_park=self._sizes.can_park(name))
            if pool.is_adaptive:
                forecasts[name] = forecast
        return forecasts

    def save(self, *, is_last: bool = False) -> None:
        """Store what is new: the arrivals every time, and now and then what was learned."""
        is_due = is_last or self._saves % SAVES_TO_KEEP_LEARNED == SAVES_TO_KEEP_LEARNED - 1
        self.demands.save(with_learned=is_due)
        if self._saves % SAVES_TO_PRUNE == 0:
            pools = set(self._state.spec.pools)
            self.demands.keep_only(pools)
            self.demands.record.store.prune(self._state.wall_ms() // 60_000, pools)
        self._saves += 1

    async def run(self) -> None:
        """Look until cancelled, and store what is left then."""
        looks = 0
        try:
            while True:
                self.look()
                if self.demands.would_be_lost():
                    self.demands.save(with_learned=True)
                looks += 1
                if looks % LOOKS_TO_SAVE == 0:
                    self.save()
                await asyncio.sleep(LOOK_S)
        finally:
            self._learn()
            self.save(is_last=True)

    def _put_in_force(self) -> None:
        before = put_in_force(self._state, self._sizes, self._decisions)
        for name, pool in self._state.spec.pools.items() if before is not None else ():
            was = pool if before is None else before.pools[name]
            if (pool.min_idle, pool.parked) != (was.min_idle, was.parked):
                _log.info("a pool follows demand", pool=name, min_idle=pool.min_idle, parked=pool.parked)

    def _warm_ups(self) -> dict[str, list[float]]:
        """By pool, how long machines took from their record to their first answer that answered since the last look."""
        since, self._looked_at = self._looked_at, self._state.now()
        found = dict[str, list[float]]()
        watches = self._state.fleet.watches
        for machine in self._state.fleet.machines.values():
            watch = watches.get(machine.id)
            if watch is not None and watch.ready_at is not None and watch.ready_at > max(since, watch.born):
                found.setdefault(machine.pool, []).append(watch.ready_at - watch.born)
        return found
