"""What is to be told to the webhook and was not yet. It is written in the transaction of the change that it tells of.

So nothing is lost with the process, and nothing is told that did not happen. What was sent is removed a moment later: after
a crash in between it is sent a second time, under the same id.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from worker_orchestrator.core.machine import Cause, Change
from worker_orchestrator.store.connection import BEGIN, Connection
from worker_orchestrator.store.rows import StoredEvent
from worker_orchestrator.wire.webhook import WebhookMessage

__all__ = ["TOLD", "Letter", "Outbox"]

TOLD: Final = {
    Cause.EXPIRING: "machine.expiring",
    Cause.EXPIRED: "machine.expired",
    Cause.SLEPT: "machine.slept",
}
"""The causes of the changes that the webhook is told of, with the types of its messages."""

_INSERT: Final = "INSERT INTO outbox (id, at_ms, project, body) VALUES (?, ?, ?, ?)"
_SELECT: Final = "SELECT number, id, at_ms, project, body FROM outbox WHERE number > ? ORDER BY number LIMIT ?"


class Letter(msgspec.Struct, frozen=True, gc=False):
    """One message. `number` is its place in the order of the changes, `at_ms` their wall time, `body` JSON."""

    number: int
    id: str
    at_ms: int
    project: str
    body: str


class Outbox:
    """The messages of one store, the oldest first. None is added unless it `is_wanted`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_wanted = False

    def add(self, changes: Sequence[Change], events: Iterable[StoredEvent]) -> None:
        """Add messages of those that the webhook is told of, within the open transaction. Raises apsw.Error."""
        rows = [_row_of(change, event) for change, event in zip(changes, events, strict=True) if change.cause in TOLD]
        if rows:
            self._connection.execute_many(_INSERT, rows)

    def after(self, number: int, limit: int) -> list[Letter]:
        """The first ones above this number. Raises StoreError."""
        return [Letter(*row) for row in self._connection.rows(_SELECT, number, limit)]

    def remove(self, numbers: Iterable[int]) -> bool:
        """Forget these. False if that failed: then they are there at the next start."""

        def write() -> None:
            self._connection.execute(BEGIN)
            self._connection.execute_many("DELETE FROM outbox WHERE number = ?", [(number,) for number in numbers])
            self._connection.execute("COMMIT")

        return self._connection.attempt(write)


def _row_of(change: Change, event: StoredEvent) -> tuple[str, int, str, str]:
    assert event.project is not None, f"{event.machine}: {event.cause} without a project"
    announced = change.announced
    left_ms = 0.0 if announced is None else (announced.ends_at - announced.at) * 1000
    message = WebhookMessage(
        id=f"msg_{secrets.token_hex(16)}",
        type=TOLD[change.cause],
        at=_when(event.at_ms),
        project=event.project,
        machine=event.machine,
        pool=event.pool,
        generation=event.generation,
        reason=event.reason,
        expires_by=None if announced is None else announced.by.value,
        expires_at=None if announced is None else _when(event.at_ms + round(left_ms)),
    )
    return message.id, event.at_ms, message.project, msgspec.json.encode(message).decode()


def _when(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
