"""The database file: made whole or not at all, looked at before anything is written to it, migrated, copied.

What is not ours, newer, damaged or half lost is refused and left byte for byte as it is. SQLite makes a fresh database of an
empty file, replays any `-wal` that lies beside one, and on closing writes back what it found there: so the look is taken by
a connection that can do none of that.

SQLite comes with apsw: one version everywhere, and one without the bug by which a checkpoint beside a commit could lose
pages (from 3.7.0 on, mended in 3.51.3, 3.50.7 and 3.44.6), with a commit a fifth cheaper than through `sqlite3`. Whoever
closes the file takes away all locks that his process has on it: so no other SQLite library opens it here, and `look_at`
comes before this process opens it.

Sources: https://sqlite.org/wal.html#walresetbug, https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_,
https://sqlite.org/fileformat.html, https://sqlite.org/wal.html, https://sqlite.org/lang_vacuum.html
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Final

import apsw

from worker_orchestrator.errors import StoreRefused

__all__ = [
    "APPLICATION_ID",
    "CARRIED_COLUMNS",
    "SCHEMA_VERSION",
    "STEPS",
    "advice",
    "connect",
    "copy_database",
    "look_at",
    "open_beside",
    "open_database",
]

STEPS: Final[tuple[str, ...]] = (
    """
    ALTER TABLE machine ADD COLUMN metadata TEXT NOT NULL DEFAULT '';
    ALTER TABLE machine ADD COLUMN changed_ms INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE trace (generation INTEGER PRIMARY KEY, trace TEXT NOT NULL) STRICT
    """,
    """
    CREATE TABLE history (
        step_s INTEGER NOT NULL, at_ms INTEGER NOT NULL, sample TEXT NOT NULL, PRIMARY KEY (step_s, at_ms)
    ) STRICT, WITHOUT ROWID
    """,
    """
    ALTER TABLE event RENAME TO old_event;
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, machine TEXT NOT NULL, pool TEXT NOT NULL, project TEXT,
        generation INTEGER NOT NULL, cause TEXT NOT NULL, state TEXT, reason TEXT NOT NULL
    ) STRICT;
    INSERT INTO event SELECT * FROM old_event;
    DROP TABLE old_event
    """,
    """
    ALTER TABLE machine ADD COLUMN event_seq INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE machine ADD COLUMN event_cause TEXT NOT NULL DEFAULT '';
    ALTER TABLE machine ADD COLUMN event_project TEXT
    """,
    # Events of an assignment are found by an index. Tombstones are in the order of their numbers; what vanished by itself
    # while a project had it, and was forgotten, leaves none any more.
    """
    CREATE INDEX event_assignment ON event (generation) WHERE project IS NOT NULL;
    DROP INDEX tombstone_at;
    ALTER TABLE tombstone RENAME TO old_tombstone;
    CREATE TABLE tombstone (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
    INSERT INTO tombstone (id) SELECT id FROM old_tombstone
        WHERE id NOT IN (SELECT machine FROM event WHERE cause = 'forgotten' AND project IS NOT NULL) ORDER BY at_ms, id;
    DROP TABLE old_tombstone
    """,
)
"""The migrations, as SQL: the first makes version 2 of version 1, and so on. `schema.sql` is always the newest version."""
SCHEMA_VERSION: Final = 1 + len(STEPS)
APPLICATION_ID: Final = 0x776F726B  # "work", in the header of each of our databases
CARRIED_COLUMNS: Final = ("event_seq", "event_cause", "event_project")
_SETTLE: Final = """
INSERT INTO event
    SELECT event_seq, changed_ms, id, pool, event_project, generation, event_cause, state, reason FROM machine
    WHERE event_seq > ifnull((SELECT max(seq) FROM event), 0)
"""
"""Events that rows still carry: the process that had it open ended within a moment."""
PAGE_BYTES: Final = 1024
"""A commit writes four or five pages, each with a checksum: with SQLite's usual 4096 it takes a third longer."""
WAL_LIMIT_BYTES: Final = 32 * 1024 * 1024
"""So long SQLite's log may grow before a commit itself moves it into the file: `store/checkpoints.py` does so earlier."""
BUSY_TIMEOUT_MS: Final = 500
"""How long a commit waits for another program that writes to our database. Everything else waits meanwhile."""

_FLAGS: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX
_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_JOURNAL_MODE_AT: Final = 18
_ROLLBACK: Final = 1
_TO_BEGIN_ANEW: Final = (
    "It was left as it is: put a backup in its place, or move it away to begin with an empty one; then "
    "`orchestrator recover` finds the machines that it knew."
)
_ADVICE: Final = {
    apsw.SQLITE_FULL: "Make room on its disk.",
    apsw.SQLITE_READONLY: "See to it that the file and its folder can be written to.",
    apsw.SQLITE_CANTOPEN: "See to it that the file and its folder can be written to, and that its disk has room.",
    apsw.SQLITE_PERM: "See to it that the file and its folder can be written to.",
    apsw.SQLITE_IOERR: "See to it that its disk works and has room.",
    apsw.SQLITE_BUSY: "Another program writes to it: end that one.",
}


def advice(error: Exception) -> str:
    """What to do where the surroundings of the file are to blame; empty where its content is."""
    return _ADVICE.get(getattr(error, "result", 0), "")


def open_database(path: Path | None, *, durability: str = "process", steps: tuple[str, ...] = STEPS) -> apsw.Connection:
    """The database in this file, made or migrated where need be; None keeps it in memory.

    Raises StoreRefused, which says what to do.
    """
    if path is None:
        return _with_schema(apsw.Connection(":memory:"), 1 + len(steps))
    try:
        if not path.exists():
            _refuse_half_lost(path)
            _make(path, 1 + len(steps))
        version = look_at(path, newest=1 + len(steps))
        db = connect(path)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
            db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
            db.execute(f"PRAGMA wal_autocheckpoint = {WAL_LIMIT_BYTES // PAGE_BYTES}")
            if version <= len(steps):
                _migrate(db, path, version, steps)
            _run(db, _SETTLE)
        except BaseException:
            db.close()
            raise
    except apsw.Error as error:
        raise _refusal(path, error) from error
    except OSError as error:
        raise StoreRefused(
            f"The database {path} cannot be used: {error.strerror}. See to it that its folder can be written to and has "
            "room, or choose another with --state-dir.",
        ) from error
    return db


def open_beside(path: Path) -> apsw.Connection:
    """The database in this file, to read and copy it while another process may be using it.

    Raises StoreRefused.
    """
    version = look_at(path, alone=False)
    if version < SCHEMA_VERSION:
        raise StoreRefused(
            f"The database {path} is of version {version}, older than this orchestrator: start the service "
            "with this one first.",
        )
    try:
        return connect(path)
    except apsw.Error as error:
        raise _refusal(path, error) from error


def look_at(path: Path, *, newest: int = SCHEMA_VERSION, alone: bool = True) -> int:
    """The version of a sound database of ours. Changes nothing. `alone`: nobody else has it open.

    Raises StoreRefused for anything else.
    """
    has_wal = _has_wal(path)
    _look_at_header(path, has_wal=has_wal)
    try:
        with contextlib.closing(connect(path, "mode=ro" if has_wal or not alone else "immutable=1")) as db:
            if _pragma(db, "application_id") != APPLICATION_ID:
                raise StoreRefused(
                    f"The database {path} belongs to another program. It was left as it is: choose another folder with "
                    "--state-dir.",
                )
            version = _pragma(db, "user_version")
            if version > newest:
                raise StoreRefused(
                    f"The database {path} is of version {version}, made by a newer orchestrator; this one knows version "
                    f"{newest}. It was left as it is: upgrade worker-orchestrator.",
                )
            problem = _check(db)
    except apsw.Error as error:
        raise _refusal(path, error) from error
    if problem:
        raise StoreRefused(f"The database {path} is damaged ({problem}). {_TO_BEGIN_ANEW}")
    return version


def _has_wal(path: Path) -> bool:
    try:
        return _wal(path).stat().st_size > 0
    except FileNotFoundError:
        return False


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _look_at_header(path: Path, *, has_wal: bool) -> None:
    """What SQLite itself would not mind: an empty file, and the `-wal` of another one."""
    if path.is_dir():
        raise StoreRefused(f"The database {path} is a folder. {_TO_BEGIN_ANEW}")
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise StoreRefused(f"The database {path} cannot be read: {error.strerror}.") from None
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise StoreRefused(f"The database {path} is {'no database' if header else 'empty'}. {_TO_BEGIN_ANEW}")
    if has_wal and header[_JOURNAL_MODE_AT] == _ROLLBACK:
        raise StoreRefused(
            f"The database {path} was put beside the {_wal(path).name} of another one. Nothing was changed: move "
            f"{_wal(path).name} away.",
        )


def _refuse_half_lost(path: Path) -> None:
    if _has_wal(path):
        raise StoreRefused(
            f"The database {path} is missing, but its {_wal(path).name} is there. Nothing was changed: put it back, or move "
            f"{_wal(path).name} away to begin with an empty one.",
        )


def copy_database(db: apsw.Connection, target: Path) -> None:
    """Write a sound copy to this file, whole or not at all: to disk, for its owner only, and marked as a backup of now.

    Replaces what is there. Raises apsw.Error, OSError.
    """
    descriptor, name = tempfile.mkstemp(".part", f"{target.name}.", target.parent)  # for its owner only
    os.close(descriptor)
    part = Path(name)
    try:
        db.execute("VACUUM INTO ?", (str(part),))
        with contextlib.closing(connect(part)) as copy:
            copy.execute("INSERT OR REPLACE INTO meta VALUES ('backup', ?)", (str(time.time_ns() // 1_000_000),))
            if problem := _check(copy):
                raise apsw.CorruptError(f"the copy is damaged: {problem}")
        _put_in_place(part, target)
    finally:
        part.unlink(missing_ok=True)


def _put_in_place(part: Path, target: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    if os.name != "nt":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _make(path: Path, version: int) -> None:
    """A fresh database under a name of its own first: an empty file under the right name is never one that we began."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with contextlib.closing(connect(part, "mode=rwc")) as db:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            _with_schema(db, version)
        _put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)
        part.with_name(part.name + "-journal").unlink(missing_ok=True)


def _with_schema(db: apsw.Connection, version: int) -> apsw.Connection:
    schema = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    header = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};"
    _run(db, f"BEGIN; {schema}; {header} COMMIT;")
    return db


def _migrate(db: apsw.Connection, path: Path, version: int, steps: tuple[str, ...]) -> None:
    """All steps in one transaction, after a copy of what was there: `orchestrator.db.v1.backup`."""
    newest = 1 + len(steps)
    script = "".join(f"{step};\n" for step in steps[version - 1 :])
    try:
        copy_database(db, path.with_name(f"{path.name}.v{version}.backup"))
        _run(db, f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {newest}; COMMIT;")
    except apsw.Error as error:
        what_to_do = advice(error) or "Go back to the orchestrator that you had, and report this."
        raise StoreRefused(
            f"The database {path} could not be brought from version {version} to {newest} ({error}) and is as it was. "
            f"{what_to_do}",
        ) from error


def connect(path: Path, how: str = "mode=rw") -> apsw.Connection:
    """A connection for one thread at a time. `how` as in https://sqlite.org/uri.html#recognized_query_parameters."""
    db = apsw.Connection(f"{path.absolute().as_uri()}?{how}", flags=_FLAGS)
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    return db


def _run(db: apsw.Connection, script: str) -> None:
    """All of it: SQLite goes on after a statement that answers only when the answer is read."""
    db.execute(script).fetchall()


def _pragma(db: apsw.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").get)


def _check(db: apsw.Connection) -> str:
    """What is wrong with it in one line; empty for a sound one."""
    found = str(db.execute("PRAGMA integrity_check(1)").get)
    return "" if found == "ok" else " ".join(found.removeprefix("*** in database main ***").split())


def _refusal(path: Path, error: apsw.Error) -> StoreRefused:
    what_to_do = advice(error)
    if what_to_do:
        return StoreRefused(f"The database {path} cannot be used ({error}). {what_to_do}")
    return StoreRefused(f"The database {path} cannot be read ({error}). {_TO_BEGIN_ANEW}")
