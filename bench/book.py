"""What was measured: values by name, one per round, so that medians and ratios within a run can be told later."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

__all__ = ["Book", "quantile"]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all do not exceed. No interpolation: it was really measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclass(slots=True)
class Book:
    """`values[name]` holds one value per round; `notes` says in words what a number cannot."""

    values: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return bool(self.values.get(name))

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def add_times(self, name: str, times_ms: Sequence[float]) -> None:
        """The quantiles of one round."""
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
        """The smallest: what is larger was kept waiting by other processes."""
        return min(self.values[name])

    # on disk

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"about": self.about, "notes": self.notes, "values": self.values}
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(document["values"], document["notes"], document["about"])
