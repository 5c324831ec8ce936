"""What happens, told to whoever follows: the event table as a stream that can be taken up again at any place.

The table is the truth: what is told was committed, in this order, with these numbers. Whoever is up to date shares one
reading of what is new; whoever is behind, or comes back after a restart, reads on from the table. So a follower costs an
assign nothing but its share of one wake-up, and a slow one keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from itertools import islice
from typing import Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.store.rows import StoredEvent
from worker_orchestrator.store.store import Store

__all__ = ["Feed"]

GAP_S: Final = 0.01
"""A burst of changes is one reading."""
AGAIN_S: Final = 1.0
"""Later than that nobody hears of what another program's lock kept out of the table."""
RECENT: Final = 2_000
PAGE: Final = 500
EXPIRIES: Final = 10


class Feed:
    """The events of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._newest = store.event_range()[1]
        self._recent: deque[StoredEvent] = deque(maxlen=RECENT)
        self._news = asyncio.Event()
        self._followers = 0
        self._is_due = False

    def committed(self) -> None:
        """Something was stored."""
        if self._followers and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(GAP_S, self._publish)

    def range(self) -> tuple[int, int]:
        """Ids of the oldest event that is kept and of the newest one."""
        return self._store.event_range()

    def can_go_on(self, after: int) -> bool:
        """Whether whoever has seen all up to this id misses nothing that comes behind it."""
        oldest, newest = self.range()
        skips = self._store.skips
        return oldest - 1 <= skips.up_to(after) <= newest and not skips.hide(after)

    def are_next(self, told: list[StoredEvent], after: int) -> bool:
        """Whether nothing is missing between this id and these events."""
        return not told or self._store.skips.are_next(told[0].id, after)

    def of_assignment(self, machine: Machine) -> list[StoredEvent]:
        """What happened to a machine since its project has it, oldest first: how it began, and the last 200."""
        return self._store.events_of(machine.id, machine.generation)

    def expiries(self, pool: str) -> list[StoredEvent]:
        """The last assignments of machines of this pool that a deadline ended, newest first."""
        return self._store.expiries(pool, EXPIRIES)

    def kept(self, after: int) -> list[StoredEvent]:
        """Those that follow this id, at most `PAGE`, from the table: whoever does not follow is up to date all the same."""
        return self._store.events(after, PAGE)

    def _page(self, after: int) -> list[StoredEvent]:
        """As `kept`; followers share what was read. Up to date only while somebody follows."""
        if self._recent and after >= self._recent[0].id - 1:
            seen = after - self._recent[0].id + 1
            return list(islice(self._recent, seen, seen + PAGE))
        return self.kept(after)

    async def follow(self, after: int) -> AsyncGenerator[list[StoredEvent], None]:
        """What follows this id, page by page, for ever.

        Where events were pruned before they could be told, the next page is not `are_next`.
        """
        if not self._followers:  # nobody has read on since the last one left
            self._recent.clear()
            self._newest = self._store.event_range()[1]
        self._followers += 1
        try:
            while True:
                news = self._news
                told = self._page(after)
                if told:
                    after = told[-1].id
                    yield told
                else:
                    await news.wait()
        finally:
            self._followers -= 1

    def _publish(self) -> None:
        """Read what is new, once for all."""
        self._is_due = False
        while events := self._store.events(self._newest, PAGE):
            if events[0].id != self._newest + 1:  # one commit brought more events than are kept
                self._recent.clear()
            self._recent.extend(events)
            self._newest = events[-1].id
            self._news.set()
            self._news = asyncio.Event()
        if self._followers and self._store.has_unpersisted_events:
            self._is_due = True
            asyncio.get_running_loop().call_later(AGAIN_S, self._publish)
