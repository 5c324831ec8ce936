"""What a machine is, and which changes it may go through.

Two facts about a machine are kept apart on purpose. Its *state* says where its container is in life; its *holding* says
which project has it. A machine that is restarted for its project is STARTING and assigned at the same time, and one whose
worker died is FAILED and still assigned, because its files are somebody's work.

Each row is a state, each column the state after a change, and each cell has the causes that usually lead there. A READY
machine may also become PARKED (parked), which becomes STARTING (unparked), STOPPING (destroyed, retired) or FAILED::

                 STARTING             READY                 SLEEPING   STOPPING               FAILED         no record
    no record    created              adopted
    STARTING     moved, restarted,    answered                         released, destroyed,   failed
                 obstructed, cleaned                                   withdrawn, obstructed,
                                                                       retired
    READY        released, restarted  assigned, released,   slept      released, destroyed,   failed,
                                      withdrawn, kept,                 retired, expired,      withdrawn
                                      expiring, configuring,           withdrawn
                                      configured, setup_failed,
                                      unconfigured
    SLEEPING     woken, restarted,                          asleep,    released, destroyed,   failed
                 revived                                    kept       withdrawn, expired
    STOPPING                                                                                                 forgotten
    FAILED       restarted, revived                                    released, destroyed,   removed,       forgotten,
                                                                       withdrawn              failed         released,
                                                                                                             destroyed,
                                                                                                             withdrawn

`TRANSITIONS` allows exactly the cells that are not empty, and `GIVES_UP_PROJECT` names the causes that may end an
assignment. `Change` asserts both, so an illegal change stops the process before it reaches the store.

The values are msgspec structs because each assign and each release makes two of them: a copy with a change takes 0.3 µs,
against 5 µs for a dataclass. They hold only text, numbers and each other, so the garbage collector need not look at them
(`gc=False`).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Final

import msgspec

from worker_orchestrator.core.configuration import Configuration, Stage
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.lease import Announcement, EndsBy, Lease
from worker_orchestrator.core.reasons import ASLEEP, PARK_REFUSED, UNPARKED, UNPARKED_FOR_CHECK, expiring

__all__ = [
    "GIVES_UP_PROJECT",
    "TOMBSTONES_KEPT",
    "TRANSITIONS",
    "Cause",
    "Change",
    "Holding",
    "Machine",
    "State",
]

TOMBSTONES_KEPT: Final = 50_000
"""How many removed machines are remembered, because a late create may still make a container for one of them."""


class State(StrEnum):
    """Where a machine is in its life.

    Modules on the way of every assign keep the members that they compare with in constants of their own: Python 3.11 takes
    0.1 µs to find one through the class.
    """

    STARTING = "starting"  # it is recorded, and its container is being created, restarted or probed
    READY = "ready"  # it answered a probe
    PARKED = (
        "parked"  # it answered, and its container is paused, or is being paused, until somebody needs it; it is free
    )
    SLEEPING = "sleeping"  # its container is stopped, or is being stopped, and its project has it with its files
    STOPPING = "stopping"  # its container is being destroyed
    FAILED = "failed"  # it does not serve; it is kept as evidence, or because its files are a project's work


class Cause(StrEnum):
    """Why a machine changed: the name of the event."""

    CREATED = "created"
    ADOPTED = "adopted"
    MOVED = "moved"  # to another host port, before it ever ran
    ANSWERED = "answered"
    ASSIGNED = "assigned"
    RELEASED = "released"
    WITHDRAWN = "withdrawn"  # it was assigned, but no client has heard of it
    RESTARTED = "restarted"  # in place, for its project
    REVIVED = "revived"  # somebody started its container after it had failed, or while it slept
    SLEPT = "slept"  # it was put to sleep: its container is being stopped
    ASLEEP = "asleep"  # its container is known to have stopped for that
    WOKEN = "woken"  # its project asked for it again
    PARKED = "parked"  # it was put into the reserve: its container is being paused
    UNPARKED = "unparked"  # it is needed, or is to show that it still answers: its container goes on
    FAILED = "failed"
    OBSTRUCTED = "obstructed"  # something outside the worker and its image kept it from starting
    RETIRED = "retired"  # surplus, or of an older template
    DESTROYED = "destroyed"  # on request
    REMOVED = "removed"  # its container is known to be gone
    FORGOTTEN = "forgotten"
    ANNOTATED = "annotated"  # its project replaced the metadata
    KEPT = "kept"  # its project has it for longer; no event (`core/routine.py`)
    EXPIRING = "expiring"  # a deadline passes soon; nothing changes but that this was told
    EXPIRED = "expired"  # a deadline that its project or the operator set has passed
    CONFIGURING = "configuring"  # its project gave it values, which are about to be written
    CONFIGURED = "configured"  # all of them are there, and the hook ended well
    SETUP_FAILED = "setup_failed"  # they could not be written, or the hook ended badly
    UNCONFIGURED = "unconfigured"  # what it was configured with was in memory, and its container stops
    CLEANED = "cleaned"  # nothing of its configuration is left: it was restarted, and that was looked at


_S = State
TRANSITIONS: Final[Mapping[State | None, AbstractSet[State | None]]] = {
    None: {_S.STARTING, _S.READY},
    _S.STARTING: {_S.STARTING, _S.READY, _S.STOPPING, _S.FAILED},
    _S.READY: {_S.READY, _S.STARTING, _S.PARKED, _S.SLEEPING, _S.STOPPING, _S.FAILED},
    _S.PARKED: {_S.STARTING, _S.STOPPING, _S.FAILED},
    _S.SLEEPING: {_S.SLEEPING, _S.STARTING, _S.STOPPING, _S.FAILED},
    _S.STOPPING: {None},
    _S.FAILED: {_S.FAILED, _S.STARTING, _S.STOPPING, None},
}
"""The states that may follow each state. None stands for no record."""

GIVES_UP_PROJECT: Final[AbstractSet[Cause]] = {Cause.RELEASED, Cause.DESTROYED, Cause.WITHDRAWN, Cause.EXPIRED}
"""The only causes that may take a machine from its project. A project does not give it up by being idle, unless it or
the operator set a deadline for that, nor by a crash.

One more change ends an assignment: a machine whose container vanished is forgotten when its project asks for another.
"""

_UNPARKING: Final = frozenset({UNPARKED, UNPARKED_FOR_CHECK, PARK_REFUSED})
_GIVES_PROJECT: Final = frozenset({Cause.ASSIGNED, Cause.ADOPTED})
_READY: Final = State.READY
_DONE: Final = Stage.DONE
_STOPPING: Final = State.STOPPING
_PARKED: Final = State.PARKED
_SLEEPING: Final = State.SLEEPING
_ASSIGNED: Final = Cause.ASSIGNED
_EXPIRING: Final = Cause.EXPIRING
_EXPIRED: Final = Cause.EXPIRED


class Holding(msgspec.Struct, frozen=True, gc=False):
    """That a project has a machine. It begins with an assignment, and all of it ends with the release.

    `metadata` is what the project said of the machine, as JSON; empty if it said nothing. `lease` limits for how long it has
    it; None if nothing does.
    """

    project: str
    metadata: str = ""
    lease: Lease | None = None


class Machine(msgspec.Struct, frozen=True, gc=False):
    """Our record of one worker: a row of the store.

    `port` is a host port; if the engine gives the addresses, `host` and `port` are what it gave, from the first answer on.
    `ports` are its host ports by the names that its pool gave them when it was made, `port` first; empty without names.
    `holding` is None while the machine is free. `gone` means that its container is known not to exist: such a record holds
    neither port nor slot. `reason` says in words why it is where it is, `evidence` holds the last log lines of one that
    failed, or that ended and is being restarted. Of a machine that sleeps, `reason` also says whether its container is
    known to have stopped (`is_asleep`). `configuration` stays when its project leaves it, until the machine is clean.
    It is lost as soon as a project's machine is not READY (`Fleet.apply`).

    `generation` is the number of its last assignment, 0 if there was none. It stays when the assignment ends, and is
    therefore no part of `holding`: a late release or destroy that names an older generation must fail on a free machine as
    well, and after a restart it shows that a machine that is being stopped belonged to a project (`Fleet.load`).
    """

    id: str
    pool: str
    template: str
    state: State
    port: int | None
    holding: Holding | None = None
    generation: int = 0
    host: str = ""
    gone: bool = False
    reason: str = ""
    evidence: str = ""
    ports: tuple[tuple[str, int], ...] = ()
    configuration: Configuration | None = None

    def __post_init__(self) -> None:
        assert not self.ports or self.ports[0][1] == self.port, f"{self.id}: the first of its ports is its port"
        assert self.holding is None or self.state is not _STOPPING, f"{self.id}: a stopping machine has no project"
        assert self.holding is not None or self.state is not _SLEEPING, f"{self.id}: only a project's machine sleeps"
        assert not self.gone or self.state is State.FAILED, f"{self.id}: only a failed machine may be gone"
        assert self.holding is None or self.state is not _PARKED, f"{self.id}: a parked machine has no project"
        if self.configuration is not None:
            assert self.state is not _PARKED, f"{self.id}: a parked machine is clean"
            assert self.holding is not None or self.state is not _READY, f"{self.id}: an idle machine is clean"

    @property
    def project(self) -> str | None:
        """The project that has it; None while it is free."""
        return None if self.holding is None else self.holding.project

    @property
    def metadata(self) -> str:
        """What its project said of it, as JSON; empty if that is nothing, or if it is free."""
        return "" if self.holding is None else self.holding.metadata

    @property
    def lease(self) -> Lease | None:
        """For how long its project has it; None without a limit, or if it is free."""
        return None if self.holding is None else self.holding.lease

    @property
    def host_ports(self) -> tuple[int, ...]:
        """All its host ports, `port` first; none while it has no address."""
        if self.ports:
            return tuple(port for _, port in self.ports)
        return () if self.port is None else (self.port,)

    @property
    def is_configured(self) -> bool:
        """Whether the worker has all that its project gave it, and its hook ended well."""
        return self.configuration is not None and self.configuration.stage is _DONE and self.holding is not None

    @property
    def loses_memory(self) -> bool:
        """Whether its project has it, was configuring it, and it does not run: then that is lost."""
        is_there = self.configuration is not None and self.configuration.is_in_memory
        return is_there and self.holding is not None and self.state is not _READY

    @property
    def is_dirty(self) -> bool:
        """No project has it, and what one configured it with may be there."""
        return self.configuration is not None and self.holding is None

    @property
    def is_idle(self) -> bool:
        return self.state is State.READY and self.holding is None

    @property
    def is_coming(self) -> bool:
        """On its way to becoming idle."""
        return self.state is State.STARTING and self.holding is None

    @property
    def is_unparking(self) -> bool:
        """It was parked, and its container goes on or is about to. Its reason says so, also to the next run."""
        return self.state is State.STARTING and self.holding is None and self.reason in _UNPARKING

    @property
    def is_asleep(self) -> bool:
        """It sleeps, and its container is known to have stopped since. So if that runs, somebody has started it."""
        return self.state is State.SLEEPING and self.reason.endswith(ASLEEP)

    @property
    def is_leaving(self) -> bool:
        """Its container is being removed."""
        failed = self.state is State.FAILED and self.holding is None and not self.gone
        return failed or self.state is State.STOPPING


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of one machine: the row, the undo, the event and the log line are made from it. None stands for no record.

    `buries` means that its end was requested and has happened, so a container that appears under its id later is removed. A
    machine that is only forgotten is not buried: its container vanished by itself, and may come back with somebody's files.
    `failure` is the kind of a failure, for metrics; it is not stored. `deadline` is the one that caused it, or of which it
    tells that it comes soon.
    """

    before: Machine | None
    after: Machine | None
    cause: Cause
    buries: bool = False
    failure: FailureKind | None = None
    deadline: EndsBy | None = None

    def __post_init__(self) -> None:
        before, after = self.before, self.after
        old = None if before is None else before.state
        new = None if after is None else after.state
        assert new in TRANSITIONS[old], f"{self.machine.id}: {old} may not become {new} ({self.cause})"
        had = None if before is None or before.holding is None else before.holding.project
        has = None if after is None or after.holding is None else after.holding.project
        lost = before is not None and before.gone and self.cause is Cause.FORGOTTEN
        assert had == has or had is None or (has is None and (lost or self.cause in GIVES_UP_PROJECT)), (
            f"{self.machine.id}: {self.cause} may not take it from project {had}"
        )
        assert had == has or has is None or self.cause in _GIVES_PROJECT, (
            f"{self.machine.id}: {self.cause} may not give it to project {has}"
        )
        assert before is None or after is None or before.id == after.id, "a change is about one machine"
        assert after is None or after.configuration is None or not after.loses_memory, f"{after.id}: it runs no more"
        assert self.deadline is not None or self.cause is not _EXPIRED, f"{self.machine.id}: no deadline ended it"

    @property
    def machine(self) -> Machine:
        machine = self.after or self.before
        assert machine is not None, "a change has a machine before, after or both"
        return machine

    @property
    def announced(self) -> Announcement | None:
        """The end of its assignment, if it announces that."""
        lease = self.machine.lease
        return lease.announced if lease is not None and self.cause is _EXPIRING else None

    @property
    def reason(self) -> str:
        """Why it happened, in words: the reason of its machine, but for an announcement, which changes nothing there."""
        announced = self.announced
        return self.machine.reason if announced is None else expiring(announced.by, announced.ends_at - announced.at)

    @property
    def hands_over(self) -> bool:
        """Whether it gives a machine to a project."""
        return self.after is not None and self.after.holding is not None and self.cause is _ASSIGNED
