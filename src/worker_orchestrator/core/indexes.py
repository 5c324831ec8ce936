"""Where the machines of a fleet are found: by project, by address, and in their pool by what they are.

All of it is derived from the table of machines, so nothing of it is stored, and only `Fleet.apply` and `Fleet.undo` change
it. What an assign, a release or the size of a pool needs is one look-up here, however many machines there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.project import BEHIND_KEY
from worker_orchestrator.core.reasons import UNPARKED_FOR_CHECK

__all__ = ["Indexes", "Members"]

_READY: Final = State.READY
_SLEEPING: Final = State.SLEEPING
_STARTING: Final = State.STARTING
_PARKED: Final = State.PARKED

_Ids = dict[str, None]  # ids of machines, oldest first


@dataclass(slots=True)
class Members:
    """The machines of one pool. A free machine is in one of the four at most."""

    idle: dict[str | None, _Ids] = field(default_factory=dict)  # by template; none is empty
    coming: dict[str | None, _Ids] = field(default_factory=dict)  # by template; none is empty
    parked: dict[str | None, _Ids] = field(default_factory=dict)  # by template; none is empty
    leaving: _Ids = field(default_factory=dict)
    count: int = 0  # all that are on record
    slots_held: int = 0
    assigned: int = 0  # those that a project has


_NOBODY = Members()  # of a pool without machines; it is never changed
_NO_IDS: _Ids = {}  # never changed either


class Indexes:
    """The table of machines with its indexes."""

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}  # by id
        self.projects: dict[str, str] = {}  # project -> id of the one machine that it has
        self.ports: dict[tuple[str, int], str] = {}  # (host, port) -> id of the one machine there that is not gone
        self._members: dict[str, Members] = {}  # by pool
        self.pool_names: AbstractSet[str] = self._members.keys()  # of all machines on record
        self.slots_held = 0  # of `max_machines`: one by each machine whose container is not known to be gone
        self._of_keys: dict[str, int] = {}  # projects that have a machine or wait for one, by the name before their `:`
        self._asleep = 0
        self.unparking = 0  # machines that were parked and do not answer yet
        self.falling_asleep = 0  # machines whose containers are being stopped, so that they sleep

    @property
    def awake(self) -> int:
        """How many of these are held by machines that are not asleep. One counts until its container has stopped."""
        return self.slots_held - self._asleep

    def members(self, pool: str) -> Members:
        """The machines of this pool by what they are, to be read only."""
        return self._members.get(pool, _NOBODY)

    def count_of_key(self, key: str) -> int:
        """How many projects of this key have a machine, or wait for one."""
        return self._of_keys.get(key, 0)

    def slots_held_by(self, pool: str) -> int:
        """How many of these the machines of this pool hold."""
        return self._members.get(pool, _NOBODY).slots_held

    def assigned_in(self, pool: str) -> int:
        """How many machines of this pool a project has, whatever their state."""
        return self._members.get(pool, _NOBODY).assigned

    def of_project(self, project: str) -> Machine | None:
        machine_id = self.projects.get(project)
        return None if machine_id is None else self.machines[machine_id]

    def idle(self, pool: str, template: str | None) -> dict[str, None]:
        """Ids of the pool's idle machines of this template. The first is the one that came in or answered longest ago."""
        return self._members.get(pool, _NOBODY).idle.get(template, _NO_IDS)

    def coming(self, pool: str, template: str | None) -> dict[str, None]:
        """Ids of the pool's machines of this template that are on their way to becoming idle."""
        return self._members.get(pool, _NOBODY).coming.get(template, _NO_IDS)

    def count_coming(self, pool: str) -> int:
        """How many machines of the pool, of any template, are on their way to becoming idle."""
        return sum(map(len, self._members.get(pool, _NOBODY).coming.values()))

    def out_of_reserve(self, pool: str) -> list[Machine]:
        """The machines of the pool, of any template, that were parked and do not answer yet."""
        if not self.unparking:
            return []
        coming = (self.machines[one] for ids in self._members.get(pool, _NOBODY).coming.values() for one in ids)
        return [machine for machine in coming if machine.is_unparking]

    def parked(self, pool: str, template: str | None) -> dict[str, None]:
        """Ids of the pool's parked machines of this template, the first to be parked first."""
        return self._members.get(pool, _NOBODY).parked.get(template, _NO_IDS)

    def count_checked(self, pool: str, template: str | None) -> int:
        """How many machines of this template are out of the pool's reserve only to show that they still answer."""
        out = self.out_of_reserve(pool)
        return sum(machine.template == template and machine.reason == UNPARKED_FOR_CHECK for machine in out)

    def has_reserve(self, pool: str) -> bool:
        """Whether the pool has a parked machine, or one that was parked and is about to answer."""
        return bool(self._members.get(pool, _NOBODY).parked or self.out_of_reserve(pool))

    def all_parked(self, pool: str) -> Iterator[str]:
        """Ids of the pool's parked machines of every template."""
        return chain.from_iterable(self._members.get(pool, _NOBODY).parked.values())

    def stale_parked(self, pool: str, template: str | None) -> Iterator[str]:
        """Ids of the pool's parked machines of every other template."""
        groups = self._members.get(pool, _NOBODY).parked
        return chain.from_iterable(ids for made_of, ids in groups.items() if made_of != template)

    def has_stale(self, pool: str, template: str | None) -> bool:
        """Whether `stale` yields anything."""
        templates = self._members.get(pool, _NOBODY).idle
        return len(templates) > (template in templates)

    def stale(self, pool: str, template: str | None) -> Iterator[str]:
        """Ids of the pool's idle machines of every other template, oldest first within one."""
        for made_of, ids in self._members.get(pool, _NOBODY).idle.items():
            if made_of != template:
                yield from ids

    def count_idle(self, pool: str) -> int:
        """How many idle machines of any template the pool has."""
        return sum(map(len, self._members.get(pool, _NOBODY).idle.values()))

    def first_idle(self, pool: str) -> list[str]:
        """Of each template of which the pool has idle machines, the one that came in or answered longest ago."""
        return [next(iter(ids)) for ids in self._members.get(pool, _NOBODY).idle.values()]

    def leaving(self, pool: str) -> dict[str, None]:
        """Ids of the pool's machines whose containers are being removed, which will make room."""
        return self._members.get(pool, _NOBODY).leaving

    def all_leaving(self) -> list[str]:
        """Ids of the machines of all pools, also of those that are in no settings, whose containers are being removed."""
        return [machine_id for members in self._members.values() for machine_id in members.leaving]

    def _add_to_indexes(self, machine: Machine, *, keeps_place: bool = False) -> None:
        """Add a machine to the table and to every index. `keeps_place`: its slot and its ports were not taken from it."""
        members = self._members.get(machine.pool)
        if members is None:
            members = self._members[machine.pool] = Members()
        members.count += 1
        if machine.holding is not None:
            project = machine.holding.project
            assert project not in self.projects, f"project {project} has a machine already"
            self.projects[project] = machine.id
            if BEHIND_KEY in project:
                self._count_of_key(project, 1)
            members.assigned += 1
            if machine.state is _SLEEPING:
                self._count_sleeping(machine, 1)
        if not (keeps_place or machine.gone):
            for port in machine.host_ports:
                address = (machine.host, port)
                assert address not in self.ports, f"port {port} belongs to {self.ports.get(address)}"
                self.ports[address] = machine.id
            self.slots_held += 1
            members.slots_held += 1
        self.machines[machine.id] = machine
        if machine.holding is None:
            groups = _groups(members, machine)
            if groups is not None:
                groups.setdefault(machine.template, {})[machine.id] = None
                self.unparking += groups is members.coming and machine.is_unparking
            elif machine.is_leaving:
                members.leaving[machine.id] = None

    def _count_of_key(self, project: str, by: int) -> None:
        key, separator, _ = project.partition(BEHIND_KEY)
        if not separator:
            return
        count = self._of_keys.pop(key, 0) + by
        assert count >= 0, f"{key}: fewer projects than none"
        if count:
            self._of_keys[key] = count

    def _count_sleeping(self, machine: Machine, by: int) -> None:
        if machine.is_asleep:
            self._asleep += by
        else:
            self.falling_asleep += by

    def _drop_from_indexes(self, machine: Machine, *, keeps_place: bool) -> None:
        """Remove a machine from every index. `keeps_place`: it will hold the same slot and the same ports."""
        members = self._members[machine.pool]
        if machine.holding is not None:
            del self.projects[machine.holding.project]
            if BEHIND_KEY in machine.holding.project:
                self._count_of_key(machine.holding.project, -1)
            members.assigned -= 1
            if machine.state is _SLEEPING:
                self._count_sleeping(machine, -1)
        if not (keeps_place or machine.gone):
            for port in machine.host_ports:
                del self.ports[machine.host, port]
            self.slots_held -= 1
            members.slots_held -= 1
        if machine.holding is None:
            groups = _groups(members, machine)
            if groups is not None:
                _drop(groups, machine)
                self.unparking -= groups is members.coming and machine.is_unparking
            elif machine.is_leaving:
                del members.leaving[machine.id]
        members.count -= 1
        if not (members.count or keeps_place):
            del self._members[machine.pool]  # else each assign would look for machines of pools that are long gone


def _groups(members: Members, machine: Machine) -> dict[str | None, _Ids] | None:
    """Those of the four, by template, to which this free machine belongs; None if it is leaving or gone."""
    state = machine.state
    if state is _READY:
        return members.idle
    if state is _STARTING:
        return members.coming
    return members.parked if state is _PARKED else None


def _drop(groups: dict[str | None, _Ids], machine: Machine) -> None:
    group = groups[machine.template]
    del group[machine.id]
    if not group:
        del groups[machine.template]
