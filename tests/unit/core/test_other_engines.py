"""An engine that gives the addresses, accepts what it does later, restarts nothing in place, or loses sight of something."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import OLD, World, a_fleet, a_machine, a_spec, assert_indexes_hold, with_one

from worker_orchestrator.core import commands, outcomes, reasons
from worker_orchestrator.core.action import Create, Destroy, Outcome, Restart, Result
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.instance import Instance, Status, Verdict
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.errors import MachineFailed

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED
NO_ROOM = "No node has 2 GiB of memory left."
OURS: dict[str, Any] = {"project": "p", "generation": 1}


def answered(world: World, machine_id: str, host: str, port: int) -> None:
    verdict = Verdict(machine_id, world.now, answered=True, host=host, port=port)
    outcomes.apply_verdict(world.fleet, world.spec, verdict, world.now)


def settled(world: World, action: Create | Destroy, *, under_way: bool) -> None:
    outcomes.apply_outcome(world.fleet, world.spec, action, Outcome(Result.DONE, under_way=under_way), world.now)


def giving(*machines: Machine, **pool: Any) -> World:
    """A world whose engine gives the addresses."""
    return World(fleet=a_fleet(*machines, now=1000.0), spec=a_spec(first_port=None, **pool))


def stuck(machine: Machine, **fields: Any) -> World:
    """One machine on an engine that restarts nothing in place."""
    world = with_one(machine, **fields)
    world.spec = replace(world.spec, restarts_in_place=False)
    return world


# addresses that the engine gives


def test_the_address_that_a_machine_answers_at_is_stored_with_its_first_answer() -> None:
    world = giving()
    machine_id = world.start()
    assert (world[machine_id].host, world[machine_id].port) == ("", None)
    answered(world, machine_id, "10.0.0.7", 9092)
    assert (world[machine_id].state, world[machine_id].host, world[machine_id].port) == (READY, "10.0.0.7", 9092)
    assert world.causes(machine_id)[-1] is Cause.ANSWERED
    assert_indexes_hold(world.fleet)


def test_two_machines_may_have_the_same_port_on_two_hosts() -> None:
    world = giving()
    first, second = world.start(), world.start()
    answered(world, first, "10.0.0.7", 9092)
    answered(world, second, "10.0.0.8", 9092)
    assert set(world.idle) == {first, second}


def test_after_a_restart_in_place_the_address_is_the_new_one() -> None:
    world = giving(a_machine(state=STARTING, host="10.0.0.7", port=9092, **OURS))
    answered(world, "w1", "10.0.0.9", 9092)
    assert (world["w1"].state, world["w1"].host) == (READY, "10.0.0.9")
    assert_indexes_hold(world.fleet)


def test_a_verdict_without_an_address_leaves_the_port_that_we_planned() -> None:
    world = World()
    machine_id = world.up()
    assert (world[machine_id].host, world[machine_id].port) == ("", 9093)


def test_an_answer_at_an_address_that_another_machine_has_on_record_is_none() -> None:
    """It counts as a miss: if nothing clears it up, the start time-out does."""
    world = giving(a_machine("w1", host="10.0.0.7", port=9092), a_machine("w2", state=STARTING, port=None))
    answered(world, "w2", "10.0.0.7", 9092)
    assert (world["w2"].state, world["w2"].port) == (STARTING, None)
    assert world.watch("w2").misses == 1
    assert world.watch("w2").missed_why == "what answers at its address may be w1"
    assert world.watch("w2").verified_at is None


def test_a_machine_may_answer_at_the_address_that_it_has() -> None:
    world = giving(a_machine(host="10.0.0.7", port=9092))
    answered(world, "w1", "10.0.0.7", 9092)
    assert world.watch("w1").verified_at == world.now


def test_a_silent_worker_at_an_address_of_another_is_simply_silent() -> None:
    world = giving(a_machine("w1", host="10.0.0.7", port=9092), a_machine("w2", state=STARTING, port=None))
    verdict = Verdict("w2", world.now, answered=False, detail="nothing answers", host="10.0.0.7", port=9092)
    outcomes.apply_verdict(world.fleet, world.spec, verdict, world.now)
    assert world.watch("w2").missed_why == "nothing answers"


@pytest.mark.parametrize("project", [{}, OURS], ids=["free", "assigned"])
def test_a_failed_machine_has_no_address_of_the_engine_any_more(project: dict[str, Any]) -> None:
    """It goes to another one soon, and that one must be able to have it on record."""
    world = giving(a_machine("w1", host="10.0.0.7", port=9092, **project), a_machine("w2", state=STARTING, port=None))
    world.remove("w1")
    world.tick()
    assert (world["w1"].state, world["w1"].host, world["w1"].port) == (FAILED, "", None)
    answered(world, "w2", "10.0.0.7", 9092)
    assert world["w2"].state is READY


def test_a_machine_that_did_not_answer_when_it_was_to_be_handed_out_has_no_address_either() -> None:
    world = giving(a_machine(host="10.0.0.7", port=9092, project="p", generation=1))
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now, broken="did not answer")
    assert (world["w1"].state, world["w1"].host, world["w1"].port) == (FAILED, "", None)
    assert_indexes_hold(world.fleet)


def test_a_failed_machine_keeps_the_port_that_we_planned() -> None:
    """Nobody else gets it, and the machine may be brought back to life on it."""
    world = with_one(a_machine(**OURS), Status.EXITED)
    world.watch("w1").tries = 6
    world.tick()
    assert (world["w1"].state, world["w1"].port) == (FAILED, 9093)


def test_a_listing_with_an_address_asks_for_no_other_create() -> None:
    """Where we plan the ports, another one means that it was made for a port that was refused since."""
    world = giving()
    machine_id = world.begin()
    world.instance(machine_id, address="10.0.0.7", port=9092)
    assert world.tick().actions == []
    planned = World()
    machine_id = planned.begin()
    planned.instance(machine_id, port=9999)
    assert planned.tick().actions == [Create(planned[machine_id])]
    planned.instance(machine_id, port=planned[machine_id].port)
    assert planned.tick().actions == []


# what is only accepted


def test_a_removal_that_was_accepted_is_not_asked_for_again_at_once() -> None:
    """A second later, then ever more rarely; whatever a listing shows meanwhile."""
    world = with_one(a_machine(state=STOPPING))
    pauses = []
    for _ in range(3):
        [action] = world.tick().actions
        assert action == Destroy("w1")
        settled(world, Destroy("w1"), under_way=True)
        plan = world.tick()
        assert plan.actions == []
        assert plan.wake_at is not None
        pauses.append(plan.wake_at - world.now)
        world.now = plan.wake_at
    assert pauses == [1.0, 2.0, 4.0]


def test_a_removal_that_was_accepted_is_proven_by_a_listing_that_was_begun_after_it() -> None:
    world = with_one(a_machine(state=STOPPING), Status.TERMINATING)
    settled(world, Destroy("w1"), under_way=True)
    world.tick(begun_at=world.now + 0.1)
    assert world["w1"].state is STOPPING
    world.remove("w1")
    world.tick(begun_at=world.now)
    assert world["w1"].state is STOPPING, "this listing may be older than the removal"
    world.tick(begun_at=world.now + 0.1)
    assert "w1" not in world.fleet.machines
    assert "w1" in world.fleet.tombstones


def test_a_removal_that_is_done_is_put_off_by_nothing() -> None:
    world = with_one(a_machine(state=STOPPING))
    settled(world, Destroy("w1"), under_way=False)
    assert world.watch("w1").not_before == 0.0
    assert world.watch("w1").destroyed_at == world.now


def test_a_create_that_was_accepted_clears_no_obstacle_before_a_listing_shows_that_it_runs() -> None:
    """Else each instance that finds no room would begin the brake anew."""
    world = World()
    world.pool.obstacle = obstacle = Brake(OLD, 3, 900.0, 904.0, is_on=True, reason=NO_ROOM)
    machine_id = world.begin()
    settled(world, Create(world[machine_id]), under_way=True)
    world.instance(machine_id, Status.PENDING)
    world.tick()
    assert world.pool.obstacle == obstacle
    world.instance(machine_id)
    world.tick()
    assert world.pool.obstacle is None


def test_a_create_that_is_done_clears_the_obstacle() -> None:
    world = World()
    world.pool.obstacle = Brake(OLD, 3, 900.0, 904.0, is_on=True, reason=NO_ROOM)
    machine_id = world.begin()
    settled(world, Create(world[machine_id]), under_way=False)
    assert world.pool.obstacle is None


def test_a_machine_that_was_begun_before_the_obstacle_showed_says_nothing_of_it() -> None:
    """One that was begun as it showed does."""
    world = World()
    machine_id = world.start()
    obstacle = Brake(OLD, 1, world.now + 1.0, world.now + 2.0, is_on=True, reason=NO_ROOM)
    world.pool.obstacle = obstacle
    world.tick()
    assert world.pool.obstacle == obstacle
    world.pool.obstacle = replace(obstacle, raised_at=world.watch(machine_id).born)
    world.tick()
    assert world.pool.obstacle is None


# what cannot be placed


def test_an_instance_that_cannot_be_placed_is_no_fault_of_its_image() -> None:
    """It goes, as after a create that a cause outside stood in the way of."""
    world = World()
    machine_id = world.begin()
    before = world[machine_id]
    world.instance(machine_id, Status.PENDING, unplaced=NO_ROOM)
    actions = world.tick().actions
    assert world[machine_id] == replace(before, state=STOPPING, reason=NO_ROOM)
    assert world.last_change().cause is Cause.OBSTRUCTED
    assert world.pool.image_brake is None
    assert world.pool.obstacle == Brake(OLD, 1, world.now, world.now + 1.0, is_on=True, reason=NO_ROOM)
    assert actions == [Destroy(machine_id)]


def test_instances_that_cannot_be_placed_are_tried_ever_more_rarely() -> None:
    world = World(spec=a_spec(min_idle=1))
    pauses = []
    for _ in range(4):
        world.tick()
        [machine_id] = world.in_state(STARTING)
        settled(world, Create(world[machine_id]), under_way=True)
        world.instance(machine_id, Status.PENDING, unplaced=NO_ROOM)
        world.tick()
        assert world.pool.obstacle is not None
        pauses.append(world.pool.obstacle.until - world.now)
        world.remove(machine_id)
        world.destroyed(machine_id)
        world.now = world.pool.obstacle.until
        world.tick()
    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_one_that_is_pending_without_a_word_is_waited_for() -> None:
    world = World()
    machine_id = world.begin()
    world.instance(machine_id, Status.PENDING)
    assert world.tick().actions == []
    assert world[machine_id].state is STARTING


def test_a_machine_that_lost_its_place_is_not_handed_out() -> None:
    assert Instance("w1", "o", "default", OLD, Status.PENDING, unplaced=NO_ROOM).ailment == NO_ROOM
    world = with_one(a_machine(), Status.PENDING, unplaced=NO_ROOM)
    world.tick()
    assert world.fleet.ailing == {"w1": NO_ROOM}


# what the engine cannot see


@pytest.mark.parametrize("project", [{}, OURS], ids=["idle", "assigned"])
def test_an_instance_that_the_engine_cannot_see_is_neither_absent_nor_dead(project: dict[str, Any]) -> None:
    world = with_one(a_machine(**project), Status.UNKNOWN, unreachable_since=990.0)
    before = world["w1"]
    world.now += 3600
    assert world.tick().actions == []
    assert world["w1"] == before
    assert world.fleet.ailing == {}


def test_a_restarting_machine_that_the_engine_cannot_see_stays_as_it_is() -> None:
    world = with_one(a_machine(state=STARTING, **OURS), Status.UNKNOWN, unreachable_since=990.0)
    before = world["w1"]
    world.now += 3600
    assert world.tick().actions == []
    assert world["w1"] == before


def test_a_failed_machine_of_a_project_that_the_engine_cannot_see_is_not_gone() -> None:
    world = with_one(a_machine(state=FAILED, **OURS), Status.UNKNOWN, unreachable_since=990.0)
    world.tick()
    assert not world["w1"].gone


def test_a_removal_of_what_the_engine_cannot_see_is_not_done() -> None:
    world = with_one(a_machine(state=STOPPING), Status.UNKNOWN, unreachable_since=990.0)
    settled(world, Destroy("w1"), under_way=True)
    world.tick(begun_at=world.now + 0.1)
    assert world["w1"].state is STOPPING


@pytest.mark.parametrize(("since", "is_harmless"), [(990.0, True), (None, False)])
def test_a_new_machine_that_the_engine_lost_sight_of_says_nothing_of_its_image(
    since: float | None, *, is_harmless: bool
) -> None:
    """It is replaced after the start time-out, since nobody's files are in it."""
    world = World()
    machine_id = world.begin()
    world.instance(machine_id, Status.UNKNOWN, unreachable_since=since)
    world.now += 60.1
    world.tick()
    assert world[machine_id].state is FAILED
    assert world.fleet.pending[-1].failure is FailureKind.START_TIMEOUT
    assert (world.pool.image_brake is None) is is_harmless


# an engine that restarts nothing in place


def test_an_exited_machine_of_a_project_fails_with_its_reason_where_it_cannot_be_restarted() -> None:
    world = stuck(a_machine(**OURS), status=Status.EXITED, detail="The container exited with code 3.")
    assert world.tick().actions == []
    assert world["w1"].state is FAILED
    assert world["w1"].project == "p"
    assert world["w1"].reason == "The container exited with code 3."
    assert world.last_change().failure is FailureKind.EXITED


@pytest.mark.parametrize(
    ("ended", "kind"),
    [({"killed": True}, FailureKind.KILLED), ({"out_of_memory": True}, FailureKind.OUT_OF_MEMORY)],
)
def test_it_fails_with_the_kind_of_its_end_even_if_that_was_caused_from_outside(
    ended: dict[str, Any], kind: FailureKind
) -> None:
    world = stuck(a_machine(**OURS), status=Status.EXITED, **ended)
    world.tick()
    assert (world["w1"].state, world.last_change().failure) == (FAILED, kind)


@pytest.mark.parametrize("reason", [reasons.RUNS_AGAIN, reasons.RESTART_REQUESTED])
def test_a_machine_that_exits_before_it_answered_fails_as_well(reason: str) -> None:
    """Even if its record of another engine says that it is to be restarted."""
    world = stuck(a_machine(state=STARTING, reason=reason, **OURS), status=Status.EXITED)
    assert world.tick().actions == []
    assert world["w1"].state is FAILED


def test_a_starting_machine_of_a_project_is_never_restarted_there() -> None:
    world = stuck(a_machine(state=STARTING, **OURS), status=Status.CREATED)
    assert world.tick().actions == []
    other = with_one(a_machine(state=STARTING, **OURS), Status.CREATED)
    assert other.tick().actions == [Restart("w1")]


def test_its_project_hears_what_helps() -> None:
    """Its files cannot be reached by a restart, so nothing is said of one."""
    world = stuck(a_machine(**OURS), status=Status.EXITED)
    world.tick()
    with pytest.raises(MachineFailed) as refused:
        commands.assign(world.fleet, world.spec, "p", world.now, "default")
    assert str(refused.value) == (
        "The machine w1 of this project failed. The container exited. Release or destroy it to get a new one."
    )


def test_a_free_machine_fails_there_as_everywhere() -> None:
    world = stuck(a_machine(), status=Status.EXITED)
    assert world.tick().actions == [Destroy("w1")]
    assert world["w1"].state is FAILED


def test_restarts_in_place_are_the_rule() -> None:
    assert a_spec().restarts_in_place


# how an instance ended


@pytest.mark.parametrize(
    ("status", "fields", "kind"),
    [
        (Status.EXITED, {}, FailureKind.EXITED),
        (Status.CREATED, {}, FailureKind.EXITED),
        (Status.EXITED, {"killed": True}, FailureKind.KILLED),
        (Status.EXITED, {"out_of_memory": True}, FailureKind.OUT_OF_MEMORY),
        (Status.TERMINATING, {"killed": True}, FailureKind.VANISHED),
    ],
)
def test_an_instance_tells_how_it_ended(status: Status, fields: dict[str, Any], kind: FailureKind) -> None:
    assert Instance("w1", "o", "default", OLD, status, **fields).end is kind


def test_each_kind_of_failure_has_a_name_that_lasts() -> None:
    """Dashboards and alerts are built on them."""
    assert [kind.value for kind in FailureKind] == [
        "stopped_answering",
        "held_up",
        "start_timeout",
        "answer_timeout",
        "not_restarted",
        "vanished",
        "out_of_memory",
        "killed",
        "exited",
        "rejected",
        "other",
    ]
