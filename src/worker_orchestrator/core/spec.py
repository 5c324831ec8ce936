"""What the fleet and each of its pools should be. The shell hands it in as data, and the core compares."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from worker_orchestrator.core.activity import ActivityRules
from worker_orchestrator.core.lease import OnExpiry, Terms
from worker_orchestrator.core.windows import Window

__all__ = ["DEFAULT_POOL", "UNKNOWN_POOL", "Late", "OnExpiry", "PoolSpec", "Spec"]

DEFAULT_POOL: Final = "default"
"""The pool from which a project gets a machine that does not ask for another one."""


class Late(msgspec.Struct, frozen=True):
    """How the workers of a pool take a configuration when they are running already.

    `directory`: where values are written, in memory (empty: nowhere). `post`: the path on the worker's own port to which
    they are posted (empty: to none). `hook`: a command that runs in the worker after that (empty: none). The set-up may take
    `timeout_s` seconds. If it fails the machine is removed (`replaces`), or stays with its project.
    """

    directory: str = ""
    post: str = ""
    hook: tuple[str, ...] = ()
    timeout_s: float = 60.0
    replaces: bool = False


class PoolSpec(msgspec.Struct, frozen=True):
    """What a pool should be.

    `template` is None while the engine cannot say what to run: `pending` means that it is still finding out (an image is
    being pulled), and `problem` says in words what prevents it. A `paused` pool starts and replaces no machine.

    `max_machines` is the limit of this pool beside that of the fleet (None: only the fleet's). `spare` is how many idle
    machines are wanted for each one that a project has: 0.25 is a quarter, rounded up; `min_idle` are wanted at least, and
    `max_idle` at most. `shrinks`: without `max_idle`, idle machines above what is wanted are too many. They are retired once
    there have been too many for `shrink_after_s` seconds. What is left of windows or of `spare` that a pool has no more is
    retired, once, `shed_after_s` seconds after these were taken from it.

    `windows` are its clock windows. `min_idle` and `max_idle` are what is in force now, and `window` is the open one that
    asks for this `min_idle`. If it `is_adaptive`, its sizes follow demand for the hit ratio `target`: `idle_by_demand` of
    `min_idle` and `parked_by_demand` of `parked` are asked for by demand alone, the others by an operator, in writing.
    `start_timeout_s` is its own; None: that of the fleet.

    `port_names` are the names of the ports of its workers; empty for workers with one port, which needs no name.

    `terms` are the deadlines of each new assignment that asks for no others (None: there are none), and `on_expiry` is what
    happens then. So long before it comes, the end of an assignment is announced (`warn_before_s`; 0: never). `activity` says
    what counts as use of its workers. `late` says how they take a configuration (None: not at all).

    `parked` machines are wanted beside the idle ones: started, answered once, and paused until somebody needs them. Each is
    woken after `parked_check_s` seconds, to show that it still answers. If it `never_parks`, demand asks for none either.

    A project whose machine the engine has lost sight of for more than `unreachable_grace_s` seconds gets another one when it
    asks (0: it keeps what it has).
    """

    template: str | None
    min_idle: int = 2
    max_idle: int | None = None
    recycle: bool = False
    paused: bool = False
    problem: str = ""
    pending: bool = False
    max_machines: int | None = None
    spare: float = 0.0
    shrinks: bool = False
    shrink_after_s: float = 0.0
    shed_after_s: float = 300.0
    windows: tuple[Window, ...] = ()
    window: Window | None = None
    is_adaptive: bool = False
    target: float = 0.99
    idle_by_demand: int = 0
    start_timeout_s: float | None = None
    port_names: tuple[str, ...] = ()
    terms: Terms | None = None
    on_expiry: OnExpiry = OnExpiry.RELEASE
    warn_before_s: float = 0.0
    activity: ActivityRules = ActivityRules()
    late: Late | None = None
    parked: int = 0
    parked_by_demand: int = 0
    never_parks: bool = False
    parked_check_s: float = 300.0
    unreachable_grace_s: float = 0.0

    @property
    def port_count(self) -> int:
        """How many host ports a machine of this pool needs."""
        return len(self.port_names) or 1

    @property
    def follows_demand(self) -> bool:
        """Whether demand is what asks for this `min_idle`."""
        return self.idle_by_demand > 0

    @property
    def least_idle(self) -> int:
        """How many idle machines are asked for in writing: by `min_idle`, or by a clock window."""
        return self.min_idle - self.idle_by_demand

    @property
    def least_parked(self) -> int:
        """How many parked machines are asked for in writing."""
        return self.parked - self.parked_by_demand

    def wanted_idle(self, assigned: int) -> int:
        """How many idle machines the pool wants while projects have so many of its machines."""
        if not self.spare:
            return self.min_idle
        spare = math.ceil(round(self.spare * assigned, 6))  # 0.1 * 30 is a little more than 3
        return max(self.min_idle, spare if self.max_idle is None else min(spare, self.max_idle))

    def most_idle(self, assigned: int) -> int | None:
        """How many idle machines it may keep while projects have so many; None if idle machines are never too many."""
        if self.shrinks and (self.max_idle is None or self.is_adaptive):
            return self.wanted_idle(assigned)
        return self.max_idle

    def is_at_limit(self, slots_held: int) -> bool:
        """Whether machines of this pool that hold so many slots are as many as it may have, or more."""
        return self.max_machines is not None and slots_held >= self.max_machines

    def is_outdated(self, template: str) -> bool:
        """Whether a machine of this template is of another one than new machines; no while it is unknown what these are."""
        return self.template not in {template, None}


UNKNOWN_POOL: Final = PoolSpec(
    None,
    min_idle=0,
    max_idle=0,
    recycle=True,
    problem="The settings have no pool of this name, so it makes no machines.",
)
"""What a pool should be that machines on record belong to, but that the settings do not name.

Its free machines are retired, and a machine that is released is removed.
"""


class Spec(msgspec.Struct, frozen=True):
    """What the whole fleet should be: sizes, host ports (None: the engine plans addresses) and time limits in seconds.

    `max_machines` is the limit over all pools. `max_awake` is how many of these may not be asleep (None: all of them).
    `restarts_in_place`: the engine can start an exited instance again with its files. If it cannot, an exited machine of a
    project fails. `sees_use`: the engine can tell whether a machine is used.

    `retired` has what still holds for machines of pools that are no longer in `pools`, as far as that is known.
    """

    pools: Mapping[str, PoolSpec]
    max_machines: int = 100
    first_port: int | None = 9093
    last_port: int = 65535
    start_timeout_s: float = 60.0
    verify_after_s: float = 1.0
    evidence_s: float = 600.0
    restarts_in_place: bool = True
    sees_use: bool = True
    max_awake: int | None = None
    retired: Mapping[str, PoolSpec] = {}

    def pool(self, name: str) -> PoolSpec:
        """What this pool should be; `UNKNOWN_POOL`, perhaps with time limits of its own, if the settings do not name it."""
        pool = self.pools.get(name)
        return self.retired.get(name, UNKNOWN_POOL) if pool is None else pool

    def is_at_max_awake(self, awake: int) -> bool:
        """Whether so many machines that are not asleep are as many as there may be, or more."""
        return self.max_awake is not None and awake >= self.max_awake

    def is_full(self, slots_held: int, awake: int) -> bool:
        """Whether there is no room for another machine, whatever its pool: `slots_held` machines are there, `awake` of them
        not asleep.
        """
        return slots_held >= self.max_machines or self.is_at_max_awake(awake)

    def start_timeout_of(self, pool: str) -> float:
        """How many seconds a new worker of this pool may take until it answers."""
        own_s = self.pool(pool).start_timeout_s
        return self.start_timeout_s if own_s is None else own_s

    def retired_by(self, pools: Collection[str], in_use: Collection[str]) -> dict[str, PoolSpec]:
        """What still holds for pools that are `in_use` and will not be in `pools`: times, and what counts as use."""
        own = {name: self.pool(name) for name in in_use if name not in pools and self.knows(name)}
        return {
            name: replace(
                UNKNOWN_POOL,
                start_timeout_s=pool.start_timeout_s,
                warn_before_s=pool.warn_before_s,
                activity=pool.activity,
            )
            for name, pool in own.items()
        }

    def knows(self, name: str) -> bool:
        """Whether anything is known of this pool: not of one that had left the settings before the service started."""
        return name in self.pools or name in self.retired
