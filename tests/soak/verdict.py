"""What a soak found: what happened when, what was measured, and what did not hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

__all__ = ["BUSY_S", "LATE_S", "Bounds", "Verdict"]

LATE_S: Final = 2.0
"""What is promised: an end comes so much later than it is due at most."""
BUSY_S: Final = 1.5
"""What is allowed besides on a busy computer. What was measured is printed in any case."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least, the middle and the most of what was measured, in seconds."""

    least: float
    middle: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Bounds:
        ordered = sorted(values)
        return cls(ordered[0], ordered[len(ordered) // 2], ordered[-1])

    def __str__(self) -> str:
        return f"{self.least:.2f} to {self.most:.2f} s, middle {self.middle:.2f} s"


@dataclass(slots=True)
class Verdict:
    """Of one run. Acts that play side by side write to it."""

    begun_at: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    checks: int = 0
    _lock: Lock = field(default_factory=Lock)

    def say(self, act: str, text: str) -> None:
        line = f"{time.monotonic() - self.begun_at:7.1f} s  {act}: {text}"
        with self._lock:
            self.lines.append(line)
        print(line, flush=True)

    def measured(self, act: str, text: str) -> None:
        with self._lock:
            self.figures.append((act, text))
        self.say(act, text)

    def check(self, holds: object, act: str, wrong: str) -> bool:
        """Note what is wrong where something does not hold. Returns whether it does."""
        with self._lock:
            self.checks += 1
            if not holds:
                self.violations.append(f"{act}: {wrong}")
        if not holds:
            self.say(act, f"VIOLATION: {wrong}")
        return bool(holds)

    def report(self, acts: Sequence[str]) -> int:
        """Print what was measured and what did not hold. Returns the exit code: an act that measured nothing fails, too."""
        with self._lock:
            print("\n-- measured")
            for act in acts:
                found = [text for of, text in self.figures if of == act]
                print(f"{act}:", *(found or ["nothing"]), sep="\n  ")
                if not found:
                    self.violations.append(f"{act}: it measured nothing")
            print(f"\n{self.checks} checks, {len(self.violations)} violations")
            print(*self.violations, sep="\n", flush=True)
        return 1 if self.violations else 0
