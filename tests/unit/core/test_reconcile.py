"""The tick: what one full listing proves of each machine, and what is left to do."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import (
    OTHER_OWNER,
    World,
    a_fleet,
    a_machine,
    a_spec,
    an_instance,
    with_one,
)

from worker_orchestrator.core import commands, outcomes, reasons, waiting_line
from worker_orchestrator.core.action import Action, Create, Destroy, Outcome, Restart, Result
from worker_orchestrator.core.doomed import about_to_fail
from worker_orchestrator.core.due_actions import follow_up, still_wanted
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.observation import AILING_S
from worker_orchestrator.core.reconcile import reconcile
from worker_orchestrator.core.unrecorded import foreign, strays
from worker_orchestrator.errors import NoMachineAvailable

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED
VANISHED = f"{reasons.GONE} {reasons.FILES_GONE}"
QUIET = [Status.RUNNING, Status.UNKNOWN]
"""What no machine that serves is failed for."""
PAUSED = "It is paused. Unpause it."


# what is well


@pytest.mark.parametrize("project", [None, "p"])
@pytest.mark.parametrize("status", QUIET)
def test_a_ready_machine_stays_as_long_as_it_is_not_known_to_be_dead(project: str | None, status: Status) -> None:
    """Unknown is not absent."""
    world = with_one(a_machine(project=project), status)
    plan = world.tick()
    assert world["w1"] == a_machine(project=project)
    assert (plan.actions, plan.wake_at, world.fleet.pending) == ([], None, [])


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("status", [None, *Status])
def test_a_busy_machine_is_neither_judged_nor_acted_upon(state: State, status: Status | None) -> None:
    """About a machine with an action in flight the listing proves nothing."""
    machine = a_machine(state=state, project="p" if state is State.SLEEPING else None)
    world = with_one(machine, status)
    world.wants(parked=1)
    world.watch("w1").destroyed_at = world.now
    world.now += 10_000.0
    plan = world.tick(busy={"w1"})
    assert world["w1"] == machine
    assert plan.actions == []


@pytest.mark.parametrize("state", [STARTING, READY, FAILED])
@pytest.mark.parametrize("status", [None, *Status])
def test_a_busy_machine_of_a_project_is_neither_judged_nor_acted_upon(state: State, status: Status | None) -> None:
    """Least of all one that a project holds."""
    world = with_one(a_machine(state=state, project="p"), status)
    world.now += 10_000.0
    plan = world.tick(busy={"w1"})
    assert world["w1"] == a_machine(state=state, project="p")
    assert plan.actions == []


@pytest.mark.parametrize("project", [None, "p"])
@pytest.mark.parametrize("status", [None, Status.CREATED, Status.EXITED])
def test_a_listing_begun_before_a_machine_came_up_proves_nothing_against_it(
    status: Status | None, project: str | None
) -> None:
    """It was created by a call that a former process had begun, and answered while the listing was on its way."""
    world = World()
    machine_id = world.begin()
    if status is not None:
        world.instance(machine_id, status)
    begun_at, listed = world.now + 1.0, dict(world.instances)
    world.now += 2.0
    world.answer(machine_id)
    if project is not None:
        world.assign(project)
    came_up = world[machine_id]
    world.instances = listed
    assert world.tick(begun_at=begun_at).actions == []
    assert world[machine_id] == came_up
    world.tick(begun_at=world.now)
    assert world[machine_id] != came_up or (project, status) == ("p", Status.CREATED)


# what has not ended and cannot serve


@pytest.mark.parametrize("sight", [{"status": Status.PAUSED}, {"status": Status.PENDING}, {"trouble": PAUSED}])
@pytest.mark.parametrize("leaves_it", [False, True])
def test_an_idle_machine_that_cannot_serve_is_not_handed_out_and_replaced_if_that_lasts(
    sight: dict[str, Any], *, leaves_it: bool
) -> None:
    """`docker commit` pauses what it copies for a moment; nobody has files in it."""
    world = with_one(a_machine(), **sight)
    world.answer("w1", begun_at=world.now)
    plan = world.tick(begun_at=world.now + 0.001)
    assert (plan.actions, plan.wake_at, world["w1"]) == ([], world.now + AILING_S, a_machine())
    assert world.fleet.is_doubted(world["w1"])
    assert world.in_state(STARTING) == [], "it may be well in a moment"
    assert world.assign("p") is None
    world.resize()
    assert len(world.in_state(STARTING)) == 1, "somebody waits"
    world.now += AILING_S - 0.1
    assert world.tick().wake_at == pytest.approx(world.now + 0.1), "it is waited for no longer"
    if leaves_it:
        world.now += 0.1
        assert Destroy("w1") in world.tick().actions
        ailment = an_instance(**sight).ailment
        assert world["w1"] == a_machine(state=FAILED, reason=f"The worker could not serve. {ailment}")
        assert world.pool.image_brake is None, "the image is not to blame"
    else:
        world.instance("w1")
        world.tick()
        assert not world.fleet.is_doubted(world["w1"])
        assert world.fleet.projects == {"p": "w1"}


def test_each_time_that_an_idle_machine_is_paused_it_is_waited_for() -> None:
    world = with_one(a_machine(), Status.PAUSED)
    world.tick()
    world.instance("w1")
    world.now += 60.0
    world.tick()
    world.instance("w1", Status.PAUSED)
    world.tick()
    assert world["w1"].state is READY


@pytest.mark.parametrize(
    ("sight", "said"), [({"trouble": PAUSED}, PAUSED), ({"status": Status.CREATED}, "does not run")]
)
def test_an_assigned_machine_that_cannot_serve_stays_its_projects_which_is_told_why(
    sight: dict[str, Any], said: str
) -> None:
    """Its address would lead nowhere. However long it lasts, nothing is restarted, failed or given up."""
    held = a_machine(project="p", generation=1)
    world = with_one(held, **sight)
    for _ in range(3):
        assert world.tick().actions == []
        assert world["w1"] == held
        with pytest.raises(NoMachineAvailable, match=f"cannot serve now. .*{said}.*keeps it with its files") as refused:
            world.assign("p")
        assert refused.value.retry_after_s == 10.0
        world.now += 1000.0
    commands.annotate(world.fleet, held, '{"a": "b"}', world.now)
    assert world.fleet.ailing.keys() == world.fleet.doubted == {"w1"}, "what its project says of it changes nothing"
    world.instance("w1")
    world.tick()
    assert world.assign("p") == "w1"


def test_a_restarted_machine_that_cannot_serve_is_told_too() -> None:
    world = with_one(a_machine(state=STARTING, project="p", generation=1), Status.PAUSED, trouble=PAUSED)
    world.tick()
    with pytest.raises(NoMachineAvailable, match=PAUSED):
        world.assign("p")
    world.answer("w1")
    assert world.assign("p") == "w1", "it answers, and that is newer"


LOST = "It runs without its network. Restart it."


@pytest.mark.parametrize("state", [READY, STARTING])
def test_a_projects_machine_whose_network_the_engine_lost_is_started_again(state: State) -> None:
    """Nothing else leads to it again. What runs in it is stopped first, also by the next run of the service."""
    world = with_one(a_machine(state=state, project="p", generation=1), trouble=LOST, needs_restart=True)
    world.watch("w1").restart_acknowledged = True
    assert world.tick().actions == [Restart("w1", stop_first=True)]
    [change] = world.fleet.pending
    after = a_machine(state=STARTING, project="p", generation=1, reason=reasons.NETWORK_LOST)
    assert (world["w1"], change.cause) == (after, Cause.RESTARTED)
    assert (world.watch("w1").tries, world.watch("w1").restart_acknowledged) == (1, False)
    assert world.tick().actions == [Restart("w1", stop_first=True)]
    assert world.watch("w1").restart_requests == 1, "it was asked for once"
    assert a_fleet(after).watches["w1"].restart_requests == 1


@pytest.mark.parametrize("state", [READY, STARTING])
def test_where_nothing_is_restarted_in_place_a_project_is_told_of_a_lost_network(state: State) -> None:
    held = a_machine(state=state, project="p", generation=1)
    world = with_one(held, trouble=LOST, needs_restart=True)
    world.spec = replace(world.spec, restarts_in_place=False)
    assert world.tick().actions == []
    assert world["w1"] == held
    assert world.fleet.ailing == {"w1": LOST}


def test_a_starting_machine_that_cannot_serve_is_replaced_at_once() -> None:
    """Nobody waits for this one more than for another, and the image is not to blame."""
    world = with_one(a_machine(state=STARTING), Status.PAUSED, trouble=PAUSED)
    assert world.tick().actions == [Destroy("w1")]
    assert world["w1"] == a_machine(state=FAILED, reason=f"The worker could not serve. {PAUSED}")
    assert world.pool.image_brake is None


def test_what_a_busy_machine_ailed_of_it_ails_of_until_a_listing_proves_something() -> None:
    world = with_one(a_machine(project="p"), Status.PAUSED)
    world.tick()
    world.instance("w1")
    world.tick(busy={"w1"})
    assert world.fleet.ailing == {"w1": "The container is paused."}


def test_an_idle_machine_that_answered_since_is_not_doubted_for_an_older_listing() -> None:
    world = with_one(a_machine(), Status.PAUSED)
    world.answer("w1", begun_at=world.now + 1.0)
    world.tick()
    assert not world.fleet.doubted


def test_while_the_engine_tells_of_no_ends_an_answer_of_before_proves_nothing() -> None:
    """It may have ended since, and nobody would have heard."""
    world = with_one(a_machine())
    world.answer("w1")
    assert waiting_line.is_verified(world.fleet, world.spec, world["w1"], world.now)
    world.fleet.hears_events = False
    assert not waiting_line.is_verified(world.fleet, world.spec, world["w1"], world.now)
    assert commands.assign_verified(world.fleet, world.spec, "p", world.now, "default") is None
    assert world.assign("p") == "w1"
    released = world.release("w1")
    assert released is not None
    assert released.state is STARTING, "it is asked first"


# idle machines


@pytest.mark.parametrize("status", [Status.EXITED, Status.CREATED, Status.TERMINATING])
def test_an_idle_machine_that_does_not_run_any_more_failed(status: Status) -> None:
    """Its container is removed at once, and how it ended is told."""
    world = with_one(a_machine(), status, detail="The container exited with code 1.")
    plan = world.tick(evidence={"w1": "the last line", "w2": "no"})
    assert world["w1"] == a_machine(state=FAILED, reason="The container exited with code 1.", evidence="the last line")
    assert plan.actions == [Destroy("w1")]


def test_how_a_container_ended_may_need_no_detail() -> None:
    """Where the engine says no more, its status must do."""
    world = with_one(a_machine(), Status.EXITED)
    world.tick()
    assert (world["w1"].reason, world["w1"].evidence) == ("The container exited.", "")


def test_an_idle_machine_that_exits_soon_after_it_came_up_raises_the_brake() -> None:
    """The first time costs nothing, the tick replaces it at once; the second time costs a second."""
    world = World(spec=a_spec(min_idle=1))
    world.tick()
    for level in (0, 1):
        (machine_id,) = world.in_state(STARTING)
        world.instance(machine_id)
        world.now += 1.0
        world.answer(machine_id)
        world.now += 1.0
        world.instance(machine_id, Status.EXITED)
        world.tick()
        assert (world.brake.level, world.brake.until) == (level, world.now + level)
    assert world.in_state(STARTING) == []


def test_an_idle_machine_that_somebody_killed_does_not_raise_the_brake() -> None:
    """It says nothing of the image."""
    world = World()
    world.instance(world.up(), Status.EXITED, killed=True)
    world.tick()
    assert world["m1"].state is FAILED
    assert not world["m1"].gone
    assert world.pool.image_brake is None


def test_an_idle_machine_that_somebody_removed_is_gone_and_does_not_raise_the_brake() -> None:
    """It holds neither port nor slot, and there is nothing to remove."""
    world = World()
    world.remove(world.up())
    plan = world.tick()
    assert world["m1"].state is FAILED
    assert (world["m1"].gone, world["m1"].reason) == (
        True,
        "The container no longer exists, and this service has no record of removing it.",
    )
    assert (plan.actions, world.fleet.slots_held, world.fleet.ports) == ([], 0, {})
    assert world.pool.image_brake is None


# assigned machines


def test_an_assigned_machine_that_exited_is_restarted_in_place() -> None:
    """With its files, its port and its project; the first time at once."""
    world = with_one(a_machine(project="p"), Status.EXITED, detail="The container exited with code 1.")
    plan = world.tick()
    assert world["w1"] == a_machine(state=STARTING, project="p", reason="The container exited with code 1.")
    assert world.last_change().cause is Cause.RESTARTED
    assert plan.actions == [Restart("w1")]
    assert (world.watch("w1").tries, world.watch("w1").not_before) == (1, world.now)


def exits_again(world: World) -> list[Action]:
    """The restart is acknowledged, and the next listing shows it exited."""
    world.restarted("w1")
    world.now += 0.5
    return world.tick().actions


def test_an_assigned_machine_is_restarted_over_minutes_and_then_it_failed() -> None:
    """At once, then with growing pauses; it keeps its project and its files until somebody gives them up."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    assert world.tick().actions == [Restart("w1")]
    for pause_s in (10.0, 30.0, 60.0, 120.0, 240.0):
        assert exits_again(world) == []
        assert world.watch("w1").not_before == world.now + pause_s
        world.now += pause_s - 0.001
        assert world.tick().actions == []
        world.now += 0.001
        assert world.tick().actions == [Restart("w1")]
    assert exits_again(world) == []
    assert world["w1"] == a_machine(
        state=FAILED,
        project="p",
        reason=reasons.failed_again("The container exited.", 6),
    )
    for _ in range(3):
        world.now += 10_000.0
        assert world.tick().actions == []
    assert world["w1"].project == "p"
    assert world.pool.image_brake is None


def test_each_restart_is_told_with_the_end_that_it_mends() -> None:
    """A bad edit and a kill of the server: the exit code of the kill says nothing of the bad edit."""
    world = with_one(a_machine(project="p"), Status.EXITED, detail="The container exited with code 143.")
    world.tick()
    world.instance("w1", Status.EXITED, detail="The container exited with code 3.")
    assert world["w1"].reason == "The container exited with code 143."
    assert exits_again(world) == []
    assert world["w1"].reason == "The container exited with code 3."
    assert (world.last_change().cause, world.watch("w1").tries) == (Cause.RESTARTED, 2)


def test_a_machine_that_answers_between_its_deaths_has_no_more_tries() -> None:
    """Each death costs one try, however far the restart got."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    restarts = 0
    for _ in range(6):
        actions = world.tick().actions
        assert world["w1"].state is STARTING
        if not actions:
            world.now = world.watch("w1").not_before
            actions = world.tick().actions
        assert actions == [Restart("w1")]
        restarts += 1
        world.instance("w1")
        world.restarted("w1")
        world.now += 1.0
        world.answer("w1")
        assert world["w1"].state is READY
        world.now += 1.0
        world.instance("w1", Status.EXITED)
    world.tick()
    assert world["w1"].reason == reasons.failed_again("The container exited.", 6)
    assert (world["w1"].state, restarts) == (FAILED, 6)


@pytest.mark.parametrize(("good_s", "tries"), [(600.0, 3), (600.001, 1)])
def test_restarts_are_forgiven_after_ten_good_minutes(good_s: float, tries: int) -> None:
    """Counted from when it was ready again; exactly ten minutes are not enough."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.watch("w1").tries = 2
    world.now += good_s
    world.tick()
    assert world.watch("w1").tries == tries
    assert world["w1"].state is STARTING


def test_a_machine_that_is_being_restarted_is_not_judged_by_its_first_death() -> None:
    """Exited means exited again only after a restart was acknowledged: until then it is tried at every tick."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.tick()
    for _ in range(5):
        world.now += 1.0
        assert world.tick().actions == [Restart("w1")]
    assert world.watch("w1").tries == 1


def test_a_container_that_was_made_and_not_started_is_restarted() -> None:
    """Its restart failed half way."""
    world = with_one(a_machine(state=STARTING, project="p"), Status.CREATED)
    assert world.tick().actions == [Restart("w1")]


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED, Status.UNKNOWN, Status.PENDING, Status.TERMINATING])
def test_a_container_that_does_not_stand_is_not_restarted(status: Status) -> None:
    """It may be at work."""
    world = with_one(a_machine(state=STARTING, project="p"), status)
    assert world.tick().actions == []
    assert world["w1"].state is STARTING


def test_a_restart_that_is_refused_is_tried_over_minutes() -> None:
    """At once, then with growing pauses; then the machine failed, with the engine's words."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.tick()
    pauses = []
    for _ in range(5):
        world.restarted("w1", Result.REJECTED, "no such program")
        assert world["w1"].reason == "The container could not be restarted. no such program."
        pauses.append(world.watch("w1").not_before - world.now)
        world.now = world.watch("w1").not_before
        assert world.tick().actions == [Restart("w1")]
    world.restarted("w1", Result.REJECTED, "no such program")
    assert pauses == [10.0, 30.0, 60.0, 120.0, 240.0]
    assert world["w1"] == a_machine(state=FAILED, project="p", reason=reasons.restart_failed("no such program"))


@pytest.mark.parametrize(("waited_s", "state"), [(60.0, STARTING), (60.001, READY)])
def test_a_restarted_machine_that_runs_goes_back_to_its_project_even_if_it_is_mute(
    waited_s: float, state: State
) -> None:
    """No probe fails an assigned machine: after the start time-out its project gets it, with what was found."""
    world = with_one(a_machine(state=STARTING, project="p"))
    world.miss("w1", detail="connection refused")
    world.now += waited_s
    world.tick()
    assert world["w1"].state is state
    if state is READY:
        assert world["w1"].reason == reasons.runs_silently("connection refused")
        assert world.last_change().cause is Cause.ANSWERED


def test_only_a_listing_begun_after_the_start_time_out_gives_back_a_mute_machine() -> None:
    """It may be us who slept."""
    world = with_one(a_machine(state=STARTING, project="p"))
    world.now += 100.0
    world.tick(begun_at=world.now - 40.0)
    assert world["w1"].state is STARTING


def seen(world: World) -> World:
    """A listing has shown its machine, whose container is gone since then."""
    world.tick()
    world.fleet.take_pending()
    world.remove("w1")
    return world


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (a_machine(), reasons.GONE_AT_START),
        *(
            (
                a_machine(state=state, project="p"),
                f"{reasons.GONE_AT_START} {reasons.FILES_GONE}",
            )
            for state in (STARTING, READY, FAILED)
        ),
    ],
)
def test_of_what_is_gone_when_the_service_starts_nobody_else_is_accused(machine: Machine, reason: str) -> None:
    """The service may have removed it itself, and then been given an older copy of its database."""
    world = with_one(machine, None)
    world.tick()
    assert (world["w1"].gone, world["w1"].reason) == (True, reason)


def test_a_machine_that_this_run_made_was_removed_by_somebody_else() -> None:
    """Even before the first listing."""
    world = World(fleet=a_fleet(a_machine("w2", port=9999)))
    world.remove(world.up())
    world.tick()
    assert world["m1"].reason == reasons.GONE


@pytest.mark.parametrize("state", [STARTING, READY])
def test_an_assigned_machine_that_vanished_failed_and_its_files_are_gone(state: State) -> None:
    """It keeps its project, and holds neither port nor slot; the brake does not care."""
    world = seen(with_one(a_machine(state=state, project="p")))
    plan = world.tick()
    assert world["w1"] == a_machine(state=FAILED, project="p", gone=True, reason=VANISHED)
    assert (plan.actions, world.fleet.slots_held, world.pool.image_brake) == ([], 0, None)


def test_a_project_whose_machine_vanished_gets_a_new_one_at_its_next_assign() -> None:
    """And not before."""
    world = with_one(a_machine(project="p"), None)
    world.tick()
    world.up()
    world.tick()
    assert world["w1"].project == "p"
    assert world.assign("p") == "m1"


def test_neither_age_nor_ticks_take_a_vanished_machine_from_its_project() -> None:
    """Only evidence without a project is forgotten by time."""
    world = with_one(a_machine(project="p"), None)
    for _ in range(5):
        world.tick()
        world.now += 10_000.0
    assert world["w1"].project == "p"


# failed machines that a project holds


@pytest.mark.parametrize("status", [Status.EXITED, Status.CREATED, Status.PAUSED, Status.UNKNOWN, Status.TERMINATING])
def test_a_failed_machine_keeps_its_project_and_its_files(status: Status) -> None:
    """Neither age nor death is abandonment."""
    kept = a_machine(state=FAILED, project="p", reason="exited", evidence="the last line")
    world = with_one(kept, status)
    for _ in range(3):
        world.now += 100_000.0
        assert world.tick().actions == []
    assert world["w1"] == kept
    assert world.fleet.slots_held == 1


def test_a_failed_machine_that_somebody_revived_starts_again() -> None:
    """It serves its project again as soon as it answers."""
    world = with_one(a_machine(state=FAILED, project="p", reason="exited", evidence="the last line"))
    plan = world.tick()
    assert world["w1"] == a_machine(state=STARTING, project="p", reason=reasons.RUNS_AGAIN)
    assert world.last_change().cause is Cause.REVIVED
    assert plan.actions == []
    world.answer("w1")
    assert world.assign("p") == "w1"


def test_a_failed_machine_that_somebody_removed_is_gone() -> None:
    """Its project learns of it, and gets a new one when it asks."""
    world = seen(with_one(a_machine(state=FAILED, project="p", reason="exited"), Status.EXITED))
    world.tick()
    assert world["w1"] == a_machine(state=FAILED, project="p", gone=True, reason=VANISHED)
    assert world.last_change().cause is Cause.REMOVED
    world.fleet.take_pending()
    world.tick()
    assert world.fleet.pending == []


# starting machines


@pytest.mark.parametrize("status", [None, Status.CREATED])
def test_a_starting_machine_that_does_not_run_yet_is_created(status: Status | None) -> None:
    """At every tick until it does: the next tick is the retry."""
    world = with_one(a_machine(state=STARTING), status)
    for _ in range(2):
        assert world.tick().actions == [Create(a_machine(state=STARTING))]
    assert world.fleet.pending == []


@pytest.mark.parametrize(("port", "is_made_anew"), [(None, False), (9093, False), (9094, True)])
def test_a_starting_machine_that_runs_on_another_port_is_made_anew(port: int | None, *, is_made_anew: bool) -> None:
    """Its first create landed after it was given another port. An engine that tells no port is believed."""
    world = with_one(a_machine(state=STARTING), Status.RUNNING, port=port)
    assert world.tick().actions == ([Create(a_machine(state=STARTING))] if is_made_anew else [])


@pytest.mark.parametrize("status", QUIET)
def test_a_starting_machine_that_is_under_way_is_left_alone(status: Status) -> None:
    """Nothing needs to be done but wait."""
    world = with_one(a_machine(state=STARTING), status)
    assert world.tick().actions == []
    assert world["w1"].state is STARTING


@pytest.mark.parametrize("status", [Status.EXITED, Status.TERMINATING])
def test_a_starting_machine_that_ended_failed_and_raises_the_brake(status: Status) -> None:
    """With how it ended and its last log lines."""
    world = with_one(a_machine(state=STARTING), status, detail="The container exited with code 127.")
    plan = world.tick(evidence={"w1": "no such file"})
    reason = "The container exited with code 127."
    assert world["w1"] == a_machine(state=FAILED, reason=reason, evidence="no such file")
    assert plan.actions == [Destroy("w1")]
    assert (world.brake.level, world.brake.explanation()) == (1, f"Machine w1 failed. {reason}\nno such file")


@pytest.mark.parametrize("status", [None, Status.CREATED, Status.PAUSED, Status.UNKNOWN, Status.PENDING])
@pytest.mark.parametrize(("waited_s", "state"), [(60.0, STARTING), (60.001, FAILED)])
def test_a_machine_that_does_not_run_within_the_start_time_out_failed(
    status: Status | None, waited_s: float, state: State
) -> None:
    """Its container may still turn up, so it is destroyed, and holds port and slot until then."""
    world = with_one(a_machine(state=STARTING), status)
    world.now += waited_s
    plan = world.tick(evidence={"w1": "the last line"})
    assert world["w1"].state is state
    if state is FAILED:
        assert world["w1"] == a_machine(state=FAILED, reason=reasons.started_too_slowly(60), evidence="the last line")
        assert plan.actions == [Destroy("w1")]
        assert (world.fleet.slots_held, world.brake.level) == (1, 1)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (None, "The container did not start within 5 s."),
        (Status.RUNNING, "The worker did not answer within 5 s of its start: connection refused."),
    ],
)
def test_a_pool_may_give_its_machines_another_start_time_out(status: Status | None, reason: str) -> None:
    world = with_one(a_machine(state=STARTING), status)
    world.wants(start_timeout_s=5.0)
    assert world.tick().wake_at == world.now + 5.0
    world.now += 5.001
    world.miss("w1", detail="connection refused")
    world.now += 0.001
    world.tick()
    assert (world["w1"].state, world["w1"].reason) == (FAILED, reason)


def test_only_a_listing_begun_after_the_start_time_out_fails_a_machine() -> None:
    """A listing that took a minute, or a laptop that slept, proves nothing."""
    world = with_one(a_machine(state=STARTING), None)
    world.now += 3600.0
    world.tick(begun_at=1060.0)
    assert world["w1"].state is STARTING
    world.tick(begun_at=1060.001)
    assert world["w1"].state is FAILED


@pytest.mark.parametrize(
    ("probed_at", "state"),
    [
        pytest.param(None, STARTING, id="no probe yet"),
        pytest.param(1060.0, STARTING, id="a probe begun in time"),
        pytest.param(1060.001, FAILED, id="a probe begun afterwards"),
    ],
)
def test_only_a_probe_begun_after_the_start_time_out_fails_a_running_machine(
    probed_at: float | None, state: State
) -> None:
    """It may have answered in time while we were asleep."""
    world = with_one(a_machine(state=STARTING))
    world.now += 100.0
    if probed_at is not None:
        world.miss("w1", begun_at=probed_at, detail="connection refused")
    world.tick()
    assert world["w1"].state is state
    if state is FAILED:
        assert world["w1"].reason == "The worker did not answer within 60 s of its start: connection refused."


def test_a_released_machine_that_never_answers_again_fails_like_a_new_one() -> None:
    """Its time-out begins at its release. Its image has shown long ago that it works."""
    world = with_one(a_machine(project="p"))
    world.now += 1000.0
    world.release("w1")
    world.now += 60.001
    world.miss("w1")
    world.tick()
    assert world["w1"].state is FAILED
    assert world.pool.image_brake is None


# stopping and failed machines without a project


def test_a_stopping_machine_is_destroyed_until_it_is_gone() -> None:
    """At every tick, with a pause after a refusal."""
    world = with_one(a_machine(state=STOPPING))
    assert world.tick().actions == [Destroy("w1")]
    world.destroyed("w1", Result.REJECTED)
    assert world.tick().actions == []
    world.now += 1.0
    assert world.tick().actions == [Destroy("w1")]


def test_a_stopping_machine_is_forgotten_by_a_listing_begun_after_its_removal() -> None:
    """One begun before, or at the same time, may have missed a create that landed late."""
    world = with_one(a_machine(state=STOPPING), None)
    assert world.tick().actions == [Destroy("w1")]
    world.destroyed("w1")
    for begun_at in (world.now - 1.0, world.now):
        assert world.tick(begun_at=begun_at).actions == [Destroy("w1")]
    world.now += 0.001
    assert world.tick().actions == []
    assert world.fleet.machines == {}
    assert world.fleet.tombstones.keys() == {"w1"}
    assert world.last_change().cause is Cause.FORGOTTEN


def test_a_stopping_machine_that_is_still_listed_is_not_forgotten() -> None:
    """Whatever was acknowledged."""
    world = with_one(a_machine(state=STOPPING), Status.TERMINATING)
    world.destroyed("w1")
    world.now += 1.0
    assert world.tick().actions == [Destroy("w1")]
    assert world["w1"].state is STOPPING


def test_a_failed_machine_holds_port_and_slot_until_it_is_known_to_be_gone() -> None:
    """Then its record is kept as evidence for ten minutes, and forgotten."""
    failed = a_machine(state=FAILED, reason="exited", evidence="the last line")
    world = with_one(failed, Status.EXITED)
    assert world.tick().actions == [Destroy("w1")]
    world.destroyed("w1")
    world.remove("w1")
    assert world.tick().actions == [Destroy("w1")]
    assert (world.fleet.slots_held, world.fleet.is_port_taken(9093)) == (1, True)
    world.now += 0.001
    assert world.tick().actions == []
    assert world["w1"] == replace(failed, gone=True)
    assert world.last_change().cause is Cause.REMOVED
    assert (world.fleet.slots_held, world.fleet.is_port_taken(9093)) == (0, False)
    world.watch("w1").since = world.now
    world.now += 600.0
    world.tick()
    assert world["w1"] == replace(failed, gone=True)
    world.now += 0.001
    world.tick()
    assert world.fleet.machines == {}
    assert world.fleet.tombstones.keys() == {"w1"}
    assert world.last_change().cause is Cause.FORGOTTEN


def test_a_failed_machine_that_is_only_absent_is_not_gone() -> None:
    """Its create may land yet: only its own removal shows that it is gone."""
    world = with_one(a_machine(state=FAILED), None)
    world.now += 10_000.0
    assert world.tick().actions == [Destroy("w1")]
    assert not world["w1"].gone


def test_a_free_machine_that_turns_up_after_it_was_removed_is_destroyed() -> None:
    """Its create landed late. What is left of it is evidence, and no reason to let it run."""
    world = with_one(a_machine(state=FAILED), None)
    world.destroyed("w1")
    world.now += 1.0
    world.tick()
    assert world["w1"].gone
    assert world.fleet.tombstones.keys() == {"w1"}
    world.crash()
    world.instance("w1")
    assert world.tick().actions == [Destroy("w1")]
    world.remove("w1")
    assert world.tick().actions == []


def test_a_free_machine_that_vanished_is_left_alone_when_it_turns_up() -> None:
    """We did not ask for its end: while it is on record it holds nothing, and then it is a stray."""
    world = with_one(a_machine(), None)
    world.tick()
    assert world["w1"].gone
    world.instance("w1")
    assert world.tick().actions == []
    assert not still_wanted(world.fleet, Destroy("w1"))
    world.now += 601.0
    assert world.tick().actions == []
    assert (world.fleet.machines, world.fleet.tombstones) == ({}, {})
    assert strays(world.fleet, world.listing()) == [an_instance("w1")]


def test_a_vanished_machine_that_turns_up_again_is_its_projects_again() -> None:
    """Unless its port or its slot was given away meanwhile."""
    vanished = a_machine(state=FAILED, project="p", gone=True)
    world = with_one(vanished)
    world.tick()
    assert world["w1"] == replace(vanished, gone=False, reason="The container exists again.")
    assert world.last_change().cause is Cause.FAILED
    world.tick()
    assert (world["w1"].state, world["w1"].project) == (STARTING, "p")
    world = World(fleet=a_fleet(vanished, a_machine("w2")))
    world.instance("w1")
    world.instance("w2")
    world.tick()
    assert world["w1"].gone
    world = World(fleet=a_fleet(vanished, a_machine("w2", port=9999)), spec=a_spec(max_machines=1))
    world.instance("w1")
    world.instance("w2")
    world.tick()
    assert world["w1"].gone, "two machines would be more than max_machines"
    assert world.tick().actions == []
    world.assign("p")
    assert world.tick().actions == [], "its project has moved on, and its files are in there"
    assert strays(world.fleet, world.listing()) == [an_instance("w1")]


def test_what_died_with_the_engine_costs_no_try_and_raises_no_brake() -> None:
    """However often the engine is restarted, a project's machine comes back."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.watch("w1").tries = 3
    reconcile(world.fleet, replace(world.listing(), after_outage=True), world.spec, world.now, world.new_id)
    assert (world["w1"].state, world.watch("w1").tries) == (STARTING, 1)
    young = World(spec=a_spec(min_idle=1))
    young.tick()
    (machine_id,) = young.in_state(STARTING)
    young.instance(machine_id, Status.EXITED)
    reconcile(young.fleet, replace(young.listing(), after_outage=True), young.spec, young.now, young.new_id)
    assert young[machine_id].state is FAILED
    assert young.pool.image_brake is None


def test_what_the_engine_refused_before_an_outage_is_tried_again_at_once() -> None:
    """Another engine may have come back, and pauses that grew for days begin anew."""
    world = with_one(a_machine(state=STOPPING))
    for _ in range(5):
        world.destroyed("w1", Result.REJECTED)
    plan = reconcile(world.fleet, replace(world.listing(), after_outage=True), world.spec, world.now, world.new_id)
    assert plan.actions == [Destroy("w1")]
    assert (world.watch("w1").tries, world.watch("w1").not_before) == (0, 0.0)


# instances without a machine


def test_an_orphan_is_destroyed() -> None:
    """A tombstone shows that it was ours to remove: its create landed late."""
    world = World(fleet=a_fleet(tombstones=["w1"]))
    world.instance("w1")
    assert world.tick().actions == [Destroy("w1")]
    assert world.tick(busy={"w1"}).actions == []
    assert strays(world.fleet, world.listing()) == foreign(world.fleet, world.listing()) == []


@pytest.mark.parametrize("result", [Result.OBSTRUCTED, Result.REJECTED, Result.UNAVAILABLE, Result.UNKNOWN])
def test_an_orphan_that_cannot_be_removed_is_tried_ever_more_rarely(result: Result) -> None:
    """After 1 s, doubling to 60 s, though it has no record that says so."""
    world = World(fleet=a_fleet(tombstones=["w1", "w2"]))
    world.instance("w1")
    pauses = []
    for _ in range(8):
        assert world.tick().actions == [Destroy("w1")]
        world.destroyed("w1", result)
        plan = world.tick()
        assert plan.actions == []
        assert plan.wake_at is not None
        pauses.append(plan.wake_at - world.now)
        world.now = plan.wake_at
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    world.instances.clear()
    world.tick()
    world.instance("w1")
    assert world.tick().actions == [Destroy("w1")], "what was gone in between starts anew"


def test_a_removal_of_an_orphan_that_was_accepted_is_given_time() -> None:
    world = World(fleet=a_fleet(tombstones=["w1"]))
    world.instance("w1")
    done = Outcome(Result.DONE, under_way=True)
    outcomes.apply_outcome(world.fleet, world.spec, Destroy("w1"), done, world.now)
    assert world.tick().actions == []
    world.now += 1.0
    assert world.tick().actions == [Destroy("w1")]
    outcomes.apply_outcome(world.fleet, world.spec, Destroy("w1"), Outcome(Result.DONE), world.now)
    assert world.fleet.orphan_retries["w1"][0] == 1, "a removal that is done is no failed try"


def test_what_bears_another_name_is_no_orphan() -> None:
    """A create that lands late gives its own: this was somebody's doing, so it is shown."""
    world = World(fleet=a_fleet(tombstones=["w1"]))
    world.instance("w1", renamed="kept")
    assert world.tick().actions == []
    assert strays(world.fleet, world.listing()) == [an_instance("w1", renamed="kept")]


def test_a_stray_is_shown_and_never_destroyed() -> None:
    """Our memory may be what is missing."""
    world = World(fleet=a_fleet(a_machine("w2")))
    world.instance("w1")
    assert world.tick().actions == []
    assert strays(world.fleet, world.listing()) == [an_instance("w1")]
    assert foreign(world.fleet, world.listing()) == []


def test_a_foreign_instance_is_shown_and_never_touched() -> None:
    """It belongs to another service."""
    world = World(fleet=a_fleet(a_machine("w2")))
    world.instance("w1", owner=OTHER_OWNER)
    assert world.tick().actions == []
    assert foreign(world.fleet, world.listing()) == [an_instance("w1", owner=OTHER_OWNER)]
    assert strays(world.fleet, world.listing()) == []


def test_a_foreign_instance_is_not_touched_even_under_an_id_of_ours() -> None:
    """A copied store brings its tombstones with it."""
    world = World(fleet=a_fleet(tombstones=["w1"]))
    world.instance("w1", owner=OTHER_OWNER)
    assert world.tick().actions == []
    assert foreign(world.fleet, world.listing()) == [an_instance("w1", owner=OTHER_OWNER)]


# whose logs are evidence


@pytest.mark.parametrize("state", [STARTING, READY])
def test_a_free_machine_that_exited_is_dying(state: State) -> None:
    """Its last log lines are worth reading before it is removed."""
    world = with_one(a_machine(state=state), Status.EXITED)
    assert list(about_to_fail(world.fleet, world.instances, world.spec, world.now)) == ["w1"]


@pytest.mark.parametrize(
    "machine",
    [
        a_machine(state=STARTING, project="p"),
        a_machine(state=FAILED, project="p"),
        a_machine(state=FAILED),
        a_machine(state=STOPPING),
    ],
)
def test_a_machine_that_is_not_about_to_fail_is_not_dying(machine: Machine) -> None:
    """It waits for its next restart, or failed already, or was let go."""
    world = with_one(machine, Status.EXITED)
    assert list(about_to_fail(world.fleet, world.instances, world.spec, world.now)) == []


def dying(world: World) -> list[str]:
    return list(about_to_fail(world.fleet, world.instances, world.spec, world.now))


def test_the_last_lines_of_a_projects_machine_are_read_at_each_of_its_deaths_and_only_then() -> None:
    """While it waits for the next restart, every listing shows the same death."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    assert dying(world) == ["w1"]
    world.tick(evidence={"w1": "first cause"})
    assert (world["w1"].state, world["w1"].evidence) == (STARTING, "first cause")
    assert dying(world) == []
    world.restarted("w1")
    assert dying(world) == ["w1"]
    world.tick(evidence={"w1": "second cause"})
    assert world["w1"].evidence == "second cause"
    world.restarted("w1")
    commands.restart(world.fleet, world["w1"], world.now)
    assert dying(world) == [], "it is stopped on request"
    world.instance("w1")
    world.restarted("w1")
    assert dying(world) == []


def test_a_projects_machine_that_failed_shows_its_last_lines() -> None:
    """Until it answers again, however it came to serve."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.watch("w1").tries = 6
    world.tick(evidence={"w1": "the cause"})
    assert (world["w1"].state, world["w1"].evidence) == (FAILED, "the cause")
    commands.restart(world.fleet, world["w1"], world.now)
    assert world["w1"].evidence == ""


@pytest.mark.parametrize("answers", [True, False])
def test_a_machine_that_serves_again_has_no_last_lines(*, answers: bool) -> None:
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.tick(evidence={"w1": "the cause"})
    world.restarted("w1")
    world.instance("w1")
    if answers:
        world.answer("w1")
    else:
        world.now += 61.0
        world.tick()
    assert (world["w1"].state, world["w1"].evidence) == (READY, "")


def test_a_machine_that_cannot_be_restarted_any_more_or_vanishes_keeps_its_last_lines() -> None:
    """They say why it ended, which is more than that its container is gone."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.tick(evidence={"w1": "the cause"})
    world.watch("w1").tries = 6
    world.restarted("w1", Result.REJECTED, "no such device")
    assert (world["w1"].state, world["w1"].evidence) == (FAILED, "the cause")
    world = with_one(a_machine(project="p"), Status.EXITED)
    world.tick(evidence={"w1": "the cause"})
    world.remove("w1")
    world.tick()
    assert (world["w1"].gone, world["w1"].evidence) == (True, "the cause")


def test_where_the_engine_cannot_restart_each_death_is_a_failure_with_its_last_lines() -> None:
    world = with_one(a_machine(state=STARTING, project="p"), Status.EXITED)
    world.spec = replace(world.spec, restarts_in_place=False)
    assert dying(world) == ["w1"]


def test_a_machine_that_runs_is_dying_only_past_its_start_time_out() -> None:
    """And one that serves is not, however old."""
    world = with_one(a_machine(state=STARTING))
    assert list(about_to_fail(world.fleet, world.instances, world.spec, 1060.0)) == []
    assert list(about_to_fail(world.fleet, world.instances, world.spec, 1060.001)) == ["w1"]
    assert list(about_to_fail(world.fleet, {}, world.spec, 1060.001)) == []
    world.answer("w1")
    assert list(about_to_fail(world.fleet, world.instances, world.spec, 9999.0)) == []


def test_every_dying_machine_is_told() -> None:
    """Those that are well are passed over."""
    world = World(fleet=a_fleet(*(a_machine(f"w{i}", port=i) for i in range(1, 5))))
    world.instance("w2", Status.EXITED)
    world.remove("w3")
    world.instance("w4", Status.EXITED)
    assert list(about_to_fail(world.fleet, world.instances, world.spec, world.now)) == ["w2", "w4"]


def test_a_machine_that_began_to_stop_and_is_forgotten_in_one_batch_needs_no_action() -> None:
    """Its removal was acknowledged when somebody destroyed it, and before that was stored a listing lacked it."""
    world = with_one(a_machine(state=State.FAILED))
    world.destroyed("w1")
    world.remove("w1")
    world.now += 1.0
    world.destroy("w1")
    world.tick()
    assert world.causes("w1") == [Cause.DESTROYED, Cause.FORGOTTEN]
    assert [follow_up(world.fleet, change, world.now) for change in world.fleet.pending] == [None, None]
