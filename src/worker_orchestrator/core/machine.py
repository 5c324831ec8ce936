"""The vocabulary: what a machine is, which moves it may make, and what an engine reports.

Two facts about a machine are kept apart on purpose. Its *state* says where its container is in life; its *project* says
whose it is. A machine that is being restarted for its project is STARTING and assigned at once, and a dead one whose
files are somebody's work is FAILED and assigned. `TRANSITIONS` and `GIVES_UP_PROJECT` are all the moves there are; `Change`
asserts them, so an illegal move stops the process instead of reaching the store.

Times are seconds of a monotonic clock, handed in by the caller. Nothing here does I/O.

The values are msgspec structs: copied with a change in a tenth of a dataclass's time (0.3 µs instead of 5), and each assign
and each release makes two. Those that are many hold nothing but text and numbers, so the garbage collector need not look at
them (`gc=False`).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Final

import msgspec

__all__ = [
    "GIVES_UP_PROJECT",
    "TOMBSTONES_KEPT",
    "TRANSITIONS",
    "UNKNOWN_POOL",
    "Action",
    "Cause",
    "Change",
    "Create",
    "Destroy",
    "FailureKind",
    "Instance",
    "Machine",
    "Outcome",
    "PoolSpec",
    "Restart",
    "Result",
    "Snapshot",
    "Spec",
    "State",
    "Status",
    "Verdict",
]

TOMBSTONES_KEPT: Final = 50_000
"""So many machines that were removed are remembered, since a create of theirs may still land."""


class State(StrEnum):
    """Where a machine is in its life."""

    STARTING = "starting"  # recorded; its container is being made, restarted or probed
    READY = "ready"  # it answered a probe
    STOPPING = "stopping"  # its container is being destroyed
    FAILED = "failed"  # it does not serve; kept as evidence, or because its files are a project's work


class Cause(StrEnum):
    """Why a machine changed: the name of the event."""

    CREATED = "created"
    ADOPTED = "adopted"
    MOVED = "moved"  # to another host port, before it ever ran
    ANSWERED = "answered"
    ASSIGNED = "assigned"
    RELEASED = "released"
    WITHDRAWN = "withdrawn"  # assigned, but never told to anybody
    RESTARTED = "restarted"  # in place, for its project
    REVIVED = "revived"  # by somebody else, after it had failed
    FAILED = "failed"
    OBSTRUCTED = "obstructed"  # a cause that is neither its own nor its image's kept it from starting
    RETIRED = "retired"  # surplus, or of an older template
    DESTROYED = "destroyed"  # somebody asked for it
    REMOVED = "removed"  # its container is known to be gone
    FORGOTTEN = "forgotten"
    ANNOTATED = "annotated"  # its project says something else of it


class FailureKind(StrEnum):
    """Why a machine failed, for those who count failures: the machine's `reason` says it in words, for people."""

    STOPPED_ANSWERING = "stopped_answering"  # it served, and answers no probe any more
    HELD_UP = "held_up"  # it runs, and somebody keeps it from serving
    START_TIMEOUT = "start_timeout"  # its container did not come to run in time
    ANSWER_TIMEOUT = "answer_timeout"  # its container runs, and did not answer in time
    NOT_RESTARTED = "not_restarted"  # no restart brought it back
    VANISHED = "vanished"  # somebody else removed its container
    OUT_OF_MEMORY = "out_of_memory"  # the kernel ended it
    KILLED = "killed"  # somebody ended it from outside
    EXITED = "exited"  # it ended by itself
    REJECTED = "rejected"  # the engine refused to create it
    OTHER = "other"


_S = State
TRANSITIONS: Final[Mapping[State | None, AbstractSet[State | None]]] = {
    None: {_S.STARTING, _S.READY},
    _S.STARTING: {_S.STARTING, _S.READY, _S.STOPPING, _S.FAILED},
    _S.READY: {_S.READY, _S.STARTING, _S.STOPPING, _S.FAILED},
    _S.STOPPING: {None},
    _S.FAILED: {_S.FAILED, _S.STARTING, _S.STOPPING, None},
}
"""From a state (None: no record) to the states that may follow it (None: forgotten, with a tombstone)."""

GIVES_UP_PROJECT: Final[AbstractSet[Cause]] = {Cause.RELEASED, Cause.DESTROYED, Cause.WITHDRAWN}
"""The only causes that may take a machine from its project: neither age nor death is abandonment.

One more move ends an assignment: forgetting a machine whose container vanished, when its project asks for another.
"""


class Machine(msgspec.Struct, frozen=True, gc=False):
    """Our record of one worker: a row of the store.

    `port` is a host port; where the engine gives the addresses, `host` and `port` are what it gave, from the first answer
    on. `gone` means that its container is known not to exist: such a record holds neither port nor slot. `reason` says in
    words why it is where it is, `evidence` holds the last log lines of a failed one. `metadata` is what its project said of
    it, as JSON; it goes with the project.
    """

    id: str
    pool: str
    template: str
    state: State
    port: int | None
    project: str | None = None
    generation: int = 0
    host: str = ""
    gone: bool = False
    reason: str = ""
    evidence: str = ""
    metadata: str = ""

    def __post_init__(self) -> None:
        assert self.project is not None or not self.metadata, f"{self.id}: what a project said goes with it"
        assert self.state is not State.STOPPING or self.project is None, f"{self.id}: a stopping machine has no project"
        assert not self.gone or self.state is State.FAILED, f"{self.id}: only a failed machine may be gone"

    @property
    def is_idle(self) -> bool:
        return self.state is State.READY and self.project is None

    @property
    def is_coming(self) -> bool:
        """On its way to becoming idle."""
        return self.state is State.STARTING and self.project is None

    @property
    def is_leaving(self) -> bool:
        """Its container is being removed."""
        failed = self.state is State.FAILED and self.project is None and not self.gone
        return failed or self.state is State.STOPPING


class Change(msgspec.Struct, frozen=True, gc=False):
    """One move of one machine: at once the row, the undo, the event and the log line. None stands for no record.

    What is merely forgotten is not buried: a container that vanished without our doing may come back with somebody's files.
    `failure` says which kind of failure a move to FAILED is. It goes to those who count, and is not stored.
    """

    before: Machine | None
    after: Machine | None
    cause: Cause
    buries: bool = False  # its end was asked for, and what it was is gone: what turns up under its id is to be removed
    failure: FailureKind | None = None

    def __post_init__(self) -> None:
        before, after = self.before, self.after
        old = None if before is None else before.state
        new = None if after is None else after.state
        assert new in TRANSITIONS[old], f"{self.machine.id}: {old} may not become {new} ({self.cause})"
        had = None if before is None else before.project
        has = None if after is None else after.project
        lost = before is not None and before.gone and self.cause is Cause.FORGOTTEN
        assert had == has or had is None or (has is None and (lost or self.cause in GIVES_UP_PROJECT)), (
            f"{self.machine.id}: {self.cause} may not take it from project {had}"
        )
        assert had == has or has is None or self.cause in {Cause.ASSIGNED, Cause.ADOPTED}, (
            f"{self.machine.id}: {self.cause} may not give it to project {has}"
        )
        assert before is None or after is None or before.id == after.id, "a change is about one machine"

    @property
    def machine(self) -> Machine:
        machine = self.after or self.before
        assert machine is not None, "a change has a machine before, after or both"
        return machine

    @property
    def hands_over(self) -> bool:
        """Whether it gives a machine to a project."""
        return self.after is not None and self.after.project is not None and self.cause is Cause.ASSIGNED


class Status(StrEnum):
    """What an engine says of an instance. UNKNOWN is not absent, and neither is it dead."""

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
    of its image, `out_of_memory` that the kernel ended it; `detail` says in words how it ended. `trouble` says why it can
    serve nobody although it has not ended (somebody paused it, or took its network away), and what to do. `renamed` is the
    name that it bears now where that is not its id: its label tells who it is, and its name nothing. `host` is the one for
    its URL where it is not the one of the settings: it was made when they said something else, or the engine gave it.

    `unreachable_since` (loop time) comes with UNKNOWN: since then the engine cannot say what became of it, as when its node
    does not report. `unplaced` says in words that the engine has nowhere to run it (no room, a quota), which is no fault of
    its image; an engine that expects room soon leaves it empty, and the instance is PENDING.
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

    @property
    def ailment(self) -> str:
        """Why it can serve nobody now, in words; empty where nothing is known against it. Unknown is no ailment."""
        runs = self.status in {Status.RUNNING, Status.UNKNOWN}
        return self.trouble or self.unplaced or ("" if runs else f"its container is {self.status}")

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

    `busy` holds the ids that had an action in flight at any time since `begun_at`: about those the listing proves nothing.
    `evidence` holds the last log lines of instances that this listing shows dead. `after_outage`: it is the first one since
    the engine was away, so what is dead in it died with the engine.
    """

    begun_at: float
    instances: Mapping[str, Instance]
    busy: AbstractSet[str] = frozenset()
    evidence: Mapping[str, str] = msgspec.field(default_factory=dict)
    after_outage: bool = False


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What one probe of one machine found: it answered, it did not, or nobody can tell (None), which counts for nothing.

    `took_s` is after how many seconds it answered, `host` and `port` where it did if the engine gives the addresses.
    """

    machine_id: str
    begun_at: float
    answered: bool | None
    detail: str = ""
    took_s: float = 0.0
    host: str = ""
    port: int | None = None


class Create(msgspec.Struct, frozen=True):
    """Make this machine run, with exactly its template and port."""

    machine: Machine

    @property
    def machine_id(self) -> str:
        return self.machine.id


class Restart(msgspec.Struct, frozen=True):
    """Start the exited container of this machine again, in place. `stop_first`: end it where it runs."""

    machine_id: str
    stop_first: bool = False


class Destroy(msgspec.Struct, frozen=True):
    """Remove whatever runs under this id. Absent is success. `gently`: what runs is asked to end first, and has time to."""

    machine_id: str
    gently: bool = False


Action = Create | Restart | Destroy


class Result(StrEnum):
    """How an action ended."""

    DONE = "done"
    UNAVAILABLE = "unavailable"  # it was not carried out; again later
    REJECTED = "rejected"  # it was not carried out; again will not help
    OBSTRUCTED = "obstructed"  # it was not carried out, for a cause outside: again when that is mended
    PORT_TAKEN = "port taken"
    UNKNOWN = "unknown"  # it may have been carried out, or may be yet


class Outcome(msgspec.Struct, frozen=True):
    """How an action ended. `under_way`: the engine only accepted it, and a listing will show what came of it."""

    result: Result
    message: str = ""
    evidence: str = ""
    under_way: bool = False


class PoolSpec(msgspec.Struct, frozen=True):
    """What a pool should be.

    `template` is None while the engine cannot say what to run: `pending` if it is still finding out (an image is being
    pulled), and `problem` says in words what stands in the way. A `paused` one starts and replaces nothing.
    """

    template: str | None
    min_idle: int = 2
    max_idle: int | None = None
    recycle: bool = False
    paused: bool = False
    problem: str = ""
    pending: bool = False


UNKNOWN_POOL: Final = PoolSpec(
    None,
    min_idle=0,
    max_idle=0,
    recycle=True,
    problem="No pool of this name is in the settings, so it makes no machine.",
)
"""What a pool should be that is on record and not in the settings: nothing free is kept, and what is released goes."""


class Spec(msgspec.Struct, frozen=True):
    """What the whole fleet should be: sizes, host ports (None: the engine plans addresses) and time limits in seconds.

    `restarts_in_place`: the engine can start an exited instance again with its files. If it cannot, an exited machine of a
    project fails.
    """

    pools: Mapping[str, PoolSpec]
    max_machines: int = 100
    first_port: int | None = 9093
    last_port: int = 65535
    start_timeout_s: float = 60.0
    verify_after_s: float = 1.0
    evidence_s: float = 600.0
    restarts_in_place: bool = True

    def pool(self, name: str) -> PoolSpec:
        """What this pool should be."""
        return self.pools.get(name, UNKNOWN_POOL)
