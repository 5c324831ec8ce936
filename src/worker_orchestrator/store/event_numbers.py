"""Numbers of events that were skipped, so that no number is ever used twice.

An older copy of a database does not know which numbers were used after it was made. When the service goes on with such a
copy, it skips more numbers than can have been used, and the store records that as `500-1000000000500`: 500 was used, and
the next number was 1000000000501. A client that knows a number in between saw an event that this database does not have.
The same copy may be put in place twice: the later that happens, the more numbers are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FACT", "SKIPPED", "Skips", "count_to_skip"]

FACT: Final = "events_skipped"
"""The fact in the store that holds the skipped numbers."""
SKIPPED: Final = 10**12
"""For events and for generations alike. At a thousand a second it takes thirty years to use so many numbers, and nine
thousand such skips still fit into what JavaScript counts exactly (2**53)."""
_EACH_SECOND: Final = 10**4
"""More than are used in a second on average over years."""
_SINCE_S: Final = 1_767_225_600  # 2026


def count_to_skip(at_ms: int) -> int:
    """How many numbers to skip at this wall time, so that two skips from the same copy never lead to the same numbers."""
    return SKIPPED + max(0, at_ms // 1000 - _SINCE_S) * _EACH_SECOND


@dataclass(frozen=True, slots=True)
class _Skip:
    """`last` was used, and the next number is `last_skipped` + 1."""

    last: int
    last_skipped: int


@dataclass(frozen=True, slots=True)
class Skips:
    """All skips that may still matter, oldest first."""

    _skips: tuple[_Skip, ...] = ()

    @classmethod
    def read(cls, text: str) -> Skips:
        """The skips in a text that `str` made."""
        pairs = (pair.partition("-") for pair in text.split())
        return cls(tuple(_Skip(int(last), int(last_skipped)) for last, _, last_skipped in pairs))

    def __str__(self) -> str:
        return " ".join(f"{skip.last}-{skip.last_skipped}" for skip in self._skips)

    def with_one_after(self, last: int, oldest: int, count: int) -> Skips:
        """These skips and one of `count` numbers after `last`. Those before the `oldest` event that is kept are dropped."""
        return Skips((*(skip for skip in self._skips if skip.last >= oldest - 1), _Skip(last, last + count)))

    @property
    def newest(self) -> int:
        """The highest number that was skipped; 0 if none was."""
        return self._skips[-1].last_skipped if self._skips else 0

    def hide(self, number: int) -> bool:
        """Whether only a newer copy of this database can have an event with this number."""
        return any(skip.last < number < skip.last_skipped for skip in self._skips)

    def up_to(self, number: int) -> int:
        """The highest number that was used or skipped before the event that follows this one."""
        return next((skip.last_skipped for skip in self._skips if skip.last == number), number)

    def are_next(self, number: int, after: int) -> bool:
        """Whether no event was between these two."""
        return number == after + 1 or _Skip(after, number - 1) in self._skips

    def before_the_last(self, count: int, newest: int) -> int:
        """The highest number that is not among the last `count` events up to `newest`."""
        last = newest - count
        for skip in reversed(self._skips):
            if last < skip.last_skipped:
                last -= skip.last_skipped - skip.last
        return last
