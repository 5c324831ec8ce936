"""What is neither the worker's fault nor its image's: a brake of its own, no try, and no failure for good."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.core.build import NEW, OLD, World, a_fleet, a_machine, a_spec, with_one

from worker_orchestrator.core import refusals, waiting_line
from worker_orchestrator.core.action import Destroy, Restart, Result
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.reconcile import reconcile
from worker_orchestrator.errors import NoMachineAvailable
from worker_orchestrator.settings.settings import DEFAULT_POOL

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED
FULL = "Docker's disk is full: make room there."


def obstructed(world: World, machine_id: str) -> None:
    world.created(machine_id, Result.OBSTRUCTED, FULL)
    world.destroyed(machine_id)
    world.instances.pop(machine_id, None)


# creates


def test_a_create_that_a_cause_outside_stands_in_the_way_of_leaves_no_failed_machine() -> None:
    """It goes, with the reason; the image has nothing to do with it."""
    world = World()
    machine_id = world.begin()
    before = world[machine_id]
    world.created(machine_id, Result.OBSTRUCTED, FULL)
    assert world[machine_id] == replace(before, state=STOPPING, reason=FULL)
    assert world.last_change().cause is Cause.OBSTRUCTED
    assert world.pool.image_brake is None
    assert world.pool.obstacle == Brake(OLD, 1, world.now, world.now + 1.0, is_on=True, reason=FULL)


def test_creates_are_tried_one_by_one_ever_more_rarely_up_to_a_minute() -> None:
    """Several in flight at once are one attempt."""
    world = World(spec=a_spec(min_idle=3))
    world.resize()
    assert len(world.in_state(STARTING)) == 3
    world.now += 0.1
    for machine_id in world.in_state(STARTING):
        obstructed(world, machine_id)
    pauses = []
    for _ in range(8):
        assert world.pool.obstacle is not None
        pauses.append(world.pool.obstacle.until - world.now)
        assert world.tick().wake_at is not None
        assert world.in_state(STARTING) == []
        world.now = world.pool.obstacle.until
        world.tick()
        (only,) = world.in_state(STARTING)
        world.now += 0.1
        obstructed(world, only)
    assert pauses == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0])
    assert world.in_state(FAILED) == []


def test_the_tick_wakes_when_the_next_create_is_due() -> None:
    world = World(spec=a_spec(min_idle=1))
    world.resize()
    obstructed(world, "m1")
    assert world.tick().wake_at == world.now + 1.0


def test_one_create_that_succeeds_ends_it() -> None:
    """At once: all that are missing are begun."""
    world = World(spec=a_spec(min_idle=3))
    world.resize()
    world.now += 0.1
    for machine_id in world.in_state(STARTING):
        obstructed(world, machine_id)
    world.now += 1.0
    world.tick()
    (only,) = world.in_state(STARTING)
    world.created(only)
    assert world.pool.obstacle is None
    world.resize()
    assert len(world.in_state(STARTING)) == 3


def test_a_create_of_another_template_that_succeeds_says_nothing() -> None:
    """It may need less."""
    world = World()
    machine_id = world.begin(NEW)
    world.pool.obstacle = Brake(OLD, 1, world.now, world.now + 1.0, is_on=True, reason=FULL)
    world.created(machine_id)
    assert world.pool.obstacle is not None


def test_another_template_is_not_held_back() -> None:
    """As after IPv6 was switched off: the next template does without."""
    world = World(spec=a_spec(min_idle=1))
    world.resize()
    obstructed(world, "m1")
    world.wants(template=NEW)
    world.resize()
    assert [world[machine_id].template for machine_id in world.in_state(STARTING)] == [NEW]


def test_whoever_waits_hears_the_reason_at_once_with_the_time_of_the_next_try() -> None:
    world = World()
    assert world.assign("p") is None
    world.resize()
    obstructed(world, "m1")
    away = waiting_line.turn_away(world.fleet, world.spec, world.now)
    assert (away["p"].message, away["p"].retry_after_s) == (FULL, 1.0)
    with pytest.raises(NoMachineAvailable, match="disk is full"):
        world.assign("q")
    assert refusals.why_none_came(world.fleet, world.spec, DEFAULT_POOL) == FULL


def test_the_longer_of_both_brakes_holds_and_says_why() -> None:
    world = World(spec=a_spec(min_idle=1))
    world.pool.obstacle = Brake(OLD, 1, world.now, world.now + 4.0, is_on=True, reason=FULL)
    world.pool.image_brake = Brake(OLD, 3, world.now, world.now + 2.0, is_on=True, reason="it exits")
    assert refusals.why_none_came(world.fleet, world.spec, DEFAULT_POOL) == FULL
    world.now += 3.0
    world.resize()
    assert world.in_state(STARTING) == []
    world.pool.image_brake = replace(world.pool.image_brake, until=world.now + 9.0)
    assert refusals.why_none_came(world.fleet, world.spec, DEFAULT_POOL) == "it exits"


def test_an_older_machine_makes_room_for_the_try_that_shows_whether_the_cause_is_mended() -> None:
    """Else a full pool would keep the old one, and never find out."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=NEW, min_idle=1, max_machines=1))
    world.pool.obstacle = Brake(NEW, 1, world.now, world.now + 1.0, is_on=True, reason=FULL)
    world.resize()
    assert world["w1"].state is READY
    world.now += 1.0
    world.resize()
    assert world["w1"].state is STOPPING


def test_no_older_machine_makes_room_for_an_image_that_does_not_come_up() -> None:
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=NEW, min_idle=1, max_machines=1))
    world.pool.image_brake = Brake(NEW, 1, world.now, world.now + 1.0, is_on=True, reason="it exits")
    world.now += 1.0
    world.resize()
    assert world["w1"].state is READY


def test_an_older_machine_serves_while_a_cause_outside_stands_in_the_way_of_new_ones() -> None:
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=NEW, min_idle=1, max_idle=1))
    world.resize()
    (coming,) = world.in_state(STARTING)
    obstructed(world, coming)
    world.resize()
    assert world.assign("p") == "w1"


def test_no_old_machine_is_given_up_for_a_new_one_that_cannot_be_made() -> None:
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=NEW, min_idle=1, max_machines=1))
    world.pool.obstacle = Brake(NEW, 1, world.now, world.now + 1.0, is_on=True, reason=FULL)
    world.resize()
    assert world["w1"].state is READY


def test_the_last_free_host_port_that_somebody_took_is_no_fault_of_the_image() -> None:
    """The range is named, and the engine's words."""
    world = World(spec=a_spec(first_port=9093, last_port=9093))
    machine_id = world.begin()
    world.created(machine_id, Result.PORT_TAKEN, "port 9093 is in use")
    assert world[machine_id].state is STOPPING
    assert world[machine_id].reason == (
        "No host port from 9093 to 9093 is free. Free some, or serve with a wider range (--first-port, --last-port). "
        "port 9093 is in use."
    )
    assert world.pool.image_brake is None
    assert world.pool.obstacle is not None


# restarts


@pytest.mark.parametrize("result", [Result.OBSTRUCTED, Result.PORT_TAKEN])
def test_a_restart_that_a_cause_outside_stands_in_the_way_of_is_tried_for_ever(result: Result) -> None:
    """Ever more rarely, up to a minute; it costs no try, and it is told once."""
    world = with_one(a_machine(project="p"), Status.EXITED, detail="The container exited with code 1.")
    world.tick()
    pauses = []
    for _ in range(40):
        assert world.tick().actions == [Restart("w1")]
        world.restarted("w1", result, FULL)
        assert world.tick().actions == []
        pauses.append(world.watch("w1").not_before - world.now)
        world.now = world.watch("w1").not_before
    assert pauses[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert world["w1"] == a_machine(state=STARTING, project="p", reason=f"The restart is put off. {FULL}")
    assert world.watch("w1").tries == 1
    assert world.causes("w1") == [Cause.RESTARTED, Cause.OBSTRUCTED]


def test_a_restart_that_works_in_the_end_forgets_the_cause() -> None:
    world = with_one(a_machine(state=STARTING, project="p"), Status.EXITED)
    for _ in range(3):
        world.restarted("w1", Result.OBSTRUCTED, FULL)
    world.restarted("w1")
    assert world.watch("w1").obstructed_restarts == 0
    world.restarted("w1", Result.OBSTRUCTED, FULL)
    assert world.watch("w1").not_before == world.now + 1.0


def test_after_a_restart_of_the_service_it_waits_on() -> None:
    """Nothing of it is stored but the reason: three failures of the engine are still no failure of the machine."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.tick()
    world.restarted("w1", Result.OBSTRUCTED, FULL)
    world.crash()
    for _ in range(10):
        assert world.tick().actions == [Restart("w1")]
        world.restarted("w1", Result.OBSTRUCTED, FULL)
        world.now = world.watch("w1").not_before
    assert world["w1"].state is STARTING


def test_an_outage_of_the_engine_lets_it_be_tried_at_once() -> None:
    world = with_one(a_machine(state=STARTING, project="p"), Status.EXITED)
    for _ in range(5):
        world.restarted("w1", Result.OBSTRUCTED, FULL)
    snapshot = replace(world.listing(), after_outage=True)
    plan = reconcile(world.fleet, snapshot, world.spec, world.now, world.new_id)
    assert (plan.actions, world.watch("w1").obstructed_restarts) == ([Restart("w1")], 0)


def test_a_worker_that_somebody_kills_again_and_again_never_failed_for_good() -> None:
    """SIGKILL from outside is not its own death: it is started again, at last every four minutes."""
    world = with_one(a_machine(project="p"), Status.EXITED, killed=True)
    assert world.tick().actions == [Restart("w1")]
    pause_s = 0.0
    for _ in range(20):
        world.restarted("w1")
        world.now += 0.5
        assert world.tick().actions == []
        pause_s = world.watch("w1").not_before - world.now
        world.now = world.watch("w1").not_before
        assert world.tick().actions == [Restart("w1")]
    assert (world["w1"].state, pause_s) == (STARTING, 240.0)
    world.instance("w1", Status.EXITED, killed=False)
    world.restarted("w1")
    world.tick()
    assert world["w1"].state is FAILED


def test_a_worker_that_waited_long_to_be_started_has_the_whole_start_time_out() -> None:
    """Else it would be given to its project before it can answer."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.tick()
    world.now += 500.0
    world.restarted("w1")
    world.instance("w1")
    world.now += 59.0
    world.tick()
    assert world["w1"].state is STARTING
    world.now += 1.001
    world.tick()
    assert world["w1"].state is READY


def test_what_is_let_go_is_destroyed_as_anything_else() -> None:
    world = World()
    machine_id = world.begin()
    world.created(machine_id, Result.OBSTRUCTED, FULL)
    assert world.tick().actions == [Destroy(machine_id)]


def test_a_create_begun_in_the_moment_in_which_the_brake_was_raised_is_another_attempt() -> None:
    world = World()
    obstructed(world, world.begin())
    obstructed(world, second := world.begin())
    assert world.pool.obstacle is not None
    assert world.pool.obstacle.level == 2
    assert world.watch(second).since == world.now


def test_an_obstructed_machine_is_stopping_from_then_on() -> None:
    world = World()
    machine_id = world.begin()
    world.now += 3
    world.created(machine_id, Result.OBSTRUCTED, FULL)
    assert world.watch(machine_id).since == world.now
