"""When projects came for a machine: heard of each first assign, and kept by the minute until it is stored.

An assign costs one entry of a list here. All else is done a few seconds later, when `take` is called.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Final

from worker_orchestrator.control.telling.observer import AssignOutcome, Observer
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.errors import StoreError
from worker_orchestrator.store.arrivals import Arrivals, Minute

__all__ = ["ArrivalRecord"]

_MINUTE_MS: Final = 60_000
_MOST_HEARD: Final = 200_000
"""More than come in the time from one `take` to the next."""
_MOST_TIMES: Final = 256
"""So many times of a minute are stored, or up to twice as many."""

_MOST_UNSAVED: Final = 2_000
"""Minutes of pools that wait to be stored while the disk does not work: the last ones."""


class ArrivalRecord(Observer):
    """The arrivals of one store. A request that got no machine is none: it may be the same one, again and again."""

    def __init__(self, store: Arrivals, wall_ms: Callable[[], int]) -> None:
        super().__init__()
        self.store, self._wall_ms = store, wall_ms
        self._heard = deque[tuple[str, float]](maxlen=_MOST_HEARD)
        self._minutes: dict[tuple[str, int], _OpenMinute] = {}
        self._unsaved: set[tuple[str, int]] = set()

    def assign_ended(  # as all observers
        self,
        outcome: AssignOutcome,  # noqa: ARG002
        took_s: float,
        trace: Trace | None,
        pool: str,
    ) -> None:
        if trace is not None:
            self._heard.append((pool, self._wall_ms() - took_s * 1000))

    def take(self) -> Mapping[str, list[float]]:
        """By pool, when somebody came since the last call, in seconds since 1970, in order."""
        found = defaultdict[str, list[float]](list)
        while self._heard:
            pool, at_ms = self._heard.popleft()
            found[pool].append(at_ms / 1000)
            self._note(pool, int(at_ms))
        for times in found.values():
            times.sort()
        return found

    def save(self, learned: Mapping[str, str]) -> bool:
        """Store what is new, with what was learned. False if that failed: it is tried again with what follows."""
        rows = [(pool, self._minutes[pool, minute].closed(minute)) for pool, minute in self._unsaved]
        if not (rows or learned):
            return True
        if self.store.keep(rows, learned):
            self._unsaved.clear()
            self._minutes.clear()
            return True
        if len(self._minutes) > _MOST_UNSAVED:
            self._unsaved = set(sorted(self._unsaved, key=lambda key: key[1])[-_MOST_UNSAVED:])
            self._minutes = {key: self._minutes[key] for key in self._unsaved}
        return False

    def _note(self, pool: str, at_ms: int) -> None:
        minute, offset = divmod(at_ms, _MINUTE_MS)
        key = (pool, minute)
        if key not in self._minutes:
            self._minutes[key] = _OpenMinute(self._kept(pool, minute))
        self._minutes[key].add(offset)
        self._unsaved.add(key)

    def _kept(self, pool: str, minute: int) -> Minute:
        """What is stored of a minute already: by the service before its restart, or before a slow assign of it ended."""
        kept = list[Minute]()
        with contextlib.suppress(StoreError):
            kept = self.store.of(pool, minute, minute)
        return kept[0] if kept else Minute(minute, 0, ())


class _OpenMinute:
    """One minute that may go on: every `_stride`th arrival has its time kept."""

    __slots__ = ("_count", "_offsets", "_stride")

    def __init__(self, so_far: Minute) -> None:
        self._count, self._offsets = so_far.count, list(so_far.offsets)
        self._stride = max(1, self._count // max(1, len(self._offsets)))

    def add(self, offset: int) -> None:
        if self._count % self._stride == 0:
            self._offsets.append(offset)
        self._count += 1
        if len(self._offsets) > 2 * _MOST_TIMES:
            self._offsets, self._stride = self._offsets[::2], 2 * self._stride

    def closed(self, minute: int) -> Minute:
        return Minute(minute, self._count, sorted(self._offsets))
