"""Moves what was committed from SQLite's log into the database file. A thread does it, since the sync takes milliseconds.

SQLite does so itself, within a commit, once its log is long enough. The requests of that commit then wait as well, and were
the slowest assigns in a thousand. A checkpoint on a thread still delays a commit now and then, since both use the same disk:
with four checkpoints a second this was one assign in a hundred. So checkpoints are rare, and the log may grow to some
megabytes. https://sqlite.org/wal.html#ckpt
"""

from __future__ import annotations

import asyncio
from typing import Final

from worker_orchestrator.store.store import Store

__all__ = ["keep_checkpointed"]

CHECK_EVERY_S: Final = 0.25
AT_MOST_EVERY_S: Final = 10.0
MOST_CHANGES: Final = 4_000
"""After so many changes the log is moved at once. Each takes up to 4 KiB in it."""
LEAST_CHANGES: Final = 20
"""Fewer changes than these are not worth a sync."""


async def keep_checkpointed(store: Store) -> None:
    """Run until cancelled. What cannot be moved now is moved later, or by SQLite itself."""
    now = asyncio.get_running_loop().time
    moved_changes, moved_at = store.changes, now()
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        new = store.changes - moved_changes
        if new >= MOST_CHANGES or (new >= LEAST_CHANGES and now() - moved_at >= AT_MOST_EVERY_S):
            moved_changes = store.changes
            await asyncio.to_thread(store.checkpoint)
            moved_at = now()
