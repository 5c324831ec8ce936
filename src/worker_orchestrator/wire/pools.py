"""The JSON shapes of pools: what they are, what they want, and how to change them. `wire/v1.py` exports them as well.

`http/openapi.yaml` says what each key means.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

__all__ = [
    "BackOff",
    "Counted",
    "Demand",
    "Expiry",
    "PlannedSizes",
    "Pool",
    "PoolPatch",
    "PoolPlan",
    "PoolSizes",
    "Pools",
    "Reloaded",
    "ReplayedSizes",
    "SettingChange",
]


class PoolSizes(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes in the settings. The pool may have been given others since. `limit` is that of all pools together.

    `parked` None: the settings say nothing, so demand may have some parked in a pool that follows it. With 0 none ever is.
    """

    min_idle: int
    max_idle: int | None
    limit: int
    max_machines: int | None = None
    parked: int | None = None


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Machines by state. `past_failures` are those of `failed` that belong to no project and have no container any more."""

    idle: int = 0
    parked: int = 0
    starting: int = 0
    assigned: int = 0
    restarting: int = 0
    sleeping: int = 0
    stopping: int = 0
    failed: int = 0
    past_failures: int = 0


class BackOff(msgspec.Struct, frozen=True, kw_only=True):
    """The brake on an image that does not come up: when the next attempt is, and why the last one failed.

    `trying_new_image`: the image was replaced since that attempt, and no machine of the new one has answered or failed yet.
    """

    retry_in_seconds: float
    reason: str
    evidence: str
    trying_new_image: bool = False


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """How many idle machines projects use up while a new one comes up: an average of the last minutes.

    `warm_up_seconds`: the median from the record of a new machine to its first answer. `sentence` says all of it in words.
    """

    assigns_per_minute: float
    warm_up_seconds: float
    idle_needed: int
    sentence: str


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """An assignment that a deadline ended: `by` this one, and `reason` says the same in words. `by` None: not known."""

    at: datetime
    project: str
    machine: str
    by: str | None
    reason: str


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """One pool. `limit` is that of all pools together, `max_machines` its own; None: it has none.

    `changed` has the sizes that were changed at run time, by name, and to what: an open clock window may still ask for more.
    `dropped` says what of that did not go with the settings at the last start, and is changed no longer; None if nothing.
    `on_release` is reuse or recycle: whether a released machine is given on as it is, or removed. None: not told.
    `spare`: how many idle machines it wants for each one that a project has. `wanted_idle` is what it wants now, for the
    reason `why`; None: not told. `sizing` is fixed or adaptive: then what stands ready follows demand for the hit ratio
    `target`. `held_back` says what keeps it from having them; None if nothing does. `demand` is None until there is
    something to measure. A pool that is `retired` is no longer in the settings and makes no machines. `expiries` are the
    last assignments that a deadline ended, newest first. `parked` machines are kept beside the idle ones, paused until
    somebody needs them. `port_names` are the names of its workers' ports, the first one that of `port`; empty for workers
    with one port, which needs no name. `takes_values`: an assign may bring env, secrets and files for its workers.
    """

    name: str
    image: str
    template: str | None
    min_idle: int
    max_idle: int | None
    limit: int
    max_machines: int | None = None
    spare: float = 0.0
    sizing: str = "fixed"
    target: float = 0.99
    parked: int = 0
    paused: bool
    retired: bool = False
    on_release: str | None = None
    port_names: list[str] = []
    takes_values: bool = False
    configured: PoolSizes
    changed: dict[str, int] = {}
    dropped: str | None = None
    machines: Counted
    waiting: int
    wanted_idle: int | None = None
    why: str = ""
    held_back: str | None = None
    demand: Demand | None = None
    problem: str | None
    back_off: BackOff | None
    expiries: list[Expiry] = []


class Pools(msgspec.Struct, frozen=True, kw_only=True):
    pools: list[Pool]


class PoolPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to change. A size that is null goes back to the setting; a key that is left out changes nothing.

    `limit` is that of all pools together, whichever pool it is sent to; `max_machines` is the pool's own.
    """

    min_idle: int | msgspec.UnsetType | None = msgspec.UNSET
    max_idle: int | msgspec.UnsetType | None = msgspec.UNSET
    limit: int | msgspec.UnsetType | None = msgspec.UNSET
    max_machines: int | msgspec.UnsetType | None = msgspec.UNSET
    parked: int | msgspec.UnsetType | None = msgspec.UNSET
    paused: bool | msgspec.UnsetType = msgspec.UNSET


class PlannedSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a pool: so many idle machines, and so many parked ones."""

    idle: int
    parked: int


class ReplayedSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes, and what they would have been worth. Where they follow demand (`adaptive`) they are the largest that it had.

    `hit_ratio`: the share of the assigns that would have found a machine, idle or parked. Hours are machine-hours.
    """

    idle: int
    parked: int
    adaptive: bool
    hit_ratio: float
    p50_wait_seconds: float
    p99_wait_seconds: float
    idle_hours: float
    parked_hours: float


class PoolPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded of a pool from `since` to `until` (None: nothing was), replayed against several sizes.

    `arrivals` were counted, each new machine took `warm_up_seconds`. `now` are the sizes that the pool has without windows;
    if it follows demand, those that this asks for now. `proposed` is the fixed size of the least cost that would have
    reached `target`; None if none can, or if not `enough` is on record. `sentence` says how much was replayed.
    """

    pool: str
    sizing: str
    target: float
    since: datetime | None
    until: datetime | None
    arrivals: int
    warm_up_seconds: float
    sizes: list[ReplayedSizes]
    now: PlannedSizes
    enough: bool = True
    proposed: PlannedSizes | None
    sentence: str


class SettingChange(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in the settings. `pool` None: a setting of the service. Values are for people, and secrets are hidden.

    `setting` None: the pool itself is new, and `after` says what it is, or it is gone. `holds`: the size that was set in its
    stead at run time, and that goes on to hold.
    """

    pool: str | None = None
    setting: str | None = None
    before: str | None = None
    after: str | None = None
    needs_restart: bool = False
    holds: int | None = None


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What changed, as read from the file. `applied`: it is in force, but for what needs a restart.

    `digest` is for applying what a dry run has shown, and nothing else. None: it was no dry run, or it is not told.
    """

    applied: bool
    changes: list[SettingChange]
    digest: str | None = None
