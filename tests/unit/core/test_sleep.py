"""Machines that sleep: how they fall asleep and wake, who may end that, and what a limit on those awake asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import World, a_fleet, a_machine, a_spec, an_instance, assert_indexes_hold, several

from worker_orchestrator.core import commands, expiry, reasons, waiting_line
from worker_orchestrator.core.action import Create, Destroy, Restart, Result, Stop
from worker_orchestrator.core.brake import RESTART_PAUSES_S
from worker_orchestrator.core.due_actions import follow_up, still_wanted
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.lease import SPARED_S, EndsBy, OnExpiry, Terms
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.reasons import ASLEEP, SLEEP_REQUESTED, asleep, falling_asleep
from worker_orchestrator.core.refusals import insist_on_room, machine_asleep, machine_restarting
from worker_orchestrator.core.sleep import put_to_sleep, try_at_once
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.wanted import held_back
from worker_orchestrator.errors import HostPortTaken, NoMachineAvailable, NotAssigned, NotRunning

READY, STARTING, SLEEPING, STOPPING, FAILED = (
    State.READY,
    State.STARTING,
    State.SLEEPING,
    State.STOPPING,
    State.FAILED,
)
FALLING = falling_asleep(SLEEP_REQUESTED)
ASLEEP_NOW = asleep(FALLING)
RUNS = [Status.RUNNING, Status.PAUSED]
DOES_NOT_RUN = [Status.EXITED, Status.CREATED]
NEITHER = [Status.PENDING, Status.TERMINATING, Status.UNKNOWN]


def assigned(spec: Spec | None = None, **pool: Any) -> World:
    """Project p has machine m1, and everything so far is stored."""
    world = World(spec=a_spec(**pool) if spec is None else spec)
    world.up()
    world.assign("p")
    world.fleet.take_pending()
    return world


def falling(world: World | None = None, **pool: Any) -> World:
    """The machine m1 of project p is being stopped, so that it sleeps."""
    world = world or assigned(**pool)
    commands.sleep(world.fleet, world["m1"], world.now)
    world.fleet.take_pending()
    return world


def sleeping(world: World | None = None, **pool: Any) -> World:
    """The machine m1 of project p sleeps, and its container has stopped."""
    world = falling(world, **pool)
    world.instance("m1", Status.EXITED)
    world.stopped("m1")
    world.fleet.take_pending()
    return world


def a_sleeper(machine_id: str = "w1", *, project: str = "p", is_asleep: bool = True, **fields: Any) -> Machine:
    reason = ASLEEP_NOW if is_asleep else FALLING
    return a_machine(machine_id, SLEEPING, project=project, reason=reason, generation=1, **fields)


# falling asleep


def test_what_is_put_to_sleep_keeps_its_project_and_its_container_is_stopped() -> None:
    world = assigned()
    before = world["m1"]
    after = commands.sleep(world.fleet, before, world.now)
    assert after == world["m1"] == replace(before, state=SLEEPING, reason=FALLING)
    assert (after.project, after.port, after.generation) == ("p", before.port, before.generation)
    change = world.last_change()
    assert (change.cause, change.deadline) == (Cause.SLEPT, None)
    assert follow_up(world.fleet, change, world.now) == Stop("m1", "default")
    assert still_wanted(world.fleet, Stop("m1", "default"))
    assert not after.is_asleep
    assert_indexes_hold(world.fleet)


def test_its_last_words_of_an_earlier_death_are_forgotten() -> None:
    world = World(fleet=a_fleet(a_machine(project="p", generation=1, evidence="it hurts")))
    assert commands.sleep(world.fleet, world["w1"], world.now).evidence == ""


def test_only_what_is_ready_is_put_to_sleep() -> None:
    world = World(fleet=a_fleet(a_machine(state=STARTING, project="p", generation=1)))
    with pytest.raises(AssertionError, match=r"w1 is starting, so it cannot be put to sleep"):
        put_to_sleep(world.fleet, world["w1"], "It is late.", world.now)


def test_once_it_has_stopped_it_is_asleep_and_says_so() -> None:
    world = falling()
    world.stopped("m1")
    assert world["m1"].is_asleep
    assert world["m1"].reason == f"{SLEEP_REQUESTED} {ASLEEP}"
    assert world.causes("m1") == [Cause.ASLEEP]
    assert not still_wanted(world.fleet, Stop("m1", "default"))
    world.stopped("m1")
    assert world.causes("m1") == [Cause.ASLEEP], "that is known"
    assert_indexes_hold(world.fleet)


@pytest.mark.parametrize("status", DOES_NOT_RUN)
def test_a_listing_shows_as_well_that_it_has_stopped(status: Status) -> None:
    world = falling()
    world.instance("m1", status)
    assert world.tick().actions == []
    assert world["m1"].is_asleep
    world.tick()
    assert world.causes("m1") == [Cause.ASLEEP]


@pytest.mark.parametrize("status", [*RUNS, Status.UNKNOWN])
def test_as_long_as_it_may_run_it_is_stopped_again(status: Status) -> None:
    """The service was killed before it could stop it, or the call got lost. The engine may lose sight of it besides."""
    world = falling()
    world.crash()
    world.instance("m1", status)
    assert world.tick().actions == [Stop("m1", "default")]
    assert world["m1"].state is SLEEPING
    assert not world.causes("m1")


@pytest.mark.parametrize("status", NEITHER)
def test_what_neither_runs_nor_has_stopped_is_left_alone(status: Status) -> None:
    for is_asleep in (True, False) if status is not Status.UNKNOWN else (True,):
        world = World(fleet=a_fleet(a_sleeper(is_asleep=is_asleep)))
        world.instance("w1", status)
        assert world.tick().actions == []
        assert not world.fleet.pending


@pytest.mark.parametrize("status", DOES_NOT_RUN)
def test_what_sleeps_is_not_restarted(status: Status) -> None:
    world = sleeping()
    world.instance("m1", status)
    for _ in range(3):
        world.now += 100
        assert world.tick().actions == []
    assert world["m1"].state is SLEEPING


def test_a_stop_of_which_nobody_knows_how_it_ended_is_asked_for_again_a_second_later() -> None:
    for result in (Result.UNKNOWN, Result.UNAVAILABLE):
        world = falling()
        world.stopped("m1", result)
        assert not world["m1"].is_asleep
        assert world.tick().actions == []
        world.now += 1.0
        assert world.tick().actions == [Stop("m1", "default")]


@pytest.mark.parametrize("result", [Result.REJECTED, Result.OBSTRUCTED])
def test_a_stop_that_the_engine_refuses_is_asked_for_again_after_a_pause_that_doubles(result: Result) -> None:
    world = falling()
    world.watch("m1").tries = 0
    for pause_s in (1.0, 2.0, 4.0):
        world.stopped("m1", result)
        assert world.watch("m1").not_before == world.now + pause_s
        world.now += pause_s
        assert world.tick().actions == [Stop("m1", "default")]


def test_restarts_of_before_do_not_make_the_pause_longer() -> None:
    world = assigned()
    world.watch("m1").tries = 5
    falling(world).stopped("m1", Result.REJECTED)
    assert world.watch("m1").tries == 1


def test_how_a_stop_ended_delays_nothing_for_what_was_woken_or_removed_meanwhile() -> None:
    for result in (Result.UNKNOWN, Result.DONE, Result.REJECTED):
        world = falling()
        world.assign("p")
        before = (world["m1"], world.watch("m1").not_before, world.watch("m1").restart_requests)
        world.stopped("m1", result)
        assert (world["m1"], world.watch("m1").not_before, world.watch("m1").restart_requests) == before


def test_a_machine_that_is_gone_was_not_stopped() -> None:
    world = World()
    world.stopped("w1")
    assert not world.fleet.pending


def test_who_sleeps_already_is_not_put_to_sleep_again() -> None:
    world = sleeping()
    assert commands.sleep(world.fleet, world["m1"], world.now) == world["m1"]
    assert not world.fleet.pending


def test_only_a_machine_that_serves_a_project_can_be_put_to_sleep() -> None:
    world = World(
        fleet=a_fleet(
            a_machine("w1"),
            a_machine("w2", STARTING, project="q", generation=1, port=9094),
            a_machine("w3", FAILED, project="r", generation=2, port=9095),
        )
    )
    words = {
        "w1": (NotAssigned, "w1 has no project, and only the machine of a project can sleep."),
        "w2": (
            NotRunning,
            "w2 is being started, and only a machine that serves can be put to sleep. Nothing was changed.",
        ),
        "w3": (NotRunning, "w3 has failed, and only a machine that serves can be put to sleep. Nothing was changed."),
    }
    for name, (error, message) in words.items():
        with pytest.raises(error) as refused:
            commands.sleep(world.fleet, world[name], world.now)
        assert refused.value.message == message
    assert not world.fleet.pending


# waking


def test_an_assign_wakes_it_in_place() -> None:
    world = sleeping()
    before = world["m1"]
    assert world.assign("p") is None, "it is awaited"
    assert world["m1"] == replace(before, state=STARTING, reason=reasons.WOKEN)
    change = world.last_change()
    assert change.cause is Cause.WOKEN
    assert follow_up(world.fleet, change, world.now) == Restart("m1", stop_first=False)
    assert world.tick().actions == [Restart("m1", stop_first=False)], "also if that gets lost"
    world.instance("m1")
    world.restarted("m1")
    world.now += 1
    world.answer("m1")
    assert (world["m1"].state, world["m1"].reason) == (READY, reasons.ANSWERED)
    assert world.assign("p") == "m1"
    assert world["m1"].generation == before.generation
    assert_indexes_hold(world.fleet)


def test_a_second_assign_waits_with_the_first() -> None:
    world = sleeping()
    world.assign("p")
    world.fleet.take_pending()
    assert world.assign("p") is None
    assert not world.fleet.pending


def test_one_that_was_woken_while_it_was_being_stopped_is_started_again_whatever_it_answers() -> None:
    """What answers now is about to end."""
    world = falling()
    world.assign("p")
    assert world["m1"].reason == reasons.WOKEN_EARLY
    assert follow_up(world.fleet, world.last_change(), world.now) == Restart("m1", stop_first=True)
    world.now += 1
    world.answer("m1")
    assert world["m1"].state is STARTING
    world.crash()
    world.answer("m1")
    assert world["m1"].state is STARTING, "the next run of the service knows it as well"
    assert world.tick().actions == [Restart("m1", stop_first=True)]
    world.apply_outcome(Restart("m1", stop_first=True), Result.DONE)
    world.now += 1
    world.answer("m1")
    assert world["m1"].state is READY


def test_what_was_woken_has_all_its_restarts() -> None:
    world = sleeping()
    watch = world.watch("m1")
    watch.tries, watch.obstructed_restarts = 6, 3
    world.assign("p")
    assert (watch.tries, watch.obstructed_restarts, watch.not_before) == (1, 0, world.now)
    for pause_s in RESTART_PAUSES_S[1:]:
        world.restarted("m1")
        world.now += 1
        world.instance("m1", Status.EXITED)
        world.tick()
        assert world["m1"].state is STARTING
        assert watch.not_before == world.now + pause_s
        world.now += pause_s


def test_an_undone_wake_leaves_it_asleep() -> None:
    for world in (sleeping(), falling()):
        before = world["m1"]
        world.assign("p")
        world.fleet.undo(world.fleet.take_pending(), world.now)
        assert world["m1"] == before
        assert world.watch("m1").tries == 0
        assert world.watch("m1").restart_requests == 0
        assert_indexes_hold(world.fleet)
        world.assign("p")
        assert world["m1"].state is STARTING


def test_who_gave_a_sleeping_machine_up_and_asked_for_another_waits_for_none_if_that_is_undone() -> None:
    """It has its machine back, and nobody has a machine and waits for one."""
    world = sleeping()
    world.release("m1")
    assert world.assign("p") is None
    assert world.line == ["p"]
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert (world["m1"].state, world.line, world.fleet.waiting) == (SLEEPING, [], {})


def test_an_undone_sleep_spares_it_for_as_long_as_before() -> None:
    """It came back to life a while ago, and not now."""
    world = sleeping(terms=Terms(ttl=10))
    world.assign("p")
    world.restarted("m1")
    world.answer("m1")
    spared_until = world.watch("m1").spared_until
    assert spared_until > 0
    world.fleet.take_pending()
    world.now += 5.0
    commands.sleep(world.fleet, world["m1"], world.now)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.watch("m1").spared_until == spared_until


def test_an_undone_sleep_leaves_it_ready() -> None:
    world = assigned(terms=Terms(ttl=10))
    before = world["m1"]
    commands.sleep(world.fleet, before, world.now)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world["m1"] == before
    assert world.fleet.timers.first() == 1010
    assert_indexes_hold(world.fleet)


def test_a_deadline_whose_sleep_could_not_be_stored_acts_at_the_next_look() -> None:
    world = at(assigned(terms=Terms(ttl=10), on_expiry=OnExpiry.SLEEP), 10)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world["m1"].state is READY
    assert at(world, 11)["m1"].state is SLEEPING, "it has not come back to life, so nothing spares it"


def test_a_restart_wakes_it_too() -> None:
    world = sleeping()
    commands.restart(world.fleet, world["m1"], world.now)
    assert world["m1"].state is STARTING
    assert world.last_change().cause is Cause.RESTARTED
    assert world.tick().actions == [Restart("m1", stop_first=True)]


@pytest.mark.parametrize("status", RUNS)
def test_one_that_somebody_started_by_hand_is_awake(status: Status) -> None:
    world = sleeping(terms=Terms(ttl=10))
    world.now += 100
    world.crash()
    world.instance("m1", status)
    world.tick()
    assert (world["m1"].state, world["m1"].project) == (STARTING, "p")
    assert world["m1"].reason == reasons.RUNS_AGAIN
    assert world["m1"].lease is not None
    assert world["m1"].lease.renewed_at == 1100
    assert world.causes("m1") == [Cause.REVIVED]
    world.instance("m1")
    world.now += 1
    world.answer("m1")
    assert world["m1"].state is READY


def test_what_is_busy_is_not_judged() -> None:
    """The stop was acknowledged, and the listing began before that."""
    world = sleeping()
    world.instance("m1")
    world.tick(busy=["m1"])
    assert world["m1"].state is SLEEPING


def test_one_that_somebody_removed_has_failed_and_its_files_are_gone() -> None:
    for world in (sleeping(), falling()):
        world.remove("m1")
        world.tick()
        assert (world["m1"].state, world["m1"].gone, world["m1"].project) == (FAILED, True, "p")
        assert world["m1"].reason == f"{reasons.GONE} {reasons.FILES_GONE}"
        assert world.last_change().failure is FailureKind.VANISHED
        assert_indexes_hold(world.fleet)


def test_a_probe_that_was_under_way_wakes_nothing() -> None:
    world = falling()
    begun = world.now
    world.now += 1
    world.answer("m1", begun - 0.5)
    world.miss("m1", begun - 0.5)
    assert world["m1"].state is SLEEPING
    assert not world.fleet.pending


# how it ends


@pytest.mark.parametrize("take", [World.release, World.destroy])
def test_a_release_or_a_destroy_removes_it_and_its_worker_has_time_to_end(take: Callable[[World, str], object]) -> None:
    for world in (sleeping(), falling()):
        take(world, "m1")
        assert (world["m1"].state, world["m1"].project) == (STOPPING, None)
        assert follow_up(world.fleet, world.last_change(), world.now) == Destroy("m1", gently=True, pool="default")
        assert not still_wanted(world.fleet, Stop("m1", "default"))
        assert_indexes_hold(world.fleet)


def test_an_operator_need_not_wait_for_its_worker_to_end() -> None:
    world = falling()
    commands.destroy(world.fleet, world["m1"], world.now, at_once=True)
    assert world.fleet.hurried == ["m1"]


def test_an_assignment_that_nobody_heard_of_is_withdrawn_also_while_it_sleeps() -> None:
    world = sleeping()
    commands.withdraw(world.fleet, world.spec, world["m1"], world.now)
    assert (world["m1"].state, world["m1"].project) == (STOPPING, None)


def test_what_it_says_of_itself_can_be_changed() -> None:
    world = sleeping()
    after = commands.annotate(world.fleet, world["m1"], '{"a":"b"}', world.now)
    assert (after.state, after.metadata) == (SLEEPING, '{"a":"b"}')


def test_only_a_project_s_machine_sleeps() -> None:
    with pytest.raises(AssertionError, match=r"w1: only a project's machine sleeps"):
        a_machine(state=SLEEPING)


@pytest.mark.parametrize("state", [STARTING, READY, STOPPING, FAILED])
def test_what_does_not_sleep_is_not_asleep(state: State) -> None:
    assert not a_machine(state=state, reason=ASLEEP_NOW).is_asleep


# deadlines


def at(world: World, seconds: float) -> World:
    """So many seconds after the start of the world a tick comes."""
    world.now = 1000.0 + seconds
    world.tick()
    return world


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        (Terms(ttl=10), "Its project had not asked for it for 10 s."),
        (Terms(ttl=10, max_age=11), "Its project had not asked for it for 10 s."),
    ],
)
def test_where_the_operator_wants_that_a_deadline_puts_it_to_sleep(terms: Terms, why: str) -> None:
    world = at(assigned(terms=terms, on_expiry=OnExpiry.SLEEP), 10)
    assert (world["m1"].state, world["m1"].project) == (SLEEPING, "p")
    assert world["m1"].reason == falling_asleep(why)
    assert world.causes("m1") == [Cause.SLEPT]
    assert world.last_change().deadline is EndsBy.TTL
    assert world.fleet.hurried == []


@pytest.mark.parametrize("terms", [Terms(idle_timeout=10), Terms(confirm_within=10)])
def test_so_does_one_that_readings_show_to_have_passed(terms: Terms) -> None:
    world = assigned(terms=terms, on_expiry=OnExpiry.SLEEP)
    for seconds in (0, 10):
        world.now = 1000.0 + seconds
        expiry.note_reading(world.fleet, "m1", world["m1"].generation, world.now, is_active=False)
    world.tick()
    assert world["m1"].state is SLEEPING
    assert world.watch("m1").since == 1010


def test_what_silence_put_to_sleep_ends_by_its_age_without_another_reading() -> None:
    world = assigned(terms=Terms(idle_timeout=10, max_age=100), on_expiry=OnExpiry.SLEEP)
    for seconds in (0, 10):
        world.now = 1000.0 + seconds
        expiry.note_reading(world.fleet, "m1", world["m1"].generation, world.now, is_active=False)
    assert at(world, 10)["m1"].state is SLEEPING
    world.instance("m1", Status.EXITED)
    assert at(world, 99)["m1"].is_asleep
    assert at(world, 100)["m1"].state is STOPPING


def test_the_age_of_an_assignment_ends_it_all_the_same() -> None:
    """Also where another deadline has passed in the same instant, which would only put it to sleep."""
    for terms in (Terms(max_age=10), Terms(ttl=10, max_age=10), Terms(ttl=5, max_age=10)):
        world = assigned(terms=terms, on_expiry=OnExpiry.SLEEP)
        at(world, 10)
        assert (world["m1"].state, world["m1"].project) == (STOPPING, None)
        assert world["m1"].reason == "Its project had it for 10 s, which is its max_age."
        assert world.fleet.hurried == [], "its worker has time to end"


@pytest.mark.parametrize("on_expiry", list(OnExpiry))
def test_the_age_of_what_sleeps_ends_its_assignment(on_expiry: OnExpiry) -> None:
    world = sleeping(terms=Terms(ttl=10, max_age=20), on_expiry=on_expiry)
    end = expiry.expected_end(world.fleet, world["m1"])
    assert end is not None
    assert (end.at, end.by) == (1020, EndsBy.MAX_AGE)
    assert at(world, 19.9)["m1"].state is SLEEPING
    assert (at(world, 20)["m1"].state, world["m1"].project) == (STOPPING, None)
    assert (world.fleet.hurried == ["m1"]) is (on_expiry is OnExpiry.DESTROY)
    assert_indexes_hold(world.fleet)


@pytest.mark.parametrize("on_expiry", list(OnExpiry))
def test_no_other_deadline_acts_on_what_sleeps(on_expiry: OnExpiry) -> None:
    world = sleeping(terms=Terms(ttl=10, idle_timeout=10, confirm_within=10), on_expiry=on_expiry)
    assert expiry.expected_end(world.fleet, world["m1"]) is None
    assert world.fleet.timers.first() is None
    expiry.note_reading(world.fleet, "m1", world["m1"].generation, world.now, is_active=False)
    assert at(world, 1e6)["m1"].state is SLEEPING
    world.crash()
    assert at(world, 2e6)["m1"].state is SLEEPING


def test_its_lease_begins_anew_when_it_wakes_and_again_it_is_spared_for_a_minute() -> None:
    world = sleeping(terms=Terms(ttl=10, confirm_within=10), on_expiry=OnExpiry.SLEEP)
    world.now = 2000
    world.assign("p")
    lease = world["m1"].lease
    assert lease is not None
    assert (lease.assigned_at, lease.renewed_at, lease.is_used) == (1000, 2000, True)
    assert world.fleet.quiet("m1").active_at == 2000
    world.instance("m1")
    world.restarted("m1")
    world.now = 2050
    world.answer("m1")
    assert at(world, 1050 + SPARED_S - 0.1)["m1"].state is READY
    assert at(world, 1050 + SPARED_S)["m1"].state is SLEEPING


def test_without_a_lease_there_is_none_to_begin_anew() -> None:
    world = sleeping()
    world.assign("p")
    assert world["m1"].lease is None


def test_to_keep_what_sleeps_does_not_wake_it() -> None:
    world = sleeping(terms=Terms(ttl=10))
    kept = expiry.keep(world.fleet, world["m1"], world.now)
    assert kept.state is SLEEPING
    assert kept.is_asleep
    assert expiry.set_terms(world.fleet, kept, Terms(max_age=5), world.now).state is SLEEPING
    assert at(world, 5)["m1"].state is STOPPING


# a host port that is taken


def taken() -> World:
    """The machine m1 of project p was to wake, and another process has its port."""
    world = sleeping()
    world.assign("p")
    world.restarted("m1", Result.PORT_TAKEN, "Port 9093 is in use")
    return world


def test_a_port_that_is_taken_is_no_try_and_its_files_are_kept() -> None:
    world = taken()
    watch = world.watch("m1")
    for pause_s in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        assert world["m1"].state is STARTING
        assert world["m1"].port == 9093
        assert watch.port_is_taken
        assert (watch.tries, watch.not_before) == (1, world.now + pause_s)
        world.now += pause_s
        assert world.tick().actions == [Restart("m1")]
        world.restarted("m1", Result.PORT_TAKEN, "Port 9093 is in use")
    world.restarted("m1")
    assert not watch.port_is_taken


def test_its_project_hears_of_the_port_and_when_it_is_tried_again() -> None:
    world = taken()
    world.now += 0.4
    refusal = machine_restarting(world.fleet, world["m1"], world.now)
    assert isinstance(refusal, HostPortTaken)
    assert refusal.code == "port_taken"
    assert refusal.retry_after_s == 1
    assert refusal.message == (
        "The machine m1 of this project cannot be started now. The restart is put off. Port 9093 is in use. Its files are "
        "kept. The next try is in 1 s, or at once with `orchestrator wake p`."
    )
    world.now += 10
    assert machine_restarting(world.fleet, world["m1"], world.now).retry_after_s == 1


def test_another_cause_is_told_as_before() -> None:
    world = taken()
    world.restarted("m1", Result.OBSTRUCTED, "The disk is full")
    assert type(machine_restarting(world.fleet, world["m1"], world.now)) is NoMachineAvailable


def test_somebody_who_asks_for_it_need_not_wait_for_the_next_try() -> None:
    world = taken()
    try_at_once(world.fleet, world["m1"], world.now)
    assert world.tick().actions == [Restart("m1")]


def test_nothing_else_is_tried_earlier() -> None:
    world = taken()
    world.restarted("m1", Result.OBSTRUCTED, "The disk is full")
    not_before = world.watch("m1").not_before
    try_at_once(world.fleet, world["m1"], world.now)
    assert world.watch("m1").not_before == not_before


def test_a_port_that_was_taken_is_forgotten_with_the_next_state() -> None:
    world = taken()
    world.release("m1")
    assert not world.watch("m1").port_is_taken


def test_while_it_wakes_its_project_hears_that() -> None:
    for world in (sleeping(), falling()):
        world.assign("p")
        refusal = machine_restarting(world.fleet, world["m1"], world.now)
        assert refusal.message == "The machine m1 of this project is being woken. Ask again in a moment."


# a limit on those that are awake


def limited(max_awake: int = 1, **pool: Any) -> World:
    """Project p has m1, which sleeps, and there may be so many machines awake."""
    return sleeping(assigned(a_spec(max_awake=max_awake, **pool)))


def test_what_sleeps_holds_its_slot_and_is_not_awake_once_it_has_stopped() -> None:
    world = assigned()
    assert (world.fleet.slots_held, world.fleet.awake, world.fleet.falling_asleep) == (1, 1, 0)
    falling(world)
    assert (world.fleet.slots_held, world.fleet.awake, world.fleet.falling_asleep) == (1, 1, 1)
    world.stopped("m1")
    assert (world.fleet.slots_held, world.fleet.awake, world.fleet.falling_asleep) == (1, 0, 0)
    assert world.fleet.is_port_taken(9093)


def test_it_counts_in_max_machines() -> None:
    world = sleeping(max_machines=1, min_idle=0)
    assert world.assign("q") is None
    world.resize()
    assert list(world.fleet.machines) == ["m1"], "there is no slot for a second one"


def test_a_new_machine_needs_room_among_those_awake() -> None:
    world = World(spec=a_spec(max_awake=2, min_idle=3))
    world.resize()
    assert world.in_state(STARTING) == ["m1", "m2"]
    (hold,) = held_back(world.fleet, world.spec, "default")
    assert hold.by == "awake"
    assert hold.why == (
        "As many machines are awake as max_awake allows (2). Release one, put one to sleep with `orchestrator sleep "
        "PROJECT`, or raise max_awake."
    )
    with pytest.raises(AssertionError, match=r"2 machines are awake of 2"):
        world.begin()


def test_where_all_is_asleep_there_is_room_for_new_ones() -> None:
    world = limited()
    assert world.assign("q") is None
    world.resize()
    assert world.in_state(STARTING) == ["m2"]


def test_who_finds_no_room_to_wake_waits_for_it() -> None:
    world = limited()
    world.up()
    world.assign("q")
    assert world.assign("p") is None
    assert world["m1"].state is SLEEPING
    assert list(world.fleet.wakers) == ["p"]
    world.resize()
    assert world["m1"].state is SLEEPING
    assert machine_asleep(world.spec, world["m1"]).message == (
        "The machine m1 of this project sleeps, with its files, and cannot be woken now. As many machines are awake as "
        "max_awake allows (1). Release one, put one to sleep with `orchestrator sleep PROJECT`, or raise max_awake."
    )
    commands.sleep(world.fleet, world["m2"], world.now)
    world.resize()
    assert world["m1"].state is SLEEPING, "the other one is awake until its container has stopped"
    world.stopped("m2")
    world.resize()
    assert world["m1"].state is STARTING
    assert not world.fleet.wakers
    assert_indexes_hold(world.fleet)


def test_who_asked_first_wakes_first() -> None:
    machines = [a_sleeper(f"w{n}", project=f"p{n}", port=9090 + n) for n in range(1, 4)]
    busy = a_machine("w9", project="q", generation=9, port=9099)
    world = World(spec=a_spec(max_awake=1), fleet=a_fleet(*machines, busy))
    for project in ("p2", "p1", "p3", "p2"):
        assert world.assign(project) is None
    assert list(world.fleet.wakers) == ["p2", "p1", "p3"]
    world.spec = replace(world.spec, max_awake=3)
    world.resize()
    assert world.in_state(STARTING) == ["w1", "w2"]
    assert list(world.fleet.wakers) == ["p3"]
    world.spec = replace(world.spec, max_awake=None)
    world.resize()
    assert not world.fleet.wakers


def test_who_is_only_falling_asleep_needs_no_room() -> None:
    world = falling(assigned(a_spec(max_awake=1)))
    world.assign("p")
    assert world["m1"].state is STARTING


def test_who_hangs_up_wakes_nothing() -> None:
    world = limited()
    world.up()
    world.assign("q")
    world.assign("p")
    waiting_line.leave_line(world.fleet, "p")
    assert not world.fleet.wakers


def test_what_is_released_or_woken_by_hand_meanwhile_is_waited_for_no_longer() -> None:
    ends: list[Callable[[World], object]] = [
        lambda world: world.release("m1"),
        lambda world: world.instance("m1"),
        lambda world: world.remove("m1"),
    ]
    for end in ends:
        world = limited()
        world.up()
        world.assign("q")
        world.assign("p")
        end(world)
        world.tick()
        assert not world.fleet.wakers
        assert world["m1"].state is not SLEEPING


def test_what_else_changes_of_it_ends_no_waiting() -> None:
    world = limited()
    world.up()
    world.assign("q")
    world.assign("p")
    commands.annotate(world.fleet, world["m1"], '{"a":"b"}', world.now)
    assert list(world.fleet.wakers) == ["p"]


def test_an_idle_machine_goes_for_what_wakes() -> None:
    world = limited()
    world.up()
    assert world.assign("p") is None
    world.resize()
    assert (world["m2"].state, world["m2"].reason) == (STOPPING, "A machine that slept is to wake in its place.")
    assert world["m1"].state is SLEEPING
    world.resize()
    world.remove("m2")
    world.destroyed("m2")
    world.now += 1
    world.tick()
    assert world["m1"].state is STARTING
    assert set(world.fleet.machines) == {"m1"}


def test_no_more_idle_machines_go_than_are_needed() -> None:
    machines = [a_sleeper(f"w{n}", project=f"p{n}", port=9090 + n) for n in (1, 2)]
    idle = [a_machine(f"w{n}", port=9090 + n) for n in (3, 4, 5)]
    world = World(spec=a_spec(max_awake=3, min_idle=3), fleet=a_fleet(*machines, *idle))
    world.assign("p1")
    world.resize()
    assert world.in_state(STOPPING) == ["w3"]
    world.resize()
    assert world.in_state(STOPPING) == ["w3"], "that is enough for one"
    world.assign("p2")
    world.resize()
    assert world.in_state(STOPPING) == ["w3", "w4"]


def test_none_goes_where_another_one_falls_asleep_anyway() -> None:
    world = World(
        spec=a_spec(max_awake=2),
        fleet=a_fleet(
            a_sleeper("w1", project="p1", port=9091),
            a_sleeper("w2", project="p2", port=9092, is_asleep=False),
            a_machine("w3", port=9093),
        ),
    )
    world.assign("p1")
    world.resize()
    assert world["w3"].is_idle
    world.stopped("w2")
    world.resize()
    assert world["w1"].state is STARTING


def test_idle_machines_above_min_idle_go_first_and_those_idle_for_longest() -> None:
    spec = replace(several(a={"min_idle": 1}, b={"min_idle": 0}), max_awake=3)
    machines = [
        a_sleeper("w1", pool="a", port=9091),
        a_machine("w2", pool="a", port=9092),
        a_machine("w3", pool="b", port=9093),
        a_machine("w4", pool="b", port=9094),
    ]
    world = World(spec=spec, fleet=a_fleet(*machines))
    world.watch("w2").since, world.watch("w3").since, world.watch("w4").since = 1.0, 3.0, 2.0
    world.assign("p")
    world.resize()
    assert world.in_state(STOPPING) == ["w3"], "the first of its group"
    assert world["w2"].is_idle


@pytest.mark.parametrize(("since", "goes"), [((3.0, 2.0), "w2"), ((2.0, 3.0), "w3"), ((2.0, 2.0), "w2")])
def test_of_several_pools_the_one_that_is_idle_for_longest_goes(since: tuple[float, float], goes: str) -> None:
    """Whatever the order of the pools; of two at the same time the first by its id."""
    machines = [
        a_sleeper("w1", pool="a", port=9091),
        a_machine("w3", pool="a", port=9093),
        a_machine("w2", pool="b", port=9092),
    ]
    world = World(spec=replace(several(a={}, b={}), max_awake=2), fleet=a_fleet(*machines))
    world.watch("w3").since, world.watch("w2").since = since
    world.assign("p")
    world.resize()
    assert world.in_state(STOPPING) == [goes]
    assert world.watch(goes).since == world.now


def test_where_nobody_is_idle_none_goes() -> None:
    world = limited()
    world.up()
    world.assign("q")
    world.assign("p")
    world.resize()
    assert world["m2"].state is READY


def test_workers_that_take_their_time_to_end_are_hurried_for_what_wakes() -> None:
    world = limited(recycle=True)
    world.up()
    world.assign("q")
    world.release("m2")
    assert world.fleet.hurried == []
    world.assign("p")
    world.resize()
    assert world.fleet.hurried == ["m2"]


def test_what_wakes_comes_before_new_machines() -> None:
    world = limited()
    world.up()
    world.assign("q")
    assert world.assign("r") is None
    assert world.assign("p") is None
    world.release("m2")
    world.resize()
    assert world["m2"].project == "r", "but what is idle goes to who waits for that"


def test_an_idle_machine_of_another_pool_goes_for_a_new_one_and_what_falls_asleep_counts() -> None:
    spec = replace(several(a={}, b={}), max_awake=2)
    machines = [
        a_sleeper("w1", project="p", pool="a", port=9091, is_asleep=False),
        a_machine("w2", pool="a", port=9092),
    ]
    world = World(spec=spec, fleet=a_fleet(*machines))
    world.assign("q", "b")
    world.resize()
    assert world["w2"].is_idle, "a place becomes free anyway"
    world = World(spec=replace(spec, max_machines=2), fleet=a_fleet(*machines))
    world.assign("q", "b")
    world.resize()
    assert world["w2"].state is STOPPING, "that one has a slot as well"


def test_what_falls_asleep_counts_beside_what_is_removed() -> None:
    spec = replace(several(a={}, b={}), max_awake=3)
    machines = [
        a_sleeper("w1", project="p", pool="a", port=9091, is_asleep=False),
        a_machine("w2", STOPPING, pool="a", port=9092),
        a_machine("w3", pool="a", port=9093),
    ]
    world = World(spec=spec, fleet=a_fleet(*machines))
    world.assign("q", "b")
    world.assign("r", "b")
    world.resize()
    assert world["w3"].is_idle, "two places become free"
    world.assign("s", "b")
    world.resize()
    assert world["w3"].state is STOPPING


def test_an_outdated_machine_goes_first_where_nothing_else_makes_room() -> None:
    world = World(spec=a_spec(max_awake=1, min_idle=1))
    world.up()
    world.wants(template="template-2")
    world.resize()
    assert world["m1"].state is STOPPING


def test_a_restart_of_what_sleeps_needs_room() -> None:
    world = limited()
    insist_on_room(world.fleet, world.spec, world["m1"])
    world.up()
    world.assign("q")
    with pytest.raises(NoMachineAvailable, match="cannot be woken now"):
        insist_on_room(world.fleet, world.spec, world["m1"])
    insist_on_room(world.fleet, world.spec, world["m2"])


def test_a_container_that_turns_up_again_needs_room() -> None:
    lost = a_machine("w1", FAILED, project="p", generation=1, gone=True)
    for max_awake, is_back in ((1, False), (2, True)):
        world = World(spec=a_spec(max_awake=max_awake), fleet=a_fleet(lost, a_machine("w2", port=9094)))
        world.tick()
        assert world["w1"].gone is not is_back


def test_a_stop_is_no_create() -> None:
    world = falling()
    assert not still_wanted(world.fleet, Create(world["m1"]))
    assert not still_wanted(world.fleet, Stop("w77", "default"))


def test_what_is_on_record_as_asleep_is_known_after_a_restart_of_the_service() -> None:
    world = sleeping()
    world.crash()
    assert (world.fleet.awake, world.fleet.falling_asleep) == (0, 0)
    world.tick()
    assert world["m1"].is_asleep
    assert world.watch("m1").ready_at == -math.inf, "how long it takes to wake says nothing of new machines"
    assert world.fleet.pool("default").proven_template is None
    world = falling()
    world.crash()
    assert (world.fleet.awake, world.fleet.falling_asleep) == (1, 1)
    assert an_instance("m1") == world.instances["m1"]


def test_what_could_not_be_stored_takes_nobody_from_those_who_wait_to_wake_one() -> None:
    world = sleeping(terms=Terms(ttl=100))
    world.spec = replace(world.spec, max_awake=1)
    world.up()
    world.fleet.take_pending()
    assert world.assign("p") is None
    assert list(world.fleet.wakers) == ["p"]
    expiry.keep(world.fleet, world["m1"], world.now)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert list(world.fleet.wakers) == ["p"]
