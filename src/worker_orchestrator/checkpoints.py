"""Moves what was committed from the database's log into its file, on a thread: the sync takes milliseconds, at times many.

SQLite does so by itself within some commit once its log has a thousand pages, and whoever waits for that commit waits as
well: it was the slowest assign in a thousand. That stays as a bound, should this fall behind.
https://sqlite.org/wal.html#ckpt
"""

from __future__ import annotations

import asyncio
from typing import Final

from worker_orchestrator.store import Store

__all__ = ["keep_checkpointed"]

EVERY_S: Final = 0.25
LEAST_COMMITS: Final = 20
"""So few are not worth a sync."""


async def keep_checkpointed(store: Store) -> None:
    """Until cancelled. What cannot be moved now is moved later, or by SQLite itself."""
    done = store.commits
    while True:
        await asyncio.sleep(EVERY_S)
        if store.commits - done >= LEAST_COMMITS:
            done = store.commits
            await asyncio.to_thread(store.checkpoint)
