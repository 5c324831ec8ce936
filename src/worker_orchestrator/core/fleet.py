"""The fleet in memory: every machine with its indexes, what this process saw of it, and the one way to change it.

Part of the pure core: no clock, no randomness, no I/O; `now` comes in as data. A decision applies its changes at once and
leaves them in `Fleet.pending`; the shell stores them, or undoes them in reverse order.

Per machine the process also keeps a `Watch`: what it saw and when. That is never stored: after a restart it is rebuilt
from nothing, which only costs a probe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec.structs import replace

from worker_orchestrator.core.machine import (
    GIVES_UP_PROJECT,
    TOMBSTONES_KEPT,
    Cause,
    Change,
    FailureKind,
    Machine,
    State,
)

__all__ = ["RESTART_ASKED", "Backoff", "Fleet", "Pool", "Watch"]

RESTART_ASKED: Final = "restarted on request"
"""Why a machine is STARTING for its project, from the request until the engine tells of something newer."""


@dataclass(slots=True)
class Watch:
    """What this process saw of one machine, in monotonic seconds. Lost at a restart, by design."""

    born: float  # when this process first knew of it
    since: float  # when its state or project last changed
    ready_at: float | None = None  # when it first became READY
    verified_at: float | None = None  # begin of the last probe that it answered
    took_s: float = 0.0  # the last answer
    slow_s: float = 0.0  # the slowest answer of late
    missed_at: float | None = None  # begin of the last probe that it did not answer
    missed_why: str = ""
    misses: int = 0  # in a row
    tries: int = 0  # restarts or destroys that did not help
    obstructed: int = 0  # restarts in a row that a cause outside stood in the way of: they are no tries
    asked: int = 0  # how often somebody asked for a restart that the engine has not answered for yet
    restarted: bool = False  # the engine acknowledged the last restart
    not_before: float = 0.0  # the next try
    destroyed_at: float | None = None  # when the engine acknowledged its removal
    held: bool = False  # a project had it until it began to stop, so its worker is given time to end
    doubted_until: float = 0.0  # its container is said to have ended: what a listing begun before this shows is old


class Backoff(msgspec.Struct, frozen=True):
    """The brake on an image that does not come up, or on creates that a cause outside stands in the way of.

    It counts attempts, not machines.
    """

    template: str
    level: int
    raised_at: float
    until: float
    tripped: bool  # until one machine comes up, attempts go one at a time
    reason: str
    evidence: str = ""
    good_since: float | None = None  # since when nothing speaks against the image any more

    def says(self) -> str:
        """The reason for people, with the last log lines where there are any."""
        return f"{self.reason}\n{self.evidence}" if self.evidence else self.reason


@dataclass(slots=True)
class Pool:
    """What the process knows of one pool beside its machines."""

    line: dict[str, None] = field(default_factory=dict)  # projects that wait, first come first
    backoff: Backoff | None = None
    obstacle: Backoff | None = None  # while a cause outside keeps machines from being made
    proven: str | None = None  # the template that last came up
    out_of_ports: bool = False


_Group = dict[tuple[str, str | None], dict[str, None]]  # (pool, template) -> machine ids, oldest first


class Fleet:
    """All machines with their indexes. The only way to change one is `apply`."""

    def __init__(self, owner: str, *, generation: int = 0, last_port: int | None = None) -> None:
        self.owner = owner
        self.generation = generation
        self.last_port = last_port
        self.machines: dict[str, Machine] = {}
        self.watches: dict[str, Watch] = {}
        self.projects: dict[str, str] = {}
        self.ports: dict[tuple[str, int], str] = {}
        self.refused_ports: dict[int, float] = {}
        self.tombstones: dict[str, None] = {}  # ids of what we removed, oldest first; not of what vanished by itself
        self.pools: dict[str, Pool] = {}
        self.pending: list[Change] = []
        self.hurried: list[str] = []  # machines whose workers shall end now, for the shell to see to
        self._idle: _Group = {}
        self._coming: _Group = {}
        self._leaving: dict[str, dict[str, None]] = {}
        self._held = 0
        self.doubted: set[str] = set()
        self.ailing: dict[str, str] = {}  # why a machine cannot serve, as the last listing showed; all are doubted
        self.hears = True  # the engine tells of each end at once; while it does not, an answer of before proves nothing

    # reading

    @property
    def held(self) -> int:
        """Machines that hold a slot of `max_machines`: all whose container is not known to be gone."""
        return self._held

    def pool(self, name: str) -> Pool:
        found = self.pools.get(name)
        if found is None:
            found = self.pools[name] = Pool()
        return found

    def brake(self, pool: str, template: str | None) -> Backoff | None:
        """The brake on this template; what another one did says nothing of it."""
        backoff = self.pool(pool).backoff
        return backoff if backoff is not None and backoff.template == template else None

    def hold(self, pool: str, template: str | None) -> Backoff | None:
        """What lets machines of this template be tried only one by one, and when: the image's brake, or a cause outside.

        The one that lasts longer; None where nothing does.
        """
        held = [
            one
            for one in (self.obstacle(pool, template), self.brake(pool, template))
            if one is not None and one.tripped
        ]
        return max(held, key=lambda one: one.until, default=None)

    def obstacle(self, pool: str, template: str | None) -> Backoff | None:
        """The cause outside that keeps machines of this template from being made; another template may do without."""
        obstacle = self.pool(pool).obstacle
        return obstacle if obstacle is not None and obstacle.template == template else None

    def of_project(self, project: str) -> Machine | None:
        machine_id = self.projects.get(project)
        return None if machine_id is None else self.machines[machine_id]

    def pools_with_idle(self) -> set[str]:
        """Names of the pools that have idle machines, whether or not the settings name them."""
        return {pool for (pool, _), ids in self._idle.items() if ids}

    def idle(self, pool: str, template: str | None) -> dict[str, None]:
        """Ids of the pool's idle machines of this template, the one that came in or answered longest ago first."""
        return self._idle.get((pool, template), {})

    def is_doubted(self, machine: Machine) -> bool:
        """Whether the container of a machine that is READY is said to have ended, and no listing has shown it yet."""
        return machine.id in self.doubted

    def coming(self, pool: str, template: str | None) -> dict[str, None]:
        """Ids of the pool's machines of this template that are on their way to becoming idle."""
        return self._coming.get((pool, template), {})

    def has_stale(self, pool: str, template: str | None) -> bool:
        """Whether `stale` yields anything."""
        return any(ids and name == pool and made_of != template for (name, made_of), ids in self._idle.items())

    def has_come_up(self, pool: str, template: str) -> bool:
        """Whether machines of this template serve, or the last one to come up was of it."""
        return bool(self.idle(pool, template)) or self.pool(pool).proven == template

    def stale(self, pool: str, template: str | None) -> Iterator[str]:
        """Ids of the pool's idle machines of every other template, oldest first within one."""
        for (name, made_of), ids in self._idle.items():
            if name == pool and made_of != template:
                yield from ids

    def is_port_taken(self, port: int) -> bool:
        return ("", port) in self.ports or port in self.refused_ports

    def leaving(self, pool: str) -> dict[str, None]:
        """Ids of the pool's machines that are about to make room: their containers are being removed."""
        return self._leaving.get(pool, {})

    # changing

    def load(self, machines: Iterable[Machine], tombstones: Iterable[str], now: float) -> None:
        """Take over what the store holds. Deadlines begin anew; nothing counts as verified."""
        assert not self.machines, "a fleet is loaded once"
        self.tombstones.update(dict.fromkeys(tombstones))
        for machine in machines:
            self.watches[machine.id] = Watch(born=now, since=now)
            self._enter(machine)
            self.watches[machine.id].held = machine.state is State.STOPPING and machine.generation > 0
            self.watches[machine.id].asked = _is_asked(machine)
            if machine.state is State.READY:
                self.watches[machine.id].ready_at = -math.inf  # long ago, as far as we know
                self.pool(machine.pool).proven = machine.template

    def apply(
        self,
        before: Machine | None,
        after: Machine | None,
        cause: Cause,
        now: float,
        failure: FailureKind | None = None,
    ) -> Change:
        """Make one move, and keep it in `pending` until the shell stored it. `failure`: which kind a move to FAILED is."""
        buries = (after is None or cause is Cause.REMOVED) and self._buries(before, after, cause)
        change = Change(before, after, cause, buries, failure)
        machine_id = change.machine.id
        assert before is None or self.machines.get(machine_id) == before, f"{machine_id}: decided on an old state"
        assert before is not None or machine_id not in self.machines, f"{machine_id}: exists already"
        self._put(machine_id, after, now)
        if change.buries:
            self.tombstones[machine_id] = None
            if len(self.tombstones) > TOMBSTONES_KEPT:
                del self.tombstones[next(iter(self.tombstones))]
        elif after is not None and after.state is State.READY and (before is None or before.state is not State.READY):
            self._came_up(after, now)
        if cause is Cause.ADOPTED:
            self.tombstones.pop(machine_id, None)  # whoever adopts it wants it kept
        self.pending.append(change)
        return change

    def _buries(self, before: Machine | None, after: Machine | None, cause: Cause) -> bool:
        """Whether this leaves a tombstone, so that whatever turns up under its id is destroyed: somebody wanted its end.

        The engine acknowledged that what was STOPPING or FAILED is removed, or who had it gave it up. A container that
        vanished by itself is forgotten without one.
        """
        if before is None or before.id in self.tombstones:
            return False
        if after is None:
            return before.state is State.STOPPING or cause in GIVES_UP_PROJECT
        return cause is Cause.REMOVED and after.project is None

    def doubt(self, machine_id: str, until: float) -> bool:
        """Somebody says that its container has ended: until a listing tells what became of it, it is not handed out.

        False where that means nothing: a hint decides nothing about a machine, and is not stored.
        """
        machine = self.machines.get(machine_id)
        if machine is None or machine.state is not State.READY:
            return False
        self.watches[machine_id].doubted_until = until
        self.doubted.add(machine_id)
        return True

    def hurry(self, machine_id: str) -> None:
        """Let the worker of this machine, which is stopping, end at once."""
        if self.watches[machine_id].held:
            self.watches[machine_id].held = False
            self.hurried.append(machine_id)

    def listed(self, begun_at: float, ailing: Mapping[str, str]) -> None:
        """A listing that was begun then has told of every machine, and of these why they cannot serve."""
        if self.doubted or ailing:
            doubted = {name for name in self.doubted if self.watches[name].doubted_until > begun_at}
            self.doubted = doubted | ailing.keys()
            self.ailing = dict(ailing)

    def put_last(self, machine: Machine) -> None:
        """Let this idle machine be the one that answered last."""
        group = self.idle(machine.pool, machine.template)
        del group[machine.id]
        group[machine.id] = None

    def take_pending(self) -> list[Change]:
        changes, self.pending = self.pending, []
        return changes

    def undo(self, changes: list[Change], now: float) -> None:
        """Take back changes that could not be stored, the last one first."""
        assert not self.pending, "undo what is pending in one go"
        for change in reversed(changes):
            if change.buries:
                self.tombstones.pop(change.machine.id, None)
            self._put(change.machine.id, change.before, now)
            if change.cause is Cause.RESTARTED:
                watch = self.watches[change.machine.id]
                watch.tries -= 1  # it was never begun
                watch.asked = max(0, watch.asked - 1)
            elif change.before is not None and change.cause in GIVES_UP_PROJECT:
                self.watches[change.machine.id].asked = _is_asked(change.before)
            if change.before is not None and change.before.project is not None:
                for pool in self.pools.values():
                    pool.line.pop(change.before.project, None)  # it has its machine back

    def _put(self, machine_id: str, machine: Machine | None, now: float) -> None:
        old = self.machines.get(machine_id)
        if old is not None:
            self._leave(old)
        if self.doubted and (old is None or machine is None or old.state is not machine.state):
            self.doubted.discard(machine_id)
            self.ailing.pop(machine_id, None)
        if machine is None:
            del self.machines[machine_id], self.watches[machine_id]
            return
        self._enter(machine)
        if old is None:
            self.watches[machine_id] = Watch(born=now, since=now)
        elif old.state is not machine.state or old.project != machine.project:
            watch = self.watches[machine_id]
            watch.since, watch.asked = now, 0
            if old.state is not machine.state:
                watch.held = machine.state is State.STOPPING and old.project is not None
                watch.tries = 0 if machine.state is State.STOPPING else watch.tries  # of another call
                watch.misses, watch.not_before, watch.restarted = 0, 0.0, False
                watch.missed_at, watch.missed_why = None, ""

    def _enter(self, machine: Machine) -> None:
        """Into the table and every index."""
        if machine.project is not None:
            assert machine.project not in self.projects, f"project {machine.project} has a machine already"
            self.projects[machine.project] = machine.id
        if machine.port is not None and not machine.gone:
            address = (machine.host, machine.port)
            assert address not in self.ports, f"port {machine.port} belongs to {self.ports.get(address)}"
            self.ports[address] = machine.id
        self.machines[machine.id] = machine
        self._held += not machine.gone
        group = self._group(machine)
        if group is not None:
            group[machine.id] = None

    def _leave(self, machine: Machine) -> None:
        """Out of every index."""
        if machine.project is not None:
            del self.projects[machine.project]
        if machine.port is not None and not machine.gone:
            del self.ports[machine.host, machine.port]
        self._held -= not machine.gone
        group = self._group(machine)
        if group is not None:
            del group[machine.id]

    def _group(self, machine: Machine) -> dict[str, None] | None:
        """The index of machines of its kind; None where nobody looks for those."""
        if machine.project is not None:
            return None
        if machine.state is State.READY:
            return self._idle.setdefault((machine.pool, machine.template), {})
        if machine.state is State.STARTING:
            return self._coming.setdefault((machine.pool, machine.template), {})
        return self._leaving.setdefault(machine.pool, {}) if machine.is_leaving else None

    def _came_up(self, machine: Machine, now: float) -> None:
        watch, pool = self.watches[machine.id], self.pool(machine.pool)
        if watch.ready_at is None:
            watch.ready_at = now
            pool.proven = machine.template
            brake = self.brake(machine.pool, machine.template)
            if brake is not None and brake.tripped:
                pool.backoff = replace(brake, tripped=False, until=now, good_since=now)


def _is_asked(machine: Machine) -> int:
    """How often its row says that it is to be restarted, whether or not the engine has done so: twice is better than not."""
    return int(machine.state is State.STARTING and machine.reason == RESTART_ASKED)
