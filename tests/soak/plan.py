"""Which acts play side by side, and in what order: what compares times plays alone, and so does what stops Docker."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tests.soak.abandoned import Abandoned
from tests.soak.act import Act
from tests.soak.clock import ClockSet
from tests.soak.engine import DockerStopped
from tests.soak.pauses import ServiceFrozen, ServiceKilled
from tests.soak.sleepers import Sleepers

__all__ = ["NAMES", "PLAN", "chosen"]

PLAN: Final[tuple[tuple[type[Act], ...], ...]] = (
    (Sleepers,),
    (Abandoned, ClockSet, ServiceFrozen, ServiceKilled),
    (DockerStopped,),
)
NAMES: Final = tuple(kind.name() for group in PLAN for kind in group)


def chosen(names: Collection[str]) -> list[list[type[Act]]]:
    """The plan with these acts alone; all of them where none is named."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"There is no act {', '.join(unknown)}, but: {', '.join(NAMES)}.")
    groups = [[kind for kind in group if not names or kind.name() in names] for group in PLAN]
    return [group for group in groups if group]
