"""Numbers of events that were skipped, so that none is ever used twice.

An older copy of a database does not know which numbers were used after it was made. Whoever goes on with one skips more
numbers than those can have been, and the store keeps which, as `500-1000000000500`: 500 was used, and the next one was
1000000000501. Whoever saw one in between saw an event that this database does not know. The same copy may be put in place
twice: the later that is, the more are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FACT", "SKIPPED", "Skips", "count_to_skip"]

FACT: Final = "events_skipped"
"""The fact of the store that holds them."""
SKIPPED: Final = 10**12
"""Of events and of generations alike. At a thousand a second it takes thirty years to use so many, and nine thousand such
steps still fit into what JavaScript counts exactly (2**53)."""
_EACH_SECOND: Final = 10**4
"""More than are used in a second, for years on end."""
_SINCE_S: Final = 1_767_225_600  # 2026


def count_to_skip(at_ms: int) -> int:
    """How many numbers to skip at this wall time, so that those of an earlier time are none of a later one."""
    return SKIPPED + max(0, at_ms // 1000 - _SINCE_S) * _EACH_SECOND


@dataclass(frozen=True, slots=True)
class _Skip:
    """`last` was used, and the next one is `last_skipped` + 1."""

    last: int
    last_skipped: int


@dataclass(frozen=True, slots=True)
class Skips:
    """All that may still matter, oldest first."""

    _skips: tuple[_Skip, ...] = ()

    @classmethod
    def read(cls, text: str) -> Skips:
        """What `str` gave."""
        pairs = (pair.partition("-") for pair in text.split())
        return cls(tuple(_Skip(int(last), int(last_skipped)) for last, _, last_skipped in pairs))

    def __str__(self) -> str:
        return " ".join(f"{skip.last}-{skip.last_skipped}" for skip in self._skips)

    def with_one_after(self, last: int, oldest: int, count: int) -> Skips:
        """These and one of so many numbers behind `last`. Those before the `oldest` event that is kept matter no more."""
        return Skips((*(skip for skip in self._skips if skip.last >= oldest - 1), _Skip(last, last + count)))

    @property
    def newest(self) -> int:
        """The highest number that was skipped; 0 where none was."""
        return self._skips[-1].last_skipped if self._skips else 0

    def hide(self, number: int) -> bool:
        """Whether an event of this number can only be one of a newer copy, which this database does not know."""
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
