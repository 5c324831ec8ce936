"""What survives: one SQLite file that holds every machine, and nothing that Docker knows better.

A commit carries a batch of changes and the events that tell of them, in one transaction. In WAL mode with
`synchronous=NORMAL` it survives the death of the process; `durability="power"` (FULL: an fsync each) survives a power cut.
One process owns a state directory, by a lock with its pid beside it.

Sources: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from filelock import FileLock, Timeout

from worker_orchestrator.errors import CommitFailed, StoreLocked, StoreRefused
from worker_orchestrator.machine import Change, Machine, State

__all__ = ["SCHEMA_VERSION", "Lock", "Store"]

SCHEMA_VERSION: Final = 1
EVENTS_KEPT: Final = 10_000
TOMBSTONES_KEPT: Final = 50_000
_PRUNE_EVERY: Final = 1_000

_COLUMNS: Final = "id, pool, template, state, port, project, generation, host, gone, reason, evidence"
_UPDATE: Final = (
    "UPDATE machine SET pool = ?2, template = ?3, state = ?4, port = ?5, project = ?6, generation = ?7, host = ?8, "
    "gone = ?9, reason = ?10, evidence = ?11 WHERE id = ?1"
)
_INSERT: Final = f"INSERT INTO machine ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 # constant text
_EVENT_COLUMNS: Final = "at_ms, machine, pool, project, generation, cause, state, reason"
_EVENT: Final = f"INSERT INTO event ({_EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 # constant text


class Lock:
    """The right to use a state directory, held until `release` or the end of the process."""

    def __init__(self, state_dir: Path) -> None:
        self._card = state_dir / "orchestrator.pid"
        self._lock = FileLock(state_dir / "orchestrator.lock")
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            pid = self.holder(state_dir)
            raise StoreLocked(
                f"Another orchestrator{f' (pid {pid})' if pid else ''} uses the state directory {state_dir}. "
                "Stop it, or give this one another with --state-dir.",
            ) from None
        except OSError as error:
            raise StoreRefused(
                f"The state directory {state_dir} cannot be used: {error.strerror}. Choose another with --state-dir.",
            ) from None
        self._card.write_text(json.dumps({"pid": os.getpid()}), encoding="utf-8")

    @staticmethod
    def holder(state_dir: Path) -> int | None:
        """The pid of the process that holds this directory's lock; None where nobody does or nobody knows."""
        if not (state_dir / "orchestrator.lock").exists():
            return None
        probe = FileLock(state_dir / "orchestrator.lock")
        try:
            probe.acquire(timeout=0)
        except Timeout:
            try:
                return int(json.loads((state_dir / "orchestrator.pid").read_text(encoding="utf-8"))["pid"])
            except (OSError, ValueError, KeyError, TypeError):
                return None
        probe.release()
        return None

    def release(self) -> None:
        self._card.unlink(missing_ok=True)
        self._lock.release()


class Store:
    """The database of one state directory. Every method is synchronous and takes microseconds."""

    def __init__(self, path: Path | None, *, durability: str = "process") -> None:
        """Open or create the database; None keeps it in memory.

        Raises StoreRefused, which says what to do, for one that is damaged or of a newer version.
        """
        self._commits = 0
        self.name = "memory" if path is None else str(path)
        try:
            self._db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreRefused(f"The database {self.name} cannot be opened: {error}.") from error
        try:
            version = self._version()
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
            if version == 0:
                schema = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
                self._db.executescript(f"BEGIN; {schema}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        except sqlite3.Error as error:
            self._db.close()
            raise StoreRefused(
                f"The database {self.name} cannot be read ({error}). It was left as it is: move it away to begin with an "
                "empty one, then `orchestrator recover` finds the machines that it knew.",
            ) from error
        except StoreRefused:
            self._db.close()
            raise

    def _version(self) -> int:
        """The version of the schema in the file; 0 for an empty one. Changes nothing."""
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise StoreRefused(
                f"The database {self.name} is of version {version}, made by a newer orchestrator; this one knows version "
                f"{SCHEMA_VERSION}. It was left as it is: upgrade worker-orchestrator.",
            )
        return version

    # reading

    def meta(self) -> dict[str, str]:
        """Facts about the store: `owner`, and once known `engine`, `home`, `generation`, `last_port`."""
        return dict(self._db.execute("SELECT key, value FROM meta"))

    def machines(self) -> list[Machine]:
        """Every machine on record, oldest id first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM machine ORDER BY id")  # noqa: S608 # constant text
        return [_machine(row) for row in rows]

    def tombstones(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT id FROM tombstone ORDER BY at_ms")]

    def events(self, after: int = 0, limit: int = 1000) -> list[tuple[object, ...]]:
        """Rows of the event table with a number above `after`, oldest first."""
        return self._db.execute("SELECT * FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)).fetchall()

    # writing

    def commit(self, changes: Iterable[Change], meta: Mapping[str, object], at_ms: int) -> None:
        """Store a batch: all of it or nothing. `at_ms` is wall time, for display.

        Raises CommitFailed.
        """
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for change in changes:
                self._write(change, at_ms)
            for key, value in meta.items():
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(value)))
            self._commits += 1
            if self._commits % _PRUNE_EVERY == 0:
                self._prune()
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise CommitFailed(
                f"The change could not be stored in {self.name} ({error}), so it was not made."
            ) from error

    def _write(self, change: Change, at_ms: int) -> None:
        before, after = change.before, change.after
        if after is None:
            self._db.execute("DELETE FROM machine WHERE id = ?", (change.machine.id,))
            self._db.execute("INSERT OR REPLACE INTO tombstone VALUES (?, ?)", (change.machine.id, at_ms))
        else:
            self._db.execute(_INSERT if before is None else _UPDATE, _row(after))
        told = after if after is not None and after.project is not None else (before or change.machine)
        state = None if after is None else after.state.value
        reason = change.machine.reason
        row = (at_ms, told.id, told.pool, told.project, told.generation, change.cause.value, state, reason)
        self._db.execute(_EVENT, row)

    def _prune(self) -> None:
        self._db.execute("DELETE FROM event WHERE seq <= (SELECT max(seq) FROM event) - ?", (EVENTS_KEPT,))
        kept = "SELECT id FROM tombstone ORDER BY at_ms DESC LIMIT -1 OFFSET ?"
        self._db.execute(f"DELETE FROM tombstone WHERE id IN ({kept})", (TOMBSTONES_KEPT,))  # noqa: S608 # constant text

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _row(m: Machine) -> tuple[object, ...]:
    return (
        m.id,
        m.pool,
        m.template,
        m.state.value,
        m.port,
        m.project,
        m.generation,
        m.host,
        int(m.gone),
        m.reason,
        m.evidence,
    )


def _machine(row: tuple[str, str, str, str, int | None, str | None, int, str, int, str, str]) -> Machine:
    machine_id, pool, template, state, port, project, generation, host, gone, reason, evidence = row
    return Machine(
        machine_id, pool, template, State(state), port, project, generation, host, bool(gone), reason, evidence
    )
