"""What each question gets: the book to write into, and how many rounds and seconds to take."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bench.book import Book

__all__ = ["Run"]

_T = TypeVar("_T")


@dataclass(slots=True)
class Run:
    """`share` is the fraction of the usual rounds and seconds that this run takes."""

    book: Book
    share: float = 1.0
    begun: float = field(default_factory=time.monotonic)

    def rounds(self, usual: int, least: int = 3) -> int:
        return max(least, round(usual * self.share))

    def seconds(self, usual: float, least: float = 1.0) -> float:
        return max(least, usual * self.share)

    def interleaved(self, usual_rounds: int, sides: Sequence[_T], least: int = 3) -> Iterator[_T]:
        """Each side in each round. The order is reversed every round, so that no side is always first."""
        for number in range(self.rounds(usual_rounds, least)):
            yield from sides if number % 2 else reversed(sides)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.begun:7.1f} s  {text}", file=sys.stderr, flush=True)
