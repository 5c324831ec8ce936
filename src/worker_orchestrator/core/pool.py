"""What the process knows about one pool besides its machines: which projects wait, and which brakes are on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec

__all__ = ["Brake", "Pool"]


class Brake(msgspec.Struct, frozen=True):
    """It slows down the creation of machines of one template. `core/brake.py` says when it is raised and let go.

    `level` is the number of failed attempts, which doubles the pause until the next one. Times are monotonic seconds.
    """

    template: str
    level: int
    raised_at: float
    until: float
    is_on: bool  # until one machine comes up, machines are created one at a time
    reason: str
    evidence: str = ""
    good_since: float | None = None  # since when the image comes up again

    def explanation(self) -> str:
        """The reason for people, with the last log lines if there are any."""
        return f"{self.reason}\n{self.evidence}" if self.evidence else self.reason


@dataclass(slots=True)
class Pool:
    """The projects that wait, and what is known about creating machines. All of it is lost at a restart."""

    line: dict[str, int] = field(
        default_factory=dict
    )  # projects that wait, the first in line first: each with its ticket
    image_brake: Brake | None = None  # because the image does not come up
    obstacle: Brake | None = None  # because something outside prevents creates
    proven_template: str | None = None  # the template of the machine that last came up
    proven_at: float = -math.inf  # when that was, if this process saw it
    out_of_ports: bool = False  # the last create found no free host port
    too_many_since: float | None = None  # since when it has more idle machines than it may keep
    parks_since: float | None = None  # since when it has more idle machines than it wants, and room in its reserve
    parks_not_before: float = 0.0  # the engine refused to pause a machine, so none is parked until then
    too_many_parked_since: float | None = None  # since when its reserve is larger than it may be
    checked: str = ""  # the machine that comes out of the reserve only to show that it answers
    for_reserve: set[str] = field(default_factory=set)  # machines that were begun for its reserve, or were in it
    unneeded_since: float | None = None  # since when some of these are idle, had no project, and are not wanted
    waking: frozenset[str] = frozenset()  # the machines that came out of the reserve and did not answer yet
    woken_at: float = -math.inf  # when the last of these came out, or was the last to answer or to fail
    hastened: int = 0  # so many more than are needed were woken since one of them answered
    shed_since: float | None = None  # when windows or `spare` were taken from it, until what they left is gone
