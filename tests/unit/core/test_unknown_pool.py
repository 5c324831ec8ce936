"""Machines on record whose pool the settings do not name: their projects keep them, and nothing else of the pool remains."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import OLD, World, a_fleet, a_machine, a_spec, an_instance, assert_indexes_hold

from worker_orchestrator.core import commands, refusals, waiting_line
from worker_orchestrator.core.action import Destroy, Restart, Result
from worker_orchestrator.core.activity import ActivityRules
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.spec import UNKNOWN_POOL, PoolSpec, Spec
from worker_orchestrator.errors import MachineNotFound, PoolNotFound
from worker_orchestrator.settings.settings import DEFAULT_POOL

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED
PROBLEM = "The settings have no pool of this name, so it makes no machines."


def a_world(*machines: Machine) -> World:
    """The settings name only the default pool, which wants nothing."""
    return World(fleet=a_fleet(*machines, now=1000.0))


def of_other_pool(machine_id: str = "w1", state: State = READY, **fields: Any) -> Machine:
    return a_machine(machine_id, state, pool="other", **fields)


# what it should be


def test_a_pool_that_the_settings_do_not_name_wants_nothing_and_says_why() -> None:
    """It is a state of its own, not an error."""
    spec = a_spec(min_idle=3)
    assert spec.pool(DEFAULT_POOL) is spec.pools[DEFAULT_POOL]
    assert spec.pool("other") is UNKNOWN_POOL is Spec({}).pool(DEFAULT_POOL)
    assert (
        PoolSpec(None, min_idle=0, max_idle=0, recycle=True, paused=False, problem=PROBLEM, pending=False)
        == UNKNOWN_POOL
    )


def test_what_a_pool_had_as_time_limit_holds_on_for_its_machines_when_it_is_retired() -> None:
    """For as long as it is in use and not in the settings. One that nobody knew has the limit of the fleet."""
    build = ActivityRules(cpu=0.05)
    before = Spec({"a": PoolSpec("t", start_timeout_s=5.0, activity=build), "b": PoolSpec("t", start_timeout_s=6.0)})
    retired = before.retired_by({"b": before.pools["b"]}, {"a", "b", "never"})
    assert retired == {"a": replace(UNKNOWN_POOL, start_timeout_s=5.0, activity=build)}
    after = replace(before, pools={"b": before.pools["b"]}, retired=retired)
    assert [after.knows(name) for name in ("a", "b", "never", "other")] == [True, True, False, False]
    assert [after.start_timeout_of(name) for name in ("a", "b", "never", "other")] == [5.0, 6.0, 60.0, 60.0]
    assert after.retired_by(after.pools, {"a", "b"}) == {"a": retired["a"]}, "and after the next reload"
    assert after.retired_by(after.pools, {"b"}) == {}
    assert after.retired_by({"a": PoolSpec("t")}, {"a"}) == {}
    again = replace(after, pools={"a": PoolSpec("t")})
    assert again.pool("a").template == "t", "the settings come first"


# which pools there are


def test_the_pools_of_a_fleet_are_those_of_all_machines_on_record() -> None:
    """Whatever their states and whatever the settings say."""
    fleet = a_fleet(
        a_machine("w1"),
        of_other_pool("w2", port=9094),
        a_machine("w3", STARTING, pool="starting", port=9095),
        a_machine("w4", pool="assigned", port=9096, project="p"),
        a_machine("w5", FAILED, pool="failed", port=9097),
        a_machine("w6", STOPPING, pool="stopping", port=9098),
    )
    assert fleet.pool_names == {DEFAULT_POOL, "other", "starting", "assigned", "failed", "stopping"}
    assert a_fleet().pool_names == set()


def test_a_new_machine_makes_its_pool_known() -> None:
    world = a_world()
    world.start()
    assert world.fleet.pool_names == {DEFAULT_POOL}


def test_a_pool_is_forgotten_with_its_last_machine() -> None:
    """Else each assign would look for idle machines in every pool that the settings ever named."""
    stopping, failed = of_other_pool("w1", STOPPING), of_other_pool("w2", FAILED, port=9094, gone=True)
    fleet = a_fleet(stopping, failed, a_machine("w3", port=9095))
    fleet.apply(stopping, None, Cause.REMOVED, 1.0)
    assert fleet.pool_names == {DEFAULT_POOL, "other"}
    fleet.apply(failed, None, Cause.FORGOTTEN, 1.0)
    assert fleet.pool_names == {DEFAULT_POOL}
    fleet.undo(fleet.take_pending(), 2.0)
    assert fleet.pool_names == {DEFAULT_POOL, "other"}
    assert_indexes_hold(fleet)


# retirement


def test_its_idle_machines_are_retired_whatever_their_template() -> None:
    """And no others: those of a pool that is named stay."""
    world = a_world(of_other_pool("w1"), of_other_pool("w2", template="t", port=9094), a_machine("w3", port=9095))
    world.resize()
    for machine_id in ("w1", "w2"):
        assert world[machine_id].state is STOPPING
        assert world[machine_id].reason == "Its pool is not in the settings."
        assert world.causes(machine_id) == [Cause.RETIRED]
        assert world.watch(machine_id).since == world.now
    assert world["w3"] == a_machine("w3", port=9095)


def test_the_machine_of_a_project_stays_with_it() -> None:
    """In each state in which a project may have one, and nothing is made beside it."""
    machines = [
        of_other_pool("w1", project="p1"),
        of_other_pool("w2", STARTING, port=9094, project="p2"),
        of_other_pool("w3", FAILED, port=9095, project="p3"),
    ]
    world = a_world(*machines)
    world.resize()
    assert list(world.fleet.machines.values()) == machines
    assert world.assign("p1") == "w1"


def test_a_machine_that_was_starting_is_retired_when_it_has_answered() -> None:
    """Until then it may still turn out to be broken, which is evidence."""
    world = a_world(of_other_pool(state=STARTING))
    world.resize()
    assert world["w1"].state is STARTING
    world.answer("w1")
    world.resize()
    assert world["w1"].state is STOPPING


def test_the_tick_retires_and_removes_them_and_makes_none() -> None:
    world = a_world(of_other_pool())
    assert world.tick().actions == []
    assert world["w1"].state is STOPPING
    assert world.tick().actions == [Destroy("w1")]
    world.destroyed("w1")
    world.remove("w1")
    world.now += 1.0
    assert world.tick().actions == []
    assert world.fleet.machines == {}
    assert world.fleet.tombstones.keys() == {"w1"}


# release


@pytest.mark.parametrize("state", [STARTING, READY, FAILED])
def test_a_machine_that_is_released_is_removed(state: State) -> None:
    """Even one that has just answered: no pool is there to use it again."""
    world = a_world(of_other_pool(state=state, project="p", metadata="{}", generation=7))
    world.answer("w1")
    released = world.release("w1")
    assert released == world["w1"] == of_other_pool(state=STOPPING, generation=7, reason="The project released it.")
    assert world.causes("w1")[-1] is Cause.RELEASED
    assert world.fleet.of_project("p") is None


def test_a_lost_machine_that_is_released_is_forgotten() -> None:
    world = a_world(of_other_pool(state=FAILED, project="p", gone=True))
    assert world.release("w1") is None
    assert world.fleet.machines == {}


def test_a_free_machine_is_released_as_any_other() -> None:
    """Nothing changes, and one that is being removed is not found."""
    world = a_world(of_other_pool("w1"), of_other_pool("w2", STOPPING, port=9094))
    assert world.release("w1") == of_other_pool("w1")
    with pytest.raises(MachineNotFound):
        world.release("w2")
    assert not world.fleet.pending


def test_an_assignment_that_is_withdrawn_leaves_an_idle_machine_to_retire() -> None:
    world = a_world(of_other_pool(project="p", generation=1))
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now)
    assert world.idle == ["w1"]
    world.resize()
    assert world["w1"].state is STOPPING


# assign


def test_nothing_is_assigned_from_a_pool_that_is_not_there() -> None:
    """It is refused at once, and nobody is left in a line."""
    world = a_world(a_machine())
    with pytest.raises(PoolNotFound) as refusal:
        world.assign("p", "other")
    assert refusal.value.message == "There is no pool other. The pools are: default."
    assert world.fleet.waiting == {}
    assert world.idle == ["w1"]
    assert commands.assign_verified(world.fleet, world.spec, "p", world.now, "other") is None
    assert refusals.why_none_came(world.fleet, world.spec, "other") == PROBLEM


def test_whoever_waits_gets_a_machine_that_is_left_of_it() -> None:
    """As where the engine cannot say what to run: better an old machine than none. Nobody else gets one."""
    world = a_world(of_other_pool())
    world.answer("w1")
    with pytest.raises(PoolNotFound):
        world.assign("q", "other")
    assert commands.assign_verified(world.fleet, world.spec, "q", world.now, "other") is None
    world.fleet.join_line("other", "p")
    assert waiting_line.turn_away(world.fleet, world.spec, world.now) == {}
    assert world["w1"] == of_other_pool(project="p", generation=1, reason="It was assigned to the project.")


def test_who_waited_when_the_pool_was_taken_out_of_the_settings_is_turned_away() -> None:
    world = a_world()
    world.fleet.join_line("other", "p")
    away = waiting_line.turn_away(world.fleet, world.spec, world.now)
    assert {project: refusal.message for project, refusal in away.items()} == {"p": PROBLEM}
    assert not world.fleet.pool("other").line


# failures


def test_a_machine_that_fails_raises_no_brake() -> None:
    """There is no image that could be to blame. It is removed, and kept as evidence, like any other."""
    world = a_world(of_other_pool(state=STARTING))
    world.instance("w1", Status.EXITED, pool="other", detail="The container exited with code 1.")
    world.tick(evidence={"w1": "the last line"})
    assert world["w1"] == of_other_pool(
        state=FAILED, reason="The container exited with code 1.", evidence="the last line"
    )
    assert world.fleet.pool("other").image_brake is None
    assert world.tick().actions == [Destroy("w1")]


def test_a_create_that_was_under_way_may_be_obstructed() -> None:
    """The machine goes, and nothing is made in its place."""
    world = a_world(of_other_pool(state=STARTING))
    world.created("w1", Result.OBSTRUCTED, "The disk is full.")
    world.now += 100.0
    world.resize()
    assert [machine.state for machine in world.fleet.machines.values()] == [STOPPING]
    assert world.fleet.brake_in_force("other", None) is None
    assert world.fleet.brake_in_force("other", OLD) is not None


def test_the_worker_of_a_project_that_died_is_restarted() -> None:
    """Its project has it, whatever the settings say."""
    world = a_world(of_other_pool(project="p"))
    world.instances["w1"] = an_instance("w1", Status.EXITED, pool="other")
    assert world.tick().actions == [Restart("w1")]
    world.restarted("w1")
    world.instance("w1", pool="other")
    world.now += 1.0
    world.answer("w1")
    assert world["w1"].state is READY
    assert world.assign("p") == "w1"
