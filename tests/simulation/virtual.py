"""An event loop in which nobody ever waits: when nothing is ready, the clock jumps to the next timer.

Nothing in it knows the real time, so one seed is one history, on any computer, under any load. A loop in which nothing is
ready and nothing is scheduled would sleep for ever: that is a deadlock, and it is raised. One that stays busy without its
clock moving is raised as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import string
from collections.abc import Iterator, Mapping
from typing import Any, Final

from worker_orchestrator.clock import Clock

__all__ = ["Deadlock", "VirtualClock", "VirtualLoop", "virtual_time"]

BEGIN_S: Final = 1_000.0
TURNS_WITHOUT_TIME: Final = 200_000


class Deadlock(AssertionError):
    """Nothing will ever happen again, or nothing but this very moment."""


class _Selector(selectors.SelectSelector):
    """Watches nothing: it makes time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN_S
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("nothing is ready and nothing is scheduled")
        self._turns = 0 if timeout > 0 else self._turns + 1
        if self._turns > TURNS_WITHOUT_TIME:
            self._turns = 0
            raise Deadlock(f"the clock stands at {self.now:.6f} and everybody is busy")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop of the standard library on virtual time."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def stand_still(self, seconds: float) -> None:
        """Time passes in which nothing here happens, as after SIGSTOP."""
        self._clock.now += seconds


@contextlib.contextmanager
def virtual_time() -> Iterator[VirtualLoop]:
    """A loop, closed at the end."""
    loop = VirtualLoop()
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class VirtualClock(Clock):
    """Wall time that follows the loop's, until somebody sets the clock; ids from a seed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random) -> None:
        self._loop, self._chance = loop, chance
        self.ahead_ms, self.asleep_s = 0, 0.0

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + round(self._loop.time() * 1000) + self.ahead_ms

    def slept_s(self) -> float:
        """For as long as a test says: the real one's clocks differ by some microseconds each time."""
        return self.asleep_s

    def machine_id(self) -> str:
        letters = self._chance.choices(string.ascii_lowercase + string.digits, k=9)
        return f"worker-{self.wall_ms()}-{''.join(letters)}"


def exception_in(context: Mapping[str, Any]) -> BaseException | None:
    """The exception that a loop's exception handler is told of."""
    error = context.get("exception")
    return error if isinstance(error, BaseException) else None
