"""What one project sent along with its assigns, and what is known of that in its machine. It follows from replies alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.values import Values

__all__ = ["Given", "Known"]


class Known(StrEnum):
    """Of the configuration of a machine, as long as nothing was harmed."""

    NOTHING = "nothing was sent"
    DONE = "done"
    FAILED = "failed"
    UNSURE = "unsure"  # a reply was lost, or said that something else went wrong


@dataclass(slots=True, eq=False)
class Given:
    """Of one project. It sends one thing at a time, or the same thing twice at once.

    `sent` is what may be in its machine: all that was sent for this assignment. `fresh` was sent since a reply told the
    generation last: if that has changed then, only these may be there. `asked_at` and `told_at` are when the project asked
    for what is known, and when it was told of it (monotonic seconds). `was_done`: surely at some time for this assignment;
    `may_have_been`: nobody knows.
    """

    generation: int = 0
    known: Known = Known.NOTHING
    values: Values | None = None  # those that are DONE, or FAILED
    asked_at: float = 0.0
    told_at: float = 0.0
    was_done: bool = False
    may_have_been: bool = False
    asking: int = 0
    sent: list[Values] = field(default_factory=list)
    fresh: list[Values] = field(default_factory=list)

    @property
    def done(self) -> Values | None:
        """What the machine has, as its project was told."""
        return self.values if self.known is Known.DONE else None

    @property
    def possible(self) -> list[Values]:
        """All that may be in its machine."""
        return [*self.sent, *self.fresh]

    def sends(self, values: Values) -> None:
        self.asking += 1
        self.fresh.append(values)

    def told_generation(self, generation: int) -> None:
        """A reply told of this assignment."""
        if generation == self.generation:
            self.sent += self.fresh
        else:
            self.generation, self.sent = generation, list(self.fresh)
            if self.values not in self.fresh:
                self.known, self.values = Known.UNSURE if self.fresh else Known.NOTHING, None
            self.was_done, self.may_have_been = False, any(values.ends_well for values in self.fresh)
        self.fresh = []

    def answered(self, known: Known, values: Values | None, asked_at: float, told_at: float) -> None:
        """The outcome of a request with values is known. UNSURE: it is not, and so is what is there now."""
        self.known, self.values = known, values
        self.asked_at, self.told_at = asked_at, told_at
        self.was_done |= known is Known.DONE
        self.may_have_been |= known is Known.UNSURE

    def ended(self) -> None:
        """The project has no machine any more."""
        self.generation, self.known, self.values = 0, Known.NOTHING, None
        self.was_done = self.may_have_been = False
        self.sent, self.fresh = [], []
