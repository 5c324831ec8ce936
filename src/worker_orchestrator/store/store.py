"""What survives: one SQLite file that holds every machine, and nothing that Docker knows better.

A commit stores a batch of changes and the events that tell of them, in one transaction. In WAL mode with
`synchronous=NORMAL` it survives the death of the process; `durability="power"` (FULL: an fsync each) survives a power cut.

A change that comes alone is one statement: the machine's row carries its event until `settle` puts that into the table, a
moment later or at the next start. That takes a quarter less than a transaction of two statements.

Sources: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import compress
from operator import ne
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import apsw
from msgspec.structs import astuple

from worker_orchestrator.core.machine import TOMBSTONES_KEPT, Cause, Change, Machine, State
from worker_orchestrator.errors import CommitFailed, StoreError
from worker_orchestrator.store.database import (
    BUSY_TIMEOUT_MS,
    advice,
    connect,
    copy_database,
    open_beside,
    open_database,
)
from worker_orchestrator.store.event_numbers import FACT, SKIPPED, Skips

__all__ = ["DATABASE", "MOST_CARRIED", "Store"]

EVENTS_KEPT: Final = 10_000
LAST_OF_ASSIGNMENT: Final = 200
TRACES_KEPT: Final = 10_000
_PRUNE_EVERY: Final = 1_000
DATABASE: Final = "orchestrator.db"

# As the fields of a machine.
CARRIED_COLUMNS: Final = ("event_seq", "event_cause", "event_project")
_COLUMNS: Final = "id, pool, template, state, port, project, generation, host, gone, reason, evidence, metadata"
_WORDS: Final[Mapping[str, str]] = {word: word.value for word in (*Cause, *State)}  # an enum takes 1 µs to say its own
_INSERT: Final = f"INSERT INTO machine ({_COLUMNS}, changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 # constant text
_DELETE: Final = "DELETE FROM machine WHERE id = ?"
_META: Final = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_EVENT: Final = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_BEGIN: Final = "BEGIN IMMEDIATE;"
_CARRIED: Final = frozenset({Cause.ASSIGNED, Cause.RELEASED})
"""What the row that it leaves behind can tell of: neither pool nor generation is another one than the event's."""
MOST_CARRIED: Final = 64
"""More events than that wait for `settle` only if that fails."""

_TRY: Final = "INSERT OR REPLACE INTO meta VALUES ('trial', hex(zeroblob(4096)))"
"""More than the four or five pages of an assign: where this can be stored, that can."""
_TRIED: Final = "DELETE FROM meta WHERE key = 'trial'"

_OF_ASSIGNMENT: Final = (
    "SELECT * FROM event WHERE project IS NOT NULL AND generation = ? AND machine = ? ORDER BY seq {} LIMIT ?"
)

_LAST_GENERATION: Final = """
SELECT max(
    ifnull((SELECT max(generation) FROM event WHERE project IS NOT NULL), 0),
    ifnull((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation'), 0)
)"""


class Store:
    """The database of one state directory. Every method is synchronous; a commit takes microseconds."""

    def __init__(self, path: Path | None, *, durability: str = "process", look_only: bool = False) -> None:
        """Open or create the database; None keeps it in memory. `look_only`: another process may be using it.

        Raises StoreRefused, which says what to do, for one that cannot be used as it is.
        """
        self.commits = 0
        self.changes = 0  # in all of them
        self.problem = ""  # why the last commit failed, and what to do; empty since one succeeded
        self._path = path
        self.name = "memory" if path is None else str(path)
        if look_only and path is not None:
            self._db = open_beside(path)
        else:
            self._db = open_database(path, durability=durability)
        self._cursor = self._db.cursor()  # for all that is written: a new one for each takes a tenth of the time
        self._do = self._cursor.execute
        self.skips = Skips.read(self.meta().get(FACT, ""))
        self._last_event = max(self._rows("SELECT max(seq) FROM event")[0][0] or 0, self.skips.newest)
        self._may_carry = durability == "process"  # else each `settle` would be another fsync
        self._carried: dict[str, tuple[object, ...]] = {}  # by machine: rows for the event table, oldest first
        self._pruned_at = 0  # after so many commits

    # reading

    def meta(self) -> dict[str, str]:
        """Facts about the store: `owner`, and once known `generation`, `last_port` and what `service/origin.py` keeps.

        An assign does not write its generation here as well: its event tells it.
        """
        facts = dict(self._rows("SELECT key, value FROM meta"))
        last = self._rows(_LAST_GENERATION)[0][0]
        return facts | ({"generation": str(last)} if last else {})

    def machines(self, ids: Iterable[str] | None = None) -> list[Machine]:
        """Every machine on record, oldest id first; or those of these ids, in any order."""
        if ids is None:
            return [_machine(row) for row in self._rows(f"SELECT {_COLUMNS} FROM machine ORDER BY id")]  # noqa: S608 # constant
        query = f"SELECT {_COLUMNS} FROM machine WHERE id = ?"  # noqa: S608 # constant text
        return [_machine(row) for machine_id in ids for row in self._rows(query, machine_id)]

    def tombstones(self) -> list[str]:
        """Ids of what was removed, in the order in which they came."""
        return [row[0] for row in self._rows("SELECT id FROM tombstone ORDER BY number")]

    def changed_ms(self) -> dict[str, int]:
        """When each machine on record changed last, in wall time; 0 where nobody knows."""
        return dict(self._rows("SELECT id, changed_ms FROM machine"))

    def events(self, after: int = 0, limit: int = 1000) -> list[tuple[Any, ...]]:
        """Rows of the event table with a number above `after`, oldest first."""
        self.settle()
        return self._rows("SELECT * FROM event WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)

    def events_of(self, machine_id: str, generation: int) -> list[tuple[Any, ...]]:
        """The rows of one assignment that are kept, oldest first: where they are many, how it began and the last ones."""
        self.settle()
        rows = self._rows(_OF_ASSIGNMENT.format("DESC"), generation, machine_id, LAST_OF_ASSIGNMENT)[::-1]
        first = self._rows(_OF_ASSIGNMENT.format("ASC"), generation, machine_id, 1)
        return [*(first if rows and first[0][0] < rows[0][0] else ()), *rows]

    def event_range(self) -> tuple[int, int]:
        """Numbers of the oldest event that is kept and of the newest one that ever was, or was skipped; (1, 0) at first."""
        self.settle()
        oldest, newest = self._rows("SELECT (SELECT min(seq) FROM event), (SELECT max(seq) FROM event)")[0]
        newest = max(newest or 0, self.skips.newest)
        return oldest or 1, newest

    def traces(self) -> list[str]:
        """How assignments came about, as they were given to `keep_traces`, oldest first."""
        return [row[0] for row in self._rows("SELECT trace FROM trace ORDER BY generation")]

    def history(self, step_s: int) -> list[str]:
        """The samples of one length of step, as they were given to `keep_history`, oldest first."""
        return [row[0] for row in self._rows("SELECT sample FROM history WHERE step_s = ? ORDER BY at_ms", step_s)]

    def _rows(self, query: str, *values: object) -> list[Any]:
        """Raises StoreError."""
        try:
            return self._db.execute(query, values).fetchall()
        except (apsw.Error, UnicodeDecodeError) as error:  # the latter: a byte that is not what was written
            raise StoreError(f"The database {self.name} cannot be read ({error}). {advice(error)}".strip()) from error

    def copy_to(self, target: Path) -> None:
        """Write a sound copy of what is committed. Raises StoreError, OSError."""
        try:
            copy_database(self._db, target)
        except apsw.Error as error:
            raise StoreError(
                f"The database {self.name} cannot be copied to {target} ({error}). {advice(error)}".strip()
            ) from error

    # writing

    def commit(self, changes: Sequence[Change], meta: Mapping[str, object], at_ms: int) -> None:
        """Store a batch: all of it or nothing. `at_ms` is wall time, for display.

        Raises CommitFailed.
        """
        try:
            if len(changes) == 1 and not meta and self._can_carry(changes[0]):
                self._store_alone(changes[0], at_ms)
            else:
                self._store_whole(changes, meta, at_ms)
            self.commits += 1
            self.changes += len(changes)
            self.problem = ""
        except apsw.Error as error:
            self._roll_back()
            self.problem = _nothing_can_be_stored(error)
            why = f"The change could not be stored in {self.name} ({error}), so it was not made."
            raise CommitFailed(f"{why} {advice(error)}".strip()) from error
        except BaseException:
            self._roll_back()  # else the next one would be refused for this one's sake
            raise

    def try_again(self) -> None:
        """After a commit that failed: see whether one would succeed, by writing what means nothing. `problem` says so.

        Nobody waits for it, so it waits for no other program either: meanwhile all others would.
        """
        self._db.set_busy_timeout(0)
        try:
            self._do(_TRY)
            self._do(_TRIED)
            self.problem = ""
        except apsw.Error as error:
            self._roll_back()
            self.problem = _nothing_can_be_stored(error)
        finally:
            self._db.set_busy_timeout(BUSY_TIMEOUT_MS)

    def skip_event_numbers(self, count: int = SKIPPED) -> dict[str, str]:
        """Go on so far behind the numbers that a newer copy of this database can have used. The fact to commit with it."""
        oldest, newest = self.event_range()
        self.skips = self.skips.with_one_after(newest, oldest, count)
        self._last_event = self.skips.newest
        return {FACT: str(self.skips)}

    def _can_carry(self, change: Change) -> bool:
        """Whether the row can tell of this, and does not carry an event already."""
        if change.cause not in _CARRIED or change.after is None or not self._may_carry:
            return False
        return change.after.id not in self._carried and len(self._carried) < MOST_CARRIED

    def _store_alone(self, change: Change, at_ms: int) -> None:
        """One statement, which SQLite makes a transaction of its own."""
        assert change.after is not None, "its row is there"
        event = _event(self._last_event + 1, change, at_ms)
        assert (event[3], event[5]) == (change.after.pool, change.after.generation), "the row tells pool and generation"
        self._update(change, at_ms, "", (event[0], event[6], event[4]))
        self._last_event += 1
        self._carried[change.after.id] = event

    def _store_whole(self, changes: Sequence[Change], meta: Mapping[str, object], at_ms: int) -> None:
        begin = _BEGIN
        for change in changes:
            self._write(change, at_ms, begin)
            begin = ""
        for key, value in meta.items():
            self._do(begin + _META, (key, str(value)))
            begin = ""
        first = self._last_event + 1
        events = [_event(number, change, at_ms) for number, change in enumerate(changes, first)]
        self._tell_and_commit([*self._carried.values(), *events], begin)
        self._last_event += len(events)

    def _tell_and_commit(self, events: Sequence[tuple[object, ...]], begin: str) -> None:
        """Put these into the table, among them all that rows carry, and end the transaction."""
        is_due = self.commits + 1 - self._pruned_at >= _PRUNE_EVERY
        if len(events) == 1 and not is_due:
            self._do(f"{begin}{_EVENT}; COMMIT", events[0])
        else:
            if begin:
                self._do(begin)
            self._cursor.executemany(_EVENT, events)
            if is_due:
                self._prune()
            self._do("COMMIT")
        self._carried.clear()
        if is_due:
            self._pruned_at = self.commits + 1

    @property
    def is_settled(self) -> bool:
        return not self._carried

    def settle(self) -> bool:
        """Put the events that rows carry into their table. False if that failed: they go on carrying them."""
        if self._carried:
            try:
                self._tell_and_commit([*self._carried.values()], _BEGIN)
            except apsw.Error:
                self._roll_back()
                return False
            except BaseException:
                self._roll_back()
                raise
        return True

    def keep_traces(self, traces: Mapping[int, str]) -> bool:
        """Store how assignments came about, by generation. False if that failed: nothing depends on it."""
        try:
            self._do(_BEGIN)
            self._cursor.executemany("INSERT OR REPLACE INTO trace VALUES (?, ?)", traces.items())
            self._do("DELETE FROM trace WHERE generation <= (SELECT max(generation) FROM trace) - ?", (TRACES_KEPT,))
            self._do("COMMIT")
        except apsw.Error:
            self._roll_back()
            return False
        return True

    def keep_history(self, samples: Iterable[tuple[int, int, str]], spans: Mapping[int, tuple[int, int]]) -> bool:
        """Store samples (step in seconds, wall time, text); of each step drop what is not within its span of times.

        False if that failed: nothing depends on it.
        """
        try:
            self._do(_BEGIN)
            self._cursor.executemany("INSERT OR REPLACE INTO history VALUES (?, ?, ?)", samples)
            for step_s, span in spans.items():
                self._do("DELETE FROM history WHERE step_s = ? AND at_ms NOT BETWEEN ? AND ?", (step_s, *span))
            self._do("COMMIT")
        except apsw.Error:
            self._roll_back()
            return False
        return True

    def checkpoint(self) -> None:
        """Move what was committed from the log into the file, as far as no reader needs it there. Any thread may ask.

        Nothing depends on it, so what goes wrong is left to the next commit to find.
        """
        if self._path is not None:
            with contextlib.suppress(apsw.Error), contextlib.closing(connect(self._path)) as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _write(self, change: Change, at_ms: int, begin: str) -> None:
        before, after = change.before, change.after
        if after is None:
            self._do(begin + _DELETE, (change.machine.id,))
        elif before is None:
            self._do(begin + _INSERT, (*astuple(after), at_ms))
            if change.cause is Cause.ADOPTED:
                self._do("DELETE FROM tombstone WHERE id = ?", (after.id,))
        else:
            self._update(change, at_ms, begin)
        if change.buries:
            self._do("INSERT OR REPLACE INTO tombstone (id) VALUES (?)", (change.machine.id,))

    def _update(self, change: Change, at_ms: int, begin: str, carried: tuple[object, ...] = ()) -> None:
        """`carried`: number, cause and project of the event that the row carries from now on."""
        assert change.before is not None, "it was on record"
        assert change.after is not None, "it stays on record"
        values = astuple(change.after)
        changed = tuple(map(ne, values, astuple(change.before)))
        statement = begin + _update(changed, carries=bool(carried))
        self._do(statement, (*compress(values, changed), at_ms, *carried, change.after.id))
        if self._db.changes() != 1:
            raise apsw.ConstraintError(f"{change.after.id} is not on record")

    def _prune(self) -> None:
        self._do(f"INSERT OR REPLACE INTO meta SELECT 'generation', ({_LAST_GENERATION})")  # constant text
        newest = self._do("SELECT ifnull(max(seq), 0) FROM event").get
        self._do("DELETE FROM event WHERE seq <= ?", (self.skips.before_the_last(EVENTS_KEPT, newest),))
        self._do("DELETE FROM tombstone WHERE number <= (SELECT max(number) FROM tombstone) - ?", (TOMBSTONES_KEPT,))

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            with contextlib.suppress(apsw.Error):  # a disk that does not work: every later commit fails as well
                self._do("ROLLBACK")

    def close(self) -> None:
        self.settle()
        self._carried.clear()  # what failed is done at the next start
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@cache
def _update(changed: tuple[bool, ...], *, carries: bool) -> str:
    """Of the columns that changed: what stays as it is need not be checked and written again (a third of the time)."""
    names = [*compress(_COLUMNS.split(", "), changed), "changed_ms", *(CARRIED_COLUMNS if carries else ())]
    return f"UPDATE machine SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"  # noqa: S608 # constant text


def _nothing_can_be_stored(error: apsw.Error) -> str:
    return f"Nothing can be stored ({error}), so no machine can be assigned or released. {advice(error)}".strip()


def _event(number: int, change: Change, at_ms: int) -> tuple[object, ...]:
    before, after = change.before, change.after
    told = after if after is not None and after.project is not None else (before or change.machine)
    state = None if after is None else _WORDS[after.state]
    reason = change.machine.reason
    return (number, at_ms, told.id, told.pool, told.project, told.generation, _WORDS[change.cause], state, reason)


def _machine(row: tuple[str, str, str, str, int | None, str | None, int, str, int, str, str, str]) -> Machine:
    machine_id, pool, template, state, port, project, generation, host, gone, reason, evidence, metadata = row
    return Machine(
        machine_id,
        pool,
        template,
        State(state),
        port,
        project,
        generation,
        host,
        bool(gone),
        reason,
        evidence,
        metadata,
    )
