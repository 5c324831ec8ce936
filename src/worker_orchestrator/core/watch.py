"""What this process saw of each machine.

It is never stored: after a restart it is rebuilt from nothing, which only costs a probe.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Watch"]


@dataclass(slots=True)
class Watch:
    """What this process saw of one machine, in monotonic seconds. Lost at a restart, by design."""

    born: float  # when this process first knew of it
    since: float  # when its state or project last changed
    ready_at: float | None = None  # when it first became READY
    verified_at: float | None = None  # begin of the last probe that it answered
    took_s: float = 0.0  # the last answer
    slow_s: float = 0.0  # the slowest answer of late
    missed_at: float | None = None  # begin of the last probe that it did not answer
    missed_why: str = ""
    misses: int = 0  # in a row
    tries: int = 0  # restarts or destroys that did not help
    obstructed: int = 0  # restarts in a row that a cause outside stood in the way of: they are no tries
    asked: int = 0  # how often somebody asked for a restart that the engine has not answered for yet
    restarted: bool = False  # the engine acknowledged the last restart
    not_before: float = 0.0  # the next try
    destroyed_at: float | None = None  # when the engine acknowledged its removal
    held: bool = False  # a project had it until it began to stop, so its worker is given time to end
    doubted_until: float = 0.0  # its container is said to have ended: what a listing begun before this shows is old
