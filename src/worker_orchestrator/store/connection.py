"""One open database: rows are read through it, and everything is written through its one cursor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import apsw

from worker_orchestrator.errors import StoreError
from worker_orchestrator.store.database import advice

__all__ = ["BEGIN", "Connection"]

BEGIN: Final = "BEGIN IMMEDIATE;"
"""Put before the first statement of a transaction, so that both go to SQLite in one call."""


class Connection:
    """`execute` and `execute_many` are those of apsw's cursor: https://rogerbinns.github.io/apsw/cursor.html."""

    def __init__(self, db: apsw.Connection, name: str) -> None:
        """`name` stands in messages."""
        self.db, self.name = db, name
        cursor = db.cursor()  # a new one for each statement would take a tenth of the time of a commit
        self.execute = cursor.execute
        self.execute_many = cursor.executemany

    def rows(self, query: str, *values: object) -> list[Any]:
        """All rows of the answer, as tuples. Raises StoreError."""
        try:
            return self.db.execute(query, values).fetchall()
        except (apsw.Error, UnicodeDecodeError) as error:  # the latter for a damaged text, whose bytes are not UTF-8
            raise StoreError(f"The database {self.name} cannot be read ({error}). {advice(error)}".strip()) from error

    def column(self, query: str, *values: object) -> list[Any]:
        """The values of an answer that has one column. Raises StoreError."""
        return [value for (value,) in self.rows(query, *values)]

    def value(self, query: str, *values: object) -> Any:
        """The only value of an answer; None where it has no row. Raises StoreError."""
        return next(iter(self.column(query, *values)), None)

    def attempt(self, write: Callable[[], object]) -> bool:
        """Run `write`, which makes a transaction of its own. False if the database refused it: nothing of it is stored."""
        try:
            write()
        except apsw.Error:
            self.roll_back()
            return False
        except BaseException:
            self.roll_back()
            raise
        return True

    def roll_back(self) -> None:
        """End the transaction that is open, if one is: otherwise the next one would be refused."""
        if self.db.in_transaction:
            with contextlib.suppress(apsw.Error):  # the disk does not work, so every later commit fails as well
                self.execute("ROLLBACK")
