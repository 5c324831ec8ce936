"""Random histories of the pure core against a small model of an engine, of a store and of the shell between them.

Everything that may go wrong out there goes wrong here, in any order: calls that are lost, refused, or land late; listings
that are stale when they arrive; containers that exit, hang, vanish and come back, are paused, renamed and cut off; other
people's containers; a store that refuses a batch; a process that dies. After each step all that must always hold is checked,
and at the end, when nothing goes wrong any more, the pool must come to rest at its size.

`SIMULATION_EXAMPLES` sets the number of histories. A failing one prints what reproduces it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace
from tests.unit.core.build import assert_indexes_hold

from worker_orchestrator.core import commands, configure, due_actions, outcomes, waiting_line
from worker_orchestrator.core.action import Action, Clean, Create, Destroy, Outcome, Park, Restart, Result, Stop, Unpark
from worker_orchestrator.core.doomed import about_to_fail
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Snapshot, Status, Verdict
from worker_orchestrator.core.machine import GIVES_UP_PROJECT, Cause, Change, Machine, State
from worker_orchestrator.core.reasons import UNPARKED_FOR_CHECK
from worker_orchestrator.core.reconcile import reconcile
from worker_orchestrator.core.sizing import resize
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.core.unrecorded import foreign, strays
from worker_orchestrator.errors import MachineFailed, MachineNotFound, NoMachineAvailable, NotAssigned, NotRunning
from worker_orchestrator.key_errors import KeyLimitReached
from worker_orchestrator.settings.settings import DEFAULT_POOL

OWNER, OTHER_OWNER = "owner-1", "owner-2"
FIRST_PORT = 9093
ROUND_S, ROUNDS = 15.0, 36
"""How long the pool may take to come to rest: shorter than the evidence of a failure is kept."""

_T = TypeVar("_T")

ENDS = [
    "lands",
    "done",
    "done",
    "done",
    "unavailable",
    "rejected",
    "obstructed",
    "no reply",
    "late",
    "late",
    "never",
    "half done",
]
"""What may become of a call to the engine."""

picks = st.integers(0, 7)
mostly = st.sampled_from([True, True, True, False])
projects = st.sampled_from(["p1", "p2", "p3", "p4", "ci:p1", "ci:p2", "ci:p3"])
commits = st.sampled_from(["stored", "stored", "stored", "shared", "lost"])
"""What becomes of a batch: `shared` leaves it open for the next decision of the same turn."""


def one_of(items: Sequence[_T], pick: int) -> _T:
    return items[pick % len(items)]


# the engine


@dataclass
class Container:
    """What really runs."""

    instance: Instance
    port: int | None = None
    answers: bool = True
    is_broken: bool = False  # exits whenever it is started
    memory: tuple[int, str] | None = None  # what it was configured with: generation and digest
    landed_late: bool = False  # by a call that we had given up, after its machine was known to be gone
    paused_by_others: bool = False

    @property
    def runs(self) -> bool:
        return self.instance.status is Status.RUNNING

    @property
    def is_held_up(self) -> bool:
        """Somebody did something to it that keeps it from serving."""
        return bool(self.instance.trouble) or self.instance.status is Status.PAUSED

    def becomes(self, status: Status, *, killed: bool = False) -> None:
        if status is Status.EXITED:
            self.memory = None
        self.paused_by_others = False
        self.instance = replace(self.instance, status=status, killed=killed, trouble="", is_cut_off=False)


class Place:
    """A place where containers run. A call that lands does what an engine promises, and says truthfully how it went."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.once_removed: set[str] = set()  # ids under which nothing ran at some time, for certain
        self.ports_of_others: set[int] = set()
        self.exits: set[str] = set()  # templates whose containers exit at once
        self.mute: set[str] = set()  # templates whose containers never answer
        self.hidden: set[str] = set()  # containers that are there, and that no call finds for the time being
        self.once_hidden: set[str] = set()

    def listing(self) -> dict[str, Instance]:
        return {name: container.instance for name, container in self.containers.items() if name not in self.hidden}

    def serves(self, machine: Machine) -> bool:
        container = self.containers.get(machine.id)
        if container is None or container.is_held_up:
            return False
        return container.runs and container.answers and container.port == machine.port

    def land(self, action: Action, *, late: bool = False) -> Result:
        match action:
            case Create(machine):
                return self._create(machine, late=late)
            case Restart(machine_id, stop_first):
                return self._restart(machine_id, stop_first=stop_first)
            case Stop(machine_id):
                return self._stop(machine_id)
            case Destroy(machine_id):
                if machine_id not in self.hidden:
                    self.remove(machine_id)
                return Result.DONE
            case Clean(machine_id):
                return self._restart(machine_id, stop_first=True)
            case Park(machine_id):
                return self._switch(machine_id, Status.PAUSED)
            case Unpark(machine_id):
                return self._switch(machine_id, Status.RUNNING)

    def write(self, machine_id: str, values: tuple[int, str]) -> bool:
        """Have this in the memory of the container, if that runs."""
        found = self.containers.get(machine_id)
        if found is None or not found.runs:
            return False
        found.memory = values
        return True

    def hide(self, machine_id: str) -> None:
        """As far as anybody can tell it was removed by somebody else; and then it is there again."""
        self.hidden ^= {machine_id}
        self.once_hidden.add(machine_id)

    def remove(self, machine_id: str) -> None:
        self.containers.pop(machine_id, None)
        self.once_removed.add(machine_id)
        self.hidden.discard(machine_id)

    def _is_taken(self, port: int | None, machine_id: str) -> bool:
        others = (c for i, c in self.containers.items() if i != machine_id and c.runs)
        return port is not None and (port in self.ports_of_others or any(other.port == port for other in others))

    def _create(self, machine: Machine, *, late: bool) -> Result:
        found = self.containers.get(machine.id)
        if found is not None and (late or (found.port == machine.port and found.instance.status is not Status.CREATED)):
            return Result.DONE
        if self._is_taken(machine.port, machine.id):
            self.containers.pop(machine.id, None)
            return Result.PORT_TAKEN
        status = Status.EXITED if machine.template in self.exits else Status.RUNNING
        instance = Instance(machine.id, OWNER, machine.pool, machine.template, status, port=machine.port)
        late = (late and machine.id in self.once_removed) or (found is not None and found.landed_late)
        answers = machine.template not in self.mute
        self.containers[machine.id] = Container(instance, machine.port, answers, landed_late=late)
        return Result.DONE

    def leave_half_done(self, machine: Machine) -> None:
        """A create that stopped half way, with nobody left to tell."""
        instance = Instance(machine.id, OWNER, machine.pool, machine.template, Status.CREATED, port=machine.port)
        self.containers.setdefault(machine.id, Container(instance, machine.port))

    def _restart(self, machine_id: str, *, stop_first: bool) -> Result:
        found = self.containers.get(machine_id)
        if found is None:
            return Result.REJECTED
        if stop_first and found.instance.status in {Status.RUNNING, Status.PAUSED}:
            found.becomes(Status.EXITED)
        if found.instance.status in {Status.EXITED, Status.CREATED}:
            if self._is_taken(found.port, machine_id):
                return Result.PORT_TAKEN
            found.becomes(Status.EXITED if found.is_broken else Status.RUNNING)
        return Result.DONE

    def _switch(self, machine_id: str, status: Status) -> Result:
        """Pause it, or let it go on. What is on no network stays so."""
        found = None if machine_id in self.hidden else self.containers.get(machine_id)
        if found is None or found.instance.status not in {Status.RUNNING, Status.PAUSED}:
            return Result.REJECTED
        is_cut_off = found.instance.is_cut_off
        found.becomes(status)
        trouble = "it is cut off" if is_cut_off else ""
        found.instance = replace(found.instance, is_cut_off=is_cut_off, trouble=trouble)
        return Result.DONE

    def _stop(self, machine_id: str) -> Result:
        found = self.containers.get(machine_id)
        if found is not None and found.instance.status in {Status.RUNNING, Status.PAUSED}:
            found.becomes(Status.EXITED)
        return Result.DONE


# the shell


@dataclass
class Flight:
    """A call to the engine that we wait for."""

    action: Action
    landed: Result | None = None


@dataclass
class Listing:
    """A listing under way. It shows what there was at its begin, or what there is at its end."""

    begun_at: float
    busy: set[str]
    instances: dict[str, Instance] | None


@dataclass
class Stored:
    """What survives the process."""

    machines: dict[str, Machine]
    tombstones: set[str]
    generation: int = 0
    last_port: int | None = None


class Core(RuleBasedStateMachine):
    """One history."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.place = Place()
        self.fleet = Fleet(OWNER)
        self.stored = Stored({}, set())
        self.flights: dict[str, Flight] = {}
        self.late: list[Action] = []
        self.listing = Listing(self.now, set(), {})
        self.probes: dict[str, Verdict] = {}
        self.made = 0
        self.given_up: set[tuple[str, str]] = set()  # (machine, project) that a request of this batch gives up
        self.untold: set[str] = set()  # machines assigned and stored, of which no client knows yet
        self.answered_at: dict[str, float] = {}  # begin of the last probe that the core saw answered
        self.in_use_until: dict[str, float] = {}  # when a machine was created, or last given back unverified
        self.in_use_until_stored: dict[str, float] = {}
        self.seen = 0
        self.others: set[str] = set()  # containers that are none of ours, and strays
        self.turned_up: set[str] = set()  # machines of projects that were gone and are not any more
        self.set_ups: dict[str, Machine] = {}  # machines that are being configured, as they were when that was stored
        self.late_values: list[tuple[str, tuple[int, str]]] = []  # what may be written after it was given up
        self.kept: set[str] = set()  # machines that were forgotten with a project's files in them
        self.keys: dict[str, int | None] = {}
        self.most_of_key = 0  # that it may have by now: more than its limit after a batch that was lost
        self.tenant_of: dict[str, str] = {}  # by machine: the first project that was stored with it

    @initialize(
        min_idle=st.integers(0, 3),
        max_idle=st.none() | st.integers(0, 2),
        recycle=st.booleans(),
        max_machines=st.integers(1, 6),
        spare_ports=st.none() | st.integers(0, 2),
        tenants=st.none() | st.integers(0, 2),
        parked=st.sampled_from([0, 0, 1, 2]),
        parked_check_s=st.sampled_from([20.0, 300.0]),
        most_of_key=st.sampled_from([0, 0, 1, 2]),
    )
    def begin(
        self,
        *,
        min_idle: int,
        max_idle: int | None,
        recycle: bool,
        max_machines: int,
        spare_ports: int | None,
        tenants: int | None,
        parked: int,
        parked_check_s: float,
        most_of_key: int,
    ) -> None:
        """A pool that is about to begin, or one that is up, with some projects."""
        pool = PoolSpec("t0", min_idle, None if max_idle is None else min_idle + max_idle, recycle)
        pool = replace(pool, parked=parked, parked_check_s=parked_check_s)
        first_port = None if spare_ports is None else FIRST_PORT
        last_port = FIRST_PORT + max_machines - 1 + (spare_ports or 0)
        self.spec = Spec({DEFAULT_POOL: pool}, max_machines, first_port, last_port)
        self.keys = self.fleet.keys = {"ci": most_of_key} if most_of_key else {}
        for number in range(tenants or 0):
            self.assign(project=f"p{number + 1}", commit="stored")
        if tenants is not None:
            self.one_good_round(1.0)
            self.one_good_round(1.0)

    # helpers

    @property
    def pool(self) -> PoolSpec:
        return self.spec.pools[DEFAULT_POOL]

    @property
    def line(self) -> list[str]:
        return list(self.fleet.pool(DEFAULT_POOL).line)

    def machines(self, *states: State) -> list[Machine]:
        found = [m for m in self.fleet.machines.values() if not states or m.state in states]
        return sorted(found, key=lambda m: m.id)

    def ours(self) -> list[str]:
        return sorted(set(self.place.containers) - self.others)

    def may_be_strays(self) -> set[str]:
        """Containers of ours that turned up, again or by a late create, after their machine had vanished by itself."""
        late = {machine_id for machine_id, container in self.place.containers.items() if container.landed_late}
        return (late | self.place.once_hidden) - self.others

    def new_id(self) -> str:
        self.made += 1
        return f"w{self.made:03}"

    def resize(self) -> None:
        resize(self.fleet, self.spec, self.now, self.new_id)

    def turn_away(self) -> None:
        for project in waiting_line.turn_away(self.fleet, self.spec, self.now):
            assert project not in self.fleet.pool(DEFAULT_POOL).line

    @contextmanager
    def decision(self, commit: str) -> Iterator[None]:
        """One decision of the core, after which its batch is stored, lost, or left open."""
        waiting = self.line
        yield
        served = [project for project in waiting if project in self.fleet.projects]
        still_there = [project for project in waiting if project in served or project in self.line]
        assert served == still_there[: len(served)], "first come, first served"
        self.look()
        if commit == "stored":
            self.store()
        elif commit == "lost":
            self.lose()

    def look(self) -> None:
        """Take note of what was decided since the last look."""
        if any(change.cause is Cause.CREATED for change in self.fleet.pending[self.seen :]):
            template = self.pool.template
            begun_or_idle = [*self.fleet.idle(DEFAULT_POOL, template), *self.fleet.coming(DEFAULT_POOL, template)]
            missing = self.pool.min_idle + len(self.line)
            if list(self.fleet.stale(DEFAULT_POOL, template)):
                missing = max(missing, 1)
            missing += len(self.fleet.ailing)
            missing += max(0, self.pool.parked - len(self.fleet.parked(DEFAULT_POOL, template)))
            assert len(begun_or_idle) <= missing, "no more is begun than is missing"
        for change in self.fleet.pending[self.seen :]:
            machine = change.machine
            if change.cause is Cause.CREATED or (change.cause is Cause.RELEASED and machine.state is State.STARTING):
                self.in_use_until[machine.id] = self.now
            if change.before is not None and change.before.gone and not machine.gone:
                self.turned_up.add(machine.id)
            if change.cause is Cause.RELEASED and machine.is_idle:
                assert self.now - self.answered_at[machine.id] <= self.spec.verify_after_s, "verified within a second"
        self.seen = len(self.fleet.pending)

    def store(self) -> bool:
        changes, self.seen = self.fleet.take_pending(), 0
        for change in changes:
            self.write(change)
        assert self.stored.machines == self.fleet.machines
        assert self.stored.tombstones == self.fleet.tombstones.keys()
        assert self.fleet.generation >= self.stored.generation
        self.stored.generation, self.stored.last_port = self.fleet.generation, self.fleet.last_port
        self.in_use_until_stored = dict(self.in_use_until)
        self.given_up.clear()
        for change in changes:
            action = due_actions.follow_up(self.fleet, change, self.now)
            if action is not None:
                self.start(action)
        return True

    def write(self, change: Change) -> None:
        """What the store's constraints and its readers rely on, change by change."""
        before, after, rows = change.before, change.after, self.stored.machines
        assert rows.get(change.machine.id) == before
        if before is not None and before.project is not None and (after is None or after.project is None):
            assert (before.id, before.project) in self.given_up, (
                f"{change.cause} took {before.id} from {before.project}"
            )
            assert change.cause in GIVES_UP_PROJECT or (change.cause is Cause.FORGOTTEN and before.gone)
            self.untold.discard(before.id)
        if change.hands_over and after is not None:
            assert after.generation > max([self.stored.generation, *(m.generation for m in rows.values())])
            self.untold.add(after.id)
        if after is None:
            del rows[change.machine.id]
            if change.cause is Cause.FORGOTTEN and change.machine.project is not None:
                self.kept.add(change.machine.id)
            self.untold.discard(change.machine.id)
        else:
            rows[after.id] = after
        if change.buries:
            self.stored.tombstones.add(change.machine.id)
        held = [row.project for row in rows.values() if row.project is not None]
        assert len(held) == len(set(held)), "one machine per project"
        ports = [row.port for row in rows.values() if row.port is not None and not row.gone]
        assert len(ports) == len(set(ports)), "one machine per port"

    def lose(self) -> bool:
        changes, self.seen = self.fleet.take_pending(), 0
        self.fleet.undo(changes, self.now)
        assert self.fleet.machines == self.stored.machines
        assert self.fleet.tombstones.keys() == self.stored.tombstones
        self.in_use_until = dict(self.in_use_until_stored)
        self.given_up.clear()
        self.most_of_key = self.fleet.count_of_key("ci")  # who has its machine back may be one more than came meanwhile
        return False

    def start(self, action: Action) -> None:
        """Have this done, if it is still right and nothing is under way for its machine."""
        machine_id = action.machine_id
        if machine_id in self.flights or not due_actions.still_wanted(self.fleet, action):
            return
        assert machine_id not in self.others, f"{action} is about a container that is none of ours"
        row = self.stored.machines.get(machine_id)
        match action:
            case Create(machine):
                assert row == machine, "recorded before it is made"
                assert machine.project is None
            case Restart():
                assert row is not None
                assert row.project is not None
            case Clean():
                assert row is not None
                assert row.is_dirty
                assert row.state is State.STARTING
            case Destroy():
                self.check_destroy(machine_id)
            case Park() | Unpark():
                assert row is not None
                assert row.holding is None
                assert not row.is_dirty
        self.flights[machine_id] = Flight(action)
        self.listing.busy.add(machine_id)

    def check_destroy(self, machine_id: str) -> None:
        row = self.stored.machines.get(machine_id)
        assert machine_id in self.stored.tombstones or row is not None, "destroyed without a memory of it"
        assert row is None or row.project is None, "what holds a project is never destroyed"
        assert machine_id not in self.kept, "nobody gave its files up"
        wanted = machine_id in self.stored.tombstones or (row is not None and not row.gone)
        assert wanted, "what was merely forgotten is never destroyed"

    def land(self, action: Action, *, late: bool = False) -> Result:
        if isinstance(action, Destroy):
            self.check_destroy(action.machine_id)
        return self.place.land(action, late=late)

    def settled(self, action: Action, result: Result, commit: str) -> None:
        del self.flights[action.machine_id]
        with self.decision(commit):
            outcome = Outcome(result, f"the engine says: {result}")
            failed = {machine.id for machine in self.machines(State.FAILED)}
            outcomes.apply_outcome(self.fleet, self.spec, action, outcome, self.now)
            if result in {Result.OBSTRUCTED, Result.PORT_TAKEN}:
                assert failed == {machine.id for machine in self.machines(State.FAILED)}, (
                    "nothing fails for good of that"
                )
            self.turn_away()

    def deliver(self, verdict: Verdict, commit: str) -> None:
        if verdict.answered:
            earlier = self.answered_at.get(verdict.machine_id, verdict.begun_at)
            self.answered_at[verdict.machine_id] = max(earlier, verdict.begun_at)
        held = {machine.id for machine in self.machines(State.READY, State.STARTING) if machine.project is not None}
        with self.decision(commit):
            outcomes.apply_verdict(self.fleet, self.spec, verdict, self.now)
            failed = {machine.id for machine in self.machines(State.FAILED)}
            assert not held & failed, "a probe never fails an assigned machine"
            self.resize()
            self.turn_away()

    def tick(self, snapshot: Snapshot, commit: str) -> None:
        dead = about_to_fail(self.fleet, snapshot.instances, self.spec, snapshot.begun_at)
        snapshot = replace(snapshot, evidence=dict.fromkeys(dead, "the last line"))
        not_ours = {i.id for i in strays(self.fleet, snapshot)} | {i.id for i in foreign(self.fleet, snapshot)}
        assert not_ours - self.may_be_strays() == self.others & set(snapshot.instances)
        with self.decision("shared"):
            plan = reconcile(self.fleet, snapshot, self.spec, self.now, self.new_id)
            self.turn_away()
        assert plan.wake_at is None or plan.wake_at > self.now
        assert not [action for action in plan.actions if action.machine_id in snapshot.busy]
        assert all(due_actions.still_wanted(self.fleet, action) for action in plan.actions)
        if self.store() if commit != "lost" else self.lose():
            for action in plan.actions:
                self.start(action)

    # people

    @rule(project=projects, commit=commits)
    def assign(self, *, project: str, commit: str) -> None:
        """A project has at most one machine, gets it however often it asks, and never overtakes."""
        own, waiting = self.fleet.of_project(project), self.line
        with self.decision(commit):
            if own is not None and own.gone:
                self.given_up.add((own.id, project))
            try:
                machine = commands.assign(self.fleet, self.spec, project, self.now, DEFAULT_POOL)
            except MachineFailed as why_not:
                self.is_refused_for_good(own, why_not.message)
            except NoMachineAvailable as why_not:
                self.is_refused_for_a_reason(own, why_not.message)
            except KeyLimitReached:
                assert own is None or own.gone
                others = {*self.fleet.projects, *self.fleet.waiting} - {project}
                assert sum(one.startswith("ci:") for one in others) >= (self.keys["ci"] or 0)
            else:
                self.is_assigned(project, own, machine, waiting)
                self.resize()
        if commit == "stored" and own is not None:
            self.untold.discard(own.id)

    @staticmethod
    def is_refused_for_good(own: Machine | None, message: str) -> None:
        assert message
        assert own is not None
        assert own.state is State.FAILED
        assert not own.gone

    def is_refused_for_a_reason(self, own: Machine | None, message: str) -> None:
        assert message
        if own is not None and own.id in self.fleet.ailing:
            assert "cannot serve now" in message
            return
        assert own is None or own.gone
        if self.pool.template is None:
            assert not self.pool.pending
            return
        hold = self.fleet.brake_in_force(DEFAULT_POOL, self.pool.template)
        assert hold is not None
        assert hold.template == self.pool.template
        assert hold.until > self.now
        assert not self.fleet.coming(DEFAULT_POOL, self.pool.template)
        assert not self.fleet.idle(DEFAULT_POOL, self.pool.template)

    def is_assigned(self, project: str, own: Machine | None, machine: Machine | None, waiting: list[str]) -> None:
        if own is not None and own.state is State.READY:
            assert machine == own
            assert own.id not in self.fleet.ailing
        elif own is not None and not own.gone:
            assert machine is None
            assert project not in self.line
        elif machine is None:
            assert project in self.line
            assert [p for p in self.line if p != project] == [p for p in waiting if p != project]
        else:
            assert not waiting
            assert machine == self.fleet.of_project(project)

    @precondition(lambda self: self.fleet.machines)
    @rule(pick=picks, how=st.sampled_from(["release", "release", "release any", "destroy"]), commit=commits)
    def give_up(self, *, pick: int, how: str, commit: str) -> None:
        held = [machine for machine in self.machines() if machine.project is not None]
        machine = one_of(held if held and how == "release" else self.machines(), pick)
        with self.decision(commit):
            if machine.project is not None:
                self.given_up.add((machine.id, machine.project))
            if how == "destroy":
                commands.destroy(self.fleet, machine, self.now)
            else:
                self.release(machine)
            self.resize()

    def release(self, machine: Machine) -> None:
        try:
            commands.release(self.fleet, self.spec, machine, self.now)
        except MachineNotFound:
            assert machine.project is None
            assert machine.state in {State.STOPPING, State.FAILED}

    @precondition(lambda self: self.fleet.machines)
    @rule(pick=picks, commit=commits)
    def restart(self, *, pick: int, commit: str) -> None:
        """Only what a project holds, and what is still there; it keeps its project, its generation and its port."""
        machine = one_of(self.machines(), pick)
        if machine.state is State.STOPPING:
            return
        with self.decision(commit):
            try:
                after = commands.restart(self.fleet, machine, self.now)
            except NotAssigned:
                assert machine.project is None
            except NotRunning:
                assert machine.gone
            else:
                assert after.state is State.STARTING
                kept = (after.id, after.project, after.generation, after.port)
                assert kept == (machine.id, machine.project, machine.generation, machine.port)

    @precondition(lambda self: self.fleet.machines)
    @rule(pick=picks, commit=commits)
    def sleep(self, *, pick: int, commit: str) -> None:
        """Only what serves a project; it keeps its project, its generation and its port, and its container."""
        machine = one_of(self.machines(), pick)
        if machine.state is State.STOPPING:
            return
        with self.decision(commit):
            try:
                after = commands.sleep(self.fleet, machine, self.now)
            except NotAssigned:
                assert machine.project is None
            except NotRunning:
                assert machine.state in {State.STARTING, State.FAILED}
            else:
                assert after.state is State.SLEEPING
                kept = (after.id, after.project, after.generation, after.port)
                assert kept == (machine.id, machine.project, machine.generation, machine.port)

    @precondition(lambda self: self.line or (self.untold and not self.fleet.pending))
    @rule(pick=picks, takes_it=st.booleans(), commit=commits)
    def is_told(self, *, pick: int, takes_it: bool, commit: str) -> None:
        """Before a client is told of its machine, the machine must answer; and the client may have gone by then."""
        if self.fleet.pending or not self.untold:
            waiting_line.leave_line(self.fleet, one_of(self.line, pick))
            return
        machine = self.fleet.machines[one_of(sorted(self.untold), pick)]
        if takes_it and machine.state is not State.READY:
            return
        self.untold.discard(machine.id)
        if takes_it and self.place.serves(machine):
            return
        assert machine.project is not None
        with self.decision(commit):
            self.given_up.add((machine.id, machine.project))
            broken = "did not answer" if takes_it else ""
            commands.withdraw(self.fleet, self.spec, machine, self.now, broken=broken)

    @rule(
        kind=st.sampled_from(["good", "good", "exits", "mute", "former", "pulling", "missing"]),
        pick=picks,
        commit=commits,
    )
    def wants_another_template(self, *, kind: str, pick: int, commit: str) -> None:
        """Somebody rebuilds the image, well or badly, takes that back, or removes it."""
        self.made += 1
        template: str | None = f"t{self.made}"
        if kind == "former":
            template = one_of(sorted({m.template for m in self.machines()} | {"t0"}), pick)
        elif kind in {"pulling", "missing"}:
            template = None
        elif kind != "good":
            (self.place.exits if kind == "exits" else self.place.mute).add(str(template))
        problem = "No such image." if kind == "missing" else ""
        pool = replace(self.pool, template=template, pending=kind == "pulling", problem=problem)
        self.spec = replace(self.spec, pools={DEFAULT_POOL: pool})
        with self.decision(commit):
            self.resize()
            self.turn_away()

    @rule(parked=st.integers(0, 3), commit=commits)
    def wants_another_reserve(self, *, parked: int, commit: str) -> None:
        self.spec = replace(self.spec, pools={DEFAULT_POOL: replace(self.pool, parked=parked)})
        with self.decision(commit):
            self.resize()
            self.turn_away()

    # configurations

    def serving(self) -> list[Machine]:
        """Machines whose projects may configure them now."""
        return [m for m in self.machines(State.READY) if m.project is not None and m.id not in self.set_ups]

    @precondition(lambda self: self.serving() and not self.fleet.pending)
    @rule(pick=picks, digest=st.sampled_from("ab"), commit=commits)
    def configure(self, *, pick: int, digest: str, commit: str) -> None:
        """A project sends values. Nothing is written before it is stored that they will be."""
        machine = one_of(self.serving(), pick)
        if commit == "shared":
            commit = "stored"
        with self.decision(commit):
            begun = configure.begin(self.fleet, machine, digest, self.now)
        if commit == "stored":
            self.set_ups[machine.id] = begun

    @precondition(lambda self: self.set_ups)
    @rule(pick=picks, how=st.sampled_from(["done", "done", "done", "fails", "unknown", "late"]), commit=commits)
    def end_set_up(self, *, pick: int, how: str, commit: str) -> None:
        begun = self.set_ups.pop(one_of(sorted(self.set_ups), pick))
        assert begun.configuration is not None
        values = (begun.generation, begun.configuration.digest)
        has_written = how != "late" and self.place.write(begun.id, values)
        if how == "late":
            self.late_values.append((begun.id, values))
        with self.decision(commit):
            is_done = how == "done" and has_written
            why = None if is_done else f"It ended as {how}."
            certain = how not in {"unknown", "late"}
            after = configure.finish(self.fleet, begun, self.now, why=why, is_certain=certain)
            assert after is None or after.is_configured is is_done

    @precondition(lambda self: self.late_values)
    @rule(pick=picks)
    def values_land_late(self, *, pick: int) -> None:
        """A write that was given up long ago, perhaps by a process that died."""
        self.place.write(*self.late_values.pop(pick % len(self.late_values)))

    # the world

    @precondition(lambda self: not self.fleet.pending)
    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 3.0, 10.5, 61.0, 301.0, 601.0]))
    def time_passes(self, *, seconds: float) -> None:
        self.now += seconds

    def ask_everybody(self) -> None:
        """Somebody is always being probed: whoever is not yet, from now on."""
        for machine in self.machines(State.STARTING, State.READY):
            if machine.id not in self.probes:
                answered = self.place.serves(machine)
                self.probes[machine.id] = Verdict(machine.id, self.now, answered, "" if answered else "silence")

    @precondition(lambda self: self.probes)
    @rule(pick=picks, is_heard=mostly, is_known=mostly, commit=commits)
    def end_probe(self, *, pick: int, is_heard: bool, is_known: bool, commit: str) -> None:
        verdict = self.probes.pop(one_of(sorted(self.probes), pick))
        self.deliver(replace(verdict, answered=verdict.answered and is_heard if is_known else None), commit)

    @rule(arrives=mostly, next_shows_its_begin=st.booleans(), engine_was_there=mostly, commit=commits)
    def end_listing(self, *, arrives: bool, next_shows_its_begin: bool, engine_was_there: bool, commit: str) -> None:
        listing = self.listing
        if arrives:
            instances = self.place.listing() if listing.instances is None else listing.instances
            busy, was_away = frozenset(listing.busy), not engine_was_there
            self.tick(Snapshot(listing.begun_at, instances, busy, after_outage=was_away), commit)
        self.begin_listing(shows_its_begin=next_shows_its_begin)

    def begin_listing(self, *, shows_its_begin: bool = True) -> None:
        self.listing = Listing(self.now, set(self.flights), self.place.listing() if shows_its_begin else None)

    @precondition(lambda self: self.flights)
    @rule(pick=picks, how=st.sampled_from(ENDS), commit=commits)
    def settle(self, *, pick: int, how: str, commit: str) -> None:
        """A call does its work, replies, or is given up. What was given up may have been done, or may be done later."""
        flight = self.flights[one_of(sorted(self.flights), pick)]
        action = flight.action
        if flight.landed is None and how in {"lands", "done", "no reply"}:
            flight.landed = self.land(action)
        if how == "lands":
            return
        if flight.landed is None and how == "late":
            self.late.append(action)
        elif flight.landed is None and how == "half done" and isinstance(action, Create):
            self.place.leave_half_done(action.machine)
        refusals = {
            "unavailable": Result.UNAVAILABLE,
            "rejected": Result.REJECTED,
            "obstructed": Result.OBSTRUCTED,
        }
        refused = refusals.get(how, Result.UNKNOWN)
        self.settled(action, refused if flight.landed is None or how == "no reply" else flight.landed, commit)

    @precondition(lambda self: self.late)
    @rule(pick=picks)
    def land_late(self, *, pick: int) -> None:
        self.land(self.late.pop(pick % len(self.late)), late=True)

    @precondition(lambda self: self.ours())
    @rule(pick=picks, how=st.sampled_from(["exit", "kill", "break", "remove", "hide", "lose sight", "hang", "start"]))
    def meddle(self, *, pick: int, how: str) -> None:
        """Containers die, and people use the engine's own tools."""
        machine_id = one_of(self.ours(), pick)
        container = self.place.containers[machine_id]
        if how == "remove":
            self.place.remove(machine_id)
        elif how == "hide":
            self.place.hide(machine_id)
        elif how == "hang":
            container.answers = False
        elif how == "start":
            self.place.land(Restart(machine_id))
        else:
            container.is_broken |= how == "break"
            container.becomes(Status.UNKNOWN if how == "lose sight" else Status.EXITED, killed=how == "kill")

    @precondition(lambda self: self.ours())
    @rule(pick=picks, how=st.sampled_from(["pause", "pause with words", "cut off", "rename", "put right"]))
    def hold_up(self, *, pick: int, how: str) -> None:
        """What the engine goes on to show as there, and not ended."""
        container = self.place.containers[one_of(self.ours(), pick)]
        if how == "rename":
            container.instance = replace(container.instance, renamed="another")
        elif how == "put right":
            container.instance = replace(container.instance, renamed="")
            if container.is_held_up:
                container.becomes(Status.RUNNING)
        elif container.runs or (how == "cut off" and container.instance.status is Status.PAUSED):
            status = Status.PAUSED if how != "cut off" else container.instance.status
            trouble = "" if how == "pause" else f"it is {how}"
            is_cut_off = container.instance.is_cut_off or how == "cut off"
            container.instance = replace(container.instance, status=status, trouble=trouble, is_cut_off=is_cut_off)
            container.paused_by_others |= status is Status.PAUSED

    @rule()
    def the_daemon_is_restarted(self) -> None:
        """What is paused then dies."""
        for machine_id in self.ours():
            if self.place.containers[machine_id].instance.status is Status.PAUSED:
                self.place.containers[machine_id].becomes(Status.EXITED, killed=True)

    @rule(owner=st.sampled_from([OWNER, OTHER_OWNER, None]), reuse=st.booleans(), pick=picks)
    def others_are_at_work(self, *, owner: str | None, reuse: bool, pick: int) -> None:
        """They take a port, or let it go. A container appears: a stray, or one of another service.

        The latter may even have an id that we once used, for a store may be copied.
        """
        if owner is None:
            self.place.ports_of_others ^= {FIRST_PORT + pick}
            return
        self.made += 1
        machine_id = f"x{self.made}"
        taken = {*self.place.containers, *self.stored.machines, *(action.machine_id for action in self.late)}
        free = sorted(self.stored.tombstones - taken)
        free = [machine_id for machine_id in free if machine_id not in self.flights]
        if reuse and owner == OTHER_OWNER and free and not self.fleet.pending:
            machine_id = one_of(free, pick)
        self.place.containers[machine_id] = Container(Instance(machine_id, owner, DEFAULT_POOL, "t0", Status.RUNNING))
        self.others.add(machine_id)

    @rule()
    def crash(self) -> None:
        """The process dies with all that it had not stored. Calls under way may land yet."""
        self.late += [flight.action for flight in self.flights.values() if flight.landed is None]
        for begun in self.set_ups.values():
            assert begun.configuration is not None
            self.late_values.append((begun.id, (begun.generation, begun.configuration.digest)))
        self.set_ups.clear()
        self.flights, self.probes, self.seen = {}, {}, 0
        self.untold.clear()
        self.given_up.clear()
        self.in_use_until = dict(self.in_use_until_stored)
        self.fleet = Fleet(OWNER, generation=self.stored.generation, last_port=self.stored.last_port)
        rows = sorted(self.stored.machines.values(), key=lambda machine: machine.id)
        self.fleet.load(rows, self.stored.tombstones, self.now)
        self.fleet.keys = self.keys
        self.begin_listing()

    @rule(rounds=st.integers(1, 3), seconds=st.sampled_from([0.0, 0.1, 2.0, 10.0]))
    def all_goes_well(self, *, rounds: int, seconds: float) -> None:
        """For a while."""
        for _ in range(rounds):
            self.one_good_round(seconds)

    @rule(seconds=st.sampled_from([0.0, 0.1, 2.0]))
    def engine_and_workers_do_well(self, *, seconds: float) -> None:
        """While a listing is on its way, perhaps."""
        self.store()
        for flight in list(self.flights.values()):
            result = self.land(flight.action) if flight.landed is None else flight.landed
            self.settled(flight.action, result, "stored")
        self.now += seconds
        for machine in self.machines(State.STARTING, State.READY):
            if machine.id in self.fleet.machines:
                answered = self.place.serves(machine)
                self.deliver(Verdict(machine.id, self.now, answered, "" if answered else "silence"), "stored")

    def one_good_round(self, seconds: float) -> None:
        self.engine_and_workers_do_well(seconds=seconds)
        self.tick(Snapshot(self.now, self.place.listing(), frozenset(self.flights)), "stored")
        self.begin_listing()

    # what must always hold

    @invariant()
    def all_holds(self) -> None:
        self.now += 0.0001  # no two things happen at the same time
        self.ask_everybody()
        machines = self.fleet.machines.values()
        assert_indexes_hold(self.fleet)
        held = [m.project for m in machines if m.project is not None]
        assert len(held) == len(set(held)), "a project has at most one machine"
        assert not set(held) & set(self.line), "whoever has a machine waits for none"
        ports = [m.port for m in machines if m.port is not None and not m.gone]
        assert len(ports) == len(set(ports)), "a port belongs to at most one machine that is not gone"
        for machine in machines:
            if machine.id in self.fleet.ailing:
                assert machine.id in self.fleet.doubted
            if machine.is_idle:
                assert self.answered_at[machine.id] >= self.in_use_until[machine.id], "idle means that it answered"
        assert self.others <= set(self.place.containers), "what is none of ours is untouched"
        self.each_key_has_its_own()
        self.no_project_has_what_we_pause()
        self.nobody_sees_what_another_project_configured()
        if hasattr(self, "spec"):
            holding = {m.id for m in machines if not m.gone}
            assert self.fleet.slots_held == len(holding)
            assert len(holding - self.turned_up) <= self.spec.max_machines
            self.containers_are_ours_and_no_more_than_allowed()

    def each_key_has_its_own(self) -> None:
        """No more machines than it may have, and while there are keys none that another project had."""
        for limit in self.keys.values():
            count = self.fleet.count_of_key("ci")
            assert count <= max(limit or 0, self.most_of_key), "a key has or waits for more machines than it may have"
            self.most_of_key = min(self.most_of_key, count)
            for row in self.stored.machines.values():
                if row.project is not None:
                    assert self.tenant_of.setdefault(row.id, row.project) == row.project, "it was another project's"

    def no_project_has_what_we_pause(self) -> None:
        """Whenever a pause is carried out that we gave up."""
        for machine in self.fleet.machines.values():
            found = self.place.containers.get(machine.id)
            if found is not None and found.instance.status is Status.PAUSED and not found.paused_by_others:
                assert machine.project is None, f"{machine} is paused by us"

    def nobody_sees_what_another_project_configured(self) -> None:
        """Neither by what is decided nor by what is stored, and whenever it was written."""
        for machine_id, container in self.place.containers.items():
            for rows in (self.fleet.machines, self.stored.machines) if container.memory is not None else ():
                row = rows.get(machine_id)
                if row is not None and container.memory is not None:
                    assert row.configuration is not None, "what has values is not said to be clean"
                    assert row.project is None or row.generation == container.memory[0], "they are its own project's"

    def containers_are_ours_and_no_more_than_allowed(self) -> None:
        """Each is on record, or was. Only those that landed after we had given them up may be too many."""
        ours = [machine_id for machine_id in self.ours() if machine_id not in self.may_be_strays()]
        assert set(ours) <= set(self.stored.machines) | self.stored.tombstones
        in_time = [machine_id for machine_id in ours if not self.place.containers[machine_id].landed_late]
        assert set(in_time) <= {machine_id for machine_id, row in self.stored.machines.items() if not row.gone}
        assert len(in_time) <= self.spec.max_machines

    # and what must hold in the end

    def teardown(self) -> None:
        """When nothing goes wrong any more, the pool comes to rest at its size, and nothing is left over."""
        if not hasattr(self, "spec"):
            return
        self.store()
        while self.set_ups:
            self.end_set_up(pick=0, how="done", commit="stored")
        for action in self.late:
            self.land(action, late=True)
        self.late.clear()
        self.place.ports_of_others.clear()
        self.place.hidden.clear()
        for machine_id in self.may_be_strays():  # an operator looks into them: they hold ports
            row = self.fleet.machines.get(machine_id)
            if row is None or (row.gone and row.project is None):
                self.place.remove(machine_id)
        if self.pool.template is None or self.pool.template in self.place.exits | self.place.mute:
            pool = replace(self.pool, template="final", pending=False, problem="")
            self.spec = replace(self.spec, pools={DEFAULT_POOL: pool})
        at_rest = 0  # rounds in a row: what is found out in the next one shows only then
        for _ in range(ROUNDS):
            self.one_good_round(ROUND_S)
            at_rest = 0 if list(self.unrest()) or self.is_refill_put_off() else at_rest + 1
            if at_rest == 2:
                break
        self.one_good_round(ROUND_S)
        assert list(self.unrest()) == []

    def checked(self) -> list[Machine]:
        """Machines of the reserve that are to show that they still answer."""
        return [m for m in self.machines(State.STARTING) if m.reason == UNPARKED_FOR_CHECK]

    def wants_refill(self) -> bool:
        room = self.spec.max_machines - self.fleet.slots_held
        return room > 0 and len(self.machines(State.PARKED)) + len(self.checked()) < self.pool.parked

    def is_refill_put_off(self) -> bool:
        """Until nothing of the reserve is being checked: then a machine comes, though all was well before."""
        return self.wants_refill() and bool(self.checked())

    def restless_reserve(self) -> Iterator[str]:
        template, parked, checked = self.pool.template, self.machines(State.PARKED), self.checked()
        for machine in parked:
            container = self.place.containers.get(machine.id)
            is_paused = container is not None and container.instance.status is Status.PAUSED
            if machine.id not in self.flights and not is_paused:
                yield "a machine that is parked on record alone"
            if container is not None and not container.answers:
                yield "a parked machine that will not answer when it is checked"
        if any(machine.template != template for machine in parked):
            yield "a parked machine of an older template"
        if self.wants_refill() and not checked:
            yield "fewer parked machines than are wanted"
        if len(parked) + len(checked) > self.pool.parked:
            yield "more parked machines than are wanted"

    def restless_sleepers(self) -> Iterator[str]:
        for machine in self.machines(State.SLEEPING):
            container = self.place.containers.get(machine.id)
            if not machine.is_asleep:
                yield "a machine that is falling asleep"
            elif container is None or container.runs:
                yield "a machine that is asleep on record alone"

    def unrest(self) -> Iterator[str]:
        """What is not as it should be when nothing goes wrong any more."""
        template, machines = self.pool.template, self.machines()
        room = self.spec.max_machines - sum(m.project is not None and not m.gone for m in machines)
        idle = [self.fleet.machines[i] for i in self.fleet.idle(DEFAULT_POOL, template)]
        if len(idle) < min(self.pool.min_idle, room):
            yield "fewer idle machines than min_idle"
        if self.pool.max_idle is not None and len(idle) > self.pool.max_idle:
            yield "more idle machines than max_idle"
        if not all(self.place.serves(machine) for machine in idle):
            yield "an idle machine that does not serve"
        if self.line and room > 0:
            yield "a project that waits though there is room"
        if list(self.fleet.stale(DEFAULT_POOL, template)):
            yield "an idle machine of an older template"
        if [m for m in machines if (m.is_coming and m.reason != UNPARKED_FOR_CHECK) or m.is_leaving]:
            yield "a machine on its way"
        yield from self.restless_sleepers()
        yield from self.restless_reserve()
        if any(self.fleet.watches[m.id].restart_requests for m in machines):
            yield "a restart that was asked for and not carried out"
        needed = {m.id for m in machines if not m.gone or m.project is not None}
        for machine_id in set(self.ours()) - needed:
            is_stray = machine_id in self.may_be_strays() and machine_id not in self.fleet.tombstones
            if not is_stray and not self.place.containers[machine_id].instance.renamed:
                yield "a container that nobody needs"


TestCore = Core.TestCase
TestCore.settings = settings(
    max_examples=int(os.environ.get("SIMULATION_EXAMPLES", "150")),
    stateful_step_count=50,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
