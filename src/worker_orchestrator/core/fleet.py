"""The fleet in memory: every machine, what this process saw of it, who waits for one, and the only way to change it.

Like the whole core it has no clock, no randomness and no I/O: `now`, in monotonic seconds, comes in as data. A decision
applies its changes at once and leaves them in `Fleet.pending`. The shell stores them, or undoes them in reverse order::

                apply                    take_pending            stored
    decision ─────────► Fleet.pending ─────────────────► shell ─────────► replies, and actions of the engine
                                                          │ failed
                                                          └─────► undo
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core import reasons
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.lease import Asked, EndsBy
from worker_orchestrator.core.leased import Leased, has_changed_hands
from worker_orchestrator.core.machine import GIVES_UP_PROJECT, TOMBSTONES_KEPT, Cause, Change, Machine, State
from worker_orchestrator.core.pool import Brake, Pool
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.watch import Watch

__all__ = ["Fleet"]

_READY: Final = State.READY
_REMOVED: Final = Cause.REMOVED
_ADOPTED: Final = Cause.ADOPTED

_STOPS = frozenset({State.SLEEPING, State.STOPPING})
_RESTARTS = (reasons.RESTART_REQUESTED, reasons.RESTART_REQUESTED_BEFORE, reasons.WOKEN_EARLY, reasons.NETWORK_LOST)


class Fleet(Leased):
    """All machines with their indexes. The only way to change one is `apply`."""

    def __init__(self, owner: str, *, generation: int = 0, last_port: int | None = None) -> None:
        super().__init__()
        self.owner = owner  # the label on our instances
        self.generation = generation  # the last one that was given; never given again, even if its change is undone
        self.last_port = last_port  # the last host port that was given
        self.refused_ports: dict[int, float] = {}  # port -> until when it is left alone, as another process has it
        self.orphan_retries: dict[str, tuple[int, float]] = {}  # refused removals of orphans: tries, and the next one
        self.left_ports: dict[int, float] = {}  # port that a project had -> when its machine left it, the oldest first
        self.tombstones: dict[str, None] = {}  # ids of buried machines (see `Change`), the oldest first
        self.pools: dict[str, Pool] = {}  # by name, whether or not the settings name them
        self.keys: dict[str, int | None] = {}  # how many machines the projects of each key may have (`core/key.py`)
        self.waiting: dict[str, str] = {}  # project -> the one pool in whose line it stands
        self.asked: dict[str, Asked] = {}  # by project in line: what it asked for, where it asked for something
        self.wakers: dict[str, None] = {}  # projects whose machines sleep until there is room, the first to ask first
        self.last_ticket = 0  # the last place in line that was given: they are numbered over all pools
        self.sized_for: Spec | None = None  # by it each pool has the right size that is not in one of the next two
        self.unsettled: set[str] = set()  # pools of which something changed, or that do not have yet what they lack
        self.crowded_out: set[str] = set()  # pools that lack nothing but a place in the fleet
        self.pool_order: dict[str, int] = {}  # the place of each pool in that spec
        self.pending: list[Change] = []  # made and not stored yet, the oldest first
        self.hurried: list[str] = []  # machines whose workers must end now; the shell empties it
        self.doubted: set[str] = set()  # ids of READY machines that may have ended; they are not handed out
        self.ailing: dict[str, str] = {}  # id -> why it cannot serve, by the last listing; all of them are doubted
        self.unlisted: set[str] = set()  # ids of machines that it was loaded with, until the first listing
        self.used: Counter[str] = Counter()  # id -> how many commands and terminals are open in it; it is not parked
        self.hears_events = True  # the engine reports each end at once; without that, an earlier answer proves nothing

    # reading

    def pool(self, name: str) -> Pool:
        """What is known about this pool; it may be one that the settings do not name."""
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = Pool()
        return pool

    def image_brake(self, pool: str, template: str | None) -> Brake | None:
        """The brake of this template's image. A brake of another template says nothing about this one."""
        brake = self.pool(pool).image_brake
        return brake if brake is not None and brake.template == template else None

    def brake_in_force(self, pool: str, template: str | None) -> Brake | None:
        """The brake that is on for this template; the one that lasts longer if both are, None if neither is."""
        brakes = (self.obstacle(pool, template), self.image_brake(pool, template))
        return max((brake for brake in brakes if brake and brake.is_on), key=lambda brake: brake.until, default=None)

    def obstacle(self, pool: str, template: str | None) -> Brake | None:
        """The brake for what prevents creates of this template from outside. Another template may work without it."""
        obstacle = self.pool(pool).obstacle
        return obstacle if obstacle is not None and obstacle.template == template else None

    def is_doubted(self, machine: Machine) -> bool:
        """Whether its container is said to have ended, or cannot serve. It is not handed out until a listing denies that."""
        return machine.id in self.doubted

    def has_come_up(self, pool: str, template: str) -> bool:
        """Whether machines of this template serve or did so until they were parked, or the last one to come up was of it."""
        serve = self.idle(pool, template) or self.parked(pool, template)
        return bool(serve) or self.pool(pool).proven_template == template

    def is_port_taken(self, port: int) -> bool:
        return ("", port) in self.ports or port in self.refused_ports

    # changing

    def load(self, machines: Iterable[Machine], tombstones: Iterable[str], now: float) -> None:
        """Take over what the store holds. Deadlines begin anew; nothing counts as verified."""
        assert not self.machines, "a fleet is loaded once"
        self.tombstones.update(dict.fromkeys(tombstones))
        for machine in machines:
            self.watches[machine.id] = Watch(born=now, since=now, state_since=now)
            self._add_to_indexes(machine)
            self.unlisted.add(machine.id)
            self._follow_lease(None, machine, now)
            self.watches[machine.id].ends_gently = machine.state is State.STOPPING and machine.generation > 0
            self.watches[machine.id].restart_requests = _restart_requests(machine)
            if machine.state in {_READY, State.PARKED, State.SLEEPING}:
                self.watches[machine.id].ready_at = -math.inf  # long ago, as far as we know
            if machine.state in {_READY, State.PARKED}:
                self.pool(machine.pool).proven_template = machine.template
            self.watches[machine.id].may_be_paused_late = machine.state is State.PARKED
            if machine.reason == reasons.UNPARKED_FOR_CHECK:
                self.pool(machine.pool).checked = machine.id

    def apply(
        self,
        before: Machine | None,
        after: Machine | None,
        cause: Cause,
        now: float,
        failure: FailureKind | None = None,
        deadline: EndsBy | None = None,
    ) -> Change:
        """Make one change, and keep it in `pending` until the shell takes it to store it.

        `failure` and `deadline` are those of the change. If what its project configured it with is lost by it, that is a
        change of its own right before this one. So the machine is as `Change.after` says then, and not as `after` does.
        """
        if after is not None and after.configuration is not None and before is not None and after.loses_memory:
            before = self.unconfigure(before, now)
            after = replace(after, configuration=before.configuration)
        buries = (after is None or cause is _REMOVED) and self._buries(before, after, cause)
        change = Change(before, after, cause, buries, failure, deadline)
        machine_id = change.machine.id
        known = self.machines.get(machine_id)
        assert before is None or known is before or known == before, f"{machine_id}: decided on an old state"
        assert before is not None or known is None, f"{machine_id}: exists already"
        self._set_machine(machine_id, after, now)
        if change.buries:
            self.tombstones[machine_id] = None
            if len(self.tombstones) > TOMBSTONES_KEPT:
                del self.tombstones[next(iter(self.tombstones))]
        elif after is not None and after.state is _READY and (before is None or before.state is not _READY):
            self._note_came_up(after, now)
        if cause is _ADOPTED:
            self.tombstones.pop(machine_id, None)  # its container is wanted again
        self.pending.append(change)
        return change

    def unconfigure(self, machine: Machine, now: float) -> Machine:
        """Note that a project's machine has lost its configuration. Returns it as it is then."""
        configuration = machine.configuration
        assert configuration is not None, f"{machine.id}: only a machine that runs is configured"
        lost = replace(machine, configuration=configuration.lost(), reason=reasons.UNCONFIGURED)
        self.apply(machine, lost, Cause.UNCONFIGURED, now)
        return lost

    def _buries(self, before: Machine | None, after: Machine | None, cause: Cause) -> bool:
        """Whether this leaves a tombstone, so that a container that appears under its id later is removed.

        It does if its end was requested: the removal of a STOPPING or FAILED machine was acknowledged, or its project gave
        it up. A container that vanished by itself leaves none.
        """
        if before is None or before.id in self.tombstones:
            return False
        if after is None:
            return before.state is State.STOPPING or cause in GIVES_UP_PROJECT
        return after.holding is None  # its container was removed

    def join_line(self, pool: str, project: str, asked: Asked | None = None) -> None:
        """Let this project wait for a machine of this pool, behind all who wait in any pool, unless it waits already."""
        if project not in self.waiting:
            if asked is not None:
                self.asked[project] = asked
            self.last_ticket += 1
            self.waiting[project] = pool
            self._count_of_key(project, 1)
            self.pool(pool).line[project] = self.last_ticket
            self.unsettled.add(pool)

    def leave_line(self, project: str) -> None:
        """Forget that this project waits, for a machine or for room to wake its own."""
        self.wakers.pop(project, None)
        self._wait_for_no_other(project)

    def _wait_for_no_other(self, project: str) -> None:
        """Forget that this project waits for a machine that it does not have."""
        self.asked.pop(project, None)
        pool = self.waiting.pop(project, None)
        if pool is not None:
            del self.pools[pool].line[project]
            self._count_of_key(project, -1)

    def doubt(self, machine_id: str, until: float) -> bool:
        """Do not hand this machine out until a listing that was begun after `until` shows whether its container has ended.

        False if the machine is not READY, because then that changes nothing. A doubt decides nothing and is not stored.
        """
        machine = self.machines.get(machine_id)
        if machine is None or machine.state is not _READY:
            return False
        self.watches[machine_id].doubted_until = until
        self.doubted.add(machine_id)
        return True

    def hurry(self, machine_id: str) -> None:
        """Have the worker of this machine, which is stopping, ended without further delay."""
        if self.watches[machine_id].ends_gently:
            self.watches[machine_id].ends_gently = False
            self.hurried.append(machine_id)

    def take_listing(self, begun_at: float, ailing: Mapping[str, str]) -> None:
        """Drop the doubts that a listing begun then has answered. `ailing` says which machines cannot serve, and why."""
        if self.doubted or ailing:
            self.doubted = {one for one in self.doubted if self.watches[one].doubted_until > begun_at} | ailing.keys()
            self.ailing = dict(ailing)

    def move_to_end(self, machine: Machine) -> None:
        """Make this idle machine the one that answered last."""
        group = self.idle(machine.pool, machine.template)
        group[machine.id] = group.pop(machine.id)

    def take_pending(self) -> list[Change]:
        changes, self.pending = self.pending, []
        return changes

    def undo(self, changes: list[Change], now: float) -> None:
        """Take back changes that could not be stored, the last one first."""
        assert not self.pending, "undo what is pending in one go"
        for change in reversed(changes):
            if change.buries:
                self.tombstones.pop(change.machine.id, None)
            watch = self.watches.get(change.machine.id)
            spared_until = 0.0 if watch is None else watch.spared_until
            self._set_machine(change.machine.id, change.before, now)
            if change.before is not None:
                self.watches[change.machine.id].spared_until = spared_until  # it has not come back to life
            if change.cause in {Cause.RESTARTED, Cause.WOKEN}:
                watch = self.watches[change.machine.id]
                watch.tries = max(0, watch.tries - 1)  # it was never begun
                watch.restart_requests = max(0, watch.restart_requests - 1)
            elif change.cause is Cause.UNPARKED:
                self.watches[change.machine.id].is_paused = change.reason != reasons.PARK_REFUSED  # nobody let it go on
            elif change.before is not None and change.cause in GIVES_UP_PROJECT:
                self.watches[change.machine.id].restart_requests = _restart_requests(change.before)
            had = None if change.before is None else change.before.project
            if had is not None:
                self._wait_for_no_other(had)  # it has its machine back; who waits to wake that goes on waiting

    def _set_machine(self, machine_id: str, machine: Machine | None, now: float) -> None:
        old = self.machines.get(machine_id)
        keeps_place = False
        if old is not None:
            self.unsettled.add(old.pool)
            keeps_place = machine is not None and (
                old.port == machine.port
                and old.ports == machine.ports
                and old.host == machine.host
                and old.gone is machine.gone
            )
            self._drop_from_indexes(old, keeps_place=keeps_place)
            if not keeps_place and not old.gone and old.generation and not old.host:
                self._note_left_ports(old, now)
        if self.doubted and (old is None or machine is None or old.state is not machine.state):
            self.doubted.discard(machine_id)
            self.ailing.pop(machine_id, None)
        if self.wakers and old is not None and old.holding and (machine is None or machine.state is not old.state):
            self.wakers.pop(old.holding.project, None)
        if machine is None:
            del self.machines[machine_id], self.watches[machine_id]
            self._forget_lease(machine_id)
            return
        self._add_to_indexes(machine, keeps_place=keeps_place)
        if old is None:
            self.unsettled.add(machine.pool)
            self.watches[machine_id] = Watch(born=now, since=now, state_since=now)
        elif old.state is not machine.state or has_changed_hands(old, machine):
            watch = self.watches[machine_id]
            watch.since, watch.restart_requests = now, 0
            if old.state is not machine.state:
                watch.state_since = now
                watch.ends_gently = machine.state is State.STOPPING and old.holding is not None
                watch.tries = 0 if machine.state in _STOPS else watch.tries  # of another call
                watch.port_is_taken, watch.is_paused = False, False
                watch.misses, watch.not_before, watch.restart_acknowledged = 0, 0.0, False
                watch.missed_at, watch.missed_why, watch.doubted_until = None, "", 0.0
        holding, had = machine.holding, None if old is None else old.holding
        if (holding is not None and holding.lease is not None) or (had is not None and had.lease is not None):
            self._follow_lease(old, machine, now)

    def _note_left_ports(self, machine: Machine, now: float) -> None:
        for port in machine.host_ports:
            self.left_ports.pop(port, None)
            self.left_ports[port] = now

    def _note_came_up(self, machine: Machine, now: float) -> None:
        watch, pool = self.watches[machine.id], self.pool(machine.pool)
        if watch.ready_at is None:
            watch.ready_at = now
            pool.proven_template, pool.proven_at = machine.template, now
            brake = self.image_brake(machine.pool, machine.template)
            if brake is not None and brake.is_on:
                pool.image_brake = replace(brake, is_on=False, until=now, good_since=now)


def _restart_requests(machine: Machine) -> int:
    """1 if its row says that it must be restarted, else 0. The engine may have done so: twice is better than not at all."""
    return int(machine.state is State.STARTING and machine.reason in _RESTARTS)
