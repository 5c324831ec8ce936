"""How far the request that is coming in on a connection has come, and which limit it breaks. No I/O and no clock.

```
BETWEEN ── first byte of a head ──► HEAD ── end of the head ──► BODY ── end of the message ──► BETWEEN
```
The protocol tells it each of these steps and the number of bytes; it says when it is too much, and how long to wait.
"""

from __future__ import annotations

from typing import Final

from worker_orchestrator.http.reply import Header, Reply
from worker_orchestrator.http.server import limits

__all__ = ["BETWEEN", "BODY", "HEAD", "IncomingMessage", "StopReadingError"]

BETWEEN: Final = 0
HEAD: Final = 1
BODY: Final = 2
"""What the next byte belongs to. Plain numbers, since they are compared for every request."""


class StopReadingError(Exception):
    """Raised in a callback of the parser, which stops it: nothing that follows is read."""


class IncomingMessage:
    """The message that is coming in. The protocol reads `part` and `received`; only the methods here change them."""

    __slots__ = ("_blank_bytes", "_body_limit_bytes", "_received_before", "part", "received")

    def __init__(self) -> None:
        self.part = BETWEEN
        self.received = 0  # bytes since the last message ended; in a body: since its head ended
        self._blank_bytes = 0  # that stood behind the values of this head's fields
        self._body_limit_bytes = 0
        self._received_before = 0  # `received` when the deadline was set last; a file may be late while it grows

    def begin_head(self) -> None:
        self.part, self._blank_bytes = HEAD, 0

    def count_blanks(self, count: int) -> None:
        self._blank_bytes += count

    def head_refusal(self, method: bytes, url: bytes, headers: list[Header]) -> Reply | None:
        """The reply to this complete head if it breaks a limit; else None."""
        self._body_limit_bytes = limits.body_limit(method, url)
        return limits.head_refusal(url, headers, self._body_limit_bytes, self._blank_bytes)

    def begin_body(self) -> None:
        self.part, self.received, self._received_before = BODY, 0, 0

    def end(self) -> None:
        self.part, self.received = BETWEEN, 0

    def size_refusal(self) -> Reply | None:
        """The reply if more has been received than this part may have; else None."""
        if self.part == BODY:
            # What stands around the chunks of a body may take as much as a head.
            is_too_large = self.received > self._body_limit_bytes + limits.HEAD_LIMIT_BYTES
            return limits.body_too_large(self._body_limit_bytes) if is_too_large else None
        return limits.head_too_large() if self.received > limits.HEAD_LIMIT_BYTES else None

    def timeout_s(self) -> float:
        """How long the rest of this part may take."""
        return limits.BODY_S if self.part == BODY else limits.HEAD_S

    def grows(self) -> bool:
        """Whether this is a file of which something has come since the last time this was asked: it may take longer."""
        if self._body_limit_bytes != limits.FILE_LIMIT_BYTES or self.part != BODY:
            return False
        has_grown, self._received_before = self.received > self._received_before, self.received
        return has_grown

    def late_refusal(self) -> Reply:
        """The reply to a message that did not come in time."""
        return limits.late("head", limits.HEAD_S) if self.part == HEAD else limits.late("body", limits.BODY_S)
