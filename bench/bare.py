"""The least that an assign can store in SQLite: one transaction that changes a row and adds an event."""

from __future__ import annotations

from pathlib import Path

import apsw

__all__ = ["BareStore"]

_TABLES = """
CREATE TABLE IF NOT EXISTS machine (id TEXT PRIMARY KEY, project TEXT, generation INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY, machine TEXT, cause TEXT);
INSERT OR IGNORE INTO machine VALUES ('worker-1', NULL, 0)
"""


class BareStore:
    """One database; `mode` is its `PRAGMA synchronous`."""

    def __init__(self, path: Path, mode: str) -> None:
        self._db = apsw.Connection(str(path))
        self._db.execute(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = {mode}; {_TABLES}").fetchall()
        self._do = self._db.cursor().execute

    def commit(self, number: int) -> None:
        self._do("BEGIN IMMEDIATE")
        self._do("UPDATE machine SET project = ?, generation = ? WHERE id = 'worker-1'", (f"p{number}", number))
        self._do("INSERT INTO event (machine, cause) VALUES ('worker-1', 'assigned')")
        self._do("COMMIT")

    def close(self) -> None:
        self._db.close()
