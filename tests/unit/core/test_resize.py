"""How pools keep their size: what is missing, what is surplus, the brake, a new template, and when to look again."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.core.build import (
    NEW,
    OLD,
    World,
    a_fleet,
    a_machine,
    a_spec,
    assert_indexes_hold,
    with_one,
)

from worker_orchestrator.core import commands
from worker_orchestrator.core.action import Destroy, Result
from worker_orchestrator.core.brake import Failure, fail_machine
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.settings.settings import DEFAULT_POOL

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED


def braked(world: World, template: str, *, is_on: bool = True, level: int = 1) -> None:
    world.pool.image_brake = Brake(template, level, world.now, world.now + 1.0, is_on, "w0: exited")


# the size of a pool


def a_right_world(case: str) -> World:
    """A pool that has neither too many nor too few, each at a limit."""
    match case:
        case "as many as wanted":
            world = World(spec=a_spec(min_idle=1))
            world.up()
        case "as many as allowed":
            world = World(spec=a_spec(min_idle=0, max_idle=1))
            world.up()
        case "one on its way":
            world = World(spec=a_spec(min_idle=1))
            world.start()
        case "no more than there may be":
            world = World(spec=a_spec(min_idle=2, max_machines=1))
            world.up()
        case _:
            world = World(spec=a_spec(min_idle=1))
            old = world.up()
            world.wants(template=NEW)
            world.up()
            world.assign("p")  # the new one goes
            world.destroy(old)
            world.up()
    return world


@pytest.mark.parametrize(
    "case",
    ["as many as wanted", "as many as allowed", "one on its way", "no more than there may be", "an older one has gone"],
)
def test_that_a_pool_is_right_is_seen_at_a_glance(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is after almost every assign, so nothing else is looked at then."""
    world = a_right_world(case)
    world.fleet.take_pending()
    monkeypatch.delattr("worker_orchestrator.core.sizing._retire_surplus")
    monkeypatch.delattr("worker_orchestrator.core.sizing.claim_of")
    world.resize()
    assert world.fleet.pending == []


def test_the_tick_begins_what_is_missing() -> None:
    """Their creation follows from the change."""
    world = World(spec=a_spec(min_idle=2))
    plan = world.tick()
    assert [(m.id, m.state, m.port, m.template) for m in world.fleet.machines.values()] == [
        ("m1", STARTING, 9093, OLD),
        ("m2", STARTING, 9094, OLD),
    ]
    assert plan.actions == []
    world.tick()
    assert len(world.fleet.machines) == 2


def test_those_on_their_way_count_and_so_do_those_who_wait() -> None:
    """Two idle ones are wanted beside one for everybody in line."""
    world = World(spec=a_spec(min_idle=2))
    for project in ("p", "q", "r"):
        world.assign(project)
    world.start()
    world.resize()
    assert len(world.in_state(STARTING)) == 5
    for machine_id in world.in_state(STARTING):
        world.answer(machine_id)
    world.resize()
    assert (len(world.idle), len(world.fleet.projects), len(world.fleet.machines)) == (2, 3, 5)


def test_an_assignment_is_replaced() -> None:
    """The pool is back at its size as soon as the next one came up."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(min_idle=1))
    world.resize()
    assert world.fleet.pending == []
    world.assign("p")
    world.resize()
    assert len(world.in_state(STARTING)) == 1


def test_a_pool_that_is_far_below_its_size_begins_all_that_is_missing_at_once() -> None:
    """One by one is for a new template: here those that are idle show that this one works."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(min_idle=4))
    world.resize()
    assert len(world.in_state(STARTING)) == 3


def test_max_machines_is_never_exceeded() -> None:
    """Whoever waits, and whatever holds a slot: only what is gone holds none."""
    world = World(
        fleet=a_fleet(
            a_machine("w1", project="p"),
            a_machine("w2", STOPPING, port=2),
            a_machine("w3", FAILED, port=3),
            a_machine("w4", FAILED, port=4, project="q"),
            a_machine("w5", FAILED, port=5, gone=True),
        ),
        spec=a_spec(min_idle=3, max_machines=5),
    )
    world.assign("r")
    world.resize()
    assert len(world.in_state(STARTING)) == 1
    assert world.fleet.slots_held == 5
    world.resize()
    assert world.fleet.slots_held == 5


def test_a_pool_larger_than_max_machines_is_left_alone() -> None:
    """Somebody lowered the limit: nothing is destroyed for it."""
    world = World(fleet=a_fleet(*(a_machine(f"w{i}", port=i) for i in range(1, 4))), spec=a_spec(max_machines=1))
    world.assign("p")
    world.tick()
    assert len(world.fleet.machines) == 3
    assert world.in_state(STOPPING) == []


def test_without_max_idle_nothing_is_surplus() -> None:
    """Containers persist."""
    world = World(fleet=a_fleet(*(a_machine(f"w{i}", port=i) for i in range(1, 6))), spec=a_spec(min_idle=1))
    world.tick()
    assert len(world.idle) == 5


@pytest.mark.parametrize(("max_idle", "stopping"), [(3, []), (2, ["w1"]), (1, ["w1", "w2"]), (0, ["w1", "w2", "w3"])])
def test_surplus_is_let_go_where_max_idle_is_set(max_idle: int, stopping: list[str]) -> None:
    """The ones that waited longest go first."""
    world = World(
        fleet=a_fleet(*(a_machine(f"w{i}", port=i) for i in range(1, 4)), a_machine("w4", port=4, project="p")),
        spec=a_spec(max_idle=max_idle),
    )
    world.tick()
    assert world.in_state(STOPPING) == stopping
    for machine_id in stopping:
        assert world[machine_id].reason == "There were more idle machines than max_idle allows."
        assert world.causes(machine_id) == [Cause.RETIRED]
        assert world.watch(machine_id).since == world.now


def test_whoever_waits_is_served_before_surplus_is_let_go() -> None:
    """And before anything new is begun."""
    world = World(fleet=a_fleet(a_machine("w1")), spec=a_spec(max_idle=0))
    world.fleet.join_line(DEFAULT_POOL, "p")
    world.resize()
    assert world["w1"].project == "p"
    assert world.watch("w1").since == world.now
    assert (world.line, world.in_state(STOPPING), world.in_state(STARTING)) == ([], [], [])


def test_ports_limit_a_pool() -> None:
    """What fits is begun."""
    world = World(spec=a_spec(min_idle=4, first_port=9093, last_port=9095))
    world.resize()
    assert len(world.fleet.machines) == 3
    assert world.pool.out_of_ports


def test_a_pool_that_is_out_of_ports_does_not_stop_the_others() -> None:
    """What they have too many is let go, which frees a port."""
    world = World(fleet=a_fleet(a_machine(pool="other")), spec=a_spec(min_idle=1, first_port=9093, last_port=9093))
    surplus = replace(world.spec.pools[DEFAULT_POOL], min_idle=0, max_idle=0)
    world.spec = replace(world.spec, pools={**world.spec.pools, "other": surplus})
    world.resize()
    assert world.pool.out_of_ports
    assert world.in_state(STOPPING) == ["w1"]


def test_each_pool_has_its_own_size() -> None:
    """One that cannot be run for the moment does not stop the others."""
    world = World(spec=a_spec(template=None, problem="No such image."))
    world.spec = replace(
        world.spec, pools={**world.spec.pools, "other": replace(a_spec().pools["default"], min_idle=1)}
    )
    world.resize()
    assert [(m.pool, m.template) for m in world.fleet.machines.values()] == [("other", OLD)]


def test_while_nobody_knows_what_to_run_nothing_is_begun_and_nothing_let_go() -> None:
    """What runs may be all there is."""
    world = World(
        fleet=a_fleet(a_machine()), spec=a_spec(template=None, problem="No such image.", max_idle=0, min_idle=2)
    )
    world.tick()
    assert world.fleet.pending == []


def test_whoever_waits_is_served_by_what_there_is_when_there_is_nothing_to_run() -> None:
    """An old machine now is better than a refusal."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=None, pending=True))
    assert world.assign("p") is None
    world.wants(pending=False, problem="No such image.")
    world.resize()
    assert world["w1"].project == "p"


# the brake


def test_while_the_brake_holds_nothing_is_begun_and_then_one_at_a_time() -> None:
    """Until one came up; then all that are missing."""
    world = World(spec=a_spec(min_idle=3))
    world.assign("p")
    world.tick()
    attempts = world.in_state(STARTING)
    assert len(attempts) == 4
    for machine_id in attempts:
        world.instance(machine_id, Status.EXITED)
    world.now += 1.0
    world.tick()
    assert (world.brake.level, world.brake.until) == (1, world.now + 1.0)
    assert world.in_state(STARTING) == []
    world.now += 0.999
    world.tick()
    assert world.in_state(STARTING) == []
    world.now += 0.001
    world.tick()
    (attempt,) = world.in_state(STARTING)
    world.now += 30.0
    world.tick()
    assert world.in_state(STARTING) == [attempt]
    world.instance(attempt, Status.EXITED)
    world.tick()
    assert (world.brake.level, world.brake.until, world.in_state(STARTING)) == (2, world.now + 2.0, [])
    world.now += 2.0
    world.tick()
    (attempt,) = world.in_state(STARTING)
    world.instance(attempt)
    world.answer(attempt)
    world.resize()
    assert world[attempt].project == "p"
    assert len(world.in_state(STARTING)) == 3


def test_the_brake_on_another_template_holds_nothing_back() -> None:
    """A new image starts with a clean record."""
    world = World(spec=a_spec(template=NEW, min_idle=2))
    braked(world, OLD)
    world.resize()
    assert len(world.in_state(STARTING)) == 2


def test_a_free_first_death_holds_nothing_back() -> None:
    """The machine is replaced in the same tick."""
    world = World(spec=a_spec(min_idle=1))
    machine_id = world.up()
    world.instance(machine_id, Status.EXITED)
    world.tick()
    assert world.brake.level == 0
    assert len(world.in_state(STARTING)) == 1


# a new template


def rollout(*, idle: int = 2, **spec: int) -> World:
    """Machines w1, w2, … of the old template, and a new one that is wanted."""
    machines = [a_machine(f"w{i}", port=i) for i in range(1, idle + 1)]
    return World(fleet=a_fleet(*machines), spec=a_spec(template=NEW, **{"min_idle": idle, **spec}))


def comes_up(world: World) -> str:
    """The only machine on its way answers, and the pool is sized again."""
    (machine_id,) = world.in_state(STARTING)
    world.instance(machine_id)
    world.now += 1.0
    world.answer(machine_id)
    world.resize()
    return machine_id


def is_removed(world: World, machine_id: str) -> None:
    """Its removal is acknowledged and seen by a tick."""
    world.destroyed(machine_id)
    world.instances.pop(machine_id, None)
    world.now += 1.0
    world.tick()


def test_old_machines_are_replaced_one_by_one() -> None:
    """Make before break: each old one goes when a new one came up, the oldest first."""
    world = rollout(idle=3)
    for left in (["w2", "w3"], ["w3"], []):
        world.resize()
        assert len(world.in_state(STARTING)) == 1
        comes_up(world)
        assert [machine_id for machine_id in world.idle if world[machine_id].template == OLD] == left
    assert world.in_state(STOPPING) == ["w1", "w2", "w3"]
    assert world["w1"].reason == "It was made from an older image or older settings."
    assert world.causes("w1") == [Cause.RETIRED]
    assert world.watch("w3").since == world.now
    assert (len(world.idle), world.in_state(STARTING)) == (3, [])


def test_old_machines_stay_if_the_new_one_fails() -> None:
    """And serve whoever comes."""
    world = rollout()
    world.tick()
    (attempt,) = world.in_state(STARTING)
    world.instance(attempt, Status.EXITED)
    world.tick()
    assert world.idle == ["w1", "w2"]
    assert world.brake.is_on
    assert world.assign("p") == "w1"


def test_assigned_machines_of_an_older_template_are_not_replaced() -> None:
    """What holds a project is replaced by nothing but its release."""
    world = World(fleet=a_fleet(a_machine(project="p")), spec=a_spec(template=NEW))
    for _ in range(3):
        world.tick()
        world.now += 1000.0
    assert world["w1"] == a_machine(project="p")


def test_those_who_wait_during_a_rollout_get_new_machines() -> None:
    """One is begun for each of them, though old ones are idle."""
    world = rollout(idle=2)
    for project in ("p", "q", "r"):
        assert world.assign(project) is None
    world.resize()
    assert len(world.in_state(STARTING)) == 3
    world.resize()
    assert len(world.in_state(STARTING)) == 3


def test_all_old_machines_go_at_once_when_enough_new_ones_are_idle() -> None:
    """There is nothing left to wait for."""
    world = World(
        fleet=a_fleet(
            a_machine("w1", port=1),
            a_machine("w2", port=2),
            a_machine("w3", port=3, template=NEW),
            a_machine("w4", port=4, template=NEW),
        ),
        spec=a_spec(template=NEW, min_idle=2),
    )
    world.resize()
    assert world.idle == ["w3", "w4"]


def test_an_idle_machine_of_the_current_template_proves_it_whichever_came_up_last() -> None:
    """After a restart of the service, or when a template is taken back, the last one to come up may be another."""
    world = World(
        fleet=a_fleet(a_machine("w1", port=1, template=NEW), a_machine("w2", port=2)),
        spec=a_spec(template=NEW, min_idle=1),
    )
    assert world.pool.proven_template == OLD
    world.resize()
    assert world.idle == ["w1"]


def test_old_machines_stay_while_the_new_template_is_not_proven() -> None:
    """Even more of them than are wanted."""
    world = rollout(idle=3, min_idle=1)
    world.resize()
    assert world.idle == ["w1", "w2", "w3"]
    comes_up(world)
    assert world.idle == ["m1"]


def test_a_template_stays_proven_when_its_machines_are_in_use() -> None:
    """As many old ones stay as are missing of the new."""
    world = rollout(idle=3, min_idle=2)
    world.resize()
    world.assign("p")
    comes_up(world)
    assert world["m1"].project == "p"
    assert world.idle == ["w2", "w3"]


def test_old_machines_make_room_only_where_max_machines_leaves_none() -> None:
    """One of them goes first; its replacement is begun once it is gone."""
    world = rollout(idle=2, max_machines=2)
    world.tick()
    assert (world.in_state(STOPPING), world.in_state(STARTING), world.idle) == (["w1"], [], ["w2"])
    world.tick()
    assert world.idle == ["w2"]
    is_removed(world, "w1")
    assert len(world.in_state(STARTING)) == 1
    world.tick()
    assert world.idle == ["w2"]
    first = comes_up(world)
    assert (world.in_state(STOPPING), world.idle) == (["w2"], [first])
    is_removed(world, "w2")
    second = comes_up(world)
    assert world.idle == [first, second]


def test_where_there_is_room_nothing_is_broken_first() -> None:
    """One slot is enough."""
    world = rollout(idle=2, max_machines=3)
    world.tick()
    assert (world.in_state(STOPPING), len(world.in_state(STARTING))) == ([], 1)


def test_all_old_machines_go_when_they_only_fill_what_a_proven_template_needs() -> None:
    """The new template works, none of its machines is idle, and somebody waits: no old one is kept in reserve."""
    world = rollout(idle=2, max_machines=2, min_idle=0)
    world.pool.proven_template = NEW
    world.assign("p")
    world.tick()
    assert world.in_state(STOPPING) == ["w1", "w2"]


def test_an_old_machine_makes_room_again_once_the_brake_is_let_go() -> None:
    """What it was for is forgotten later; it holds nothing back any more."""
    world = rollout(idle=2, max_machines=2)
    braked(world, NEW, is_on=False)
    world.tick()
    assert world.in_state(STOPPING) == ["w1"]


def test_nothing_is_broken_while_the_brake_holds() -> None:
    """The new image does not come up: the old machines are all there is."""
    world = rollout(idle=2, max_machines=2)
    braked(world, NEW)
    world.tick()
    assert world.idle == ["w1", "w2"]


def test_the_brake_on_another_template_does_not_keep_old_machines() -> None:
    """Whoever repaired the image gets it rolled out."""
    world = rollout(idle=2, max_machines=2)
    braked(world, "template-3")
    world.tick()
    assert world.idle == ["w2"]


def test_nothing_is_broken_while_a_failed_machine_is_about_to_make_room() -> None:
    """A new image that comes up and dies would otherwise cost one old machine after the other."""
    world = rollout(idle=1, max_machines=2, min_idle=2)
    newcomer = world.up()
    world.now += 1.0
    world.instance(newcomer, Status.EXITED)
    world.tick()
    assert world[newcomer].state is FAILED
    assert not world.brake.is_on
    assert world.idle == ["w1"]
    is_removed(world, newcomer)
    assert (world.idle, len(world.in_state(STARTING))) == (["w1"], 1)


def test_an_old_machine_is_replaced_though_no_idle_one_is_wanted() -> None:
    """It would stay for ever, and serve nobody."""
    world = rollout(idle=1, max_machines=2, min_idle=0)
    world.tick()
    assert world.idle == ["w1"]
    newcomer = comes_up(world)
    assert world.idle == [newcomer]


def test_without_room_too_an_old_machine_is_replaced_though_no_idle_one_is_wanted() -> None:
    """It makes room first."""
    world = rollout(idle=1, max_machines=1, min_idle=0)
    world.tick()
    assert world.in_state(STOPPING) == ["w1"]


def test_an_old_machine_makes_room_for_whoever_waits() -> None:
    """Though no idle one is wanted."""
    world = rollout(idle=1, max_machines=1, min_idle=0)
    world.assign("p")
    world.tick()
    assert world.in_state(STOPPING) == ["w1"]
    is_removed(world, "w1")
    comes_up(world)
    assert world["m1"].project == "p"


# when to look again


def test_without_anything_due_the_next_refresh_is_soon_enough() -> None:
    """No event is announced by time."""
    world = World(fleet=a_fleet(a_machine("w1"), a_machine("w2", FAILED, port=2, gone=True)))
    assert world.tick().wake_at is None


def test_a_start_time_out_is_due() -> None:
    """The next one, of all those that start; one that is overdue, as soon as a probe begun after it may be in."""
    world = World(fleet=a_fleet(a_machine("w1", STARTING)), now=5.0)
    world.begin()
    assert world.tick().wake_at == 60.0
    world.now = 60.0
    assert world.tick().wake_at == 60.25
    world.now = 65.0
    assert world.tick().wake_at == 65.25


def test_a_retry_is_due() -> None:
    """A refused removal, or a restart that was put off."""
    world = with_one(a_machine(state=STOPPING))
    world.destroyed("w1", Result.REJECTED)
    assert world.tick().wake_at == world.now + 1.0
    world.now += 1.0
    assert world.tick().wake_at is None


def test_the_end_of_a_brake_is_due() -> None:
    """Then the next attempt begins."""
    world = World()
    braked(world, OLD)
    assert world.tick().wake_at == world.now + 1.0
    world.now += 1.0
    assert world.tick().wake_at is None


def test_what_is_due_first_counts() -> None:
    """Of time-outs, retries and brakes."""
    world = World(fleet=a_fleet(a_machine("w1", STOPPING, port=1), now=1000.0))
    world.begin()
    braked(world, OLD)
    world.destroyed("w1", Result.REJECTED)
    world.destroyed("w1", Result.REJECTED)
    assert world.tick().wake_at == world.now + 1.0
    world.now += 1.0
    assert world.tick().wake_at == 1002.0
    world.now += 1.0
    assert world.tick().wake_at == 1060.0


# a whole life


def test_a_pool_comes_up_serves_and_goes() -> None:
    """From nothing to two idle machines, one assigned and released, all destroyed."""
    world = World(spec=a_spec(min_idle=2))
    world.tick()
    for machine_id in world.in_state(STARTING):
        world.created(machine_id)
        world.instance(machine_id)
        world.answer(machine_id)
    assert world.assign("p") == "m1"
    world.now += 60.0
    world.tick()
    world.release("m1")
    world.answer("m1")
    assert list(world.fleet.idle(DEFAULT_POOL, OLD)) == ["m2", "m1"]
    world.wants(min_idle=0)
    for machine_id in list(world.fleet.machines):
        if world[machine_id].state is not STOPPING:
            world.destroy(machine_id)
        is_removed(world, machine_id)
    assert world.fleet.machines == {}
    assert world.fleet.tombstones.keys() == {"m1", "m2", "m3"}
    assert_indexes_hold(world.fleet)


def test_a_machine_that_is_withdrawn_as_broken_is_replaced() -> None:
    """And its container removed."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(min_idle=1))
    world.assign("p")
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now, broken="did not answer")
    assert Destroy("w1") in world.tick().actions
    assert len(world.in_state(STARTING)) == 1


def test_a_failure_counts_as_room_only_once_it_is_gone() -> None:
    """Machines and creations in flight never exceed the limit."""
    world = World(spec=a_spec(min_idle=1, max_machines=1))
    machine_id = world.up()
    world.now += 60.0
    fail_machine(world.fleet, world.spec, world[machine_id], world.now, Failure(FailureKind.EXITED, "exited"))
    world.tick()
    assert world.in_state(STARTING) == []
    is_removed(world, machine_id)
    assert len(world.in_state(STARTING)) == 1
    assert world.fleet.pool(DEFAULT_POOL).line == {}


def ending(world: World) -> list[str]:
    """Machines whose workers still have time to end."""
    return [machine_id for machine_id, watch in world.fleet.watches.items() if watch.ends_gently]


def test_one_worker_less_has_time_to_end_for_each_project_that_waits_for_a_place() -> None:
    machines = [a_machine(f"w{n}", project=f"p{n}", port=9092 + n) for n in (1, 2, 3)]
    world = World(a_spec(max_machines=3, recycle=True), a_fleet(*machines))
    for machine in machines:
        world.release(machine.id)
    world.resize()
    assert ending(world) == ["w1", "w2", "w3"]
    world.assign("p")
    world.resize()
    world.resize()
    assert (ending(world), world.fleet.hurried) == (["w2", "w3"], ["w1"])
    world.assign("q")
    world.resize()
    assert (ending(world), world.fleet.hurried) == (["w3"], ["w1", "w2"])


def test_beside_a_free_place_workers_have_their_time_unless_no_port_is_free() -> None:
    machine = a_machine("w1", project="p1", port=9093)
    world = World(a_spec(max_machines=2, recycle=True), a_fleet(machine))
    world.release("w1")
    world.assign("p")
    world.resize()
    assert ending(world) == ["w1"]
    world = World(a_spec(max_machines=2, recycle=True, first_port=9093, last_port=9093), a_fleet(machine))
    world.release("w1")
    world.assign("p")
    world.resize()
    assert ending(world) == []


def test_a_pool_that_is_right_does_not_stop_the_others() -> None:
    world = World(spec=a_spec(min_idle=0))
    other = replace(world.spec.pools[DEFAULT_POOL], min_idle=1)
    world.spec = replace(world.spec, pools={**world.spec.pools, "other": other})
    world.resize()
    assert [machine.pool for machine in world.fleet.machines.values()] == ["other"]


def test_an_idle_machine_that_cannot_serve_is_not_replaced_while_nobody_waits() -> None:
    """It may soon recover."""
    world = World(spec=a_spec(min_idle=1))
    machine_id = world.up()
    world.instance(machine_id, trouble="it is paused")
    world.tick()
    world.resize()
    assert world.in_state(STARTING) == []
    world.assign("p")
    world.resize()
    assert len(world.in_state(STARTING)) == 2
