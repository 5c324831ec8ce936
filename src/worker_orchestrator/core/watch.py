"""What this process saw of each machine.

It is never stored: after a restart it is rebuilt from nothing, which only costs a probe.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker_orchestrator.core.lease import Quiet

__all__ = ["Watch"]


@dataclass(slots=True)
class Watch:
    """What this process saw of one machine. All times are monotonic seconds, all durations seconds."""

    born: float  # when this process first knew of the machine
    since: float  # when its state or project last changed
    state_since: float = 0.0  # when its state last changed
    ready_at: float | None = None  # when it first became READY
    verified_at: float | None = None  # when the last probe that it answered began
    answer_s: float = 0.0  # how long the last answer took
    slowest_answer_s: float = 0.0  # of late: it is halved by each quicker one
    missed_at: float | None = None  # when the last probe that it did not answer began
    missed_why: str = ""
    misses: int = 0  # probes in a row that it did not answer
    tries: int = 0  # restarts or removals that did not help
    obstructed_restarts: int = 0  # restarts in a row that something outside prevented: they are no tries
    restart_requests: int = 0  # restarts on request that the engine has not answered for yet
    restart_acknowledged: bool = False  # the engine acknowledged the last restart
    not_before: float = 0.0  # when the next try is due
    port_is_taken: bool = False  # another process has its host port, so it could not be started
    unparked_at: float | None = None  # when it last came out of the reserve
    is_paused: bool = False  # the engine paused it since it was parked, or a listing showed that
    may_be_paused_late: bool = False  # it was to be paused, and nobody knows how that ended: it may still happen
    destroyed_at: float | None = None  # when the engine acknowledged its removal
    ends_gently: bool = False  # it belonged to a project until it began to stop, so its worker gets time to end
    quiet: Quiet | None = None  # what is known of its project's use of it; only where a lease limits that
    spared_until: float = 0.0  # on the lease clock: it came back to life a moment ago, so no deadline acts before
    unreachable_s: float | None = (
        None  # for how long the engine had lost sight of it when it listed last; None: it had not
    )
    doubted_until: float = 0.0  # its container is said to have ended; what was listed or answered before proves nothing
