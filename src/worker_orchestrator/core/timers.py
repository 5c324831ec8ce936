"""When which machine is to be looked at again: cheap for ten thousand of them, most of which are put off again and again."""

from __future__ import annotations

import heapq
from typing import Final

__all__ = ["Timers"]

SLACK: Final = 64
"""So many entries of what is gone do not matter; more than that, and as many as there are times, are thrown away."""


class Timers:
    """One time for each id, in seconds of whatever clock. Putting a time off costs nothing until it comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._times: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, name: str) -> bool:
        return name in self._times

    def set(self, name: str, at: float) -> None:
        """Look at this then, and not at the time that was set before."""
        was = self._times.get(name)
        self._times[name] = at
        if was is None or at < was:
            heapq.heappush(self._heap, (at, name))
            if len(self._heap) > 2 * len(self._times) + SLACK:
                self._heap = [(at, name) for name, at in self._times.items()]
                heapq.heapify(self._heap)

    def discard(self, name: str) -> None:
        """Do not look at this any more."""
        self._times.pop(name, None)

    def first(self) -> float | None:
        """The earliest time; None if none is set."""
        heap, times = self._heap, self._times
        while heap:
            at, name = heap[0]
            wanted = times.get(name)
            if wanted == at:
                return at
            if wanted is None or wanted < at:
                heapq.heappop(heap)  # it is gone, or has an earlier entry
            else:
                heapq.heapreplace(heap, (wanted, name))
        return None

    def take_due(self, now: float) -> list[str]:
        """Those whose time has come. Their times are not set any more."""
        due: list[str] = []
        while (at := self.first()) is not None and at <= now:
            _, name = heapq.heappop(self._heap)
            del self._times[name]
            due.append(name)
        return due
