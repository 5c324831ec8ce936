"""When projects came for machines of a pool: what sizes are worked out from, and what a plan replays. No project is named.

A row is one minute of one pool in which somebody came: how many, and when in that minute, in milliseconds. Where very many
came, the times are a sample that is spread evenly over them. Rows are kept for five weeks, and as many as `ROWS_KEPT` of all
pools together. What was learned of a pool is a row of JSON.
"""

from __future__ import annotations

import contextlib
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from worker_orchestrator.store.connection import BEGIN, Connection
from worker_orchestrator.store.database import connect

__all__ = ["KEPT_MIN", "Arrivals", "Minute"]

KEPT_MIN: Final = 5 * 7 * 24 * 60
ROWS_KEPT: Final = 200_000

_INSERT: Final = "INSERT OR REPLACE INTO arrival VALUES (?, ?, ?, ?)"
_SELECT: Final = "SELECT minute, count, offsets FROM arrival WHERE pool = ? AND minute BETWEEN ? AND ? ORDER BY minute"
_PRUNE: Final = "DELETE FROM arrival WHERE minute NOT BETWEEN ? AND ?"
_PRUNE_ROWS: Final = """
DELETE FROM arrival WHERE minute <= (SELECT minute FROM arrival ORDER BY minute DESC LIMIT 1 OFFSET ?)
"""


class Minute(msgspec.Struct, frozen=True):
    """The arrivals of one minute, which is a number of minutes since 1970. `offsets`: milliseconds of it, in order."""

    minute: int
    count: int
    offsets: Sequence[int]

    def times(self) -> list[float]:
        """Seconds since 1970 of each arrival, in order."""
        known, begin_s = len(self.offsets), self.minute * 60
        return [begin_s + self.offsets[number * known // self.count] / 1000 for number in range(self.count)]


class Arrivals:
    """The arrivals of one store. `path` is its file; None if it is in memory."""

    def __init__(self, connection: Connection, path: Path | None) -> None:
        self._connection, self._path = connection, path

    def learned(self) -> dict[str, str]:
        """What was learned of each pool, as it was given to `keep`."""
        return dict(self._connection.rows("SELECT pool, learned FROM demand"))

    def of(self, pool: str, first: int, last: int) -> list[Minute]:
        """What is kept of this pool from one minute to another, in order. Raises StoreError."""
        return [_minute(*row) for row in self._connection.rows(_SELECT, pool, first, last)]

    def reader(self, pool: str, first: int, last: int) -> Callable[[], list[Minute]]:
        """A function that reads what `of` reads, in any thread. It raises StoreError."""
        path = self._path
        if path is None:
            found = self.of(pool, first, last)
            return lambda: found

        def read() -> list[Minute]:
            with contextlib.closing(connect(path)) as db:
                return [_minute(*row) for row in Connection(db, str(path)).rows(_SELECT, pool, first, last)]

        return read

    def keep(self, arrivals: Iterable[tuple[str, Minute]], learned: Mapping[str, str]) -> bool:
        """Store minutes of pools, and what was learned of them. False if that failed: nothing depends on it."""

        def write() -> None:
            self._connection.execute(BEGIN)
            self._connection.execute_many(_INSERT, [_row(pool, minute) for pool, minute in arrivals])
            self._connection.execute_many("INSERT OR REPLACE INTO demand VALUES (?, ?)", learned.items())
            self._connection.execute("COMMIT")

        return self._connection.attempt(write)

    def prune(self, now_min: int, pools: Iterable[str]) -> bool:
        """Delete what is older than is kept, or later than now, and what was learned of other pools than these."""

        def write() -> None:
            self._connection.execute(BEGIN)
            self._connection.execute(_PRUNE, (now_min - KEPT_MIN, now_min))
            self._connection.execute(_PRUNE_ROWS, (ROWS_KEPT,))
            self._connection.execute(
                "DELETE FROM demand WHERE pool NOT IN (SELECT value FROM json_each(?))",
                (msgspec.json.encode(list(pools)).decode(),),
            )
            self._connection.execute("COMMIT")

        return self._connection.attempt(write)


def _row(pool: str, minute: Minute) -> tuple[str, int, int, bytes]:
    return pool, minute.minute, minute.count, _swapped(array("H", minute.offsets)).tobytes()


def _minute(minute: int, count: int, offsets: bytes) -> Minute:
    found = array("H")
    found.frombytes(offsets)
    return Minute(minute, count, _swapped(found))


def _swapped(offsets: array[int]) -> array[int]:
    """On any computer, the lower byte comes first."""
    if sys.byteorder == "big":
        offsets.byteswap()
    return offsets
