"""A restart that somebody asks for: in place, with all tries again, also of what had failed for good."""

from __future__ import annotations

import pytest
from tests.unit.core.build import World, a_fleet, a_machine, with_one

from worker_orchestrator.core import commands, due_actions, refusals
from worker_orchestrator.core.action import Restart, Result
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.errors import NotAssigned, NotRunning

STARTING, READY, FAILED = State.STARTING, State.READY, State.FAILED
ASKED = Restart("w1", stop_first=True)


def restart(world: World) -> Machine:
    return commands.restart(world.fleet, world["w1"], world.now)


@pytest.mark.parametrize("state", [STARTING, READY, FAILED])
def test_it_keeps_project_generation_and_port(state: State) -> None:
    world = World(fleet=a_fleet(a_machine(state=state, project="p", generation=7, metadata="{}", evidence="panic")))
    after = restart(world)
    assert after == a_machine(
        state=STARTING, project="p", generation=7, metadata="{}", reason="A restart was requested.", evidence=""
    )
    assert after == world["w1"]
    change = world.last_change()
    assert change.cause is Cause.RESTARTED
    assert due_actions.follow_up(world.fleet, change, world.now) == ASKED


def test_it_resets_the_count() -> None:
    """What failed for good has all its tries again."""
    world = with_one(a_machine(state=FAILED, project="p"), Status.EXITED)
    watch = world.watch("w1")
    watch.tries, watch.obstructed_restarts, watch.restart_acknowledged = 6, 9, True
    restart(world)
    assert (watch.tries, watch.obstructed_restarts, watch.restart_acknowledged, watch.not_before) == (
        1,
        0,
        False,
        world.now,
    )
    world.apply_outcome(ASKED, Result.DONE)
    world.tick()
    assert (world["w1"].state, watch.tries, watch.not_before) == (STARTING, 2, world.now + 10.0)


def test_it_does_not_wait_for_the_next_try() -> None:
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.tick()
    world.restarted("w1", Result.OBSTRUCTED, "the disk is full")
    world.watch("w1").not_before = world.now + 200.0
    restart(world)
    assert world.tick().actions == [ASKED]


def test_what_answers_until_then_is_about_to_be_stopped() -> None:
    """So it proves nothing; the tick asks again for a restart that got lost."""
    world = with_one(a_machine(project="p"))
    restart(world)
    world.answer("w1")
    world.miss("w1")
    assert (world["w1"].state, world.watch("w1").verified_at, world.watch("w1").misses) == (STARTING, None, 0)
    assert world.tick().actions == [ASKED]
    world.now += 1000.0
    assert world.tick().actions == [ASKED]
    assert world["w1"].state is STARTING
    world.apply_outcome(ASKED, Result.DONE)
    world.answer("w1")
    assert world["w1"].state is READY


@pytest.mark.parametrize(
    ("result", "asked_again"),
    [
        (Result.UNAVAILABLE, True),
        (Result.UNKNOWN, False),
        (Result.REJECTED, False),
        (Result.OBSTRUCTED, False),
        (Result.DONE, False),
    ],
)
def test_only_what_was_certainly_not_carried_out_is_asked_for_again(result: Result, *, asked_again: bool) -> None:
    """Of whatever else the listing shows what became."""
    world = with_one(a_machine(project="p"))
    restart(world)
    world.apply_outcome(ASKED, result)
    assert (world.watch("w1").restart_requests > 0) is asked_again


def test_another_restart_that_was_under_way_does_not_count_as_this_one() -> None:
    world = with_one(a_machine(state=STARTING, project="p"), Status.EXITED)
    restart(world)
    world.restarted("w1")
    assert world.watch("w1").restart_requests


def test_without_a_container_there_is_nothing_to_restart() -> None:
    """Until a listing shows it, or that it vanished."""
    world = with_one(a_machine(state=FAILED, project="p"), None)
    restart(world)
    assert world.tick(busy=["w1"]).actions == []
    assert world.tick().actions == []
    assert world["w1"].gone


def test_a_release_meanwhile_ends_it() -> None:
    world = with_one(a_machine(project="p"))
    world.answer("w1")
    restart(world)
    world.release("w1")
    assert not world.watch("w1").restart_requests


def test_an_undone_restart_was_none() -> None:
    world = with_one(a_machine(state=FAILED, project="p"), Status.EXITED)
    restart(world)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert (world["w1"].state, world.watch("w1").restart_requests, world.watch("w1").tries) == (FAILED, False, 0)


def test_a_try_before_the_one_that_was_undone_still_counts() -> None:
    world = with_one(a_machine(project="p"))
    restart(world)
    world.fleet.take_pending()
    world.apply_outcome(ASKED, Result.REJECTED)
    assert world.watch("w1").tries == 2
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.watch("w1").tries == 1


@pytest.mark.parametrize(("stored", "actions"), [(0, []), (1, [ASKED])])
def test_an_undone_restart_of_a_starting_machine_is_none_but_the_one_before_it_is(
    stored: int, actions: list[Restart]
) -> None:
    world = with_one(a_machine(state=STARTING, project="p"))
    for _ in range(stored):
        restart(world)
        world.fleet.take_pending()
    restart(world)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.tick().actions == actions


@pytest.mark.parametrize("status", [Status.RUNNING, Status.EXITED])
def test_one_that_was_not_carried_out_is_when_the_service_runs_again(status: Status) -> None:
    """So it was told."""
    world = with_one(a_machine(project="p"), status)
    restart(world)
    world.apply_outcome(ASKED, Result.UNAVAILABLE)
    world.crash()
    assert world.tick().actions == [ASKED]
    world.apply_outcome(ASKED, Result.DONE)
    world.instance("w1")
    world.answer("w1")
    world.crash()
    assert world.tick().actions == []


@pytest.mark.parametrize("how", ["release", "destroy"])
def test_one_that_was_not_carried_out_is_after_an_undone_release(how: str) -> None:
    world = with_one(a_machine(project="p"))
    restart(world)
    world.fleet.take_pending()
    world.apply_outcome(ASKED, Result.UNAVAILABLE)
    (world.release if how == "release" else world.destroy)("w1")
    world.fleet.undo(world.fleet.take_pending(), world.now)
    world.answer("w1")
    assert world.tick().actions == [ASKED]


def test_its_project_hears_how_it_ended_since() -> None:
    world = with_one(a_machine(project="p"))
    restart(world)
    world.apply_outcome(ASKED, Result.DONE)
    world.instance("w1", Status.EXITED, detail="The container exited with code 3.")
    world.tick()
    told = refusals.machine_restarting(world.fleet, world["w1"], world.now)
    assert told.message.startswith(
        "The machine w1 of this project will be restarted in 10 s. The container exited with code 3. "
    )
    changes = len(world.fleet.pending)
    world.now += 10.0
    world.restarted("w1")
    world.tick()
    assert (world.watch("w1").tries, len(world.fleet.pending)) == (3, changes + 1), "each restart is told"


def test_an_end_that_comes_before_it_does_not_count() -> None:
    """It was started again by itself at that moment."""
    world = with_one(a_machine(state=STARTING, project="p"), Status.EXITED)
    restart(world)
    world.restarted("w1")
    assert world.tick().actions == [ASKED]
    assert (world["w1"].reason, world.watch("w1").tries) == ("A restart was requested.", 1)


@pytest.mark.parametrize("state", [STARTING, READY, FAILED])
def test_a_machine_of_nobody_is_not_restarted(state: State) -> None:
    """The pool makes another."""
    world = World(fleet=a_fleet(a_machine(state=state)))
    with pytest.raises(NotAssigned) as refused:
        restart(world)
    assert refused.value.message == (
        "w1 has no project, and only the machine of a project can be restarted. Destroy it instead."
    )
    assert world.fleet.pending == []


def test_a_machine_without_a_container_is_not_restarted() -> None:
    world = World(fleet=a_fleet(a_machine(state=FAILED, project="p", gone=True)))
    with pytest.raises(NotRunning) as refused:
        restart(world)
    assert refused.value.message == (
        "The container of w1 no longer exists, and neither do its files. Release p to get a new machine."
    )
    assert world.fleet.pending == []


# what its project hears meanwhile


def test_a_project_hears_when_its_machine_is_started_again_and_what_to_do() -> None:
    world = World(fleet=a_fleet(a_machine(state=STARTING, project="p", reason="The container exited with code 1.")))
    world.watch("w1").not_before = world.now + 29.5
    told = refusals.machine_restarting(world.fleet, world["w1"], world.now)
    assert told.message == (
        "The machine w1 of this project will be restarted in 30 s. The container exited with code 1. Its files are kept: "
        "repair them with `orchestrator cp`, and run `orchestrator restart p` to restart it at once."
    )
    assert told.retry_after_s == 30


def test_a_reason_loses_its_full_stop_and_nothing_more() -> None:
    world = World(fleet=a_fleet(a_machine(state=STARTING, project="p", reason="It says MAX.")))
    told = refusals.machine_restarting(world.fleet, world["w1"], world.now)
    assert told.message == "The machine w1 of this project is being restarted. It says MAX."


@pytest.mark.parametrize("ago_s", [0.0, 5.0])
def test_a_project_hears_that_its_machine_is_being_started_again(ago_s: float) -> None:
    world = World(fleet=a_fleet(a_machine(state=STARTING, project="p", reason="A restart was requested.")))
    world.watch("w1").not_before = world.now - ago_s
    told = refusals.machine_restarting(world.fleet, world["w1"], world.now)
    assert told.message == "The machine w1 of this project is being restarted. A restart was requested."
    assert told.retry_after_s == 3.0


@pytest.mark.parametrize(
    ("missed", "so_far"), [("", ""), ("nothing listens.", ": nothing listens"), ("it says MAX.", ": it says MAX")]
)
def test_a_project_hears_that_its_machine_was_started_again_and_of_no_older_cause(missed: str, so_far: str) -> None:
    world = with_one(a_machine(state=STARTING, project="p"), Status.EXITED)
    world.restarted("w1", Result.OBSTRUCTED, "the disk is full")
    world.restarted("w1")
    if missed:
        world.miss("w1", detail=missed)
    told = refusals.machine_restarting(world.fleet, world["w1"], world.now)
    assert told.message == f"The machine w1 of this project was restarted and does not answer yet{so_far}."
