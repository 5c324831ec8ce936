"""Terms of office: each time that a replica becomes the leader, a new one begins, and its epoch is the number of it.

The epoch is the `leaseTransitions` of the coordination Lease. It is part of every generation, so that a generation of a
later term is above all those of earlier ones, whatever a leader that died had in memory.
"""

from __future__ import annotations

from typing import Final, Self

import msgspec

__all__ = ["GENERATIONS", "NO_TERM", "Term", "epoch_of", "generation_before"]

GENERATIONS: Final = 2**30
"""So many generations one term has. With them, 8 million terms stay below 2 ** 53, to which JSON's readers count exactly."""


class Term(msgspec.Struct, frozen=True, gc=False):
    """One term. `leader` is a name that no other run of any process has.

    An epoch alone would do, if nobody ever removed the coordination Lease.
    """

    epoch: int
    leader: str

    def __str__(self) -> str:
        return f"{self.epoch} {self.leader}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The term that this text was made of. Raises ValueError."""
        epoch, _, leader = text.partition(" ")
        return cls(int(epoch), leader)

    def is_older_than(self, other: Term) -> bool:
        """Whether it is known to have ended when `other` began. Of two with one epoch, neither is."""
        return self.epoch < other.epoch


NO_TERM: Final = Term(0, "")
"""That of what was made before there were terms."""


def generation_before(epoch: int) -> int:
    """The generation after which those of this epoch begin."""
    return epoch * GENERATIONS


def epoch_of(generation: int) -> int:
    """The epoch in which this generation was given."""
    return generation // GENERATIONS
