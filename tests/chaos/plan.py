"""The order of the faults: a seed gives the same one each time, however fast the machine is."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.chaos.faults import FAULTS, Fault

__all__ = ["Step", "plan"]

FIRST_S: Final = 1.0
MEAN_GAP_S: Final = 1.2
REST_S: Final = {"service": 15.0, "daemon": 12.0, "disk": 8.0, "clock": 8.0, "containers": 3.0}
"""What was harmed is left alone for a while afterwards, so long at most: else it would never come up."""


@dataclass(frozen=True, slots=True)
class Step:
    """Fault number `number` begins, or ends."""

    at_s: float
    number: int
    kind: type[Fault]
    ends: bool


def plan(seed: int) -> Iterator[Step]:
    """Without end. Faults that would get into each other's way never overlap; all others do."""
    chance = random.Random(seed)
    at_s, ends, busy_until = FIRST_S, list[Step](), dict[str, float]()
    for number in itertools.count(1):
        at_s += chance.expovariate(1 / MEAN_GAP_S)
        possible = [kind for kind in FAULTS if not _collides(kind, busy_until, at_s)]
        if not possible:
            continue
        kind = chance.choices(possible, [kind.weight for kind in possible])[0]
        lasts_s = chance.uniform(*kind.lasts_s)
        while ends and ends[0].at_s <= at_s:
            yield ends.pop(0)
        yield Step(at_s, number, kind, ends=False)
        ends.append(Step(at_s + lasts_s, number, kind, ends=True))
        ends.sort(key=lambda step: step.at_s)
        for thing in kind.holds:
            busy_until[thing] = at_s + lasts_s + chance.uniform(0, REST_S.get(thing, 0))


def _collides(kind: type[Fault], busy_until: Mapping[str, float], at_s: float) -> bool:
    return any(busy_until.get(thing, 0) > at_s for thing in kind.holds | kind.needs)
