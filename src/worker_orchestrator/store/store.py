"""What survives the process: one SQLite file with every machine, and nothing that Docker knows better.

A commit stores a batch of changes, and the events that tell of them, in one transaction. In WAL mode with
`synchronous=NORMAL` it survives the death of the process; with `durability="power"` (FULL: an fsync for each) a power cut.
An assign or a release that is committed alone is one statement: see `event_log.py`.

Sources: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, repeat
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import apsw

from worker_orchestrator.core.machine import Cause, Change, Machine
from worker_orchestrator.core.routine import is_routine
from worker_orchestrator.errors import CommitFailed, StoreError
from worker_orchestrator.store.arrivals import Arrivals
from worker_orchestrator.store.connection import BEGIN, Connection
from worker_orchestrator.store.database import (
    BUSY_TIMEOUT_MS,
    advice,
    connect,
    copy_database,
    open_beside,
    open_database,
)
from worker_orchestrator.store.event_log import EventLog
from worker_orchestrator.store.event_numbers import SKIPPED, Skips
from worker_orchestrator.store.keys import StoredKeys
from worker_orchestrator.store.outbox import Outbox
from worker_orchestrator.store.rows import (
    DELETE_MACHINE,
    INSERT_MACHINE,
    MACHINE_COLUMNS,
    StoredEvent,
    changed_columns,
    event_of,
    machine_of,
    row_of,
    update_machine,
)

__all__ = ["DATABASE", "Store"]


DATABASE: Final = "orchestrator.db"
TRACES_KEPT: Final = 10_000


_META: Final = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_TRIAL: Final = "INSERT OR REPLACE INTO meta VALUES ('trial', hex(zeroblob(4096)))"
"""More than the four or five pages that an assign writes: where this can be stored, an assign can."""
_END_OF_TRIAL: Final = "DELETE FROM meta WHERE key = 'trial'"


class Store:
    """The database of one state directory. Every method is synchronous; a commit takes microseconds.

    `is_awaited`: commits are asynchronous all the same, since they go elsewhere first (`replicas/term_store.py`).
    """

    is_awaited = False

    def __init__(self, path: Path | None, *, durability: str = "process", look_only: bool = False) -> None:
        """Open or create the database; None keeps it in memory. `look_only`: another process may be using it.

        Raises StoreRefused, which says what to do, if it cannot be used as it is.
        """
        self.commits = 0
        self.changes = 0  # in all commits together
        self.problem = ""  # why the last commit failed and what to do; empty once one succeeded
        self._path = path
        self.name = "memory" if path is None else str(path)
        if look_only and path is not None:
            self._db = open_beside(path)
        else:
            self._db = open_database(path, durability=durability)
        self._connection = Connection(self._db, self.name)
        self._execute = self._connection.execute
        # With durability "power" the second transaction would be another fsync.
        self._log = EventLog(self._connection, may_use_rows=durability == "process")
        self.outbox = Outbox(self._connection)
        self.arrivals = Arrivals(self._connection, path)
        self.keys = StoredKeys(self._connection)

    # reading

    def meta(self) -> dict[str, str]:
        """Facts about the store: `owner`, and once known `generation`, `last_port` and those of `service/origin.py`.

        An assign does not write its generation here, since its event holds it.
        """
        facts: dict[str, str] = dict(self._connection.rows("SELECT key, value FROM meta"))
        last = self._log.last_generation()
        return facts | ({"generation": str(last)} if last else {})

    def machines(self, ids: Iterable[str] | None = None) -> list[Machine]:
        """Every machine on record, oldest id first; or those of these ids, in any order."""
        if ids is None:
            query = f"SELECT {MACHINE_COLUMNS} FROM machine ORDER BY id"  # noqa: S608 # constant text
            return list(map(machine_of, self._connection.rows(query)))
        query = f"SELECT {MACHINE_COLUMNS} FROM machine WHERE id = ?"  # noqa: S608 # constant text
        return [machine_of(row) for machine_id in ids for row in self._connection.rows(query, machine_id)]

    def tombstones(self) -> list[str]:
        """Ids of what was removed, in the order in which they came."""
        return self._connection.column("SELECT id FROM tombstone ORDER BY number")

    def changed_ms(self) -> dict[str, int]:
        """By machine, when its record changed last, in wall time; 0 if that is not known."""
        return dict(self._connection.rows("SELECT id, changed_ms FROM machine"))

    def traces(self) -> list[str]:
        """How assignments came about, as they were given to `keep_traces`, oldest first."""
        return self._connection.column("SELECT trace FROM trace ORDER BY generation")

    def history(self, step_s: int) -> list[str]:
        """The samples of one length of step, as they were given to `keep_history`, oldest first."""
        return self._connection.column("SELECT sample FROM history WHERE step_s = ? ORDER BY at_ms", step_s)

    def copy_to(self, target: Path) -> None:
        """Write a checked copy of what is committed. Raises StoreError, OSError."""
        try:
            copy_database(self._db, target)
        except apsw.Error as error:
            raise StoreError(
                f"The database {self.name} cannot be copied to {target} ({error}). {advice(error)}".strip()
            ) from error

    # events

    def events(self, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """The first events with a number above `after`, oldest first."""
        self.persist_events()
        return self._log.after(after, limit)

    def events_of(self, machine_id: str, generation: int) -> list[StoredEvent]:
        """The events of one assignment, oldest first; if there are many, the first one and the last 200."""
        self.persist_events()
        return self._log.of_assignment(machine_id, generation)

    def expiries(self, pool: str, limit: int) -> list[StoredEvent]:
        """The last assignments of machines of this pool that a deadline ended, newest first."""
        return self._log.expiries(pool, limit)  # such an event is never in a machine's row

    def event_range(self) -> tuple[int, int]:
        """Numbers of the oldest event that is kept, and of the newest one that ever was or was skipped; (1, 0) at first."""
        self.persist_events()
        return self._log.range()

    @property
    def skips(self) -> Skips:
        """Numbers that no event of this database has."""
        return self._log.skips

    def skip_event_numbers(self, count: int = SKIPPED) -> dict[str, str]:
        """Skip the numbers that a newer copy of this database may have used. Returns the fact to commit with it."""
        self.persist_events()
        return self._log.skip_numbers(count)

    @property
    def has_unpersisted_events(self) -> bool:
        """Whether rows of machines hold events that are not in the event table yet."""
        return self._log.has_unpersisted

    def persist_events(self) -> bool:
        """Write the events that rows of machines hold into the event table. False if that failed: the rows keep them."""
        return self._log.persist()

    # writing

    def commit(self, changes: Sequence[Change], meta: Mapping[str, object], at_ms: int) -> None:
        """Store a batch: all of it or nothing. `at_ms` is wall time, for display.

        Raises CommitFailed.
        """
        try:
            if len(changes) == 1 and not meta and self._log.fits_into_row(changes[0]):
                self._store_alone(changes[0], at_ms)
            else:
                self._store_batch(changes, meta, at_ms)
            self.commits += 1
            self.changes += len(changes)
            self.problem = ""
        except apsw.Error as error:
            self._connection.roll_back()
            self.problem = _nothing_can_be_stored(error)
            why = f"The change could not be stored in {self.name} ({error}), so it was not made."
            raise CommitFailed(f"{why} {advice(error)}".strip()) from error
        except BaseException:
            self._connection.roll_back()
            raise

    def retry_writing(self) -> None:
        """After a commit that failed, set `problem` by writing something without meaning.

        No request waits for this, so it does not wait for another program's lock: all requests would wait meanwhile.
        """
        self._db.set_busy_timeout(0)
        try:
            self._execute(_TRIAL)
            self._execute(_END_OF_TRIAL)
            self.problem = ""
        except apsw.Error as error:
            self._connection.roll_back()
            self.problem = _nothing_can_be_stored(error)
        finally:
            self._db.set_busy_timeout(BUSY_TIMEOUT_MS)

    def _store_alone(self, change: Change, at_ms: int) -> None:
        """Write the machine's row with the event: one statement, which SQLite makes a transaction of its own."""
        assert change.after is not None, "its row is there"
        event = event_of(self._log.newest + 1, change, at_ms)
        row = (change.after.pool, change.after.generation)
        assert (event.pool, event.generation) == row, "the row has the pool and the generation of its event"
        self._update(change, at_ms, "", (event.id, event.cause, event.project))
        self._log.add_in_row(event)

    def _store_batch(self, changes: Sequence[Change], meta: Mapping[str, object], at_ms: int) -> None:
        begin = BEGIN
        for change in changes:
            self._write(change, at_ms, begin)
            begin = ""
        for key, value in meta.items():
            self._execute(begin + _META, (key, str(value)))
            begin = ""
        told = [change for change in changes if not is_routine(change)]
        events = list(map(event_of, count(self._log.newest + 1), told, repeat(at_ms)))
        if self.outbox.is_wanted:
            self.outbox.add(told, events)
        self._log.append_and_commit(events, begin)

    def _write(self, change: Change, at_ms: int, begin: str) -> None:
        before, after = change.before, change.after
        if after is None:
            self._execute(begin + DELETE_MACHINE, (change.machine.id,))
        elif before is None:
            self._execute(begin + INSERT_MACHINE, (*row_of(after), at_ms))
            if change.cause is Cause.ADOPTED:
                self._execute("DELETE FROM tombstone WHERE id = ?", (after.id,))
        else:
            self._update(change, at_ms, begin)
        if change.buries:
            self._execute("INSERT OR REPLACE INTO tombstone (id) VALUES (?)", (change.machine.id,))

    def _update(self, change: Change, at_ms: int, begin: str, event: tuple[object, ...] = ()) -> None:
        """`event`: number, cause and project of the event that the row holds from now on."""
        assert change.before is not None, "it was on record"
        assert change.after is not None, "it stays on record"
        changed, values = changed_columns(change.before, change.after)
        if not event and values and is_routine(change):
            statement = begin + update_machine(changed, with_event=False, with_time=False)
            self._execute(statement, (*values, change.after.id))
        else:
            statement = begin + update_machine(changed, with_event=bool(event))
            self._execute(statement, (*values, at_ms, *event, change.after.id))
        if self._db.changes() != 1:
            raise apsw.ConstraintError(f"{change.after.id} is not on record")

    def keep_traces(self, traces: Mapping[int, str]) -> bool:
        """Store how assignments came about, by generation. False if that failed: nothing depends on it."""

        def write() -> None:
            self._execute(BEGIN)
            self._connection.execute_many("INSERT OR REPLACE INTO trace VALUES (?, ?)", traces.items())
            self._execute(
                "DELETE FROM trace WHERE generation <= (SELECT max(generation) FROM trace) - ?", (TRACES_KEPT,)
            )
            self._execute("COMMIT")

        return self._connection.attempt(write)

    def keep_history(self, samples: Iterable[tuple[int, int, str]], spans: Mapping[int, tuple[int, int]]) -> bool:
        """Store samples (step in seconds, wall time, text), and delete those of each step outside of its span of times.

        False if that failed: nothing depends on it.
        """

        def write() -> None:
            self._execute(BEGIN)
            self._connection.execute_many("INSERT OR REPLACE INTO history VALUES (?, ?, ?)", samples)
            for step_s, span in spans.items():
                self._execute("DELETE FROM history WHERE step_s = ? AND at_ms NOT BETWEEN ? AND ?", (step_s, *span))
            self._execute("COMMIT")

        return self._connection.attempt(write)

    def checkpoint(self) -> None:
        """Move what was committed from SQLite's log into the file, except what a reader still needs there.

        Any thread may call this. Nothing depends on it, so an error is left for the next commit to find.
        """
        if self._path is not None:
            with contextlib.suppress(apsw.Error), contextlib.closing(connect(self._path)) as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        self.persist_events()
        self._log.forget_unpersisted()
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nothing_can_be_stored(error: apsw.Error) -> str:
    return f"Nothing can be stored ({error}), so no machine can be assigned or released. {advice(error)}".strip()
