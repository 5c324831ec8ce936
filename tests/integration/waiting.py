"""Waiting for a condition with a deadline, instead of sleeping; and host ports that no other test uses."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

__all__ = ["PortBlock", "eventually", "holds_for"]

_T = TypeVar("_T")
_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.1
_FIRST: Final = 20_000
_LAST: Final = 32_000  # above, the kernel hands out ports by itself
_SIZE: Final = 50


def eventually(look: Callable[[], _T], what: str, *, within_s: float = 15.0) -> _T:
    """The first true value that `look` returns. Fails with `what` should have been, and what was seen last.

    It looks less and less often, a fiftieth of the wait late at most: each look takes a processor from what it waits for.
    """
    begun = time.monotonic()
    while True:
        seen = look()
        if seen:
            return seen
        waited_s = time.monotonic() - begun
        assert waited_s < within_s, f"not within {within_s:g} s: {what} (last seen: {seen!r})"
        time.sleep(min(max(_PAUSE_S, waited_s / 50), _LONGEST_PAUSE_S))


def holds_for(look: Callable[[], object], what: str, *, for_s: float) -> None:
    """Fails with `what` as soon as `look` returns something false in the next seconds."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert look(), what
        time.sleep(_PAUSE_S)


@dataclass(slots=True)
class PortBlock:
    """Host ports of one test: `api` for a service, `first`..`last` for its workers.

    The block belongs to whoever holds its guard, a listening socket: so two test runs at once never meet.
    """

    guard: socket.socket
    api: int

    @property
    def first(self) -> int:
        return self.api + 1

    @property
    def last(self) -> int:
        return self.api + _SIZE - 2

    @classmethod
    def claim(cls) -> PortBlock:
        global _next  # a freed block is used again last
        for _ in range(_FIRST, _LAST, _SIZE):
            api, _next = _next, _next + _SIZE if _next + 2 * _SIZE <= _LAST else _FIRST
            guard = socket.socket()
            try:
                guard.bind(("127.0.0.1", api + _SIZE - 1))
            except OSError:
                guard.close()
                continue
            return cls(guard, api)
        raise AssertionError("no block of host ports is free")

    def close(self) -> None:
        self.guard.close()


_next = _FIRST
