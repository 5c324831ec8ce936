"""Short words for the tests of the core: a world in which time passes only when a test says so.

A `World` is a fleet, what it should be, and an engine reduced to the instances that a listing would show. It performs no
action: a test puts there what it wants to be found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from worker_orchestrator.core import commands, outcomes, sizing
from worker_orchestrator.core.action import Action, Clean, Create, Destroy, Outcome, Park, Restart, Result, Stop, Unpark
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.indexes import Members
from worker_orchestrator.core.instance import Instance, Snapshot, Status, Verdict
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.core.pool import Brake, Pool
from worker_orchestrator.core.reconcile import Plan, reconcile
from worker_orchestrator.core.sizing import resize
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.core.watch import Watch
from worker_orchestrator.settings.settings import DEFAULT_POOL

OWNER = "owner-1"
OTHER_OWNER = "owner-2"
OLD = "template-1"
NEW = "template-2"


def a_spec(
    *,
    max_machines: int = 100,
    max_awake: int | None = None,
    first_port: int | None = 9093,
    last_port: int = 65535,
    **pool: Any,
) -> Spec:
    """One pool of the template OLD that wants nothing by itself, unless told otherwise."""
    wanted = PoolSpec(**{"template": OLD, "min_idle": 0, **pool})
    return Spec(
        {DEFAULT_POOL: wanted},
        max_machines=max_machines,
        max_awake=max_awake,
        first_port=first_port,
        last_port=last_port,
    )


def several(*, max_machines: int = 100, last_port: int = 65535, **pools: Mapping[str, Any]) -> Spec:
    """These pools in this order, each of the template OLD, which want nothing by themselves, unless told otherwise."""
    wanted = {name: PoolSpec(**{"template": OLD, "min_idle": 0, **fields}) for name, fields in pools.items()}
    return Spec(wanted, max_machines=max_machines, last_port=last_port)


def a_machine(
    machine_id: str = "w1", state: State = State.READY, *, project: str | None = None, metadata: str = "", **fields: Any
) -> Machine:
    """A machine of the template OLD; `project` and `metadata` make its holding."""
    holding = None if project is None else Holding(project, metadata)
    known = {"id": machine_id, "pool": DEFAULT_POOL, "template": OLD, "state": state, "port": 9093, "holding": holding}
    return Machine(**{**known, **fields})


def an_instance(machine_id: str = "w1", status: Status = Status.RUNNING, **fields: Any) -> Instance:
    return Instance(
        **{"id": machine_id, "owner": OWNER, "pool": DEFAULT_POOL, "template": OLD, "status": status, **fields}
    )


def a_fleet(*machines: Machine, tombstones: Iterable[str] = (), now: float = 0.0) -> Fleet:
    """A fleet as it is right after a restart of the service."""
    fleet = Fleet(OWNER)
    fleet.load(machines, tombstones, now)
    return fleet


@dataclass
class World:
    """A fleet with the engine's instances, at a time."""

    spec: Spec = field(default_factory=a_spec)
    fleet: Fleet = field(default_factory=a_fleet)
    now: float = 1000.0
    instances: dict[str, Instance] = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self) -> None:
        """Whatever is on record runs."""
        self.instances = {machine.id: an_instance(machine.id) for machine in self.fleet.machines.values()}

    def new_id(self) -> str:
        """Those made here are m1, m2, …, unlike w1, w2, … which a test put on record."""
        self._made += 1
        return f"m{self._made}"

    def wants(self, pool: str = DEFAULT_POOL, /, **changes: Any) -> None:
        """Change what this pool should be."""
        wanted = replace(self.spec.pools[pool], **changes)
        self.spec = replace(self.spec, pools={**self.spec.pools, pool: wanted})

    # looking

    def __getitem__(self, machine_id: str) -> Machine:
        return self.fleet.machines[machine_id]

    def watch(self, machine_id: str) -> Watch:
        return self.fleet.watches[machine_id]

    @property
    def pool(self) -> Pool:
        return self.fleet.pool(DEFAULT_POOL)

    @property
    def line(self) -> list[str]:
        return list(self.pool.line)

    @property
    def brake(self) -> Brake:
        assert self.pool.image_brake is not None
        return self.pool.image_brake

    @property
    def idle(self) -> list[str]:
        """Idle machines of any template, by id."""
        return [machine.id for machine in self.fleet.machines.values() if machine.is_idle]

    def in_state(self, state: State) -> list[str]:
        return [machine.id for machine in self.fleet.machines.values() if machine.state is state]

    def causes(self, machine_id: str) -> list[Cause]:
        """What happened to this machine, as far as it is not stored yet."""
        return [change.cause for change in self.fleet.pending if change.machine.id == machine_id]

    def last_change(self) -> Change:
        return self.fleet.pending[-1]

    # what happens out there

    def instance(self, machine_id: str, status: Status = Status.RUNNING, **fields: Any) -> None:
        self.instances[machine_id] = an_instance(machine_id, status, **fields)

    def remove(self, machine_id: str) -> None:
        del self.instances[machine_id]

    # what the fleet is told

    def begin(self, template: str | None = None) -> str:
        """A new machine, on record and nothing more."""
        wanted = template or self.spec.pools[DEFAULT_POOL].template
        assert wanted is not None
        machine = sizing.new_machine(self.fleet, self.spec, DEFAULT_POOL, wanted, self.new_id(), self.now)
        assert machine is not None
        return machine.id

    def start(self, template: str | None = None) -> str:
        """A new machine whose container runs."""
        machine_id = self.begin(template)
        self.instance(machine_id)
        return machine_id

    def up(self, template: str | None = None) -> str:
        """A new machine that answers."""
        machine_id = self.start(template)
        self.answer(machine_id)
        return machine_id

    def answer(self, machine_id: str, begun_at: float | None = None) -> None:
        self._probed(machine_id, begun_at, answered=True)

    def miss(self, machine_id: str, begun_at: float | None = None, detail: str = "nothing listens") -> None:
        self._probed(machine_id, begun_at, answered=False, detail=detail)

    def wonder(self, machine_id: str, begun_at: float | None = None) -> None:
        """A probe of which nobody can tell what it would have found."""
        self._probed(machine_id, begun_at, answered=None, detail="Docker does not answer")

    def _probed(self, machine_id: str, begun_at: float | None, *, answered: bool | None, detail: str = "") -> None:
        verdict = Verdict(machine_id, self.now if begun_at is None else begun_at, answered, detail)
        outcomes.apply_verdict(self.fleet, self.spec, verdict, self.now)

    def assign(self, project: str, pool: str | None = None) -> str | None:
        machine = commands.assign(self.fleet, self.spec, project, self.now, pool)
        return None if machine is None else machine.id

    def release(self, machine_id: str) -> Machine | None:
        return commands.release(self.fleet, self.spec, self[machine_id], self.now)

    def destroy(self, machine_id: str) -> Machine | None:
        return commands.destroy(self.fleet, self[machine_id], self.now)

    def apply_outcome(self, action: Action, result: Result, message: str = "", evidence: str = "") -> None:
        outcomes.apply_outcome(self.fleet, self.spec, action, Outcome(result, message, evidence), self.now)

    def created(self, machine_id: str, result: Result = Result.DONE, message: str = "", evidence: str = "") -> None:
        self.apply_outcome(Create(self[machine_id]), result, message, evidence)

    def restarted(self, machine_id: str, result: Result = Result.DONE, message: str = "") -> None:
        self.apply_outcome(Restart(machine_id), result, message)

    def cleaned(self, machine_id: str, result: Result = Result.DONE, message: str = "") -> None:
        self.apply_outcome(Clean(machine_id), result, message)

    def paused(self, machine_id: str, result: Result = Result.DONE, message: str = "") -> None:
        """How the pause of a parked machine ended; if it was done, listings show that."""
        if result is Result.DONE:
            self.instance(machine_id, Status.PAUSED)
        self.apply_outcome(Park(machine_id), result, message)

    def unpaused(self, machine_id: str, result: Result = Result.DONE, message: str = "") -> None:
        """How the end of that pause ended."""
        if result is Result.DONE:
            self.instance(machine_id)
        self.apply_outcome(Unpark(machine_id), result, message)

    def stopped(self, machine_id: str, result: Result = Result.DONE, message: str = "") -> None:
        self.apply_outcome(Stop(machine_id, DEFAULT_POOL), result, message)

    def destroyed(self, machine_id: str, result: Result = Result.DONE, message: str = "") -> None:
        self.apply_outcome(Destroy(machine_id), result, message)

    def listing(
        self,
        *,
        begun_at: float | None = None,
        busy: Iterable[str] = (),
        evidence: Mapping[str, str] | None = None,
    ) -> Snapshot:
        begun = self.now if begun_at is None else begun_at
        return Snapshot(begun, dict(self.instances), frozenset(busy), evidence or {})

    def tick(
        self,
        *,
        begun_at: float | None = None,
        busy: Iterable[str] = (),
        evidence: Mapping[str, str] | None = None,
    ) -> Plan:
        listing = self.listing(begun_at=begun_at, busy=busy, evidence=evidence)
        return reconcile(self.fleet, listing, self.spec, self.now, self.new_id)

    def resize(self) -> None:
        resize(self.fleet, self.spec, self.now, self.new_id)

    def crash(self) -> None:
        """The service dies, and starts again with what it stored, which is everything."""
        old = self.fleet
        self.fleet = Fleet(old.owner, generation=old.generation, last_port=old.last_port)
        self.fleet.load(old.machines.values(), old.tombstones, self.now)


def assert_indexes_hold(fleet: Fleet) -> None:
    """Every index of a fleet says what the index of one that was loaded this moment says."""
    fresh = Fleet(fleet.owner)
    fresh.load(fleet.machines.values(), fleet.tombstones, 0.0)
    assert indexes(fleet) == indexes(fresh)
    assert fleet.asked.keys() <= fleet.waiting.keys(), "what nobody waits with is forgotten"
    assert fleet.waiting == {project: name for name, pool in fleet.pools.items() for project in pool.line}
    owners = [project.partition(":")[0] for project in (*fleet.projects, *fleet.waiting) if ":" in project]
    assert fleet._of_keys == Counter(owners), "what a key has and waits for is counted"
    for pool in fleet.pools.values():
        assert sorted(pool.line.values()) == list(pool.line.values()), "the line is in the order of its tickets"


def indexes(fleet: Fleet) -> dict[str, object]:
    """All that can be derived from the machines, without the order of those who wait."""
    return {
        "projects": fleet.projects,
        "ports": fleet.ports,
        "held": fleet.slots_held,
        "awake": (fleet.awake, fleet.falling_asleep),
        "unparking": fleet.unparking,
        "watched": set(fleet.watches),
        "members": {name: _of(members) for name, members in fleet._members.items()},
    }


def _of(members: Members) -> dict[str, object]:
    return {
        "idle": {template: set(ids) for template, ids in members.idle.items()},
        "coming": {template: set(ids) for template, ids in members.coming.items()},
        "parked": {template: set(ids) for template, ids in members.parked.items()},
        "leaving": set(members.leaving),
        "count": members.count,
        "held": members.slots_held,
        "assigned": members.assigned,
    }


def with_one(machine: Machine, status: Status | None = Status.RUNNING, **fields: object) -> World:
    """A world with one machine and its container in this status, or none."""
    world = World(fleet=a_fleet(machine, now=1000.0))
    if status is None:
        world.remove(machine.id)
    else:
        world.instance(machine.id, status, **fields)
    return world
