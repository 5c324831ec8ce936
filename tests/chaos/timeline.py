"""What happened in what order: faults for everybody to read, calls for whoever looks into a violation."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from threading import Lock

__all__ = ["Timeline"]


@dataclass(slots=True)
class Timeline:
    """Lines with their time. Faults are printed as they come, calls are only kept."""

    begun_at: float = field(default_factory=time.monotonic)
    faults: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def fault(self, text: str) -> None:
        line = f"{self.now_s:7.2f} s  {text}"
        with self._lock:
            self.faults.append(line)
        print(line, flush=True)

    def call(self, text: str) -> None:
        with self._lock:
            self.calls.append(f"{self.now_s:7.2f} s  {text}")

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.begun_at

    def about(self, words: set[str], last: int) -> list[str]:
        """The last calls that name one of these words."""
        with self._lock:
            return [line for line in self.calls if any(word in line for word in words)][-last:]

    def summary(self, kind: str) -> str:
        """`12 of this, 3 of that`, of all counts that begin with `kind`."""
        found = sorted(
            (key.removeprefix(kind).strip(), value) for key, value in self.counts.items() if key.startswith(kind)
        )
        return ", ".join(f"{value} {key}" for key, value in found)
