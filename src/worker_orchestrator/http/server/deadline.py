"""One timer of a connection: set, cancelled or passed. It keeps no callback longer than it is set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Deadline"]


class Deadline:
    """At most one time at which something is to be done. `is_set`: it lies ahead."""

    __slots__ = ("_loop", "_timer", "is_set")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.is_set = False

    def set(self, seconds: float, then: Callable[[], None]) -> None:
        """Call `then` in so many seconds, and what was set before no more."""
        self.cancel()
        self._timer, self.is_set = self._loop.call_later(seconds, self._pass, then), True

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self.is_set = None, False

    def _pass(self, then: Callable[[], None]) -> None:
        self._timer, self.is_set = None, False
        then()
