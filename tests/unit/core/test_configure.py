"""Machines that their projects configure while they run: how that begins and ends, what loses it, how they are cleaned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.unit.core.build import World, a_fleet, a_machine, a_spec, an_instance, assert_indexes_hold

from worker_orchestrator.core import commands, configure, expiry, reasons
from worker_orchestrator.core.action import Clean, Create, Destroy, Restart, Result
from worker_orchestrator.core.configuration import NOT_SENT, UNKNOWN, Configuration, Stage
from worker_orchestrator.core.deadlines import OVERDUE_S, next_deadline
from worker_orchestrator.core.doomed import about_to_fail
from worker_orchestrator.core.due_actions import due_action, follow_up, still_wanted
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.lease import OnExpiry, Terms
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.core.outcomes import is_awaited
from worker_orchestrator.core.sizing import note_taken_away
from worker_orchestrator.core.spec import Late
from worker_orchestrator.errors import NotRunning

READY, STARTING, SLEEPING, STOPPING, FAILED = (
    State.READY,
    State.STARTING,
    State.SLEEPING,
    State.STOPPING,
    State.FAILED,
)
CONFIGURED_BY_P = Configuration(Stage.DONE, "d1", is_certain=True, exit_code=0, took_ms=7, was_done=True)


def assigned(**pool: object) -> World:
    """Project p has machine m1, and everything so far is stored."""
    world = World(spec=a_spec(**pool))  # type: ignore[arg-type] # any field of a pool
    world.up()
    world.assign("p")
    world.fleet.take_pending()
    return world


def begin(world: World, digest: str = "d1") -> Machine:
    machine = configure.begin(world.fleet, world["m1"], digest, world.now)
    world.fleet.take_pending()
    return machine


def finish(world: World, begun: Machine, why: str | None = None, *, is_certain: bool = True) -> Machine | None:
    exit_code = 0 if why is None else 3
    return configure.finish(
        world.fleet, begun, world.now, why=why, is_certain=is_certain, exit_code=exit_code, took_ms=7
    )


def configured(**pool: object) -> World:
    """The machine m1 of project p is configured, and that is stored."""
    world = assigned(**pool)
    finish(world, begin(world))
    world.fleet.take_pending()
    return world


def failed(*, is_certain: bool = True) -> World:
    """The set-up of machine m1 of project p failed."""
    world = assigned()
    finish(world, begin(world), "The hook ended with 3.", is_certain=is_certain)
    world.fleet.take_pending()
    return world


def writing() -> World:
    """The machine m1 of project p is being configured."""
    world = assigned()
    begin(world)
    return world


def dirty(**pool: object) -> World:
    """Machine m1 was configured, is free, and is to be cleaned."""
    world = configured(**pool)
    world.now += 5
    world.release("m1")
    world.fleet.take_pending()
    return world


# beginning and ending


def test_what_is_about_to_be_configured_is_dirty_and_not_configured() -> None:
    """That is stored before anything is written."""
    world = assigned()
    assert not configure.may_have_values(world["m1"])
    after = configure.begin(world.fleet, world["m1"], "d1", world.now)
    assert after == world["m1"]
    assert after.configuration == Configuration(Stage.WRITING, "d1", is_certain=True)
    assert after.configuration.may_land
    assert (after.is_configured, after.is_dirty, after.state, after.project) == (False, False, READY, "p")
    assert world.last_change().cause is Cause.CONFIGURING
    assert world.last_change().reason == reasons.CONFIGURING
    assert configure.may_have_values(after)


def test_what_is_there_is_configured() -> None:
    world = writing()
    after = finish(world, world["m1"])
    assert after == world["m1"]
    assert after.configuration == CONFIGURED_BY_P
    assert (after.is_configured, after.configuration.may_land) == (True, False)
    assert (world.last_change().cause, world.last_change().reason) == (Cause.CONFIGURED, reasons.CONFIGURED)


def test_what_failed_is_not_configured_and_stays_with_its_project() -> None:
    world = writing()
    after = finish(world, world["m1"], "The hook ended with 3")
    assert after is not None
    assert after.configuration == Configuration(Stage.FAILED, "d1", is_certain=True, exit_code=3, took_ms=7)
    assert (after.is_configured, after.project, after.state) == (False, "p", READY)
    assert configure.may_discard(after)
    assert world.last_change().cause is Cause.SETUP_FAILED
    assert world.last_change().reason == "It is not configured. The hook ended with 3."


def test_a_set_up_that_ends_in_nothing_but_success_says_so_without_a_word() -> None:
    """Neither a hook, nor a time, nor a doubt."""
    world = writing()
    after = configure.finish(world.fleet, world["m1"], world.now)
    assert after is not None
    assert after.configuration == Configuration(Stage.DONE, "d1", is_certain=True, was_done=True)


def test_what_may_still_land_is_never_certain_again() -> None:
    """It may land after a later set-up has succeeded."""
    world = failed(is_certain=False)
    first = world["m1"].configuration
    assert first is not None
    assert first.may_land
    begun = begin(world, "d2")
    assert begun.configuration == Configuration(Stage.WRITING, "d2", is_certain=False)
    after = finish(world, begun)
    assert after is not None
    assert after.is_configured
    assert after.configuration is not None
    assert after.configuration.may_land


def test_what_certainly_ended_is_no_burden_for_the_next_set_up() -> None:
    begun = begin(failed(), "d2")
    assert begun.configuration == Configuration(Stage.WRITING, "d2", is_certain=True)


def test_what_a_former_service_was_writing_may_still_land() -> None:
    """After a crash it is the project's, and not configured; and whoever configures it cannot be certain."""
    world = writing()
    world.crash()
    assert not world["m1"].is_configured
    assert world["m1"].project == "p"
    assert begin(world, "d2").configuration == Configuration(Stage.WRITING, "d2", is_certain=False)


@pytest.mark.parametrize("state", [STARTING, SLEEPING, FAILED])
def test_only_what_serves_can_be_configured(state: State) -> None:
    machine = a_machine(state=state, project="p", generation=1, reason="It died")
    fleet = a_fleet(machine)
    with pytest.raises(NotRunning) as refused:
        configure.begin(fleet, machine, "d1", 0.0)
    assert refused.value.message == (
        "w1 does not serve, and only a machine that serves can be configured. It died. Nothing was written."
    )
    assert fleet.pending == []


def test_only_a_project_configures() -> None:
    with pytest.raises(AssertionError, match=r"^w1: no project has it, so none configures it$"):
        configure.begin(a_fleet(a_machine()), a_machine(), "d1", 0.0)


def test_only_what_was_begun_ends() -> None:
    with pytest.raises(AssertionError, match=r"^w1: its set-up was begun$"):
        configure.finish(a_fleet(a_machine()), a_machine(), 0.0)


def restart(world: World) -> None:
    commands.restart(world.fleet, world["m1"], world.now)


def sleep(world: World) -> None:
    commands.sleep(world.fleet, world["m1"], world.now)


def release(world: World) -> None:
    world.release("m1")


def assign_again(world: World) -> None:
    """Another assignment of the same machine, with the same values under way."""
    machine = world["m1"]
    free = replace(machine, holding=None, state=STARTING, configuration=None)
    world.fleet.apply(machine, free, Cause.RELEASED, world.now)
    world.answer("m1")
    world.assign("p")
    configure.begin(world.fleet, world["m1"], "d1", world.now)


def forget(world: World) -> None:
    world.release("m1")
    world.destroyed("m1")
    world.remove("m1")
    world.now += 1
    world.tick()


def replace_values(world: World) -> None:
    configure.begin(world.fleet, world["m1"], "d2", world.now)


@pytest.mark.parametrize("meanwhile", [restart, sleep, release, assign_again, forget, replace_values])
def test_a_set_up_ends_in_nothing_where_the_machine_did_not_stay(meanwhile: Callable[[World], None]) -> None:
    world = writing()
    begun = world["m1"]
    meanwhile(world)
    world.fleet.take_pending()
    assert finish(world, begun) is None
    assert world.fleet.pending == []


def test_a_failed_machine_may_go_and_is_never_handed_on() -> None:
    """Also where its pool would use it again."""
    world = World(fleet=a_fleet(replace(failed()["m1"], evidence="what it said when it died")))
    world.now += 5
    after = configure.discard(world.fleet, world["m1"], world.now)
    assert after == world["m1"]
    assert (after.state, after.project, after.reason) == (STOPPING, None, reasons.SETUP_FAILED_REMOVED)
    assert (after.evidence, world.fleet.watches["m1"].since) == ("", world.now)
    assert world.last_change().cause is Cause.RELEASED


@pytest.mark.parametrize("lost_between", [False, True])
def test_what_was_ever_set_up_well_stays_with_its_project_whatever_fails_later(*, lost_between: bool) -> None:
    """There may be files of days in it."""
    world = configured()
    if lost_between:
        configure.lose(world.fleet, world["m1"], world.now)
    for digest in ("d2", "d3"):
        after = finish(world, begin(world, digest), "The hook ended with 3.")
        assert after is not None
        assert not configure.may_discard(after)
    world.fleet.take_pending()
    with pytest.raises(AssertionError, match=r"^m1: its project may have files in it$"):
        configure.discard(world.fleet, world["m1"], world.now)
    assert world.fleet.pending == []


def test_a_new_assignment_has_never_been_set_up() -> None:
    world = dirty()
    world.cleaned("m1")
    world.now += 1
    world.answer("m1")
    world.assign("q")
    after = finish(world, begin(world), "The hook ended with 3.")
    assert after is not None
    assert configure.may_discard(after)


def test_a_machine_whose_record_was_lost_may_have_been_set_up_well() -> None:
    assert UNKNOWN.was_done
    assert not configure.may_discard(a_machine(project="p", configuration=UNKNOWN))
    with pytest.raises(AssertionError, match=r"^w1: its set-up was begun$"):
        configure.may_discard(a_machine(project="p"))


# losing it


def test_it_may_turn_out_to_be_gone() -> None:
    """Somebody restarted the container behind our back."""
    world = configured()
    after = configure.lose(world.fleet, world["m1"], world.now)
    assert after == world["m1"]
    assert after.configuration == replace(CONFIGURED_BY_P, stage=Stage.LOST)
    assert (after.state, after.is_configured) == (READY, False)
    assert (world.last_change().cause, world.last_change().reason) == (Cause.UNCONFIGURED, reasons.UNCONFIGURED)


def test_only_what_was_configured_is_lost() -> None:
    with pytest.raises(AssertionError, match=r"^w1: it was configured$"):
        configure.lose(a_fleet(a_machine(project="p")), a_machine(project="p"), 0.0)


@pytest.mark.parametrize("make", [configured, writing])
def test_the_end_of_a_run_loses_it_whatever_runs_by_now(make: Callable[[], World]) -> None:
    """A container that somebody restarts may run again in the next listing, so that the machine is READY all the time."""
    world = make()
    before = world["m1"].configuration
    assert before is not None
    assert configure.note_end(world.fleet, "m1", world.now)
    assert world["m1"].configuration == before.lost()
    assert (world["m1"].state, world["m1"].project, world["m1"].is_configured) == (READY, "p", False)
    assert (world.last_change().cause, world.last_change().reason) == (Cause.UNCONFIGURED, reasons.UNCONFIGURED)
    world.fleet.take_pending()
    assert not configure.note_end(world.fleet, "m1", world.now), "one end may be told more than once"
    assert world.fleet.pending == []


@pytest.mark.parametrize("make", [assigned, failed, dirty])
def test_the_end_of_a_run_loses_nothing_else(make: Callable[[], World]) -> None:
    """What may be there after a set-up that failed may still be there."""
    world = make()
    assert not configure.note_end(world.fleet, "m1", world.now)
    assert not configure.note_end(world.fleet, "m9", world.now)
    assert world.fleet.pending == []


def test_only_what_is_written_or_being_written_is_in_memory() -> None:
    assert [stage for stage in Stage if Configuration(stage, "d").is_in_memory] == [Stage.WRITING, Stage.DONE]


def die(world: World) -> None:
    world.instance("m1", Status.EXITED)
    world.now += 1
    world.tick()


def vanish(world: World) -> None:
    world.remove("m1")
    world.now += 1
    world.tick()


LEAVES = [(restart, STARTING), (sleep, SLEEPING), (die, STARTING), (vanish, FAILED)]


@pytest.mark.parametrize("make", [configured, writing])
@pytest.mark.parametrize(("leave", "state"), LEAVES)
def test_what_leaves_ready_with_its_project_is_unconfigured_first(
    leave: Callable[[World], None], state: State, make: Callable[[], World]
) -> None:
    """A change of its own, so an event of its own; and a lost batch takes back both."""
    world = make()
    before, is_done = world["m1"], world["m1"].is_configured
    leave(world)
    first, second = (change for change in world.fleet.pending if change.machine.id == "m1")
    assert (first.cause, first.before, first.after) == (Cause.UNCONFIGURED, before, second.before)
    assert second.after == world["m1"]
    assert (world["m1"].state, world["m1"].project, world["m1"].is_configured) == (state, "p", False)
    lost = world["m1"].configuration
    assert lost is not None
    assert (lost.stage, lost.is_certain, lost.digest) == (Stage.LOST, is_done, "d1")
    assert first.machine.reason == reasons.UNCONFIGURED
    assert second.machine.reason != reasons.UNCONFIGURED
    assert_indexes_hold(world.fleet)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world["m1"] == before
    assert_indexes_hold(world.fleet)


def test_what_a_command_returns_is_what_is_on_record() -> None:
    world = configured()
    assert commands.restart(world.fleet, world["m1"], world.now) == world["m1"]
    world = configured()
    assert commands.sleep(world.fleet, world["m1"], world.now) == world["m1"]


def test_what_expires_into_sleep_is_unconfigured() -> None:
    world = configured(on_expiry=OnExpiry.SLEEP, terms=Terms(ttl=10))
    world.now += 100
    expiry.expire(world.fleet, world.now)
    assert [change.cause for change in world.fleet.pending] == [Cause.UNCONFIGURED, Cause.SLEPT]
    assert world["m1"].state is SLEEPING


def test_what_was_not_configured_loses_nothing() -> None:
    """A failed set-up stays what it was."""
    world = failed()
    known = world["m1"].configuration
    restart(world)
    assert [change.cause for change in world.fleet.pending] == [Cause.RESTARTED]
    assert world["m1"].configuration == known


def test_what_came_back_has_lost_it_and_can_be_configured_again() -> None:
    """Under the same generation; what was there may still be there, since nothing proves that the container stopped."""
    world = configured()
    generation = world["m1"].generation
    restart(world)
    world.apply_outcome(Restart("m1", stop_first=True), Result.DONE)
    world.now += 1
    world.answer("m1")
    assert world["m1"].state is READY
    assert not world["m1"].is_configured
    assert configure.may_have_values(world["m1"])
    after = finish(world, begin(world, "d2"))
    assert after is not None
    assert (after.is_configured, after.generation) == (True, generation)


def test_a_project_that_gives_it_up_does_not_unconfigure_it() -> None:
    """What its project leaves behind is dirty."""
    world = configured(recycle=True)
    world.release("m1")
    assert [change.cause for change in world.fleet.pending] == [Cause.RELEASED]
    assert world["m1"].configuration == CONFIGURED_BY_P
    assert world["m1"].is_dirty
    assert world["m1"].state is STOPPING


def test_no_change_leaves_it_in_the_memory_of_what_does_not_run() -> None:
    held = a_machine(project="p", configuration=CONFIGURED_BY_P)
    with pytest.raises(AssertionError, match=r"^w1: it runs no more$"):
        Change(held, replace(held, state=STARTING), Cause.RESTARTED)


def test_only_what_runs_is_configured() -> None:
    machine = a_machine(state=STARTING, project="p")
    with pytest.raises(AssertionError, match=r"^w1: only a machine that runs is configured$"):
        a_fleet(machine).apply(machine, replace(machine, configuration=CONFIGURED_BY_P), Cause.RESTARTED, 0.0)


def test_an_idle_machine_is_clean() -> None:
    with pytest.raises(AssertionError, match=r"^w1: an idle machine is clean$"):
        a_machine(configuration=CONFIGURED_BY_P)


# giving it up


def test_a_configured_machine_is_cleaned_before_another_project_gets_it() -> None:
    """Even one that answered a moment ago, and while somebody waits."""
    world = configured(max_idle=0, max_machines=1)
    world.answer("m1")
    assert world.assign("q") is None
    after = world.release("m1")
    assert after == world["m1"]
    assert (after.state, after.project, after.reason) == (STARTING, None, reasons.CLEANING)
    assert world.last_change().cause is Cause.RELEASED
    assert (after.is_dirty, after.is_coming, after.is_configured) == (True, True, False)
    assert world.line == ["q"]
    assert follow_up(world.fleet, world.last_change(), world.now) == Clean("m1")


def test_what_takes_values_is_cleaned_also_if_its_project_sent_none() -> None:
    """It may have left a process there that waits for what the next one sends. Also if it answered a moment ago."""
    world = assigned(late=Late("/run/project"), max_machines=1)
    world.answer("m1")
    world.assign("q")
    after = world.release("m1")
    assert after == world["m1"]
    assert (after.state, after.project, after.reason) == (STARTING, None, reasons.CLEANING_ANYWAY)
    assert after.configuration == NOT_SENT
    assert (NOT_SENT.stage, NOT_SENT.may_land, NOT_SENT.digest, NOT_SENT.was_done) == (Stage.LOST, False, "", False)
    assert [change.cause for change in world.fleet.pending if change.machine.id == "m1"] == [Cause.RELEASED]
    assert follow_up(world.fleet, world.last_change(), world.now) == Clean("m1")
    world.cleaned("m1")
    world.now += 1
    world.answer("m1")
    assert (world["m1"].project, world["m1"].configuration) == ("q", None)


def test_what_takes_values_is_removed_where_its_pool_recycles_or_it_cannot_be_cleaned() -> None:
    world = assigned(late=Late("/run/project"), recycle=True)
    world.release("m1")
    assert (world["m1"].state, world["m1"].reason) == (STOPPING, reasons.RELEASED)
    world = assigned(late=Late("/run/project"))
    world.spec = replace(world.spec, restarts_in_place=False)
    world.release("m1")
    assert (world["m1"].state, world["m1"].reason) == (STOPPING, reasons.RELEASED)


def test_what_a_configured_machine_is_cleaned_for_is_said() -> None:
    world = configured(late=Late("/run/project"))
    world.release("m1")
    assert (world["m1"].configuration, world["m1"].reason) == (CONFIGURED_BY_P, reasons.CLEANING)


def test_what_nobody_heard_of_needs_no_cleaning() -> None:
    """Nobody can have left anything there."""
    world = assigned(late=Late("/run/project"))
    commands.withdraw(world.fleet, world.spec, world["m1"], world.now)
    assert world["m1"].is_idle


def test_a_failed_set_up_is_cleaned_too() -> None:
    world = failed()
    world.release("m1")
    assert (world["m1"].state, world["m1"].is_dirty) == (STARTING, True)


@pytest.mark.parametrize("make", [writing, lambda: failed(is_certain=False)])
def test_what_may_still_land_is_removed(make: Callable[[], World]) -> None:
    world = make()
    world.release("m1")
    assert (world["m1"].state, world["m1"].reason) == (STOPPING, reasons.RELEASED_UNCERTAIN)
    assert follow_up(world.fleet, world.last_change(), world.now) == Destroy("m1", gently=True, pool="default")


def test_what_cannot_be_restarted_in_place_is_removed() -> None:
    world = configured()
    world.spec = replace(world.spec, restarts_in_place=False)
    world.release("m1")
    assert (world["m1"].state, world["m1"].reason) == (STOPPING, reasons.RELEASED)


def test_a_machine_of_a_pool_that_left_the_settings_is_removed() -> None:
    world = configured()
    world.spec = replace(world.spec, pools={})
    world.release("m1")
    assert world["m1"].state is STOPPING


def test_what_nobody_heard_of_is_removed_if_it_was_configured() -> None:
    world = configured()
    commands.withdraw(world.fleet, world.spec, world["m1"], world.now)
    assert (world["m1"].state, world["m1"].reason) == (STOPPING, reasons.NOT_RECEIVED)
    world = configured()
    commands.withdraw(world.fleet, world.spec, world["m1"], world.now, broken="It is silent.")
    assert (world["m1"].state, world["m1"].is_dirty) == (FAILED, True)


def test_a_dirty_machine_may_be_destroyed() -> None:
    world = dirty()
    world.destroy("m1")
    assert world["m1"].state is STOPPING


# cleaning


def test_a_dirty_machine_is_to_be_cleaned_whatever_its_container_does() -> None:
    world = dirty()
    for status in Status:
        instance = an_instance("m1", status)
        assert due_action(world.fleet, world.spec, world["m1"], instance, world.now) == Clean("m1")
    assert due_action(world.fleet, world.spec, world["m1"], None, world.now) == Clean("m1")
    assert still_wanted(world.fleet, Clean("m1"))
    assert world.tick().actions == [Clean("m1")]


def test_only_a_dirty_machine_is_cleaned() -> None:
    assert not still_wanted(a_fleet(), Clean("w1"))
    assert not still_wanted(a_fleet(a_machine()), Clean("w1"))
    assert not still_wanted(a_fleet(a_machine(state=STARTING)), Clean("w1"))
    assert not still_wanted(a_fleet(a_machine(state=STOPPING, configuration=UNKNOWN)), Clean("w1"))
    assert not still_wanted(a_fleet(a_machine(state=STARTING, project="p", configuration=UNKNOWN)), Clean("w1"))


def test_what_answers_while_it_is_dirty_is_not_ready() -> None:
    """It is about to be stopped, and it still has the values."""
    world = dirty()
    assert not is_awaited(world.fleet, world["m1"])
    world.now += 1
    world.answer("m1")
    world.miss("m1")
    assert world["m1"].state is STARTING
    assert world.watch("m1").misses == 0
    assert world.fleet.pending == []


def test_what_was_cleaned_has_to_answer_anew() -> None:
    """Only a probe that was begun after that counts, and it has the whole start time-out."""
    world = dirty()
    asked_before = world.now
    world.now += 10
    world.watch("m1").misses, world.watch("m1").missed_at, world.watch("m1").missed_why = 2, 3.0, "silence"
    world.cleaned("m1")
    after = world["m1"]
    assert (after.state, after.configuration, after.reason) == (STARTING, None, reasons.CLEANED)
    assert world.last_change().cause is Cause.CLEANED
    watch = world.watch("m1")
    assert (watch.since, watch.misses, watch.missed_at, watch.missed_why) == (world.now, 0, None, "")
    assert is_awaited(world.fleet, after)
    world.answer("m1", begun_at=asked_before)
    assert world["m1"].state is STARTING
    world.now += 1
    world.answer("m1")
    assert world["m1"].is_idle


def test_a_cleaned_machine_serves_the_line() -> None:
    world = dirty(max_machines=1)
    world.assign("q")
    world.cleaned("m1")
    assert world.line == ["q"]
    world.now += 1
    world.answer("m1")
    assert world["m1"].project == "q"
    assert world["m1"].configuration is None


def test_a_lost_batch_makes_it_dirty_again() -> None:
    world = dirty()
    before = world["m1"]
    world.cleaned("m1")
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world["m1"] == before
    assert world.tick().actions == [Clean("m1")]


@pytest.mark.parametrize("result", [Result.REJECTED, Result.OBSTRUCTED, Result.PORT_TAKEN, Result.UNKNOWN])
def test_what_could_not_be_cleaned_is_removed(result: Result) -> None:
    """What is not known to have ended might restart the worker of the next project."""
    world = dirty()
    world.cleaned("m1", result, "Something is left")
    assert (world["m1"].state, world["m1"].configuration) == (STOPPING, CONFIGURED_BY_P)
    assert world["m1"].reason == "It could not be cleaned, so it is removed. Something is left."
    assert world.last_change().cause is Cause.RETIRED
    assert follow_up(world.fleet, world.last_change(), world.now) == Destroy("m1")
    assert world.pool.image_brake is None
    assert world.pool.obstacle is None


def _recycles(world: World) -> None:
    """Its pool began to recycle, and then its cleaning ended."""
    world.spec = a_spec(recycle=True)
    world.cleaned("m1")


def _recycles_at_a_look(world: World) -> None:
    world.spec = a_spec(recycle=True)
    world.instance("m1")
    world.tick()


def _is_overdue(world: World) -> None:
    world.instance("m1")
    world.now += world.spec.start_timeout_s
    world.tick()


def _is_gone(world: World) -> None:
    world.instances.pop("m1")
    world.tick()


def _was_refused(world: World) -> None:
    world.cleaned("m1", Result.REJECTED, "Something is left")


@pytest.mark.parametrize("ends", [_recycles, _recycles_at_a_look, _is_overdue, _is_gone, _was_refused])
def test_what_is_removed_instead_of_cleaned_goes_from_that_moment_on(ends: Callable[[World], None]) -> None:
    """Whoever looks for what has been leaving for longest finds it in its place. Its last lines were of another end."""
    world = dirty()
    world.fleet.apply(world["m1"], replace(world["m1"], evidence="last lines"), Cause.RESTARTED, world.now)
    world.now += 7
    ends(world)
    assert (world["m1"].state, world["m1"].evidence) == (STOPPING, "")
    assert world.watch("m1").since == world.now


def test_what_may_still_land_goes_from_its_release_on() -> None:
    world = writing()
    world.now += 7
    world.release("m1")
    assert world["m1"].state is STOPPING
    assert world.watch("m1").since == world.now


def test_what_came_back_to_life_is_spared_also_after_a_change_that_was_undone() -> None:
    """For as long as it was before."""
    world = assigned(terms=Terms(ttl=60.0))
    world.watch("m1").spared_until = 7.0
    world.fleet.apply(world["m1"], replace(world["m1"], state=STARTING), Cause.RESTARTED, world.now)
    world.now += 1
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world["m1"].state is READY
    assert world.watch("m1").spared_until == 7.0


def test_an_engine_that_is_away_is_asked_again_in_a_moment() -> None:
    world = dirty()
    world.cleaned("m1", Result.UNAVAILABLE, "Docker does not answer.")
    assert world["m1"].is_dirty
    assert due_action(world.fleet, world.spec, world["m1"], an_instance("m1"), world.now) is None
    assert world.tick().wake_at == world.now + 1
    world.now += 1
    assert due_action(world.fleet, world.spec, world["m1"], an_instance("m1"), world.now) == Clean("m1")
    world.cleaned("m1")
    assert world.watch("m1").not_before == 0


@pytest.mark.parametrize("result", list(Result))
def test_the_outcome_for_what_is_not_dirty_any_more_changes_nothing(result: Result) -> None:
    world = dirty()
    world.destroy("m1")
    before = world["m1"]
    world.cleaned("m1", result)
    assert world["m1"] == before
    world.cleaned("m9", result)


@pytest.mark.parametrize("status", [Status.EXITED, Status.TERMINATING, Status.CREATED, Status.PAUSED])
def test_a_dirty_machine_does_not_fail(status: Status) -> None:
    """Its death says nothing about its image, and its last lines are nobody's business."""
    world = dirty()
    world.instance("m1", status, trouble="It is paused." if status is Status.PAUSED else "")
    world.now += 1
    assert list(about_to_fail(world.fleet, world.instances, world.spec, world.now)) == []
    assert world.tick().actions == [Clean("m1")]
    assert world["m1"].is_dirty


def test_a_dirty_machine_that_vanished_is_not_made_again() -> None:
    world = dirty()
    world.remove("m1")
    world.now += 1
    assert world.tick().actions == [Destroy("m1")]
    assert (world["m1"].state, world["m1"].reason) == (STOPPING, reasons.GONE)


def test_a_dirty_machine_is_removed_when_its_time_is_up() -> None:
    world = dirty()
    deadline = world.now + 60
    assert next_deadline(world.fleet, world.spec, world.now) == deadline
    world.now = deadline
    world.tick()
    assert world["m1"].is_dirty
    assert next_deadline(world.fleet, world.spec, world.now) == world.now + OVERDUE_S
    world.now += 0.1
    world.tick()
    assert (world["m1"].state, world["m1"].reason) == (STOPPING, reasons.CLEANED_TOO_SLOWLY)
    assert world["m1"].evidence == ""


def test_what_is_being_cleaned_proves_nothing_while_it_is_busy() -> None:
    world = dirty()
    world.remove("m1")
    world.now += 100
    assert world.tick(busy=["m1"]).actions == []
    assert world["m1"].is_dirty


def test_a_restart_of_the_service_goes_on_with_the_cleaning() -> None:
    world = dirty()
    world.crash()
    assert world["m1"].is_dirty
    assert world.tick().actions == [Clean("m1")]


def test_what_is_being_cleaned_counts_as_coming() -> None:
    """Nothing is made in its place."""
    world = dirty(min_idle=1)
    world.resize()
    assert world.in_state(STARTING) == ["m1"]
    assert world.fleet.pending == []


def leave_settings(world: World) -> None:
    before, world.spec = world.spec, replace(world.spec, pools={})
    note_taken_away(world.fleet, before, world.spec, world.now)
    world.resize()
    assert world["m1"].is_dirty


def recycle_from_now_on(world: World) -> None:
    world.wants(recycle=True)


@pytest.mark.parametrize("change", [leave_settings, recycle_from_now_on])
@pytest.mark.parametrize("result", list(Result))
def test_what_is_being_cleaned_goes_if_its_pool_uses_nothing_again_by_then(
    change: Callable[[World], None], result: Result
) -> None:
    """Whatever becomes of the cleaning."""
    world = dirty()
    change(world)
    world.cleaned("m1", result)
    assert (world["m1"].state, world["m1"].reason) == (STOPPING, reasons.NOT_REUSED)
    assert world.last_change().cause is Cause.RETIRED
    assert follow_up(world.fleet, world.last_change(), world.now) == Destroy("m1")


@pytest.mark.parametrize("change", [leave_settings, recycle_from_now_on])
def test_a_cleaning_that_was_put_off_is_not_begun_if_its_pool_uses_nothing_again_by_then(
    change: Callable[[World], None],
) -> None:
    world = dirty()
    change(world)
    assert world.tick(busy=["m1"]).actions == [], "it is under way, and its outcome tells"
    assert world["m1"].is_dirty
    assert world.tick().actions == [Destroy("m1")]
    assert (world["m1"].state, world["m1"].reason) == (STOPPING, reasons.NOT_REUSED)


def test_a_cleaned_machine_is_made_again_if_it_vanished() -> None:
    """As any other that is coming."""
    world = dirty()
    world.cleaned("m1")
    world.fleet.take_pending()
    assert due_action(world.fleet, world.spec, world["m1"], None, world.now) == Create(world["m1"])


def test_a_project_that_lost_its_configuration_is_restarted_as_any_other() -> None:
    world = configured()
    restart(world)
    change = world.last_change()
    assert follow_up(world.fleet, change, world.now) == Restart("m1", stop_first=True)
    world.apply_outcome(Restart("m1", stop_first=True), Result.DONE)
    assert is_awaited(world.fleet, world["m1"])


def test_a_machine_whose_record_was_lost_may_be_anything() -> None:
    """It is not configured, and something may land: so it is not used again."""
    machine = a_machine(holding=Holding("p"), generation=1, configuration=UNKNOWN)
    assert (machine.is_configured, UNKNOWN.may_land, UNKNOWN.stage) == (False, True, Stage.LOST)
    world = World(fleet=a_fleet(machine))
    world.release("w1")
    assert world["w1"].state is STOPPING
