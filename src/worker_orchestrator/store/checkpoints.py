"""Moves what was committed from the database's log into its file, on a thread: the sync takes milliseconds, at times many.

SQLite does so by itself within some commit once its log is long enough, and whoever waits for that commit waits as well: it
was the slowest assign in a thousand. Even on a thread it makes a commit wait now and then, since both want the same disk:
four times a second were one assign in a hundred. So it is done seldom, and the log may grow to some megabytes.
https://sqlite.org/wal.html#ckpt
"""

from __future__ import annotations

import asyncio
from typing import Final

from worker_orchestrator.store.store import Store

__all__ = ["keep_checkpointed"]

LOOKS_EVERY_S: Final = 0.25
SELDOM_S: Final = 10.0
MOST_CHANGES: Final = 4_000
"""Of up to 4 KiB in the log each."""
LEAST_CHANGES: Final = 20
"""So few are not worth a sync."""


async def keep_checkpointed(store: Store) -> None:
    """Until cancelled. What cannot be moved now is moved later, or by SQLite itself."""
    now = asyncio.get_running_loop().time
    done, done_at = store.changes, now()
    while True:
        await asyncio.sleep(LOOKS_EVERY_S)
        more = store.changes - done
        if more >= MOST_CHANGES or (more >= LEAST_CHANGES and now() - done_at >= SELDOM_S):
            done = store.changes
            await asyncio.to_thread(store.checkpoint)
            done_at = now()
