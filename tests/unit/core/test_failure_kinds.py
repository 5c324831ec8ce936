"""Each failure tells its kind: metrics count by it, and the words beside it are for people alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.unit.core.build import World, a_fleet, a_machine, with_one

from worker_orchestrator.core import commands
from worker_orchestrator.core.action import Result
from worker_orchestrator.core.brake import RESTART_PAUSES_S
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, State
from worker_orchestrator.core.observation import AILING_S

STARTING, READY, FAILED = State.STARTING, State.READY, State.FAILED


def removed_while_idle() -> World:
    world = with_one(a_machine(), None)
    world.tick()
    return world


def removed_while_assigned() -> World:
    world = with_one(a_machine(project="p"), None)
    world.tick()
    return world


def removed_while_it_was_restarted() -> World:
    world = with_one(a_machine(state=STARTING, project="p"), None)
    world.tick()
    return world


def ended_while_idle() -> World:
    world = with_one(a_machine(), Status.EXITED, out_of_memory=True)
    world.tick()
    return world


def ended_before_it_answered() -> World:
    world = with_one(a_machine(state=STARTING), Status.EXITED, out_of_memory=True)
    world.tick()
    return world


def paused_while_idle() -> World:
    world = with_one(a_machine(), trouble="it is paused")
    world.tick()
    world.now += AILING_S
    world.tick()
    return world


def paused_before_it_answered() -> World:
    world = with_one(a_machine(state=STARTING), trouble="it is paused")
    world.tick()
    return world


def never_started() -> World:
    world = with_one(a_machine(state=STARTING), Status.CREATED)
    world.now += world.spec.start_timeout_s + 1
    world.tick()
    return world


def never_answered() -> World:
    world = with_one(a_machine(state=STARTING))
    world.now += world.spec.start_timeout_s + 1
    world.miss("w1")
    world.now += 1
    world.tick()
    return world


def ended_once_too_often() -> World:
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.watch("w1").tries = len(RESTART_PAUSES_S)
    world.tick()
    return world


def refused_to_restart_once_too_often() -> World:
    world = with_one(a_machine(state=STARTING, project="p"), Status.EXITED)
    world.watch("w1").tries = len(RESTART_PAUSES_S)
    world.restarted("w1", Result.REJECTED, "no such runtime")
    return world


def refused_to_create() -> World:
    world = World()
    world.created(world.begin(), Result.REJECTED, "no such runtime")
    return world


def mute_three_times() -> World:
    world = with_one(a_machine())
    for _ in range(3):
        world.miss("w1")
    return world


def mute_before_a_client_heard_of_it() -> World:
    world = with_one(a_machine(project="p"))
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now, broken="it does not answer")
    return world


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        (removed_while_idle, FailureKind.VANISHED),
        (removed_while_assigned, FailureKind.VANISHED),
        (removed_while_it_was_restarted, FailureKind.VANISHED),
        (ended_while_idle, FailureKind.OUT_OF_MEMORY),
        (ended_before_it_answered, FailureKind.OUT_OF_MEMORY),
        (paused_while_idle, FailureKind.HELD_UP),
        (paused_before_it_answered, FailureKind.HELD_UP),
        (never_started, FailureKind.START_TIMEOUT),
        (never_answered, FailureKind.ANSWER_TIMEOUT),
        (ended_once_too_often, FailureKind.NOT_RESTARTED),
        (refused_to_restart_once_too_often, FailureKind.NOT_RESTARTED),
        (refused_to_create, FailureKind.REJECTED),
        (mute_three_times, FailureKind.STOPPED_ANSWERING),
        (mute_before_a_client_heard_of_it, FailureKind.STOPPED_ANSWERING),
    ],
)
def test_a_failure_tells_its_kind(failed: Callable[[], World], kind: FailureKind) -> None:
    (failure,) = [
        change for change in failed().fleet.pending if change.after is not None and change.after.state is FAILED
    ]
    assert failure.failure is kind


def test_a_machine_that_somebody_paused_says_nothing_about_its_image() -> None:
    """Even if it had come up a moment before."""
    world = World()
    machine_id = world.up()
    world.instance(machine_id, trouble="it is paused")
    world.tick()
    world.now += AILING_S
    world.tick()
    assert world[machine_id].state is FAILED
    assert world.pool.image_brake is None


def test_a_restart_that_is_refused_is_an_event_of_the_machine() -> None:
    world = with_one(a_machine(state=STARTING, project="p"), Status.EXITED)
    world.restarted("w1", Result.REJECTED, "no such runtime")
    assert world.causes("w1") == [Cause.RESTARTED]


def test_a_projects_machine_whose_container_was_removed_leaves_no_tombstone() -> None:
    """Nobody asked for its removal, so its container is never destroyed if it turns up again."""
    world = World(fleet=a_fleet(a_machine(state=FAILED, project="p")))
    world.remove("w1")
    world.tick()
    assert world["w1"].gone
    assert not world.fleet.tombstones


def test_what_a_project_says_of_its_machine_is_no_new_life_of_it() -> None:
    world = World(fleet=a_fleet(a_machine(project="p"), now=1000.0))
    world.now += 5
    commands.annotate(world.fleet, world["w1"], "{}", world.now)
    assert world.watch("w1").since == 1000.0


def test_a_burial_and_an_adoption_in_one_batch_are_undone() -> None:
    world = World(fleet=a_fleet(stopping := a_machine(state=State.STOPPING)))
    world.fleet.apply(stopping, None, Cause.FORGOTTEN, world.now)
    world.fleet.apply(None, replace(stopping, state=READY), Cause.ADOPTED, world.now)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world["w1"] == stopping
    assert not world.fleet.tombstones
