"""The JSON shapes of /v1, shared by the service and its Python client, so that they cannot differ.

`http/openapi.yaml` says what each key means. Times are RFC 3339 in UTC, durations in seconds unless a name says otherwise.
https://jcristharif.com/msgspec/structs.html
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from worker_orchestrator.wire.commands import ExecBody, ExecEnd, ExecOutput, ExecResult

__all__ = [
    "AssignBody",
    "BackOff",
    "Counted",
    "Destroyed",
    "EngineHealth",
    "Environment",
    "Event",
    "ExecBody",
    "ExecEnd",
    "ExecError",
    "ExecOutput",
    "ExecResult",
    "FailedProbe",
    "History",
    "Machine",
    "Machines",
    "Pool",
    "PoolPatch",
    "PoolSizes",
    "Pools",
    "Problem",
    "Released",
    "Sample",
    "ServiceHealth",
    "Stages",
    "Usage",
    "UsageReading",
    "Variable",
    "Why",
]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. `generation` grows with every assignment, so that a late release or destroy is recognised.

    `next_try_at` is when it is started again; None unless it waits for its next restart.
    """

    id: str
    pool: str
    state: str
    project: str | None
    generation: int
    url: str | None
    host: str
    port: int | None
    container_id: str | None
    address: str | None
    template: str
    reason: str
    evidence: str
    metadata: dict[str, str]
    created_at: datetime
    changed_at: datetime
    next_try_at: datetime | None = None


class Machines(msgspec.Struct, frozen=True, kw_only=True):
    machines: list[Machine]
    next: str | None


class AssignBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wait_seconds: float | None = None
    metadata: dict[str, str] | None = None


class Released(msgspec.Struct, frozen=True, kw_only=True):
    project: str
    machine: str
    generation: int


class Destroyed(msgspec.Struct, frozen=True, kw_only=True):
    """`generation` is None if the machine was already gone."""

    machine: str
    generation: int | None


class UsageReading(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    cpu_percent: float | None
    memory_bytes: int
    received_bytes: int | None
    sent_bytes: int | None


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`past` holds what was read of it before, oldest first, if that was asked for and somebody looked then."""

    cpu_percent: float | None
    cpu_seconds: float
    memory_bytes: int
    memory_limit_bytes: int | None
    processes: int | None
    received_bytes: int | None
    sent_bytes: int | None
    past: list[UsageReading] = []


class ExecError(msgspec.Struct, frozen=True, kw_only=True):
    """What comes in place of an `ExecEnd` if nobody knows how the command ended."""

    error: Problem


class PoolSizes(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes in the settings. The pool may have been given others since."""

    min_idle: int
    max_idle: int | None
    limit: int


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    idle: int = 0
    starting: int = 0
    assigned: int = 0
    restarting: int = 0
    stopping: int = 0
    failed: int = 0


class BackOff(msgspec.Struct, frozen=True, kw_only=True):
    """The brake on an image that does not come up: when the next attempt is, and why the last one failed."""

    retry_in_seconds: float
    reason: str
    evidence: str


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """`on_release` is reuse or recycle: whether a released machine is given on as it is, or removed. None: not told."""

    name: str
    image: str
    template: str | None
    min_idle: int
    max_idle: int | None
    limit: int
    paused: bool
    on_release: str | None = None
    configured: PoolSizes
    machines: Counted
    waiting: int
    problem: str | None
    back_off: BackOff | None


class Pools(msgspec.Struct, frozen=True, kw_only=True):
    pools: list[Pool]


class PoolPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to change. A size that is null goes back to the setting; a key that is left out changes nothing."""

    min_idle: int | msgspec.UnsetType | None = msgspec.UNSET
    max_idle: int | msgspec.UnsetType | None = msgspec.UNSET
    limit: int | msgspec.UnsetType | None = msgspec.UNSET
    paused: bool | msgspec.UnsetType = msgspec.UNSET


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One transition of one machine. `id` grows, and is also the id of the server-sent event."""

    id: int
    at: datetime
    machine: str
    pool: str
    project: str | None
    generation: int
    cause: str
    state: str | None
    reason: str


class FailedProbe(msgspec.Struct, frozen=True, kw_only=True):
    machine: str
    detail: str


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds; None if this stage was not needed or not observed."""

    line_ms: float | None
    create_ms: float | None
    ready_ms: float | None
    probe_ms: float | None
    commit_ms: float | None
    total_ms: float | None


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """How a project got its machine. `how` is warm or cold, or unknown if the process that saw it did not record it."""

    project: str
    machine: str
    generation: int
    at: datetime | None
    how: str
    why: str
    stages: Stages | None
    failed_probes: list[FailedProbe]
    events: list[Event]


class EngineHealth(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    connected: bool
    problem: str | None
    last_listing_age_seconds: float | None


class ServiceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is ok, degraded (projects still get machines) or down (no project gets one, as /readyz says)."""

    status: str
    version: str
    uptime_seconds: float
    engine: EngineHealth
    machines: Counted
    waiting: int
    strays: int
    foreign: int
    problems: list[str]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the fleet at a time, and what was counted in the step that ended then."""

    at: datetime
    idle: int
    starting: int
    assigned: int
    restarting: int
    stopping: int
    failed: int
    limit: int
    waiting: int
    warm: int
    cold: int
    unavailable: int
    p50_ms: float | None
    p99_ms: float | None
    refill_lag_seconds: float


class History(msgspec.Struct, frozen=True, kw_only=True):
    step_seconds: int
    samples: list[Sample]


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One environment variable. `hidden`: something in its value looked like a secret and was left out."""

    name: str
    value: str
    hidden: bool


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    variables: list[Variable]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457: every error of /v1. `code` never changes, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str = ""
    retry_after_seconds: int | None = None
