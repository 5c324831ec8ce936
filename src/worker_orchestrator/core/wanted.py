"""What a pool wants, by which rule, and what holds it back: as data for those who look at a pool, and for refusals.

A pool wants idle machines beside one for each project in its line::

    rule        idle machines wanted
    min_idle    `min_idle`
    window      `min_idle` of a clock window that is open, if that is more
    adaptive    what demand asks for, if that is more, within the limits of the pool
    spare       `spare` times the machines that projects have, rounded up; if that is more, and `max_idle` at most
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Final, Literal

import msgspec

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.host_ports import no_port_left
from worker_orchestrator.core.spec import DEFAULT_POOL, PoolSpec, Spec

__all__ = [
    "HeldBack",
    "Hold",
    "Rule",
    "Shortage",
    "Wanted",
    "all_awake",
    "count_ailing",
    "held_back",
    "nothing_left",
    "paused",
    "shortage",
    "startable",
    "to_be_parked",
    "wanted",
]

Rule = Literal["min_idle", "window", "adaptive", "spare"]
Hold = Literal["template", "obstacle", "image", "paused", "pool_limit", "limit", "awake", "ports"]
MOST_NAMED: Final = 3
"""So many of the projects are named that hold all machines."""


class HeldBack(msgspec.Struct, frozen=True):
    """One thing that keeps a pool from starting machines. `why` is for people; it is empty while an image is pulled."""

    by: Hold
    why: str


class Shortage(msgspec.Struct, frozen=True):
    """The machines that a pool lacks: for projects in its line that nothing comes for yet, to be idle, and to be parked."""

    waiting: int
    idle: int
    parked: int = 0


class Wanted(msgspec.Struct, frozen=True):
    """How a pool compares with what it wants.

    `idle` is how many idle machines it wants, by this `rule`, and `most_idle` how many it may keep (None: any number).
    `missing` counts the machines to be started, and `held_back` is what prevents that: the first one is the one to mend.
    It is empty where nothing is missing, and where the machines are about to be started.
    """

    idle: int
    rule: Rule
    most_idle: int | None
    missing: int
    held_back: tuple[HeldBack, ...]


def wanted(fleet: Fleet, spec: Spec, name: str) -> Wanted:
    """What this pool wants at this moment, and why it does not have it."""
    pool, assigned = spec.pool(name), fleet.assigned_in(name)
    idle, lacks = pool.wanted_idle(assigned), shortage(fleet, pool, name)
    missing = lacks.waiting + lacks.idle + lacks.parked
    holds = tuple(held_back(fleet, spec, name)) if missing else ()
    rule: Rule = "min_idle" if pool.window is None else "window"
    if idle > pool.min_idle:
        rule = "spare"
    elif pool.follows_demand:
        rule = "adaptive"
    return Wanted(idle, rule, pool.most_idle(assigned), missing, holds)


def shortage(fleet: Fleet, pool: PoolSpec, name: str) -> Shortage:
    """What this pool lacks, whatever holds it back. Machines of older templates are replaced one by one."""
    waiting, coming = len(fleet.pool(name).line), len(fleet.coming(name, pool.template))
    if fleet.has_stale(name, pool.template):
        for_line = max(0, waiting - coming)
        return Shortage(for_line, 0 if waiting or coming else 1)
    there = len(fleet.idle(name, pool.template)) - count_ailing(fleet, pool, name) + coming
    for_line = max(0, waiting - there)
    too_many = there + for_line - waiting - pool.wanted_idle(fleet.assigned_in(name))  # they can be parked
    return Shortage(for_line, max(0, -too_many), max(0, to_be_parked(fleet, pool, name) - max(0, too_many)))


def to_be_parked(fleet: Fleet, pool: PoolSpec, name: str) -> int:
    """How many machines more the reserve of this pool is to have, of the template that it makes now.

    One that comes out of it only to show that it answers has its place still.
    """
    if not pool.parked:
        return 0
    return max(0, pool.parked - len(fleet.parked(name, pool.template)) - fleet.count_checked(name, pool.template))


def count_ailing(fleet: Fleet, pool: PoolSpec, name: str) -> int:
    """How many idle machines cannot serve now. While no project waits they are not replaced, since they may soon recover."""
    if not fleet.ailing or not fleet.pool(name).line:
        return 0
    return sum(one in fleet.idle(name, pool.template) for one in fleet.ailing)


def startable(fleet: Fleet, spec: Spec, name: str, template: str, now: float) -> int:
    """How many machines of this pool, which is not paused, could be started of its template if the fleet had room."""
    pool = spec.pool(name)
    most = spec.max_machines
    if pool.max_machines is not None:
        most = pool.max_machines - fleet.slots_held_by(name)
    brake = fleet.brake_in_force(name, template)
    if brake is not None:
        most = min(most, 1 - len(fleet.coming(name, template))) if brake.until <= now else 0
    return max(0, most)


def held_back(fleet: Fleet, spec: Spec, name: str) -> list[HeldBack]:
    """What keeps this pool from starting a machine, the first to be mended first."""
    pool, found = spec.pool(name), list[HeldBack]()
    if pool.template is None:
        return [HeldBack("template", pool.problem)]
    brake = fleet.brake_in_force(name, pool.template)
    if brake is not None:
        is_outside = brake is fleet.obstacle(name, pool.template)
        found.append(HeldBack("obstacle" if is_outside else "image", brake.explanation()))
    if pool.paused:
        found.append(HeldBack("paused", paused(name)))
    if pool.is_at_limit(fleet.slots_held_by(name)):
        found.append(HeldBack("pool_limit", _all_of_pool(fleet, name, pool)))
    if fleet.slots_held >= spec.max_machines:
        found.append(HeldBack("limit", _all_of_fleet(fleet, spec.max_machines)))
    if spec.is_at_max_awake(fleet.awake):
        found.append(HeldBack("awake", all_awake(spec)))
    if fleet.pool(name).out_of_ports:
        found.append(HeldBack("ports", no_port_left(spec, pool.port_count)))
    return found


def paused(name: str) -> str:
    """The sentence for people that a paused pool has no idle machine."""
    of_pool = "" if name == DEFAULT_POOL else f" --pool {name}"
    return f"No machine is idle, and the pool {name} is paused. Run `orchestrator resume{of_pool}` to start machines again."


def nothing_left(fleet: Fleet, spec: Spec, name: str) -> str:
    """That projects hold all machines which the limit of this pool or that of the fleet allows; empty if they do not."""
    pool = spec.pool(name)
    if pool.is_at_limit(fleet.slots_held_by(name)) and _held_longest(fleet, name):
        return _all_of_pool(fleet, name, pool)
    if fleet.slots_held >= spec.max_machines and _held_longest(fleet):
        return _all_of_fleet(fleet, spec.max_machines)
    return ""


def all_awake(spec: Spec) -> str:
    """The sentences for people that no more machines may be awake."""
    return (
        f"As many machines are awake as max_awake allows ({spec.max_awake}). Release one, put one to sleep with "
        "`orchestrator sleep PROJECT`, or raise max_awake."
    )


def _all_of_pool(fleet: Fleet, name: str, pool: PoolSpec) -> str:
    return (
        f"All {pool.max_machines} machines of the pool {name} (its max_machines) are {_held(_held_longest(fleet, name))} "
        f"Release one, or allow more with `orchestrator scale --pool {name} --max-machines N`."
    )


def _all_of_fleet(fleet: Fleet, limit: int) -> str:
    return (
        f"All {limit} machines (max_machines) are {_held(_held_longest(fleet))} "
        "Release one, or allow more with `orchestrator scale --limit N`."
    )


def _held(longest: list[str]) -> str:
    if not longest:
        return "in use."
    *others, last = longest
    names = f"{', '.join(others)} and {last}" if others else last
    return f"held by projects. Held longest: {names}."


def _held_longest(fleet: Fleet, pool: str | None = None) -> list[str]:
    """The projects that have had their machines for longest, if projects hold all machines of the pool or of the fleet.

    Empty if they do not: then some machine comes, goes or is idle.
    """
    slots = fleet.slots_held if pool is None else fleet.slots_held_by(pool)
    if (len(fleet.projects) if pool is None else fleet.assigned_in(pool)) < slots:
        return []
    assigned = (fleet.machines[machine_id] for machine_id in fleet.projects.values())
    held = [machine for machine in assigned if not machine.gone and pool in {None, machine.pool}]
    if len(held) < slots:
        return []
    return [machine.project or "" for machine in nsmallest(MOST_NAMED, held, key=lambda machine: machine.generation)]
