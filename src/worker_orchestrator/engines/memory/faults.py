"""What goes wrong with the memory engine, drawn from a seed, so that a test can repeat it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["Faults"]


@dataclass(slots=True)
class Faults:
    """How often each thing goes wrong, as probabilities from 0 to 1, drawn from `chance`. All off by default."""

    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 # a replayable seed
    refused: float = 0.0  # the call does not reach the engine
    rejected: float = 0.0  # the engine says no
    obstructed: float = 0.0  # the engine cannot, for a cause that has nothing to do with any machine
    lost_reply: float = 0.0  # it is carried out, but the reply does not reach the caller
    late: float = 0.0  # the caller gives up, and it is carried out up to `late_s` later
    late_s: float = 5.0
    slow_s: float = 0.0  # every call takes up to this long
    stale_listing: float = 0.0  # the listing is as old as the call, not as the reply
    unheard: float = 0.0  # a probe whose result cannot be known
    unread: float = 0.0  # what an instance has done cannot be read
    mute: float = 0.0  # an instance that runs and never answers
    sluggish: float = 0.0  # an instance that takes up to `sluggish_s` for each answer
    sluggish_s: float = 4.0
    torn: float = 0.0  # a configuration of which only a part can be written
    unclean: float = 0.0  # something is left of a configuration after a cleaning
    stubborn: float = 0.0  # an instance that takes up to a minute to end
    stillborn: float = 0.0  # an instance that exits at once

    def strikes(self, probability: float) -> bool:
        """Whether something of this probability goes wrong now."""
        return probability > 0 and self.chance.random() < probability
