"""One seed, one history of several pools in one fleet that is too small for them, while the settings change.

It is the pure core with a small engine. Every decision is followed by what the shell does after it: the pools are sized,
those for whom nothing can come are turned away, and the batch is stored, lost, or left open. After each step all that must
hold is checked; at the end nothing goes wrong any more, and the fleet comes to rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final
from unittest.mock import patch

from msgspec.structs import replace
from tests.simulation.pool_rules import Before, limits, reserve, sizing
from tests.unit.core.build import assert_indexes_hold

from worker_orchestrator.core import commands, configure, due_actions, outcomes, reasons, reconcile, waiting_line
from worker_orchestrator.core.action import Action, Clean, Create, Destroy, Outcome, Park, Restart, Result, Stop, Unpark
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Snapshot, Status, Verdict
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.sizing import note_taken_away, resize, resize_all
from worker_orchestrator.core.spec import DEFAULT_POOL, PoolSpec, Spec
from worker_orchestrator.core.wanted import wanted
from worker_orchestrator.errors import MachineFailed, NoMachineAvailable, OtherPool, PoolNotFound

__all__ = ["History", "Violated", "live"]

OWNER: Final = "owner"
NAMES: Final = (DEFAULT_POOL, "node20", "node22", "python")
ROUNDS: Final = 60
ROUND_S: Final = 15.0
LATE_S: Final = 1e-6
LOOKS_AT_ALL: Final = 5
"""Each time that the pools were sized so often, it is compared with what a look at all of them would have decided."""
MOST_PORTS: Final = 3
"""That a machine may need: the range has as many at least, or the settings would be refused."""


class Violated(AssertionError):
    """Something does not hold."""


@dataclass(slots=True)
class Engine:
    """What runs: the status of each container, and what is wrong with the image of a template."""

    containers: dict[str, Instance] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # templates whose containers exit at once
    memory: dict[str, tuple[int, str]] = field(default_factory=dict)  # generation and digest of what is in a container

    def land(self, action: Action) -> Result:
        match action:
            case Create(machine):
                status = Status.EXITED if machine.template in self.broken else Status.RUNNING
                made = Instance(machine.id, OWNER, machine.pool, machine.template, status, port=machine.port)
                self.containers[machine.id] = replace(made, ports=machine.ports)
            case Restart(machine_id):
                if machine_id not in self.containers:
                    return Result.REJECTED
                self.becomes(machine_id, Status.RUNNING)
            case Destroy(machine_id):
                self.containers.pop(machine_id, None)
                self.memory.pop(machine_id, None)
            case Clean(machine_id):
                if machine_id not in self.containers:
                    return Result.REJECTED
                self.becomes(machine_id, Status.EXITED)
                self.becomes(machine_id, Status.RUNNING)
            case Stop(machine_id) if machine_id in self.containers:
                self.becomes(machine_id, Status.EXITED)
            case Park(machine_id) | Unpark(machine_id):
                return self._switch(machine_id, Status.PAUSED if isinstance(action, Park) else Status.RUNNING)
        return Result.DONE

    def _switch(self, machine_id: str, status: Status) -> Result:
        """Pause it, or let it go on. What is on no network stays so."""
        found = self.containers.get(machine_id)
        if found is None or found.status not in {Status.RUNNING, Status.PAUSED}:
            return Result.REJECTED
        self.becomes(machine_id, status, found.trouble)
        return Result.DONE

    def write(self, machine_id: str, generation: int, digest: str) -> bool:
        """Have this in the memory of the container, if that runs."""
        found = self.containers.get(machine_id)
        if found is None or found.status is not Status.RUNNING:
            return False
        self.memory[machine_id] = (generation, digest)
        return True

    def becomes(self, machine_id: str, status: Status, trouble: str = "") -> None:
        if status is Status.EXITED:
            self.memory.pop(machine_id, None)
        self.containers[machine_id] = replace(self.containers[machine_id], status=status, trouble=trouble)


@dataclass(slots=True)
class SetUp:
    """A machine that is being configured: as it was when that began, and whether that is stored."""

    begun: Machine
    is_stored: bool = False


def live(seed: int) -> list[str]:
    """Live through the history of this seed. Returns what happened. Raises Violated, with all of it."""
    return History(random.Random(f"pools {seed}")).lived()


def _copy_of(fleet: Fleet) -> Fleet:
    """The same fleet once more."""
    copy = deepcopy(fleet, {id(fleet.pool_names): set(), id(fleet.sized_for): fleet.sized_for})
    copy.pool_names = copy._members.keys()
    return copy


class History:
    """What happens, by chance, and the checks."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.now, self.made, self.templates = chance, 1000.0, 0, 0
        self.events: list[str] = []
        self.engine, self.fleet = Engine(), Fleet(OWNER)
        self.flights: dict[str, Action] = {}
        self.held: dict[str, int] = {}  # slots by pool after the last step; of all under ""
        self.too_many_since: dict[str, float] = {}
        self.surplus_since: dict[str, float] = {}  # the same, whatever a lost batch took back
        self.stored_surplus_since: dict[str, float] = {}
        self.shed_since: dict[str, float] = {}  # when a pool ceased to shrink
        self.unneeded_since: dict[str, float] = {}  # since when it has idle machines that were for its reserve alone
        self.resized = 0
        self.untold: set[str] = set()  # projects that were served and have not heard of it
        self.set_ups: dict[str, SetUp] = {}  # one for each machine at a time
        self.landing: list[tuple[str, int, str]] = []  # what may yet be written, after whoever wrote it gave up
        self.late: list[Action] = []  # pauses and their ends that may yet be carried out, after we gave up
        self.paused_by_others: set[str] = set()
        self.went_on_at: dict[str, float] = {}  # by machine: when it was last decided that it comes out of the reserve
        self.answered_at: dict[str, float] = {}  # and when it last answered
        names = NAMES[: chance.randint(2, 4)]
        self.dropped: dict[str, PoolSpec] = {}  # pools that the settings do not name for the time being
        limit = chance.randint(2, 9)
        first_port = chance.choice([None, None, 9000])
        pools = {name: self._draw_pool(name) for name in names}
        ports = limit * max(pool.port_count for pool in pools.values()) if chance.random() < 0.5 else limit
        last_port = 8999 + max(MOST_PORTS, ports + chance.choice([-1, 0, 0, 5]))
        self.spec = Spec(pools, limit, first_port, last_port, 20.0)
        self.projects = [f"p{number}" for number in range(1, limit + chance.randint(2, 6))]
        self.bad, self.lost = chance.choice([0.0, 0.2, 0.6]), 0.1
        self.note(f"{self.spec}")

    # the whole of it

    def lived(self) -> list[str]:
        try:
            self.live()
        except AssertionError as error:
            raise Violated("\n".join([*self.events[-60:], f"VIOLATED {error}"])) from error
        return self.events

    def live(self) -> None:
        acts = self.acts()
        fond = [weight * self.chance.choice([0.3, 1.0, 1.0, 3.0]) for _, weight in acts]
        for _ in range(self.chance.randint(60, 160)):
            self.chance.choices([act for act, _ in acts], fond)[0]()
            self.now += 0.001
        self._heal()

    def acts(self) -> list[tuple[Callable[[], None], float]]:
        """What may happen next, and how likely each of it is."""
        return [
            (self._assign, 14),
            (self._release, 9),
            (self._hang_up, 2),
            (self._destroy, 1),
            (self._withdraw, 1),
            (self._configure, 12),
            (self._go_on, 16),
            (self._use_up, 4),
            (self._land_late, 1 * self.bad),
            (self._lose_memory, 1 * self.bad),
            (self._settle, 16),
            (self._answer, 16),
            (self._tick, 6),
            (self._pass_time, 6),
            (self._change_sizes, 2),
            (self._change_limit, 1),
            (self._change_template, 1.5),
            (self._drop_or_restore, 1.5),
            (self._pause, 0.7),
            (self._refuse, 8 * self.bad),
            (self._die, 5 * self.bad),
            (self._hold_up, 3 * self.bad),
            (self._meddle_with_pause, 3 * self.bad),
            (self._switch_late, 3 * self.bad),
            (self._restart_daemon, 0.5 * self.bad),
            (self._crash, 1 * self.bad),
        ]

    def note(self, event: str) -> None:
        self.events.append(f"{self.now:10.3f} {event}")

    def insist(self, found: Iterator[str]) -> None:
        for sentence in found:
            raise AssertionError(sentence)

    # what the shell does after a decision

    def _follow_up(self) -> None:
        """Size the pools, turn away, look, and store."""
        self._resize(self.fleet, self.spec, self.now, self._new_id)
        away = waiting_line.turn_away(self.fleet, self.spec, self.now)
        if away:
            self.note(f"turned away: {', '.join(away)}")
            assert all(why.message or why.retry_after_s for why in away.values())
        self._check()
        if self.chance.random() < self.lost:
            self._lose()
        elif self.chance.random() < 0.9:
            self._store()

    def _resize(self, fleet: Fleet, spec: Spec, now: float, new_id: Callable[[], str]) -> None:
        """As the core does it, and look whether it was fair."""
        for name in spec.pools:
            waiting_line.serve_line(fleet, spec, name, now)
        before = Before.look(fleet, spec, now)
        self.resized += 1
        copy = _copy_of(fleet) if self.resized % LOOKS_AT_ALL == 0 else None
        if copy is not None:
            fleet.unsettled.update(self._to_be_checked())  # by the tick that comes for that
        decided, made = len(fleet.pending), self.made
        resize(fleet, spec, now, new_id)
        if copy is not None:
            numbers = count(made + 1)
            resize_all(copy, spec, now, lambda: f"m{next(numbers):03}")
            assert copy.pending[decided:] == fleet.pending[decided:], "a pool was left out that had to be looked at"
            assert sorted(copy.hurried) == sorted(fleet.hurried)
        self.insist(sizing(before, fleet, spec, now))
        self._check_surplus(before.decided)
        self._check_unneeded(before.decided)
        self.insist(reserve(before, fleet, spec))
        for change in fleet.pending[before.decided :]:
            if change.cause is Cause.UNPARKED:
                self.went_on_at[change.machine.id] = now

    def _to_be_checked(self) -> list[str]:
        """Pools with a machine that is parked for so long that it is to show that it answers."""
        machines, watches = self.fleet.machines.values(), self.fleet.watches
        return [
            one.pool
            for one in machines
            if one.state is State.PARKED and self.now >= watches[one.id].since + self.spec.pool(one.pool).parked_check_s
        ]

    def _store(self) -> None:
        for change in self.fleet.take_pending():
            machine = change.machine
            if change.cause is Cause.CONFIGURING and machine.id in self.set_ups:
                self.set_ups[machine.id].is_stored = True
            what = (
                "forgotten"
                if change.after is None
                else f"{machine.state} {machine.project or ''} {machine.reason[:40]}"
            )
            self.note(f"  {change.cause}: {machine.id} {machine.pool}/{machine.template} {what}")
            action = due_actions.follow_up(self.fleet, change, self.now)
            if action is not None:
                self._start(action)
        self.stored_surplus_since = dict(self.surplus_since)
        self._remember()

    def _lose(self) -> None:
        self.note("  the batch is lost")
        self.surplus_since |= self.stored_surplus_since
        self.fleet.undo(self.fleet.take_pending(), self.now)
        self.set_ups = {machine_id: one for machine_id, one in self.set_ups.items() if one.is_stored}
        self._remember()
        assert_indexes_hold(self.fleet)

    def _start(self, action: Action) -> None:
        if action.machine_id not in self.flights and due_actions.still_wanted(self.fleet, action):
            if isinstance(action, Destroy):
                row = self.fleet.machines.get(action.machine_id)
                assert row is None or row.holding is None, "what a project has is never destroyed"
            self.flights[action.machine_id] = action

    def _remember(self) -> None:
        slots = [machine.pool for machine in self.fleet.machines.values() if not machine.gone]
        self.held = {"": len(slots), **{name: slots.count(name) for name in slots}}

    def _new_id(self) -> str:
        self.made += 1
        return f"m{self.made:03}"

    # what must always hold

    def _check(self) -> None:
        assert_indexes_hold(self.fleet)
        self.insist(limits(self.fleet, self.spec, self.held))
        there = [machine for machine in self.fleet.machines.values() if not machine.gone]
        ports = [port for machine in there for port in machine.host_ports]
        assert len(ports) == len(set(ports)), "a port belongs to one machine"
        assert set(ports) == {port for _, port in self.fleet.ports}
        for machine in there:
            assert not machine.ports or self.spec.first_port is not None
            assert tuple(port for _, port in machine.ports) in {(), machine.host_ports}, "the first is its own"
        for project, pool in self.fleet.waiting.items():
            assert project not in self.fleet.projects, f"{project} has a machine and waits"
            assert pool in self.spec.pools, f"{project} waits in {pool}, which is not there"
        for change in self.fleet.pending:
            if change.cause is Cause.RETIRED:
                assert change.before is not None
                was = change.before
                assert was.is_idle or was.is_dirty or was.state is State.PARKED, (
                    "only what is idle or parked, or cannot be cleaned, is retired"
                )
            if change.cause is Cause.ASSIGNED:
                answered_at = self.answered_at[change.machine.id]
                went_on_at = self.went_on_at.get(change.machine.id, answered_at)
                assert answered_at >= went_on_at, f"{change.machine.id} was parked, and has not answered since"
        for name in [*self.spec.pools, *self.dropped]:
            self._check_what_is_told(name)
        self._check_memory()
        for machine in self.fleet.machines.values():
            found = self.engine.containers.get(machine.id)
            is_paused = found is not None and found.status is Status.PAUSED
            assert not is_paused or machine.holding is None or machine.id in self.paused_by_others, (
                f"{machine.id} of {machine.project} is paused by us"
            )

    def _check_memory(self) -> None:
        """What a project configured is seen by no other one, whatever was lost, and whenever it was written."""
        for machine_id, (generation, digest) in self.engine.memory.items():
            machine = self.fleet.machines.get(machine_id)
            if machine is None:
                continue  # nobody can get it any more
            assert machine.configuration is not None, (
                f"{machine_id} has {digest} of {generation}, and is said to be clean"
            )
            assert machine.holding is None or machine.generation == generation, (
                f"{machine} has {digest} of {generation}"
            )
            assert not machine.is_idle

    def _check_what_is_told(self, name: str) -> None:
        told = wanted(self.fleet, self.spec, name)
        assert told.idle >= self.spec.pool(name).min_idle
        assert told.missing or not told.held_back
        if name in self.spec.pools and told.missing and self.fleet.pool(name).line:
            lacks = len(self.fleet.pool(name).line) - len(self.fleet.coming(name, self.spec.pools[name].template))
            idle = self.fleet.count_idle(name)
            assert told.held_back or lacks <= idle, f"{name} lacks {told.missing}, and nobody can say why"

    def _check_surplus(self, decided: int) -> None:
        """Idle machines above what the pool may keep go once there were too many for long enough, and not before."""
        for name, pool in self.spec.pools.items():
            most = pool.most_idle(self.fleet.assigned_in(name))
            if most is not None:
                most += max(0, pool.parked - self._count_parked(name))  # they may go there yet
            idle = len(self.fleet.idle(name, pool.template))
            retired = [
                change.machine.id
                for change in self.fleet.pending[decided:]
                if change.machine.pool == name and change.machine.reason in {reasons.SURPLUS, reasons.UNWANTED}
            ]
            if most is None and retired:
                since = self.shed_since[name]
                assert self.now >= since + pool.shed_after_s, f"{retired} of {name} are shed too early"
                assert idle >= pool.min_idle, f"{name} shed {retired} and is left with {idle} of {pool.min_idle}"
            if pool.template is None or pool.paused or most is None or (idle <= most and not retired):
                self._no_surplus(name)
                continue
            since = self.too_many_since.setdefault(name, self.now)
            first = self.surplus_since.setdefault(name, since)
            if retired:
                assert self.now + LATE_S >= first + pool.shrink_after_s, f"{retired} of {name} are retired too early"
                self._no_surplus(name)
            if idle > most:
                assert self.now < since + pool.shrink_after_s + LATE_S, f"{name} keeps {idle} idle machines of {most}"

    def _unneeded(self, name: str, pool: PoolSpec) -> list[str]:
        """Idle machines that were for the reserve and never had a project, if more are idle than are wanted."""
        idle = self.fleet.idle(name, pool.template)
        wants = pool.wanted_idle(self.fleet.assigned_in(name)) + max(0, pool.parked - self._count_parked(name))
        known = self.fleet.pool(name).for_reserve
        return (
            [one for one in idle if one in known and not self.fleet.machines[one].generation]
            if len(idle) > wants
            else []
        )

    def _check_unneeded(self, decided: int) -> None:
        """What came up for a reserve goes once nobody wanted it for long enough, not before, and never what is wanted."""
        for name, pool in self.spec.pools.items():
            gone = [
                change.before
                for change in self.fleet.pending[decided:]
                if change.machine.pool == name and change.machine.reason == reasons.NOT_TO_BE_PARKED
            ]
            if gone:
                assert all(one is not None and one.is_idle and not one.generation for one in gone), f"{gone} go"
                since, idle = self.unneeded_since.pop(name, self.now), len(self.fleet.idle(name, pool.template))
                assert self.now + LATE_S >= since + pool.shed_after_s, f"{gone} of {name} go too early"
                after = [change.after for change in self.fleet.pending[decided:] if change.after is not None]
                idle += sum(
                    one.pool == name and one.reason == reasons.DISPLACED for one in after
                )  # for a project, then
                wants = pool.wanted_idle(self.fleet.assigned_in(name)) + max(0, pool.parked - self._count_parked(name))
                assert idle >= wants, f"{gone} of {name} go, and it has {idle} of {wants}"
            if self._unneeded(name, pool):
                self.unneeded_since.setdefault(name, self.now)
            else:
                self.unneeded_since.pop(name, None)

    def _no_surplus(self, name: str) -> None:
        self.too_many_since.pop(name, None)
        self.surplus_since.pop(name, None)

    # clients

    def _assign(self) -> None:
        project = self.chance.choice(self.projects)
        asked = self.chance.choice([None, *self.spec.pools, *self.spec.pools, *self.dropped])
        own, line = self.fleet.of_project(project), self.fleet.waiting.get(project)
        has = line if own is None or own.gone else own.pool
        self.note(f"{project} asks for {asked}, has {own.id if own else line}")
        before = len(self.fleet.pending), self.fleet.waiting.copy()
        try:
            if self.chance.random() < 0.5 and own is None:
                machine = commands.assign_verified(self.fleet, self.spec, project, self.now, asked)
            else:
                machine = commands.assign(self.fleet, self.spec, project, self.now, asked)
                assert has is None or asked in {None, has}, f"{project} has {has} and asked for {asked}"
        except OtherPool:
            assert asked in self.spec.pools
            assert has not in {None, asked}
            assert before == (len(self.fleet.pending), self.fleet.waiting)
            return
        except PoolNotFound:
            assert has is None or has != asked
            assert asked in self.dropped
            return
        except (NoMachineAvailable, MachineFailed) as error:
            self.note(f"  {error.message[:60]}")
        else:
            assert machine is None or asked in {None, machine.pool}
            assert machine is None or machine.project == project
        self._follow_up()

    def _of_projects(self) -> list[Machine]:
        return [machine for machine in self.fleet.machines.values() if machine.holding is not None]

    def _release(self, held: Sequence[Machine] = ()) -> None:
        if held := held or self._of_projects():
            late = [machine for machine in held if machine.is_configured]
            machine = self.chance.choice(late if late and self.chance.random() < 0.5 else held)
            self.note(f"{machine.project} releases {machine.id}")
            commands.release(self.fleet, self.spec, machine, self.now)
            self._follow_up()

    def _withdraw(self) -> None:
        if held := self._of_projects():
            machine = self.chance.choice(held)
            self.note(f"{machine.id} is taken back from {machine.project}")
            broken = "did not answer" if self.chance.random() < self.bad and machine.state is State.READY else ""
            commands.withdraw(self.fleet, self.spec, machine, self.now, broken=broken)
            self._follow_up()

    def _to_configure(self) -> list[Machine]:
        return [m for m in self._of_projects() if m.state is State.READY and m.id not in self.set_ups]

    def _configure(self, serves: Sequence[Machine] = ()) -> None:
        """A project sends values, or other ones."""
        if serves := serves or self._to_configure():
            machine, digest = self.chance.choice(serves), self.chance.choice("ab")
            self.note(f"{machine.project} configures {machine.id} with {digest}")
            self.set_ups[machine.id] = SetUp(configure.begin(self.fleet, machine, digest, self.now))
            self._follow_up()

    def _use_up(self) -> None:
        """A project configures its machine again and again, whatever comes of it, and gives it back."""
        if serves := self._to_configure():
            first = self.chance.choice(serves)
            machine_id, generation = first.id, first.generation
            for _ in range(self.chance.randint(1, 3)):
                if again := [one for one in self._to_configure() if one.id == machine_id]:
                    self._configure(again)
                    self._go_on(only=machine_id)
            last = self.fleet.machines.get(machine_id)
            if last is not None and last.holding is not None and last.generation == generation:
                self._release([last])

    def _go_on(self, how: str = "", only: str = "") -> None:
        """A set-up ends: well, badly, or in nobody knows what."""
        stored = [machine_id for machine_id, one in self.set_ups.items() if one.is_stored and only in {"", machine_id}]
        if not stored:
            return
        machine_id = self.chance.choice(stored)
        begun = self.set_ups.pop(machine_id).begun
        assert begun.configuration is not None
        values = (machine_id, begun.generation, begun.configuration.digest)
        how = (
            how
            or self.chance.choices(["done", "hook", "refused", "unknown", "late"], [8, 2, 1, self.bad, 4 * self.bad])[0]
        )
        has_written = how not in {"refused", "late"} and self.engine.write(*values)
        if how == "late":
            self.landing.append(values)
        is_done = how == "done" and has_written
        why = None if is_done else f"It ended in {how}."
        self.note(f"{machine_id} is set up: {how}")
        after = configure.finish(
            self.fleet, begun, self.now, why=why, is_certain=how not in {"unknown", "late"}, exit_code=0, took_ms=5
        )
        if after is not None:
            assert after.is_configured is is_done
            assert self.engine.memory.get(machine_id) == values[1:] or not is_done
            if not is_done and configure.may_discard(after) and self.chance.random() < 0.3:
                configure.discard(self.fleet, after, self.now)
        self._follow_up()

    def _land_late(self) -> None:
        if self.landing:
            values = self.landing.pop(self.chance.randrange(len(self.landing)))
            self.note(f"{values} is written: {self.engine.write(*values)}")
            self._follow_up()

    def _lose_memory(self) -> None:
        """Somebody restarts a container behind our back, and the next request finds that out."""
        known = [m for m in self._of_projects() if m.is_configured and m.id in self.engine.memory]
        if known:
            machine = self.chance.choice(known)
            self.note(f"{machine.id} is restarted by hand")
            del self.engine.memory[machine.id]
            configure.lose(self.fleet, machine, self.now)
            self._follow_up()

    def _hang_up(self) -> None:
        if self.fleet.waiting:
            project = self.chance.choice(list(self.fleet.waiting))
            self.note(f"{project} hangs up")
            waiting_line.leave_line(self.fleet, project)
            self._follow_up()

    def _destroy(self) -> None:
        if self.fleet.machines:
            machine = self.chance.choice(list(self.fleet.machines.values()))
            self.note(f"{machine.id} is destroyed")
            commands.destroy(self.fleet, machine, self.now, at_once=self.chance.random() < 0.5)
            self._follow_up()

    # the engine

    def _settle(self, result: Result | None = None) -> None:
        if not self.flights:
            return
        action = self.flights.pop(self.chance.choice(list(self.flights)))
        done = self.engine.land(action) if result is None else result
        self._settled(action, done)

    def _settled(self, action: Action, result: Result) -> None:
        self.note(f"{type(action).__name__} {action.machine_id}: {result}")
        outcome = Outcome(result, "The engine says so.")
        if result is Result.PORT_TAKEN and isinstance(action, Create) and action.machine.port is not None:
            outcome = replace(outcome, port=self.chance.choice([None, *action.machine.host_ports]))
        outcomes.apply_outcome(self.fleet, self.spec, action, outcome, self.now)
        self._follow_up()

    def _refuse(self) -> None:
        kinds = [Result.REJECTED, Result.OBSTRUCTED, Result.PORT_TAKEN, Result.UNAVAILABLE, Result.UNKNOWN]
        result = self.chance.choice(kinds)
        flights = dict(self.flights)
        self._settle(result)
        for machine_id in flights.keys() - self.flights.keys() if result is Result.UNKNOWN else ():
            action = flights[machine_id]
            if isinstance(action, Park | Unpark):
                self.late += [action] * self.chance.choice([0, 1, 1])

    def _switch_late(self) -> None:
        """A pause, or the end of one, of which nobody knew how it ended."""
        if self.late:
            action = self.late.pop(self.chance.randrange(len(self.late)))
            self.note(f"late: {type(action).__name__} {action.machine_id}: {self.engine.land(action)}")
            self._follow_up()

    def _meddle_with_pause(self) -> None:
        """Somebody pauses a container, or lets one go on."""
        if machine_id := self._some_container():
            status = self.engine.containers[machine_id].status
            if status in {Status.RUNNING, Status.PAUSED}:
                other = Status.RUNNING if status is Status.PAUSED else Status.PAUSED
                self.note(f"{machine_id} is {other} by somebody")
                self.engine.becomes(machine_id, other, self.engine.containers[machine_id].trouble)
                self._note_paused_by_others(machine_id)

    def _note_paused_by_others(self, machine_id: str) -> None:
        self.paused_by_others.discard(machine_id)
        if self.engine.containers[machine_id].status is Status.PAUSED:
            self.paused_by_others.add(machine_id)

    def _restart_daemon(self) -> None:
        """What is paused then dies."""
        self.note("the daemon is restarted")
        for machine_id, found in list(self.engine.containers.items()):
            if found.status is Status.PAUSED:
                self.engine.becomes(machine_id, Status.EXITED)

    def _answer(self) -> None:
        asked = [m for m in self.fleet.machines.values() if m.state in {State.STARTING, State.READY}]
        if asked:
            self._probe(self.chance.choice(asked))
            self._follow_up()

    def _probe(self, machine: Machine) -> None:
        found = self.engine.containers.get(machine.id)
        answered = found is not None and found.status is Status.RUNNING and not found.trouble
        verdict = Verdict(machine.id, self.now, answered, "" if answered else "silence")
        if self.spec.first_port is None and answered:
            verdict = replace(verdict, host="h", port=int(machine.id[1:]))
        self.note(f"{machine.id} {'answers' if answered else 'is silent'}")
        if answered:
            self.answered_at[machine.id] = self.now
        outcomes.apply_verdict(self.fleet, self.spec, verdict, self.now)

    def _tick(self) -> None:
        snapshot = Snapshot(self.now, dict(self.engine.containers), frozenset(self.flights))
        self.note("tick")
        with patch.object(reconcile, "resize_all", self._resize):  # which needs no look at all of them
            plan = reconcile.reconcile(self.fleet, snapshot, self.spec, self.now, self._new_id)
        assert plan.wake_at is None or plan.wake_at > self.now
        self._follow_up()
        if not self.fleet.pending:  # stored, or undone
            for action in plan.actions:
                self._start(action)

    def _pass_time(self) -> None:
        self.now += self.chance.choice([0.5, 2.0, 5.0, 11.0, 70.0])
        self._follow_up()

    def _some_container(self) -> str | None:
        return self.chance.choice(list(self.engine.containers)) if self.engine.containers else None

    def _die(self) -> None:
        if machine_id := self._some_container():
            self.note(f"{machine_id} exits")
            self.engine.becomes(machine_id, Status.EXITED)

    def _hold_up(self) -> None:
        if machine_id := self._some_container():
            ails = self.engine.containers[machine_id].trouble
            self.note(f"{machine_id} is {'well' if ails else 'cut off'}")
            self.engine.becomes(machine_id, Status.RUNNING, "" if ails else "it is cut off")

    def _crash(self) -> None:
        """The process dies, with all who waited. What was under way may land or not."""
        self.note("the service begins anew")
        self.fleet.undo(self.fleet.take_pending(), self.now)
        for action in self.flights.values():
            if self.chance.random() < 0.5:
                self.engine.land(action)
            elif isinstance(action, Park | Unpark) and self.chance.random() < self.bad:
                self.late.append(action)
        self.flights.clear()
        for machine_id, one in self.set_ups.items():
            if one.is_stored and one.begun.configuration is not None:
                self.landing.append((machine_id, one.begun.generation, one.begun.configuration.digest))
        self.set_ups.clear()
        self.too_many_since.clear()
        self.surplus_since.clear()
        self.stored_surplus_since.clear()
        self.shed_since.clear()
        self.unneeded_since.clear()
        old = self.fleet
        self.fleet = Fleet(OWNER, generation=old.generation, last_port=old.last_port)
        self.fleet.load(old.machines.values(), old.tombstones, self.now)
        self._remember()
        self._tick()

    # the settings

    def _draw_pool(self, name: str) -> PoolSpec:
        chance, min_idle = self.chance, self.chance.choice([0, 0, 1, 2, 3])
        drawn = PoolSpec(
            f"{name}-0",
            min_idle=min_idle,
            max_idle=None if chance.random() < 0.5 else min_idle + chance.randint(0, 2),
            recycle=chance.random() < 0.3,
            max_machines=chance.choice([None, None, max(1, min_idle), min_idle + 1, min_idle + 3]),
            spare=chance.choice([0.0, 0.0, 0.25, 0.5, 1.0]),
            shrinks=chance.random() < 0.4,
            shrink_after_s=chance.choice([0.0, 0.0, 10.0, 60.0]),
            port_names=chance.choice([(), (), ("http",), ("http", "hmr"), ("http", "hmr", "debug")]),
        )
        return self._with_reserve(replace(drawn, shed_after_s=drawn.shrink_after_s))

    def _with_reserve(self, pool: PoolSpec) -> PoolSpec:
        """Half of them park machines. They are woken often enough for a history to see it."""
        return replace(
            pool, parked=self.chance.choice([0, 0, 1, 2, 3]), parked_check_s=self.chance.choice([200.0, 1000.0])
        )

    def _reload(self, what: str, pools: dict[str, PoolSpec], **more: Any) -> None:
        self.note(f"settings: {what}")
        self._remember()  # a lower limit removes nothing
        for name, pool in self.spec.pools.items():
            if name not in pools or pools[name].shrinks:
                self.shed_since.pop(name, None)
            elif pool.shrinks:
                self.shed_since[name] = self.now
        before, self.spec = self.spec, replace(self.spec, pools=pools, **more)
        note_taken_away(self.fleet, before, self.spec, self.now)
        self._follow_up()

    def _change(self, name: str, what: str, **fields: Any) -> None:
        pool = replace(self.spec.pools[name], **fields)
        self._reload(f"{name} {what} {fields}", {**self.spec.pools, name: pool})

    def _some_pool(self) -> str:
        return self.chance.choice(list(self.spec.pools))

    def _change_sizes(self) -> None:
        name = self._some_pool()
        drawn = self._draw_pool(name)
        fields = ("min_idle", "max_idle", "max_machines", "spare", "shrinks", "shrink_after_s", "recycle", "parked")
        sizes = {field: getattr(drawn, field) for field in fields}
        self._change(name, "has other sizes", **sizes, shed_after_s=drawn.shed_after_s)

    def _change_limit(self) -> None:
        self._reload("another limit", dict(self.spec.pools), max_machines=self.chance.randint(1, 9))

    def _change_template(self) -> None:
        name, kind = self._some_pool(), self.chance.random()
        if kind < 0.15:
            self._change(name, "has no image", template=None, problem="No such image.", pending=False)
        elif kind < 0.25:
            self._change(name, "is being pulled", template=None, problem="", pending=True)
        else:
            self.templates += 1
            template = f"{name}-{self.templates if self.chance.random() < 0.7 else 0}"
            if self.chance.random() < self.bad:
                self.engine.broken.add(template)
            names = self.chance.choice([self.spec.pools[name].port_names, self._draw_pool(name).port_names])
            self._change(name, "is rebuilt", template=template, problem="", pending=False, port_names=names)

    def _pause(self) -> None:
        name = self._some_pool()
        self._change(name, "is paused or not", paused=not self.spec.pools[name].paused)

    def _drop_or_restore(self) -> None:
        """A pool vanishes from the settings, or comes back."""
        if self.dropped and (self.chance.random() < 0.5 or len(self.spec.pools) == 1):
            name = self.chance.choice(list(self.dropped))
            pools = {**self.spec.pools, name: self.dropped.pop(name)}
            self._reload(f"{name} is back", {one: pools[one] for one in NAMES if one in pools})
        elif len(self.spec.pools) > 1:
            name = self._some_pool()
            self.dropped[name] = self.spec.pools[name]
            self._no_surplus(name)
            self._reload(f"{name} is gone", {one: pool for one, pool in self.spec.pools.items() if one != name})

    # when nothing goes wrong any more

    def _heal(self) -> None:
        self.note("from here on everything works")
        self.bad = self.lost = 0.0
        self._store()
        while self.set_ups:
            self._go_on("done")
            self._store()
        self.engine.broken.clear()
        self.fleet.refused_ports.clear()
        for action in self.late:
            self.engine.land(action)
        self.late.clear()
        for machine_id, found in list(self.engine.containers.items()):
            if found.trouble or machine_id in self.paused_by_others:
                self.engine.becomes(machine_id, Status.RUNNING)
        self.paused_by_others.clear()
        for name, pool in self.spec.pools.items():
            if pool.template is None or pool.paused:
                template = pool.template or f"{name}-0"
                self._change(name, "is well", template=template, problem="", pending=False, paused=False)
        for _ in range(ROUNDS):
            self._one_good_round()
            if not any(not self._is_checked(one) for one in self.flights) and not list(self._unrest()):
                break
        self._one_good_round()
        assert not list(self._unrest()), f"does not come to rest: {list(self._unrest())}"

    def _one_good_round(self) -> None:
        while self.flights:
            self._settle()
            self._store()
        for machine in list(self.fleet.machines.values()):
            if machine.id in self.fleet.machines and machine.state in {State.STARTING, State.READY}:
                self._probe(self.fleet.machines[machine.id])
        self._follow_up()
        self._store()
        self.now += ROUND_S
        self._tick()
        self._store()

    def _is_checked(self, machine_id: str) -> bool:
        """Whether it is out of the reserve only to show that it answers, or on its way back."""
        machine = self.fleet.machines.get(machine_id)
        return machine is not None and (machine.reason == reasons.UNPARKED_FOR_CHECK or machine.state is State.PARKED)

    def _free_ports(self) -> int:
        if self.spec.first_port is None:
            return 0
        return sum(not self.fleet.is_port_taken(n) for n in range(self.spec.first_port, self.spec.last_port + 1))

    def _unrest(self) -> Iterator[str]:
        """What is not as it should be of a fleet at rest."""
        for machine in self.fleet.machines.values():
            if (machine.is_coming or machine.is_leaving) and not self._is_checked(machine.id):
                yield f"{machine.id} is on its way"
            found = self.engine.containers.get(machine.id)
            is_paused = machine.id in self.flights or (found is not None and found.status is Status.PAUSED)
            if machine.state is State.PARKED and not is_paused:
                yield f"{machine.id} is parked on record alone: {found}"
            if machine.pool not in self.spec.pools and (machine.is_idle or machine.state is State.PARKED):
                yield f"{machine.id} of {machine.pool} is kept, which is not in the settings"
        for name, pool in self.spec.pools.items():
            yield from self._too_many(name, pool)
            room = self.spec.max_machines - self.fleet.slots_held
            if pool.max_machines is not None:
                room = min(room, pool.max_machines - self.fleet.slots_held_by(name))
            lacks_ports = self._free_ports() < pool.port_count or bool(self.fleet.waiting)
            if room > 0 and not (self.fleet.pool(name).out_of_ports and lacks_ports):
                yield from self._lacks(name, pool)

    def _too_many(self, name: str, pool: PoolSpec) -> Iterator[str]:
        """What this pool has and should not have."""
        if unneeded := self._unneeded(name, pool):
            yield f"{unneeded} of {name} were for the reserve, and stay idle"
        known = self.fleet.pool(name)
        if not known.too_many_since is known.shed_since is known.unneeded_since is None:
            yield f"{name} has too many idle machines"
        if self._count_parked(name) > pool.parked:
            yield f"{name} has {self._count_parked(name)} parked machines of {pool.parked}"

    def _count_parked(self, name: str) -> int:
        """How many machines its reserve has of today's template, with those that only show that they answer."""
        template = self.spec.pools[name].template
        coming = (self.fleet.machines[one] for one in self.fleet.coming(name, template))
        checked = sum(machine.reason == reasons.UNPARKED_FOR_CHECK for machine in coming)
        return len(self.fleet.parked(name, template)) + checked

    def _lacks(self, name: str, pool: PoolSpec) -> Iterator[str]:
        """What this pool lacks though it has room."""
        idle, parked = len(self.fleet.idle(name, pool.template)), self._count_parked(name)
        if self.fleet.pool(name).line:
            yield f"somebody waits in {name} beside free places"
        if idle < pool.wanted_idle(self.fleet.assigned_in(name)):
            yield f"{name} has {idle} idle machines, and room"
        if parked < pool.parked:
            yield f"{name} has {parked} parked machines of {pool.parked}, and room"
        if self.fleet.has_stale(name, pool.template) or list(self.fleet.stale_parked(name, pool.template)):
            yield f"{name} has outdated machines, and room"
