"""The record of what was measured: values by name, one per round. Medians and ratios within a run are computed from it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

__all__ = ["Book", "quantile", "read", "write"]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed. It is one of the values, without interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclass(slots=True)
class Book:
    """`values[name]` holds one value per round; `notes` says in words what a number cannot."""

    values: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return bool(self.values.get(name))

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def add_times(self, name: str, times_ms: Sequence[float]) -> None:
        """Add the quantiles of one round."""
        for label, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
            self.add(f"{name}.{label}", quantile(times_ms, share))
        self.add(f"{name}.longest", max(times_ms))

    def note(self, name: str, text: str) -> None:
        self.notes[name] = text

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])

    def ratio(self, name: str, to: str) -> float:
        """The median, over the rounds, of one to the other in the same round."""
        return statistics.median(a / b for a, b in zip(self.values[name], self.values[to], strict=False))

    def best(self, name: str) -> float:
        """The smallest value: in the other rounds more time went to other processes."""
        return min(self.values[name])

    @classmethod
    def merged(cls, books: Mapping[str, Self]) -> Self:
        """All questions in one book. If they were measured at several commits or times, `about` says which question when."""
        whole = cls()
        about: dict[str, dict[str, list[str]]] = {}
        for question, book in books.items():
            whole.values |= book.values
            whole.notes |= book.notes
            for what, text in book.about.items():
                about.setdefault(what, {}).setdefault(text, []).append(question)
        for what, questions_by_text in about.items():
            several = (f"{text} ({', '.join(questions)})" for text, questions in questions_by_text.items())
            whole.about[what] = next(iter(questions_by_text)) if len(questions_by_text) == 1 else "; ".join(several)
        return whole


# on disk: a book for each question, so that a question that is measured again replaces all of its earlier values


def write(path: Path, books: Mapping[str, Book]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {question: asdict(book) for question, book in books.items()}
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def read(path: Path) -> dict[str, Book]:
    return {question: Book(**book) for question, book in json.loads(path.read_text(encoding="utf-8")).items()}
