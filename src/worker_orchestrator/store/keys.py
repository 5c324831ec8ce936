"""The keys of one store: written when they are made and revoked, and about once a minute while they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from worker_orchestrator.core.key import Key, Right
from worker_orchestrator.errors import CommitFailed
from worker_orchestrator.store.connection import BEGIN, Connection

__all__ = ["StoredKeys"]

_SELECT: Final = "SELECT name, digest, pools, max_machines, may, created_ms, used_ms FROM key ORDER BY name"
_INSERT: Final = "INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, ?)"


class StoredKeys:
    """The table `key`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[Key]:
        """All keys by name. Raises StoreError."""
        return [_key_of(*row) for row in self._connection.rows(_SELECT)]

    def add(self, key: Key) -> None:
        """Raises CommitFailed."""
        pools, may = (msgspec.json.encode(words).decode() for words in (key.pools, sorted(key.may)))
        row = (key.name, key.digest, pools, key.max_machines, may, key.created_ms, key.used_ms)
        self._write(lambda: self._connection.execute(_INSERT, row))

    def remove(self, name: str) -> None:
        """Raises CommitFailed."""
        self._write(lambda: self._connection.execute("DELETE FROM key WHERE name = ?", (name,)))

    def note_used(self, used_ms: Mapping[str, int]) -> bool:
        """Store when keys were used last. False if that failed: nothing depends on it."""
        rows = [(at_ms, name) for name, at_ms in used_ms.items()]
        return self._attempt(lambda: self._connection.execute_many("UPDATE key SET used_ms = ? WHERE name = ?", rows))

    def _write(self, write: Callable[[], object]) -> None:
        if not self._attempt(write):
            raise CommitFailed("The change of the key could not be stored, so nothing was changed. The log says why.")

    def _attempt(self, write: Callable[[], object]) -> bool:
        def transaction() -> None:
            self._connection.execute(BEGIN)
            write()
            self._connection.execute("COMMIT")

        return self._connection.attempt(transaction)


def _key_of(
    name: str, digest: bytes, pools: str, max_machines: int | None, may: str, created_ms: int, used_ms: int
) -> Key:
    rights = frozenset(map(Right, msgspec.json.decode(may)))
    return Key(name, digest, tuple(msgspec.json.decode(pools)), max_machines, rights, created_ms, used_ms)
