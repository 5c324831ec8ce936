"""From changes of the core to what is written. Pure.

Changes that have a machine or a project in common belong to one transaction, and others do not wait for it. What counts is
how a machine was before the first of them and how it is after the last: what happened in between nobody was told of. In this
order, whatever a crash leaves behind says which of two projects has a machine::

    pods say that they are free                  from here on nobody has them
    Leases end whose names are needed again
    Leases are made                              a name that is taken ends it here: nothing was given
    pods say whose they are                      here an assignment comes into force
    other Leases end, or say what is new

An assignment is two writes, and none of them reads before: the version of the pod is the one that was last heard of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from worker_orchestrator.core.machine import Change, Machine, State

__all__ = ["EndLease", "FreePod", "GivePod", "KeepLease", "MakeLease", "Transaction", "Write", "transactions"]


class FreePod(msgspec.Struct, frozen=True):
    """The pod of this machine says that no project has it, or that it is to be removed."""

    machine: Machine


class EndLease(msgspec.Struct, frozen=True):
    """The Lease of this project is removed."""

    project: str


class MakeLease(msgspec.Struct, frozen=True):
    """A Lease is made for the project that gets this machine."""

    machine: Machine


class GivePod(msgspec.Struct, frozen=True):
    """The pod of this machine says which project has it."""

    machine: Machine


class KeepLease(msgspec.Struct, frozen=True):
    """The Lease of the project that has this machine says how that is now."""

    machine: Machine


Write = FreePod | EndLease | MakeLease | GivePod | KeepLease


class Transaction(msgspec.Struct, frozen=True):
    """Changes that are stored together or not at all, and the writes that do it, in their order."""

    changes: tuple[Change, ...]
    writes: tuple[Write, ...]


def transactions(changes: Sequence[Change]) -> list[Transaction]:
    """These changes, the oldest first, as transactions that have nothing in common."""
    return [Transaction(tuple(group), tuple(_writes(group))) for group in _groups(changes)]


def _groups(changes: Sequence[Change]) -> list[list[Change]]:
    """Changes that belong together, in their order."""
    group_of: dict[str, list[Change]] = {}  # by what they are about; a project's key cannot be a machine's
    for change in changes:
        others = {id(group_of[key]): group_of[key] for key in _concerned(change) if key in group_of}
        group = [*chain.from_iterable(others.values()), change]
        for key in dict.fromkeys(key for each in group for key in _concerned(each)):
            group_of[key] = group
    unique = {id(group): group for group in group_of.values()}
    order = {id(change): number for number, change in enumerate(changes)}
    return [sorted(group, key=lambda change: order[id(change)]) for group in unique.values()]


def _concerned(change: Change) -> Iterator[str]:
    yield f"machine {change.machine.id}"
    for machine in (change.before, change.after):
        if machine is not None and machine.project is not None:
            yield f"project {machine.project}"


def _writes(group: Iterable[Change]) -> Iterator[Write]:
    first: dict[str, Machine | None] = {}
    last: dict[str, Machine | None] = {}
    for change in group:
        first.setdefault(change.machine.id, change.before)
        last[change.machine.id] = change.after
    pairs = [(first[name], last[name]) for name in first]
    kept = [(before, after) for before, after in pairs if _goes_on(before, after)]
    others = [(before, after) for before, after in pairs if not _goes_on(before, after)]
    ended = [before.project for before, _ in others if before is not None and before.project is not None]
    begun = [after for _, after in others if after is not None and after.holding is not None]
    needed = {after.project for after in begun}
    yield from (FreePod(after) for before, after in others if after is not None and _is_freed(before, after))
    yield from (EndLease(project) for project in ended if project in needed)
    yield from map(MakeLease, begun)
    yield from map(GivePod, begun)
    yield from (EndLease(project) for project in ended if project not in needed)
    yield from (KeepLease(after) for before, after in kept if after is not None and after != before)


def _goes_on(before: Machine | None, after: Machine | None) -> bool:
    """Whether a project had the machine and has it still, by the same assignment."""
    if before is None or after is None or before.holding is None or after.holding is None:
        return False
    return (before.project, before.generation) == (after.project, after.generation)


def _is_freed(before: Machine | None, after: Machine) -> bool:
    """Whether its pod has to say so: a project has left it, it is to be removed, or it is clean again."""
    if after.holding is not None or after.gone:
        return False
    if before is None:
        return after.state is State.STOPPING
    was, now = (before.state is State.STOPPING, before.is_dirty), (after.state is State.STOPPING, after.is_dirty)
    return before.holding is not None or was != now
