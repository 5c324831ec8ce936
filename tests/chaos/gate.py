"""Set-ups that are under way, and whoever must not meet one.

containerd waits for ever for a container that is paused while a program begins in it, as a hook does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import Final

__all__ = ["Gate"]

WAIT_S: Final = 2.0


@dataclass(slots=True)
class Gate:
    """Many set-ups at once, or none while somebody pauses containers."""

    _changed: Condition = field(default_factory=Condition)
    _under_way: int = 0
    _closed: bool = False
    _until: float = 0.0

    @contextmanager
    def under_way(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def may_last(self, seconds: float) -> None:
        """Nobody waits any more for a set-up that may go on for so long."""
        with self._changed:
            self._until = max(self._until, time.monotonic() + seconds)

    @contextmanager
    def closed(self) -> Iterator[bool]:
        """While the block runs no set-up begins. Yields whether none is under way any more; it waits a moment for that."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._under_way, WAIT_S)
            is_calm = not self._under_way and time.monotonic() >= self._until
        try:
            yield is_calm
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
