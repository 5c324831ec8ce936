"""The time of day and random ids. Decisions get both as data, and tests replace them."""

from __future__ import annotations

import secrets
import string
import time
from typing import Final

__all__ = ["Clock"]

_ALPHABET: Final = string.ascii_lowercase + string.digits


_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", None)


class Clock:
    """Wall time for display, how long the computer slept, and new machine ids."""

    def slept_s(self) -> float:
        """For how many seconds the computer slept since it started; 0 where it does not tell.

        It is the difference of two clocks, so there is a jitter of some microseconds in it.
        """
        if _BOOTTIME is None:
            return 0.0
        return time.clock_gettime(_BOOTTIME) - time.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def machine_id(self) -> str:
        """`worker-<milliseconds since 1970>-<9 of a-z0-9>`."""
        return f"worker-{self.wall_ms()}-{''.join(secrets.choice(_ALPHABET) for _ in range(9))}"
