"""The database file: created completely or not at all, checked before anything is written to it, upgraded and copied.

A file that is not ours, newer, damaged or incomplete is refused and left byte for byte as it is. SQLite turns an empty file
into a fresh database, replays any `-wal` that lies beside a file, and writes back on closing what it found there. So
`look_at` checks the file through a connection that can do none of that.

SQLite comes with apsw, not from the system. So every installation has the same version, without the bug by which a
checkpoint beside a commit could lose pages (from 3.7.0 on, fixed in 3.51.3, 3.50.7 and 3.44.6), and a commit takes a fifth
less time than through `sqlite3`. Closing the file takes away all locks that this process has on it. So no other SQLite
library opens it here, and `look_at` runs before this process opens it for use.

Sources: https://sqlite.org/wal.html#walresetbug, https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_,
https://sqlite.org/fileformat.html, https://sqlite.org/wal.html, https://sqlite.org/lang_vacuum.html
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Final

import apsw
import structlog

from worker_orchestrator.errors import StoreRefused
from worker_orchestrator.store.migrations import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    STEPS,
    create_schema,
    migrate,
    persist_events_of_rows,
)

__all__ = ["advice", "connect", "copy_database", "look_at", "open_beside", "open_database"]

PAGE_BYTES: Final = 1024
"""A commit writes four or five pages, each with a checksum. With SQLite's default of 4096 bytes it takes a third longer."""
WAL_LIMIT_BYTES: Final = 32 * 1024 * 1024
"""If SQLite's log grows to this size, a commit itself moves it into the file. `store/checkpoints.py` does so earlier."""
BUSY_TIMEOUT_MS: Final = 500
"""How long a commit waits for another program that writes to our database. The whole service waits with it."""

_log = structlog.get_logger(__name__)
_FLAGS: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX
_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_JOURNAL_MODE_AT: Final = 18
_ROLLBACK: Final = 1
_RESTORE_OR_START_EMPTY: Final = (
    "It was not changed. Put a backup in its place; or, to start with an empty database, move this file away, and "
    "`orchestrator recover` finds the machines that it recorded."
)
_WRITABLE: Final = "Make sure that the file and its folder are writable"
_ADVICE: Final = {
    apsw.SQLITE_FULL: "Make sure that its disk has free space.",
    apsw.SQLITE_READONLY: f"{_WRITABLE}.",
    apsw.SQLITE_CANTOPEN: f"{_WRITABLE}, and that the disk has free space.",
    apsw.SQLITE_PERM: f"{_WRITABLE}.",
    apsw.SQLITE_IOERR: "Make sure that its disk works and has free space.",
    apsw.SQLITE_BUSY: "Another program is writing to it: stop that program.",
}


def advice(error: Exception) -> str:
    """What the operator can do if the disk, permissions or another program caused the error; empty for any other cause."""
    return _ADVICE.get(getattr(error, "result", 0), "")


def open_database(path: Path | None, *, durability: str = "process", steps: tuple[str, ...] = STEPS) -> apsw.Connection:
    """Open the database in this file, and create or upgrade it first if necessary; None keeps it in memory.

    Raises StoreRefused, which says what to do.
    """
    newest = 1 + len(steps)
    if path is None:
        db = apsw.Connection(":memory:")
        create_schema(db, newest)
        return db
    try:
        if not path.exists():
            _refuse_wal_without_database(path)
            _create(path, newest)
        version = look_at(path, newest=newest)
        db = connect(path)
        try:
            _configure(db, durability)
            if version < newest:
                _back_up_and_migrate(db, path, version, steps)
            persist_events_of_rows(db)
        except BaseException:
            db.close()
            raise
    except apsw.Error as error:
        raise _refusal(path, error) from error
    except OSError as error:
        raise StoreRefused(
            f"The database {path} cannot be used: {error.strerror}. Make sure that its folder is writable and has free "
            "space, or choose another folder with --state-dir.",
        ) from error
    return db


def _configure(db: apsw.Connection, durability: str) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    db.execute(f"PRAGMA wal_autocheckpoint = {WAL_LIMIT_BYTES // PAGE_BYTES}")


def open_beside(path: Path) -> apsw.Connection:
    """Open the database in this file for reading and copying, while another process may be using it.

    Raises StoreRefused.
    """
    version = look_at(path, alone=False)
    if version < SCHEMA_VERSION:
        raise StoreRefused(
            f"The database {path} has version {version}, which is older than this orchestrator's {SCHEMA_VERSION}. "
            "Start the service with this orchestrator once, which upgrades it.",
        )
    try:
        return connect(path)
    except apsw.Error as error:
        raise _refusal(path, error) from error


def look_at(path: Path, *, newest: int = SCHEMA_VERSION, alone: bool = True) -> int:
    """The version of the database, after a check that it is ours and sound. Changes nothing.

    `alone`: no other process has it open. Raises StoreRefused for any other file.
    """
    has_wal = _has_wal(path)
    _look_at_header(path, has_wal=has_wal)
    try:
        with contextlib.closing(connect(path, "mode=ro" if has_wal or not alone else "immutable=1")) as db:
            if _pragma(db, "application_id") != APPLICATION_ID:
                raise StoreRefused(
                    f"The database {path} belongs to another program. It was not changed: choose another folder with "
                    "--state-dir.",
                )
            version = _pragma(db, "user_version")
            if version > newest:
                raise StoreRefused(
                    f"The database {path} has version {version}, made by a newer orchestrator; this one knows versions "
                    f"up to {newest}. It was not changed: upgrade worker-orchestrator.",
                )
            problem = _check(db)
    except apsw.Error as error:
        raise _refusal(path, error) from error
    if problem:
        raise StoreRefused(f"The database {path} is damaged ({problem}). {_RESTORE_OR_START_EMPTY}")
    return version


def _has_wal(path: Path) -> bool:
    try:
        return _wal(path).stat().st_size > 0
    except FileNotFoundError:
        return False


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _look_at_header(path: Path, *, has_wal: bool) -> None:
    """Refuse what SQLite itself accepts: an empty file, and the `-wal` of another database."""
    if path.is_dir():
        raise StoreRefused(f"The database {path} is a folder. {_RESTORE_OR_START_EMPTY}")
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise StoreRefused(f"The database {path} cannot be read: {error.strerror}.") from None
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        problem = "is not an SQLite database" if header else "is empty"
        raise StoreRefused(f"The database {path} {problem}. {_RESTORE_OR_START_EMPTY}")
    if has_wal and header[_JOURNAL_MODE_AT] == _ROLLBACK:
        raise StoreRefused(
            f"The database {path} lies beside the {_wal(path).name} of another database. Nothing was changed: move "
            f"{_wal(path).name} away.",
        )


def _refuse_wal_without_database(path: Path) -> None:
    """A fresh database would take over what the lost one had not written into its file yet."""
    if _has_wal(path):
        raise StoreRefused(
            f"The database {path} is missing, but its {_wal(path).name} is there. Nothing was changed: put the database "
            f"back, or move {_wal(path).name} away to start with an empty one.",
        )


def copy_database(db: apsw.Connection, target: Path) -> None:
    """Write a checked copy to this file, completely or not at all, and mark it as a backup made now.

    The copy is synced to disk, and only its owner can read it. It replaces a file of that name. Raises apsw.Error, OSError.
    """
    descriptor, name = tempfile.mkstemp(".part", f"{target.name}.", target.parent)  # only its owner can read it
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


def _create(path: Path, version: int) -> None:
    """Create a fresh database under another name first, so that an empty file of this name is never one that we began."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with contextlib.closing(connect(part, "mode=rwc")) as db:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            create_schema(db, version)
        _put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)
        part.with_name(part.name + "-journal").unlink(missing_ok=True)


def _back_up_and_migrate(db: apsw.Connection, path: Path, version: int, steps: tuple[str, ...]) -> None:
    """Copy the old database to `orchestrator.db.v1.backup`, then make all missing steps in one transaction."""
    copy = path.with_name(f"{path.name}.v{version}.backup")
    try:
        copy_database(db, copy)
        migrate(db, version, steps)
    except apsw.Error as error:
        what_to_do = advice(error) or "Go back to the orchestrator that you used before, and report this."
        raise StoreRefused(
            f"The database {path} could not be upgraded from version {version} to {1 + len(steps)} ({error}). "
            f"It was not changed. {what_to_do}",
        ) from error
    _log.info("database upgraded", file=str(path), before=version, now=1 + len(steps), copy=copy.name)


def connect(path: Path, how: str = "mode=rw") -> apsw.Connection:
    """A connection for one thread at a time. `how` is the query of the file's URI.

    See https://sqlite.org/uri.html#recognized_query_parameters.
    """
    db = apsw.Connection(f"{path.absolute().as_uri()}?{how}", flags=_FLAGS)
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    return db


def _pragma(db: apsw.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").get)


def _check(db: apsw.Connection) -> str:
    """What is wrong with the database, in one line; empty if it is sound."""
    verdict = str(db.execute("PRAGMA integrity_check(1)").get)
    return "" if verdict == "ok" else " ".join(verdict.removeprefix("*** in database main ***").split())


def _refusal(path: Path, error: apsw.Error) -> StoreRefused:
    what_to_do = advice(error)
    if what_to_do:
        return StoreRefused(f"The database {path} cannot be used ({error}). {what_to_do}")
    return StoreRefused(f"The database {path} cannot be read ({error}). {_RESTORE_OR_START_EMPTY}")
