"""The events: their table, their numbers, and those that are not in the table yet.

A change that is committed alone is one statement: the machine's row holds its event until `persist` writes that into the
table, a moment later or at the next start. That takes a quarter less time than a transaction of two statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import astuple

from worker_orchestrator.core.machine import TOMBSTONES_KEPT, Cause, Change
from worker_orchestrator.store.connection import BEGIN, Connection
from worker_orchestrator.store.event_numbers import FACT, SKIPPED, Skips
from worker_orchestrator.store.rows import INSERT_EVENT, StoredEvent

__all__ = ["MOST_IN_ROWS", "EventLog"]

EVENTS_KEPT: Final = 10_000
LAST_OF_ASSIGNMENT: Final = 200
PRUNE_EVERY: Final = 1_000
"""In commits, whether or not they write into the event table."""
MOST_IN_ROWS: Final = 64
"""More events than this wait in rows only if they cannot be persisted. The next commit then persists them, or fails."""

_FIT_INTO_ROW: Final = frozenset({Cause.ASSIGNED, Cause.RELEASED})
"""Causes of changes after which the machine's row has the pool and the generation of the event."""
OF_ASSIGNMENT: Final = (
    "SELECT * FROM event WHERE project IS NOT NULL AND generation = ? AND machine = ? ORDER BY seq {} LIMIT ?"
)
EXPIRIES: Final = "SELECT * FROM event WHERE cause = 'expired' AND pool = ? ORDER BY seq DESC LIMIT ?"
_LAST_GENERATION: Final = """
SELECT max(
    ifnull((SELECT max(generation) FROM event WHERE project IS NOT NULL), 0),
    ifnull((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation'), 0)
)"""


class EventLog:
    """The events of one store, oldest first."""

    def __init__(self, connection: Connection, *, may_use_rows: bool) -> None:
        """`may_use_rows`: an event may wait in its machine's row."""
        self._connection = connection
        self.skips = Skips.read(connection.value("SELECT value FROM meta WHERE key = ?", FACT) or "")
        self.newest = max(connection.value("SELECT max(seq) FROM event") or 0, self.skips.newest)  # number
        self._may_use_rows = may_use_rows
        self._in_rows: dict[str, StoredEvent] = {}  # by machine, oldest first: those that are not in the table yet
        self._commits = 0  # since the table was pruned

    # numbers

    def skip_numbers(self, count: int = SKIPPED) -> dict[str, str]:
        """Skip the numbers that a newer copy of this database may have used. Returns the fact to commit with it."""
        oldest, newest = self.range()
        self.skips = self.skips.with_one_after(newest, oldest, count)
        self.newest = self.skips.newest
        return {FACT: str(self.skips)}

    # writing

    def fits_into_row(self, change: Change) -> bool:
        """Whether the machine's row can hold the event of this change. It holds one event at most."""
        if change.cause not in _FIT_INTO_ROW or change.after is None or not self._may_use_rows:
            return False
        return change.after.id not in self._in_rows and len(self._in_rows) < MOST_IN_ROWS

    def add_in_row(self, event: StoredEvent) -> None:
        """This event was committed in its machine's row."""
        self.newest = event.id
        self._in_rows[event.machine] = event
        self._commits += 1

    def append_and_commit(self, events: Sequence[StoredEvent], begin: str) -> None:
        """Write the events that wait in rows and then these into the table, and end the transaction.

        `begin` is empty if the transaction is open already. Raises apsw.Error.
        """
        rows = list(map(astuple, (*self._in_rows.values(), *events)))
        self._commits += bool(events)
        is_due = self._commits >= PRUNE_EVERY
        execute = self._connection.execute
        if len(rows) == 1 and not is_due:
            execute(f"{begin}{INSERT_EVENT}; COMMIT", rows[0])
        else:
            if begin:
                execute(begin)
            self._connection.execute_many(INSERT_EVENT, rows)
            if is_due:
                self._prune()
            execute("COMMIT")
        self._in_rows.clear()
        if is_due:
            self._commits = 0
        if events:
            self.newest = events[-1].id

    @property
    def has_unpersisted(self) -> bool:
        """Whether rows hold events that are not in the table yet."""
        return bool(self._in_rows)

    def persist(self) -> bool:
        """Write the events that wait in rows into the table. False if that failed: then they stay in the rows."""
        return not self._in_rows or self._connection.attempt(lambda: self.append_and_commit((), BEGIN))

    def forget_unpersisted(self) -> None:
        """Leave what could not be persisted to the next start, which finds it in the rows."""
        self._in_rows.clear()

    def _prune(self) -> None:
        """Delete the oldest events and tombstones. The last generation is kept, though its event may be deleted."""
        execute = self._connection.execute
        execute(f"INSERT OR REPLACE INTO meta SELECT 'generation', ({_LAST_GENERATION})")  # constant text
        newest = execute("SELECT ifnull(max(seq), 0) FROM event").get
        execute("DELETE FROM event WHERE seq <= ?", (self.skips.before_the_last(EVENTS_KEPT, newest),))
        execute("DELETE FROM tombstone WHERE number <= (SELECT max(number) FROM tombstone) - ?", (TOMBSTONES_KEPT,))

    # reading: only what is in the table, so callers persist first

    def last_generation(self) -> int:
        """The highest generation that is known; 0 if there was none."""
        return int(self._connection.value(_LAST_GENERATION))

    def after(self, number: int, limit: int) -> list[StoredEvent]:
        """The first events with a number above this one."""
        return self._events("SELECT * FROM event WHERE seq > ? ORDER BY seq LIMIT ?", number, limit)

    def of_assignment(self, machine_id: str, generation: int) -> list[StoredEvent]:
        """Those of one assignment: the first one and the last `LAST_OF_ASSIGNMENT`."""
        last = self._events(OF_ASSIGNMENT.format("DESC"), generation, machine_id, LAST_OF_ASSIGNMENT)[::-1]
        first = self._events(OF_ASSIGNMENT.format("ASC"), generation, machine_id, 1)
        return first + last if last and first[0].id < last[0].id else last

    def expiries(self, pool: str, limit: int) -> list[StoredEvent]:
        """The last assignments of machines of this pool that a deadline ended, newest first."""
        return self._events(EXPIRIES, pool, limit)

    def range(self) -> tuple[int, int]:
        """Numbers of the oldest event that is kept, and of the newest one that ever was or was skipped; (1, 0) at first."""
        ((oldest, newest),) = self._connection.rows("SELECT (SELECT min(seq) FROM event), (SELECT max(seq) FROM event)")
        return oldest or 1, max(newest or 0, self.skips.newest)

    def _events(self, query: str, *values: object) -> list[StoredEvent]:
        return [StoredEvent(*row) for row in self._connection.rows(query, *values)]
