"""What the process knows of one pool beside its machines: who waits, and what brakes its creates."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

__all__ = ["Backoff", "Pool"]


class Backoff(msgspec.Struct, frozen=True):
    """The brake on an image that does not come up, or on creates that a cause outside stands in the way of.

    It counts attempts, not machines.
    """

    template: str
    level: int
    raised_at: float
    until: float
    tripped: bool  # until one machine comes up, attempts go one at a time
    reason: str
    evidence: str = ""
    good_since: float | None = None  # since when nothing speaks against the image any more

    def says(self) -> str:
        """The reason for people, with the last log lines where there are any."""
        return f"{self.reason}\n{self.evidence}" if self.evidence else self.reason


@dataclass(slots=True)
class Pool:
    """What the process knows of one pool beside its machines."""

    line: dict[str, None] = field(default_factory=dict)  # projects that wait, first come first
    backoff: Backoff | None = None
    obstacle: Backoff | None = None  # while a cause outside keeps machines from being made
    proven: str | None = None  # the template that last came up
    out_of_ports: bool = False
