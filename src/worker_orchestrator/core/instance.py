"""What is seen of a machine from outside: what the engine lists, and what a probe found.

There are many of these values and they hold only text and numbers, so the garbage collector need not look at them
(`gc=False`).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum

import msgspec

from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.reasons import not_running

__all__ = ["Instance", "Snapshot", "Status", "Verdict"]


class Status(StrEnum):
    """What an engine says of an instance. UNKNOWN means neither absent nor dead."""

    CREATED = "created"
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"
    TERMINATING = "terminating"
    UNKNOWN = "unknown"


class Instance(msgspec.Struct, frozen=True, gc=False):
    """What the engine reports under a machine's id: a container, a pod.

    `native_id` and `address` are the engine's own. `killed` means that somebody ended it from outside, which says nothing
    about its image; `detail` says how it ended. `trouble` says why it cannot serve although it has not ended (somebody
    paused it, or took its network away), and what to do. `renamed` is its present name if that is not its id: an instance is
    known by its label, because people rename containers. `host` is the host for its URL if it was created under other
    settings than the present ones, or if the engine gave it. `out_of_memory`: the kernel ended it. `ports` are its host
    ports by their names, `port` first; empty if they have no names, or if the engine does not show them now.

    `unreachable_since` (loop time) comes with UNKNOWN: since then the engine cannot say what became of it, as when its node
    does not report. `unplaced` says that the engine has nowhere to run it (no room, a quota), which is no fault of its
    image. An engine that expects room soon leaves it empty, and the instance is PENDING. `detail`, `trouble` and `unplaced`
    become reasons, so they are full sentences (`core/reasons`). `is_configurable`: it was made so that a project can
    configure it while it runs, so it may be configured. `is_cut_off`: it is on no network; of one that is paused, `trouble`
    says only that. `needs_restart`: it runs, and the engine itself lost what leads to it, so that only a restart helps.
    """

    id: str
    owner: str
    pool: str
    template: str
    status: Status
    native_id: str = ""
    address: str | None = None
    port: int | None = None
    killed: bool = False
    detail: str = ""
    host: str = ""
    trouble: str = ""
    renamed: str = ""
    out_of_memory: bool = False
    unreachable_since: float | None = None
    unplaced: str = ""
    ports: tuple[tuple[str, int], ...] = ()
    is_configurable: bool = False
    is_cut_off: bool = False
    needs_restart: bool = False

    @property
    def ailment(self) -> str:
        """Why it cannot serve now, in sentences; empty if nothing is known against it. UNKNOWN is no ailment."""
        runs = self.status in {Status.RUNNING, Status.UNKNOWN}
        return self.trouble or self.unplaced or ("" if runs else not_running(self.status))

    @property
    def end(self) -> FailureKind:
        """Which kind of failure it is that it does not run any more."""
        if self.status is Status.TERMINATING:
            return FailureKind.VANISHED
        if self.out_of_memory:
            return FailureKind.OUT_OF_MEMORY
        return FailureKind.KILLED if self.killed else FailureKind.EXITED


class Snapshot(msgspec.Struct, frozen=True):
    """One full, successful listing, with what must be known to judge it.

    `begun_at` is in monotonic seconds. `busy` holds the ids that had an action in flight at any time since then: about those
    the listing proves nothing. `evidence` holds the last log lines of instances that this listing shows dead.
    `after_outage` marks the first listing since the engine was away: an instance that is dead in it died with the engine.
    """

    begun_at: float
    instances: Mapping[str, Instance]
    busy: AbstractSet[str] = frozenset()
    evidence: Mapping[str, str] = msgspec.field(default_factory=dict)
    after_outage: bool = False


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What one probe of one machine found: it answered, it did not, or nothing was learned (None).

    `took_s` is the number of seconds until the answer; `host` and `port` are where it answered, if the engine gives the
    addresses.
    """

    machine_id: str
    begun_at: float
    answered: bool | None
    detail: str = ""
    took_s: float = 0.0
    host: str = ""
    port: int | None = None
