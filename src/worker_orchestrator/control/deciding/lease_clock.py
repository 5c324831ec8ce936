"""The lease clock: it neither jumps nor stops, and goes on over restarts of the service.

While the service runs it counts as CLOCK_BOOTTIME does: this goes on while the computer sleeps, and does not follow the
clock on the wall. Now and then it is stored together with the time on the wall, from which the next run knows how long the
service was away.

Where there are deadlines, each look at the time of a decision follows it first (`ControlState.now`), so none is made with
the time of before a sleep. Besides, it is looked at twice a second: a long pause shows that this process stood still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from worker_orchestrator.clock import Clock
from worker_orchestrator.core.expiry import LATE_S, put_clock
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.lease import SPARED_S
from worker_orchestrator.errors import CommitFailed
from worker_orchestrator.store.store import Store

__all__ = ["LeaseClock"]

FACT: Final = "lease_clock"
"""The fact in the store that has the last `_Stamp` as JSON."""
BEAT_S: Final = 0.5
"""A standstill is known to so much: one of `LATE_S` is always noticed, and none that is shorter by more than this."""
STAMP_EVERY_S: Final = 30.0
JITTER_S: Final = 0.01
DRIFT_S: Final = 1.0
"""Once the clock on the wall has moved by more than this against the lease clock, the two are stored anew."""

_log = structlog.get_logger(__name__)


class _Stamp(msgspec.Struct, frozen=True):
    """What both clocks showed at one time: the lease clock in seconds, the one on the wall in ms since 1970."""

    at: float
    wall_ms: int


class LeaseClock:
    """Keeps the lease clock of the fleet right. `now` is the monotonic clock of the event loop."""

    def __init__(self, fleet: Fleet, store: Store, clock: Clock, now: float) -> None:
        self._fleet, self._store, self._clock = fleet, store, clock
        self._slept_s = clock.slept_s()
        self._start = self._at_start() - now
        fleet.lease_offset = self._start
        fleet.nothing_expires_before = fleet.lease_time(now) + SPARED_S
        self._looked_at = now
        self._stamp = _Stamp(fleet.lease_time(now), clock.wall_ms())
        self._is_stored = False

    async def run(self, time: Callable[[], float]) -> None:
        """Look at the clock for ever. `time` is the monotonic clock."""
        while True:
            self.beat(time())
            await asyncio.sleep(BEAT_S)

    def follow(self, now: float) -> None:
        """Follow the sleep of the computer, before anything is decided that depends on this clock. Cheap."""
        offset = self._start + self._clock.slept_s() - self._slept_s
        if offset - self._fleet.lease_offset > JITTER_S or now - self._looked_at > LATE_S:
            self._follow_sleep(offset, now)
        self._looked_at = now

    def beat(self, now: float) -> None:
        """As `follow`, and keep what the next run needs."""
        self.follow(now)
        self._store_both_clocks(now)

    def _follow_sleep(self, offset: float, now: float) -> None:
        before = self._fleet.nothing_expires_before
        put_clock(self._fleet, offset, now, self._looked_at)
        if self._fleet.nothing_expires_before != before and self._fleet.leased:
            _log.warning("nothing expires for a minute", why="this process or the computer was stopped for a while")

    def _store_both_clocks(self, now: float) -> None:
        """Only while a lease depends on it; and again as soon as the clock on the wall was set."""
        if not self._fleet.leased:
            return
        stamp = _Stamp(self._fleet.lease_time(now), self._clock.wall_ms())
        passed_s = stamp.at - self._stamp.at
        drift_s = abs((stamp.wall_ms - self._stamp.wall_ms) / 1000 - passed_s)
        if self._is_stored and passed_s < STAMP_EVERY_S and drift_s < DRIFT_S:
            return
        self._stamp = stamp
        try:
            self._store.commit([], {FACT: msgspec.json.encode(stamp).decode()}, stamp.wall_ms)
            self._is_stored = True
        except CommitFailed:
            self._is_stored = False  # the journal says why; the next look tries again

    def _at_start(self) -> float:
        """What the lease clock shows at the start: what it showed last, and the time on the wall that has passed since."""
        stored: Any = self._store.meta().get(FACT)
        latest = max((lease.renewed_at for one in self._fleet.machines.values() if (lease := one.lease)), default=0.0)
        if stored is None:
            return latest
        stamp = msgspec.json.decode(stored, type=_Stamp)
        away_s = max(0.0, (self._clock.wall_ms() - stamp.wall_ms) / 1000)
        return max(latest, stamp.at + away_s)
