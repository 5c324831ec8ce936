"""The JSON shapes of /v1, shared by the service and its Python client, so that they cannot differ.

`http/openapi.yaml` says what each key means. Times are RFC 3339 in UTC, durations in seconds unless a name says otherwise.
https://jcristharif.com/msgspec/structs.html
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from worker_orchestrator.wire.assigning import AssignBody, Setup
from worker_orchestrator.wire.commands import ExecBody, ExecEnd, ExecOutput, ExecResult
from worker_orchestrator.wire.leases import KeepBody, Lease
from worker_orchestrator.wire.pools import (
    BackOff,
    Counted,
    Demand,
    Expiry,
    PlannedSizes,
    Pool,
    PoolPatch,
    PoolPlan,
    Pools,
    PoolSizes,
    Reloaded,
    ReplayedSizes,
    SettingChange,
)
from worker_orchestrator.wire.previews import Link, LinkBody, PreviewTarget, PublishedPort

__all__ = [
    "AssignBody",
    "BackOff",
    "Counted",
    "Demand",
    "Destroyed",
    "EngineHealth",
    "Environment",
    "Event",
    "ExecBody",
    "ExecEnd",
    "ExecError",
    "ExecOutput",
    "ExecResult",
    "Expiry",
    "FailedProbe",
    "History",
    "KeepBody",
    "Lease",
    "Link",
    "LinkBody",
    "Machine",
    "Machines",
    "PlannedSizes",
    "Pool",
    "PoolPatch",
    "PoolPlan",
    "PoolSizes",
    "Pools",
    "PreviewTarget",
    "Problem",
    "PublishedPort",
    "Released",
    "Reloaded",
    "ReplayedSizes",
    "Sample",
    "ServiceHealth",
    "SettingChange",
    "Setup",
    "Stages",
    "Usage",
    "UsageReading",
    "Variable",
    "WakeBody",
    "Why",
]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. `generation` grows with every assignment, so that a late release or destroy is recognised.

    `next_try_at` is when it is started again; None unless it waits for its next restart. `outdated`: it was made from an
    older image or older settings than new machines are. `ports` has the ports by the names that its pool gave them, with
    the one of `url` first; it is empty if the pool names none, or if it is not told. `lease` is None if no deadline
    ends the assignment. `configured` is whether its project's values are in it; None for a pool that takes none, or if no
    project has it. `setup` tells of the last set-up; None if there was none. `preview_url` is the address of its project,
    which stays the same whichever machine it has; None if it has none.
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
    outdated: bool = False
    ports: dict[str, PublishedPort] = {}
    lease: Lease | None = None
    configured: bool | None = None
    setup: Setup | None = None
    preview_url: str | None = None


class Machines(msgspec.Struct, frozen=True, kw_only=True):
    machines: list[Machine]
    next: str | None


class WakeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`wait_seconds`: for how long to wait until it answers. None: as long as the service is set to."""

    wait_seconds: float | None = None


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """`removed` is whether the machine is removed with its files, and not kept for the next project. None: not told.

    `retired`: the settings no longer name its pool, which makes no other one. `cleaned`: it is restarted first, since values
    of its project may be in its memory.
    """

    project: str
    machine: str
    generation: int
    removed: bool | None = None
    retired: bool = False
    cleaned: bool = False


class Destroyed(msgspec.Struct, frozen=True, kw_only=True):
    """`generation` is None if the machine was already gone."""

    machine: str
    generation: int | None


class UsageReading(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    cpu_percent: float | None
    memory_bytes: int | None
    received_bytes: int | None
    sent_bytes: int | None


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`past` holds what was read of it before, oldest first, if that was asked for and somebody looked then."""

    cpu_percent: float | None
    cpu_seconds: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    processes: int | None
    received_bytes: int | None
    sent_bytes: int | None
    past: list[UsageReading] = []


class ExecError(msgspec.Struct, frozen=True, kw_only=True):
    """What comes in place of an `ExecEnd` if nobody knows how the command ended."""

    error: Problem


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
    """How a project got its machine. `how` is warm or cold, or unknown if the process that saw it did not record it.

    `pool` is that of the machine, empty if it is not told.
    `trouble`, with which `why` ends, is what keeps the machine from serving now; None if nothing does, or if it is not told.
    `configured` is as in `Machine`.
    """

    project: str
    machine: str
    generation: int
    at: datetime | None
    how: str
    why: str
    stages: Stages | None
    failed_probes: list[FailedProbe]
    events: list[Event]
    pool: str = ""
    trouble: str | None = None
    configured: bool | None = None


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
    """The state of the fleet at a time, and what was counted in the step that ended then: `assigns` by pool."""

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
    parked: int = 0
    sleeping: int = 0
    assigns: dict[str, int] = {}


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
    """RFC 9457: every error of /v1. `code` never changes, `detail` is for people.

    `machine` and `setup` say of which machine the set-up failed, and how; None for all other errors.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str = ""
    retry_after_seconds: int | None = None
    machine: str | None = None
    setup: Setup | None = None
