"""The reserve of a pool: what is parked and when, what comes out of it, and what becomes of what did not do as told."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import NEW, OLD, World, a_fleet, a_machine, a_spec, an_instance, assert_indexes_hold, several

from worker_orchestrator.core import commands, reasons, waiting_line
from worker_orchestrator.core.action import Create, Destroy, Park, Result, Unpark
from worker_orchestrator.core.deadlines import next_deadline
from worker_orchestrator.core.doomed import about_to_fail
from worker_orchestrator.core.due_actions import follow_up, still_wanted
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.instance import Snapshot, Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.outcomes import start_deadline
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.reconcile import reconcile
from worker_orchestrator.core.refusals import pool_refusal
from worker_orchestrator.core.routine import is_routine
from worker_orchestrator.core.sizing import resize_all
from worker_orchestrator.core.wanted import Shortage, shortage, wanted
from worker_orchestrator.errors import NoMachineAvailable, NotAssigned
from worker_orchestrator.settings.settings import DEFAULT_POOL

STARTING, READY, PARKED, STOPPING, FAILED = State.STARTING, State.READY, State.PARKED, State.STOPPING, State.FAILED
NOT_DONE = [Result.REJECTED, Result.OBSTRUCTED, Result.PORT_TAKEN]


def a_reserve(count: int = 1, *, is_known: bool = True, made_of: str = OLD, spec: Any = None, **pool: Any) -> World:
    """So many parked machines w1, w2, …; `is_known`: a listing has shown that they are paused."""
    machines = [parked(f"w{n}", made_of, port=9100 + n) for n in range(1, count + 1)]
    world = World(spec=spec or a_spec(**{"parked": count, **pool}), fleet=a_fleet(*machines, now=1000.0))
    for machine in machines:
        world.instance(machine.id, Status.PAUSED)
        world.watch(machine.id).may_be_paused_late = not is_known
        world.watch(machine.id).is_paused = is_known
        world.watch(machine.id).ready_at = 999.0  # its image would be blamed if it failed now
    return world


def parked(machine_id: str = "w1", template: str = OLD, **fields: Any) -> Machine:
    return a_machine(machine_id, PARKED, template=template, reason=reasons.PARKED, **fields)


def up(count: int, **pool: Any) -> World:
    """So many machines m1, m2, … that have just answered."""
    world = World(spec=a_spec(**pool))
    for _ in range(count):
        world.up()
        world.now += 0.001
    world.fleet.take_pending()
    return world


def after(world: World, seconds: float) -> World:
    """So much later, as a tick finds it."""
    world.now += seconds
    world.tick()
    return world


def failure_of(world: World, machine_id: str) -> FailureKind | None:
    return next(one.failure for one in reversed(world.fleet.pending) if one.machine.id == machine_id)


# parking


def test_what_is_idle_beyond_what_is_wanted_is_parked_after_two_seconds() -> None:
    world = up(3, min_idle=1, parked=2)
    plan = world.tick()
    assert (world.in_state(PARKED), plan.wake_at) == ([], world.now + 2.0)
    after(world, 1.9)
    assert world.in_state(PARKED) == []
    after(world, 0.1)
    assert world.in_state(PARKED) == ["m2", "m3"], "who answered longest ago stays idle"
    assert world["m3"] == a_machine("m3", PARKED, port=world["m3"].port, reason=reasons.PARKED)
    assert world.causes("m3")[-1] is Cause.PARKED
    assert_indexes_hold(world.fleet)


def test_a_machine_that_is_parked_is_paused_and_again_at_the_next_tick_if_that_got_lost() -> None:
    world = up(1, parked=1)
    after(after(world, 0.0), 2.0)
    change = world.last_change()
    assert follow_up(world.fleet, change, world.now) == Park("m1")
    assert still_wanted(world.fleet, Park("m1"))
    assert world.tick().actions == [Park("m1")]
    world.paused("m1")
    assert world.watch("m1").is_paused
    assert world.tick().actions == []


@pytest.mark.parametrize(
    ("status", "actions"), [(Status.UNKNOWN, [Park("w1")]), (Status.PAUSED, []), (Status.PENDING, [])]
)
def test_what_may_run_is_paused_whoever_let_it_go_on(status: Status, actions: list[Park]) -> None:
    world = a_reserve()
    world.instance("w1", status)
    assert world.tick().actions == actions
    assert world["w1"].state is PARKED
    assert world.watch("w1").is_paused is (status is Status.PAUSED)


def test_who_was_let_go_on_by_somebody_is_paused_again() -> None:
    world = a_reserve()
    world.instance("w1")
    assert world.tick().actions == [Park("w1")]
    assert not world.watch("w1").is_paused


def test_nothing_is_parked_where_it_is_needed_before_two_seconds_are_over() -> None:
    world = up(2, min_idle=1, parked=1)
    after(world, 0.0)
    world.now += 1.0
    world.assign("p")
    world.resize()
    assert world.pool.parks_since is None
    world.up()
    after(world, 1.5)
    assert world.in_state(PARKED) == [], "the two seconds begin anew"
    after(world, 2.0)
    assert len(world.in_state(PARKED)) == 1


def test_a_pool_without_a_reserve_parks_nothing() -> None:
    world = up(3, min_idle=1)
    after(after(world, 0.0), 10.0)
    assert world.in_state(PARKED) == []
    assert world.pool.parks_since is None


@pytest.mark.parametrize("pool", [{"paused": True}, {"template": None, "problem": "No such image."}])
def test_nothing_is_parked_in_a_pool_that_makes_no_machines(pool: dict[str, Any]) -> None:
    world = up(1, parked=1)
    after(world, 0.0)
    world.wants(**pool)
    after(world, 10.0)
    assert world.in_state(PARKED) == []
    assert world.pool.parks_since is None
    assert DEFAULT_POOL not in world.fleet.unsettled, "nor is it looked at after each assign elsewhere"


def test_a_machine_that_may_have_ended_is_not_parked() -> None:
    world = up(2, parked=2)
    after(world, 0.0)
    world.fleet.doubt("m2", math.inf)
    after(world, 2.0)
    assert world.in_state(PARKED) == ["m1"]
    assert world.pool.parks_since is None


def test_a_machine_in_which_a_command_runs_is_parked_when_that_has_ended() -> None:
    """Nothing in what is paused can be ended, so a command whose time is up would go on later, beside a project."""
    world = up(2, parked=2)
    world.fleet.used["m2"] = 1
    after(world, 0.0)
    after(world, 2.0)
    assert world.in_state(PARKED) == ["m1"]
    del world.fleet.used["m2"]
    after(world, 10.0)
    after(world, 2.0)
    assert world.in_state(PARKED) == ["m1", "m2"]


def test_what_is_idle_and_wanted_is_not_parked() -> None:
    world = up(1, spare=0.5, parked=1)
    for n in range(2):
        world.fleet.apply(None, a_machine(f"p{n}", port=9300 + n, project=f"p{n}"), Cause.ADOPTED, world.now)
    world.resize()
    assert world.pool.parks_since is None
    after(after(world, 10.0), 10.0)
    assert world.in_state(PARKED) == []


def test_no_more_is_parked_than_the_reserve_is_to_have() -> None:
    world = up(3, parked=1)
    after(after(world, 0.0), 2.0)
    assert world.in_state(PARKED) == ["m3"]
    after(after(world, 2.0), 2.0)
    assert len(world.idle) == 2, "without max_idle, idle machines are never too many"


def test_the_reserve_is_no_more_looked_after_once_nothing_is_wanted_of_it() -> None:
    world = up(1, parked=1)
    after(world, 0.0)
    world.wants(parked=0)
    after(world, 1.0)
    assert world.pool.parks_since is None
    assert DEFAULT_POOL not in world.fleet.unsettled


def test_a_pool_that_is_about_to_park_is_looked_at_until_it_has() -> None:
    world = up(1, parked=1)
    world.resize()
    assert DEFAULT_POOL in world.fleet.unsettled
    world.now += 2.0
    world.resize()
    assert world.in_state(PARKED) == ["m1"]
    world.resize()
    assert DEFAULT_POOL not in world.fleet.unsettled


# pauses that do not end well


@pytest.mark.parametrize("result", NOT_DONE)
def test_a_machine_that_the_engine_does_not_pause_has_to_answer_and_is_idle_again(result: Result) -> None:
    world = up(1, parked=1)
    after(after(world, 0.0), 2.0)
    world.paused("m1", result, "no freezer")
    assert (world["m1"].state, world["m1"].reason) == (STARTING, reasons.PARK_REFUSED)
    assert world.watch("m1").since == world.now
    assert follow_up(world.fleet, world.last_change(), world.now) == Unpark("m1")
    world.unpaused("m1")
    world.answer("m1")
    assert world.idle == ["m1"]


def test_after_a_refusal_nothing_is_parked_for_a_minute_and_nothing_is_begun_in_its_place() -> None:
    world = up(1, parked=1)
    after(after(world, 0.0), 2.0)
    refused_at = world.now
    world.paused("m1", Result.REJECTED)
    world.unpaused("m1")
    world.answer("m1")
    after(world, 1.0)
    plan = world.tick()
    assert plan.wake_at == refused_at + 60.0
    after(world, 58.0)
    assert (world.in_state(PARKED), world.idle, len(world.fleet.machines)) == ([], ["m1"], 1)
    after(world, 1.0)
    assert world.in_state(PARKED) == ["m1"]


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_refusal_for_a_machine_that_does_not_run_delays_no_other(*, is_listed: bool) -> None:
    """Somebody removed its container just as it was to be paused."""
    world = up(2, parked=2)
    after(after(world, 0.0), 2.0)
    world.paused("m1")
    world.paused("m2", Result.REJECTED)
    if is_listed:
        world.instance("m2", Status.EXITED)
        world.tick()
    else:
        world.unpaused("m2", Result.REJECTED)
    assert world["m2"].state is FAILED
    assert world.fleet.pool(DEFAULT_POOL).parks_not_before <= world.now


def test_if_nobody_knows_how_a_pause_ended_a_listing_shows_it() -> None:
    world = a_reserve()
    world.watch("w1").is_paused = False
    world.instance("w1")
    world.apply_outcome(Park("w1"), Result.UNKNOWN)
    assert world.watch("w1").not_before == world.now + 1.0
    world.instance("w1", Status.PAUSED)
    assert after(world, 1.0).fleet.pending == []
    assert world.watch("w1").is_paused
    assert not world.watch("w1").may_be_paused_late


def test_what_may_still_be_paused_is_removed_if_it_runs() -> None:
    """Else it might be paused when a project has it."""
    world = a_reserve()
    world.watch("w1").is_paused = False
    world.instance("w1", Status.UNKNOWN)
    world.apply_outcome(Park("w1"), Result.UNKNOWN)
    world.now += 1.0
    assert world.tick().actions == []
    assert world["w1"].state is PARKED, "what is unknown is not known to run"
    world.instance("w1")
    world.tick()
    assert (world["w1"].state, world["w1"].reason) == (STOPPING, reasons.PARKED_UNCERTAIN)
    assert world.watch("w1").since == world.now
    assert world.in_state(STARTING) == ["m1"], "it is replaced"


def test_what_may_still_be_paused_is_removed_if_it_is_unknown_for_a_minute() -> None:
    """Else it would stand for a reserve that nobody can use, for ever."""
    world = a_reserve(is_known=False)
    world.instance("w1", Status.UNKNOWN)
    world.now = world.watch("w1").state_since + 59.9
    assert world.tick().actions == []
    assert world["w1"].state is PARKED
    after(world, 0.1)
    assert (world["w1"].state, world["w1"].reason) == (STOPPING, reasons.PARKED_UNCERTAIN)
    assert world.in_state(STARTING) == ["m1"], "it is replaced"


def test_a_pause_that_was_not_carried_out_is_asked_for_again() -> None:
    world = a_reserve()
    world.watch("w1").is_paused = False
    world.instance("w1")
    world.apply_outcome(Park("w1"), Result.UNAVAILABLE)
    assert world.tick().actions == []
    world.now += 1.0
    assert world.tick().actions == [Park("w1")]


def test_after_a_restart_of_the_service_what_is_paused_stays_and_what_runs_goes() -> None:
    """The last run may have ended while that was being paused."""
    world = a_reserve(2, is_known=False)
    world.instance("w2")
    world.tick()
    assert (world["w1"].state, world["w2"].state) == (PARKED, STOPPING)
    assert world.watch("w1").is_paused
    assert world.fleet.has_come_up(DEFAULT_POOL, OLD)


def test_an_outcome_of_a_machine_that_is_parked_no_more_changes_nothing() -> None:
    world = a_reserve()
    world.destroy("w1")
    before = world["w1"]
    world.paused("w1", Result.REJECTED)
    world.unpaused("w1", Result.REJECTED)
    assert world["w1"] == before
    assert not still_wanted(world.fleet, Park("w1"))
    assert not still_wanted(world.fleet, Unpark("w1"))
    assert not still_wanted(world.fleet, Park("nobody"))
    assert not still_wanted(world.fleet, Unpark("nobody"))


# what comes out of it


def test_who_asks_gets_a_parked_machine_before_a_new_one() -> None:
    world = a_reserve(2, spec=a_spec(parked=2))
    assert world.assign("p") is None
    world.resize()
    assert (world.in_state(STARTING), world["w1"].reason) == (["w1"], reasons.UNPARKED)
    assert (world.watch("w1").since, world.watch("w1").unparked_at) == (world.now, world.now)
    change = world.last_change()
    assert (change.cause, follow_up(world.fleet, change, world.now)) == (Cause.UNPARKED, Unpark("w1"))
    assert still_wanted(world.fleet, Unpark("w1"))
    world.unpaused("w1")
    world.answer("w1")
    assert world["w1"].project == "p"
    assert_indexes_hold(world.fleet)


def test_as_many_are_woken_as_projects_wait_and_idle_ones_are_missing() -> None:
    world = a_reserve(5, min_idle=1)
    for project in ("p", "q"):
        world.assign(project)
    world.resize()
    assert world.in_state(STARTING) == ["w1", "w2", "w3"]
    world.resize()
    assert len(world.in_state(STARTING)) == 3, "what is on its way counts"
    world.assign("r")
    world.resize()
    assert world.in_state(STARTING) == ["w1", "w2", "w3", "w4"]


def test_nobody_waits_for_a_machine_that_is_being_created_while_one_is_parked() -> None:
    """It is for the reserve: a create takes longer than a wake."""
    world = a_reserve(2, parked=3)
    world.resize()
    assert sorted(world.in_state(STARTING)) == ["m1"]
    world.assign("p")
    world.resize()
    assert sorted(world.in_state(STARTING)) == ["m1", "w1"]
    world.assign("q")
    world.resize()
    assert sorted(world.in_state(STARTING)) == ["m1", "w1", "w2"]
    world.assign("r")
    world.resize()
    assert sorted(world.in_state(STARTING)) == ["m1", "w1", "w2"], "the third one gets what is being created"


def test_who_finds_the_reserve_empty_gets_a_new_machine() -> None:
    world = a_reserve(1)
    for project in ("p", "q"):
        world.assign(project)
    world.resize()
    assert world.in_state(STARTING) == ["w1", "m1"]


def test_only_what_is_known_to_be_paused_is_woken_as_soon_as_that_is_known() -> None:
    world = a_reserve(1, is_known=False, min_idle=1, max_machines=1)
    world.resize()
    assert (world.in_state(STARTING), world.fleet.unsettled) == ([], set()), "its place is all that there is"
    world.paused("w1")
    world.resize()
    assert world.in_state(STARTING) == ["w1"]
    assert_indexes_hold(world.fleet)


def test_a_machine_of_the_reserve_is_handed_out_only_once_it_answers() -> None:
    world = a_reserve()
    world.assign("p")
    world.resize()
    world.unpaused("w1")
    assert world["w1"].project is None
    world.miss("w1")
    assert world["w1"].project is None
    world.answer("w1", begun_at=world.now - 0.1)
    assert world["w1"].project is None, "that probe began before it went on"
    world.answer("w1")
    assert world["w1"].project == "p"


def test_whose_container_does_not_go_on_is_asked_again() -> None:
    world = a_reserve(min_idle=1)
    world.resize()
    world.apply_outcome(Unpark("w1"), Result.UNKNOWN)
    assert world.tick().actions == []
    world.now += 1.0
    assert world.tick().actions == [Unpark("w1")]
    world.instance("w1")
    assert world.tick().actions == []
    world.instance("w1", Status.UNKNOWN)
    assert world.tick().actions == [Unpark("w1")]
    world.answer("w1")
    assert world.idle == ["w1"]


def test_it_has_five_seconds_from_when_it_goes_on_or_twice_its_slowest_answer() -> None:
    world = a_reserve(min_idle=1)
    world.resize()
    assert start_deadline(world.fleet, world.spec, world["w1"]) == world.now + 5.0
    world.now += 3.0
    world.unpaused("w1")
    assert next_deadline(world.fleet, world.spec, world.now) == world.now + 5.0
    world.watch("w1").slowest_answer_s = 4.0
    assert start_deadline(world.fleet, world.spec, world["w1"]) == world.now + 8.0


def test_one_that_does_not_answer_after_it_went_on_is_replaced_and_blames_no_image() -> None:
    world = a_reserve(min_idle=1, parked=0)
    world.resize()
    world.unpaused("w1")
    world.now += 5.1
    world.miss("w1")
    world.now += 0.1
    world.tick()
    assert (world["w1"].state, failure_of(world, "w1")) == (FAILED, FailureKind.ANSWER_TIMEOUT)
    assert world.pool.image_brake is None
    assert world.in_state(STARTING) == ["m1"]


def test_one_that_stays_paused_though_it_is_to_go_on_is_replaced_and_blames_no_image() -> None:
    world = a_reserve(min_idle=1, parked=0)
    world.resize()
    after(world, 5.0)
    assert world["w1"].state is STARTING
    after(world, 0.1)
    assert (world["w1"].state, failure_of(world, "w1")) == (FAILED, FailureKind.START_TIMEOUT)
    assert world["w1"].reason == reasons.started_too_slowly(5.0)
    assert world.pool.image_brake is None


def test_while_the_engine_is_away_the_time_to_go_on_does_not_pass() -> None:
    world = a_reserve(min_idle=1)
    world.resize()
    world.now += 4.0
    world.apply_outcome(Unpark("w1"), Result.UNAVAILABLE)
    assert start_deadline(world.fleet, world.spec, world["w1"]) == world.now + 5.0
    world.now += 100.0
    back = replace(world.listing(), after_outage=True)
    plan = reconcile(world.fleet, back, world.spec, world.now, world.new_id)
    assert (plan.actions, world["w1"].state) == ([Unpark("w1")], STARTING)
    assert start_deadline(world.fleet, world.spec, world["w1"]) == world.now + 5.0


@pytest.mark.parametrize("result", [Result.OBSTRUCTED, Result.PORT_TAKEN])
def test_if_something_outside_prevents_that_one_goes_on_it_is_tried_again_while_its_time_lasts(result: Result) -> None:
    world = a_reserve(min_idle=1, parked=0)
    world.resize()
    world.unpaused("w1", result, "no memory left")
    assert world.tick().actions == []
    world.now += 1.0
    assert world.tick().actions == [Unpark("w1")]
    assert world.in_state(STARTING) == ["w1"]
    assert after(world, 4.1)["w1"].state is FAILED


def test_one_that_the_engine_refuses_to_let_go_on_is_replaced() -> None:
    world = a_reserve(min_idle=1, parked=0)
    world.resize()
    world.unpaused("w1", Result.REJECTED, "no such container")
    assert (world["w1"].state, world["w1"].reason) == (FAILED, "no such container.")
    assert world.watch("w1").since == world.now
    assert failure_of(world, "w1") is FailureKind.HELD_UP
    assert world.pool.image_brake is None
    world.tick()
    assert world.in_state(STARTING) == ["m1"]


def test_a_listing_that_is_older_than_the_answer_says_nothing_of_a_machine_that_went_on() -> None:
    world = a_reserve(min_idle=1)
    world.resize()
    begun_at = world.now
    world.now += 0.01
    world.unpaused("w1")
    world.answer("w1")
    world.instance("w1", Status.PAUSED)
    world.tick(begun_at=begun_at)
    assert (world["w1"].state, world.fleet.ailing) == (READY, {})


def test_the_next_run_of_the_service_lets_go_on_what_was_about_to() -> None:
    world = a_reserve(min_idle=1)
    world.resize()
    world.crash()
    assert_indexes_hold(world.fleet)
    assert world.tick().actions == [Unpark("w1")]
    world.unpaused("w1")
    world.answer("w1")
    assert world.idle == ["w1"]


def test_while_somebody_waits_for_a_wake_no_machine_is_begun_for_the_reserve() -> None:
    world = a_reserve(2, min_idle=1)
    world.resize()
    assert world.in_state(STARTING) == ["w1"]
    assert DEFAULT_POOL in world.fleet.unsettled, "it is looked at again when that is over"
    world.unpaused("w1")
    world.answer("w1")
    world.resize()
    assert world.in_state(STARTING) == ["m1"]


def test_nobody_waits_for_a_start_beside_those_of_the_reserve() -> None:
    """Not in the turn in which it begins, nor later, whichever pool it is of."""
    world = World(spec=several(a={"parked": 1}, b={}))
    world.assign("p", "b")
    world.resize()
    assert [world[one].pool for one in world.in_state(STARTING)] == ["b"]
    resize_all(world.fleet, world.spec, world.now, world.new_id)
    assert len(world.in_state(STARTING)) == 1
    world.instance("m1")
    world.answer("m1")
    world.resize()
    assert [world[one].pool for one in world.in_state(STARTING)] == ["a"]


def test_a_wake_of_any_pool_puts_off_the_starts_of_every_reserve() -> None:
    """Also where it was decided in the same turn, and after that of the other pool."""
    world = World(spec=several(a={"parked": 1}, b={"parked": 1, "min_idle": 1}), fleet=a_fleet(parked(pool="b")))
    world.watch("w1").is_paused = True
    world.resize()
    assert world.in_state(STARTING) == ["w1"]


def test_who_waits_for_what_cannot_come_keeps_no_reserve_from_growing() -> None:
    world = World(spec=several(a={"parked": 1}, b={"max_machines": 1}), fleet=a_fleet(a_machine(pool="b", project="p")))
    world.assign("q", "b")
    world.resize()
    assert [world[one].pool for one in world.in_state(STARTING)] == ["a"]


def test_what_is_released_may_make_a_start_for_the_reserve_needless() -> None:
    world = up(2, min_idle=1, parked=1)
    assert shortage(world.fleet, world.spec.pools[DEFAULT_POOL], DEFAULT_POOL) == Shortage(0, 0, 0)
    world.assign("p")
    world.assign("q")
    assert shortage(world.fleet, world.spec.pools[DEFAULT_POOL], DEFAULT_POOL) == Shortage(0, 1, 1)
    assert wanted(world.fleet, world.spec, DEFAULT_POOL).missing == 2


def test_new_machines_for_the_reserve_are_parked_when_they_have_answered() -> None:
    world = World(spec=a_spec(parked=2))
    world.resize()
    assert world.in_state(STARTING) == ["m1", "m2"]
    for machine_id in ("m1", "m2"):
        world.instance(machine_id)
        world.answer(machine_id)
    after(after(world, 0.0), 2.0)
    assert list(world.fleet.parked(DEFAULT_POOL, OLD)) == ["m2", "m1"]
    assert len(world.fleet.machines) == 2


# a wake that hangs, and a burst that is slow


def waits_on_a_wake(count: int = 3, **pool: Any) -> World:
    """A project waits for w1, which was woken for it and does not answer. So many are parked, with w1."""
    world = a_reserve(count, **pool)
    world.assign("p")
    world.resize()
    assert world.in_state(STARTING) == ["w1"]
    return world


def woken(world: World) -> list[str]:
    """What came out of the reserve so far, the first one first."""
    return [change.machine.id for change in world.fleet.pending if change.cause is Cause.UNPARKED]


def test_whoever_waits_for_a_wake_that_hangs_gets_another_machine_after_a_second() -> None:
    world = waits_on_a_wake()
    assert world.tick().wake_at == world.now + 1.0
    after(world, 0.9)
    assert woken(world) == ["w1"]
    after(world, 0.1)
    assert woken(world) == ["w1", "w2"]
    world.unpaused("w2")
    world.answer("w2")
    assert world["w2"].project == "p"
    world.unpaused("w1")
    world.answer("w1")
    after(after(world, 0.0), 2.0)
    assert world["w1"].state is PARKED, "it is too many now"
    assert_indexes_hold(world.fleet)


def test_where_nothing_answers_more_are_woken_ever_more_seldom_and_no_more_than_are_parked() -> None:
    world = waits_on_a_wake(9)
    at = {world.now: 1}
    for _ in range(19):
        after(world, 0.25)
        at.setdefault(world.now, len(woken(world)))
    counts = [count for _, count in sorted(at.items())]
    assert [counts.index(count) * 0.25 for count in sorted({*counts})] == [0.0, 1.0, 3.0]
    small = waits_on_a_wake(2)
    for _ in range(8):
        after(small, 0.5)
    assert woken(small) == ["w1", "w2"]


def test_a_burst_that_an_engine_serves_one_after_the_other_wakes_no_more_than_it_needs() -> None:
    """The last one has hung for almost five seconds when it answers. The engine gets on with it."""
    world = a_reserve(40)
    for number in range(20):
        world.assign(f"p{number}")
    world.resize()
    burst = woken(world)
    assert len(burst) == 20
    for machine_id in burst:
        after(world, 0.24)
        world.unpaused(machine_id)
        world.answer(machine_id)
    assert woken(world) == burst
    assert len(world.fleet.projects) == 20


def test_a_burst_that_stands_still_wakes_one_more_and_not_one_for_each() -> None:
    world = a_reserve(40)
    for number in range(20):
        world.assign(f"p{number}")
    world.resize()
    after(world, 1.0)
    assert len(woken(world)) == 21
    after(world, 1.9)
    assert len(woken(world)) == 21
    after(world, 0.1)
    assert len(woken(world)) == 22
    world.unpaused("w1")
    world.answer("w1")
    world.resize()
    after(world, 0.9)
    assert len(woken(world)) == 22
    after(world, 0.1)
    assert len(woken(world)) == 23, "one has answered since, so it is a second again"


def test_who_comes_while_another_wake_hangs_gets_a_machine_at_once() -> None:
    world = waits_on_a_wake()
    after(world, 1.0)
    world.unpaused("w2")
    world.answer("w2")
    after(after(world, 0.0), 1.5)
    world.assign("q")
    world.resize()
    assert woken(world) == ["w1", "w2", "w3"]


def test_what_wakes_to_be_idle_is_not_hastened() -> None:
    world = a_reserve(3, min_idle=1)
    world.resize()
    after(world, 4.0)
    assert woken(world) == ["w1"]
    assert world.tick().wake_at != world.pool.woken_at + 1.0


def test_while_nothing_else_is_parked_nobody_is_looked_after_for_a_wake_that_hangs() -> None:
    world = waits_on_a_wake(1, parked=1)
    wake_at = world.tick().wake_at
    assert wake_at is not None
    assert wake_at > world.now + 1.0


@pytest.mark.parametrize("pool", [{"paused": True}, {"template": None, "problem": "No such image."}])
def test_a_wake_that_hangs_is_made_up_for_where_only_the_reserve_is_left(pool: dict[str, Any]) -> None:
    world = waits_on_a_wake(4, **pool)
    after(world, 1.0)
    assert woken(world) == ["w1", "w2"]
    after(world, 0.5)
    world.assign("q")
    world.resize()
    assert woken(world) == ["w1", "w2"], "one of the two is for it"
    world.assign("r")
    world.resize()
    assert woken(world) == ["w1", "w2", "w3"]


def test_a_failed_wake_is_replaced_at_once_and_the_second_begins_anew() -> None:
    world = waits_on_a_wake()
    after(world, 0.9)
    world.apply_outcome(Unpark("w1"), Result.REJECTED, "no")
    world.resize()
    assert woken(world) == ["w1", "w2"]
    after(world, 0.9)
    assert woken(world) == ["w1", "w2"]
    after(world, 0.1)
    assert woken(world) == ["w1", "w2", "w3"]


# what was begun for the reserve and is not wanted any more


def begun_for_reserve(count: int = 2, **pool: Any) -> World:
    """So many machines m1, m2, … are being made for the reserve."""
    world = World(spec=a_spec(**{"parked": count, "shed_after_s": 100.0, **pool}))
    world.resize()
    assert len(world.in_state(STARTING)) == count
    return world


def come_up(world: World, *ids: str) -> None:
    for machine_id in ids:
        world.instance(machine_id)
        world.answer(machine_id)
        world.now += 0.001


def test_what_comes_up_for_a_reserve_that_is_wanted_no_more_goes_after_a_while() -> None:
    world = begun_for_reserve(3)
    world.wants(parked=1)
    come_up(world, "m1", "m2", "m3")
    after(after(world, 0.0), 2.0)
    assert (world.in_state(PARKED), world.idle) == (["m3"], ["m1", "m2"])
    begun_at = world.pool.unneeded_since
    assert begun_at is not None
    assert DEFAULT_POOL in world.fleet.unsettled
    assert world.tick().wake_at == begun_at + 100.0
    world.now = begun_at + 99.9
    world.tick()
    assert world.in_state(STOPPING) == []
    world.now = begun_at + 100.0
    world.tick()
    assert (world.in_state(STOPPING), world["m1"].reason) == (["m1", "m2"], reasons.NOT_TO_BE_PARKED)
    assert world.pool.unneeded_since is None
    assert world.last_change().cause is Cause.RETIRED


def test_it_stays_if_it_is_wanted_again_in_time_to_be_parked_or_idle() -> None:
    world = begun_for_reserve(2)
    world.wants(parked=0)
    come_up(world, "m1", "m2")
    after(world, 50.0)
    assert world.pool.unneeded_since is not None
    world.wants(parked=1, min_idle=1)
    after(after(world, 0.0), 2.0)
    assert (len(world.idle), len(world.in_state(PARKED))) == (1, 1)
    assert world.fleet.pool(DEFAULT_POOL).unneeded_since is None
    after(world, 200.0)
    assert world.in_state(STOPPING) == []


def test_what_a_project_gave_back_stays_idle_though_it_was_begun_for_the_reserve() -> None:
    world = begun_for_reserve(2)
    world.wants(parked=0)
    come_up(world, "m1", "m2")
    world.resize()
    given = world.assign("p")
    assert given is not None
    world.release(given)
    world.answer(given)
    after(after(world, 0.0), 100.0)
    assert world.idle == [given]
    after(world, 1000.0)
    assert world.idle == [given]
    assert given not in world.pool.for_reserve, "it is not looked after any more"


def test_an_assign_that_could_not_be_stored_changes_nothing_of_that() -> None:
    world = begun_for_reserve(2)
    world.wants(parked=0)
    come_up(world, "m1", "m2")
    world.fleet.take_pending()
    assert world.assign("p") == "m1"
    world.resize()
    world.fleet.undo(world.fleet.take_pending(), world.now)
    after(after(world, 0.0), 100.0)
    assert world.in_state(STOPPING) == ["m1", "m2"]


def test_what_was_begun_to_be_idle_or_for_a_project_stays_idle() -> None:
    world = up(2, min_idle=2, shed_after_s=100.0)
    world.resize()
    world.wants(min_idle=0)
    after(after(world, 0.0), 1000.0)
    assert len(world.idle) == 2


def test_what_came_out_of_the_reserve_for_nobody_goes_when_another_has_its_place() -> None:
    """Its project went away, and less is wanted in the reserve."""
    world = waits_on_a_wake(2, shed_after_s=100.0)
    waiting_line.leave_line(world.fleet, "p")
    world.wants(parked=1)
    world.unpaused("w1")
    world.answer("w1")
    after(after(world, 0.0), 100.0)
    assert (world["w1"].state, world.in_state(PARKED)) == (STOPPING, ["w2"])


def test_no_more_go_than_nobody_wants() -> None:
    """What a project gave back is idle in place of one that was begun for the reserve."""
    world = begun_for_reserve(3, min_idle=0)
    world.wants(parked=0, min_idle=2)
    come_up(world, "m1", "m2", "m3")
    after(after(world, 0.0), 100.0)
    assert (len(world.in_state(STOPPING)), len(world.idle)) == (1, 2)


@pytest.mark.parametrize("prevented", ["paused", "dropped"])
def test_while_a_pool_is_left_alone_no_time_runs_for_what_nobody_wants(prevented: str) -> None:
    world = begun_for_reserve(1)
    world.wants(parked=0)
    come_up(world, "m1")
    world.resize()
    assert world.pool.unneeded_since is not None
    if prevented == "paused":
        world.wants(paused=True)
    else:
        world.spec = replace(world.spec, pools={})
    world.resize()
    assert world.pool.unneeded_since is None


def test_a_retirement_of_what_nobody_wants_that_could_not_be_stored_is_tried_again() -> None:
    world = begun_for_reserve(1)
    world.wants(parked=0)
    come_up(world, "m1")
    after(world, 0.0)
    world.fleet.take_pending()
    after(world, 100.0)
    assert world.in_state(STOPPING) == ["m1"]
    world.fleet.undo(world.fleet.take_pending(), world.now)
    after(after(world, 0.0), 100.0)
    assert world.in_state(STOPPING) == ["m1"]


def test_what_is_remembered_of_a_reserve_is_forgotten_with_its_machines() -> None:
    """Of a pool that always uses all that it has, so that nothing is ever idle for nothing."""
    world = a_reserve(1, recycle=True)
    for number in range(50):
        world.assign(f"p{number}")
        world.resize()
        (machine_id,) = world.in_state(STARTING)
        world.instance(machine_id)
        world.answer(machine_id)
        world.resize()
        come_up(world, *world.in_state(STARTING))
        after(after(world, 0.0), 2.0)
        for parked_id in world.in_state(PARKED):
            world.apply_outcome(Park(parked_id), Result.DONE)
            world.instance(parked_id, Status.PAUSED)
        world.release(machine_id)
        world.apply_outcome(Destroy(machine_id), Result.DONE)
        world.remove(machine_id)
        after(world, 0.1)
    assert len(world.fleet.machines) == 1
    assert len(world.pool.for_reserve) <= 4


# that it still answers


def test_a_parked_machine_shows_every_now_and_then_that_it_answers_and_goes_back_at_once() -> None:
    world = a_reserve(2, parked_check_s=300.0)
    plan = world.tick()
    assert plan.wake_at == world.now + 300.0
    after(world, 299.9)
    assert world.in_state(PARKED) == ["w1", "w2"]
    after(world, 0.1)
    assert (world.in_state(STARTING), world["w1"].reason) == (["w1"], reasons.UNPARKED_FOR_CHECK)
    resize_all(world.fleet, world.spec, world.now, world.new_id)
    assert world.in_state(STARTING) == ["w1"], "one after the other"
    world.unpaused("w1")
    world.answer("w1")
    world.resize()
    assert (world["w1"].state, world["w2"].state) == (PARKED, STARTING)
    assert world.causes("w1") == [Cause.UNPARKED, Cause.ANSWERED, Cause.PARKED]
    assert world.pool.checked == "w2"


def news(world: World) -> list[Cause]:
    """The changes since the last look that make an event, by their causes."""
    return [change.cause for change in world.fleet.take_pending() if not is_routine(change)]


def test_that_a_parked_machine_still_answers_is_no_news() -> None:
    """A hundred of them would push all other events out of the table within hours."""
    world = a_reserve(1, parked_check_s=300.0)
    after(world, 300.0)
    world.unpaused("w1")
    world.answer("w1")
    assert world["w1"].reason == reasons.STILL_ANSWERS
    world.tick()
    assert world["w1"].state is PARKED
    assert len(world.fleet.pending) == 3
    assert news(world) == []


def test_that_it_stays_idle_after_that_is_news() -> None:
    world = a_reserve(1, parked_check_s=300.0)
    after(world, 300.0)
    world.spec = a_spec(parked=1, min_idle=1)
    world.unpaused("w1")
    world.answer("w1")
    world.tick()
    assert world["w1"].reason == reasons.ANSWERED
    assert world.idle == ["w1"]
    assert news(world)[0] is Cause.ANSWERED


@pytest.mark.parametrize(("min_idle", "told"), [(0, []), (1, [Cause.ANSWERED])])
def test_the_next_run_of_the_service_goes_on_with_a_check(min_idle: int, told: list[Cause]) -> None:
    """It goes back at once; that it stays idle is news, since it is parked in the last event of it."""
    world = a_reserve(1, parked_check_s=300.0)
    after(world, 300.0)
    world.crash()
    world.fleet.take_pending()
    world.spec = a_spec(parked=1, min_idle=min_idle)
    world.unpaused("w1")
    world.answer("w1")
    world.resize()
    assert world["w1"].state is (READY if min_idle else PARKED)
    assert [cause for cause in news(world) if cause is not Cause.CREATED] == told


def test_that_it_is_needed_is_news() -> None:
    world = a_reserve(1)
    world.assign("p")
    world.resize()
    world.unpaused("w1")
    world.answer("w1")
    assert news(world)[:3] == [Cause.UNPARKED, Cause.ANSWERED, Cause.ASSIGNED]
    world.fleet.apply(world["w1"], world["w1"], Cause.KEPT, world.now)
    assert news(world) == []


def test_who_shows_that_it_answers_has_its_place_still() -> None:
    """Nothing is parked or begun for it meanwhile, and what is too much beside it does not become less."""
    world = a_reserve(1, parked_check_s=300.0, max_idle=0, shrink_after_s=10.0)
    world.now += 295.0
    world.up()
    world.resize()
    too_many_since = world.pool.too_many_since
    assert too_many_since == world.now
    after(world, 5.0)
    assert world["w1"].reason == reasons.UNPARKED_FOR_CHECK
    assert (world.pool.too_many_since, world.pool.parks_since) == (too_many_since, None)
    world.unpaused("w1")
    world.answer("w1")
    after(world, 5.0)
    assert (world["w1"].state, world["m1"].state) == (PARKED, STOPPING)


def test_who_is_handed_out_after_its_check_is_no_more_than_any_other_when_it_is_released() -> None:
    """Else each release would pause a machine and each assign wake one."""
    world = a_reserve(1, parked_check_s=300.0)
    after(world, 300.0)
    world.assign("p")
    world.unpaused("w1")
    world.answer("w1")
    world.resize()
    assert (world["w1"].project, world.pool.checked) == ("p", "")
    world.release("w1")
    world.resize()
    assert world["w1"].state is READY


def test_who_is_needed_after_its_check_stays_idle() -> None:
    world = a_reserve(1, parked_check_s=300.0)
    after(world, 300.0)
    world.wants(min_idle=1)
    world.unpaused("w1")
    world.answer("w1")
    world.resize()
    assert (world.idle, world.pool.checked) == (["w1"], "")


def test_who_answers_its_check_and_is_not_the_only_one_too_many_goes_back_before_the_others() -> None:
    world = a_reserve(2, parked=3, parked_check_s=300.0)
    world.fleet.apply(None, a_machine("w9", port=9300), Cause.ADOPTED, world.now)
    world.instance("w9")
    world.wants(parked=2)
    after(world, 300.0)
    world.wants(parked=3)
    world.unpaused("w1")
    world.answer("w1")
    world.resize()
    assert (world["w1"].state, world["w9"].state) == (PARKED, READY)
    assert world.pool.parks_since == world.now, "the other one has its two seconds"


def test_after_a_refused_pause_who_answers_its_check_stays_idle_for_the_rest_of_the_minute() -> None:
    world = a_reserve(1, parked_check_s=300.0)
    after(world, 300.0)
    world.pool.parks_not_before = world.now + 60.0
    world.unpaused("w1")
    world.answer("w1")
    world.resize()
    assert world.idle == ["w1"]
    assert next_deadline(world.fleet, world.spec, world.now) == world.pool.parks_not_before


@pytest.mark.parametrize("pool", [{"max_machines": 2}, {"template": None, "pending": True}, {"paused": True}])
def test_nobody_is_woken_for_a_check_while_somebody_waits_or_the_pool_does_nothing(pool: dict[str, Any]) -> None:
    world = a_reserve(2, is_known=False, parked_check_s=300.0, **pool)
    world.watch("w2").is_paused = True
    if "max_machines" in pool:
        world.fleet.join_line(DEFAULT_POOL, "p")
    after(world, 400.0)
    assert {world[one].reason for one in world.in_state(STARTING)} <= {reasons.UNPARKED}


def test_nobody_is_woken_for_a_check_while_another_machine_of_its_pool_comes() -> None:
    world = a_reserve(1, parked_check_s=300.0)
    world.begin()
    world.now += 300.0
    world.resize()
    assert world["w1"].state is PARKED


def test_a_machine_whose_pause_is_not_known_is_not_woken_for_a_check() -> None:
    world = a_reserve(1, is_known=False, parked_check_s=300.0)
    world.now += 300.0
    resize_all(world.fleet, world.spec, world.now, world.new_id)
    assert world["w1"].state is PARKED


# what becomes of it out there


@pytest.mark.parametrize(
    ("status", "kind"), [(Status.EXITED, FailureKind.EXITED), (Status.TERMINATING, FailureKind.VANISHED)]
)
def test_a_parked_machine_that_ended_is_replaced_and_blames_no_image(status: Status, kind: FailureKind) -> None:
    world = a_reserve()
    world.instance("w1", status, detail="It ended.")
    world.tick(evidence={"w1": "the last line"})
    assert (world["w1"].state, world["w1"].reason, world["w1"].evidence) == (FAILED, "It ended.", "the last line")
    assert failure_of(world, "w1") is kind
    assert world.pool.image_brake is None
    assert world.in_state(STARTING) == ["m1"]


def test_the_last_lines_of_a_parked_machine_that_ended_are_read() -> None:
    world = a_reserve()
    assert list(about_to_fail(world.fleet, world.instances, world.spec, world.now + 1e6)) == []
    world.instance("w1", Status.EXITED)
    assert list(about_to_fail(world.fleet, world.instances, world.spec, world.now)) == ["w1"]


@pytest.mark.parametrize("state", [PARKED, STARTING])
def test_a_machine_of_the_reserve_that_somebody_removed_is_replaced(state: State) -> None:
    world = a_reserve(min_idle=1 if state is STARTING else 0)
    world.resize()
    assert world["w1"].state is state
    world.remove("w1")
    world.tick()
    assert (world["w1"].state, world["w1"].gone) == (FAILED, True)
    assert world["w1"].reason == reasons.GONE_AT_START
    assert failure_of(world, "w1") is FailureKind.VANISHED
    assert world.pool.image_brake is None
    assert world["m1"].state is STARTING


def test_one_that_ended_when_it_was_to_go_on_blames_no_image() -> None:
    world = a_reserve(min_idle=1)
    world.resize()
    world.instance("w1", Status.EXITED)
    world.tick()
    assert world["w1"].state is FAILED
    assert world.pool.image_brake is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"status": Status.PAUSED, "trouble": "It is paused.", "is_cut_off": True}, reasons.CUT_OFF),
        ({"status": Status.RUNNING, "trouble": "It is lost.", "is_cut_off": False}, "It is lost."),
    ],
)
def test_a_parked_machine_that_nobody_could_reach_is_replaced(found: dict[str, Any], reason: str) -> None:
    world = a_reserve()
    world.instance("w1", **found)
    world.tick()
    assert (world["w1"].state, world["w1"].reason) == (FAILED, reasons.cannot_serve(reason))
    assert failure_of(world, "w1") is FailureKind.HELD_UP
    assert world.pool.image_brake is None


def test_that_it_is_paused_is_no_trouble_of_a_parked_machine() -> None:
    world = a_reserve()
    world.instance("w1", Status.PAUSED, trouble="It is paused.")
    world.tick()
    assert (world["w1"].state, world.fleet.pending) == (PARKED, [])


def test_a_machine_that_went_on_and_is_on_no_network_is_replaced() -> None:
    world = a_reserve(min_idle=1)
    world.resize()
    world.instance("w1", Status.RUNNING, trouble="It is lost.")
    world.tick()
    assert world["w1"].state is FAILED


def test_somebody_else_who_pauses_an_idle_machine_parks_nothing() -> None:
    world = up(1, min_idle=1, parked=1)
    world.instance("m1", Status.PAUSED, trouble="It is paused.")
    world.tick()
    assert (world["m1"].state, list(world.fleet.ailing)) == (READY, ["m1"])
    after(world, 5.0)
    assert world["m1"].state is FAILED


def test_a_doubt_says_nothing_of_a_parked_machine() -> None:
    world = a_reserve()
    assert not world.fleet.doubt("w1", math.inf)


# what people ask of it


def test_a_parked_machine_may_be_destroyed_and_is_no_bodys_to_release_restart_or_put_to_sleep() -> None:
    world = a_reserve()
    assert world.release("w1") == parked(port=9101)
    with pytest.raises(NotAssigned):
        commands.restart(world.fleet, world["w1"], world.now)
    with pytest.raises(NotAssigned):
        commands.sleep(world.fleet, world["w1"], world.now)
    world.destroy("w1")
    assert (world["w1"].state, world.last_change().cause) == (STOPPING, Cause.DESTROYED)
    assert world.tick().actions == [Destroy("w1")]


def test_a_change_that_could_not_be_stored_leaves_the_reserve_as_it_was() -> None:
    world = a_reserve(min_idle=1)
    world.resize()
    assert world["w1"].state is STARTING
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world["w1"] == parked(port=9101)
    assert_indexes_hold(world.fleet)
    world.resize()
    assert world["w1"].state is STARTING, "it is known to be paused still"


def test_a_refused_pause_that_could_not_be_stored_is_asked_for_again() -> None:
    world = up(1, parked=1)
    after(after(world, 0.0), 2.0)
    world.fleet.take_pending()
    world.paused("m1", Result.REJECTED)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert (world["m1"].state, world.watch("m1").is_paused) == (PARKED, False)
    assert world.tick().actions == [Park("m1")]


def test_what_may_be_paused_late_is_so_also_after_a_change_that_could_not_be_stored() -> None:
    world = a_reserve(1, is_known=False)
    world.instance("w1")
    world.tick()
    assert world["w1"].state is STOPPING
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.watch("w1").may_be_paused_late


def test_a_parking_that_could_not_be_stored_is_tried_again_two_seconds_later() -> None:
    world = up(1, parked=1)
    after(after(world, 0.0), 2.0)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.idle == ["m1"]
    assert after(world, 0.0).idle == ["m1"]
    assert after(world, 2.0).in_state(PARKED) == ["m1"]


# waiting for it


def braked(world: World) -> World:
    """Machines of the template of today do not come up."""
    template = world.spec.pools[DEFAULT_POOL].template or ""
    world.pool.image_brake = Brake(template, 3, world.now, world.now + 100.0, is_on=True, reason="It is broken.")
    return world


BROKEN = [{"paused": True}, {"template": None, "problem": "No such image."}, {"template": NEW}]


@pytest.mark.parametrize("pool", BROKEN)
def test_whoever_could_get_no_new_machine_waits_for_one_of_the_reserve(pool: dict[str, Any]) -> None:
    """Also for one of an older template, as it would get an idle one of that."""
    world = braked(a_reserve(1, **pool))
    assert world.assign("p") is None
    world.resize()
    assert waiting_line.turn_away(world.fleet, world.spec, world.now) == {}
    assert (world.in_state(STARTING), world.watch("w1").since) == (["w1"], world.now)
    world.assign("q")
    assert waiting_line.turn_away(world.fleet, world.spec, world.now) == {}
    world.unpaused("w1")
    world.answer("w1")
    assert world["w1"].project == "p"
    assert list(waiting_line.turn_away(world.fleet, world.spec, world.now)) == ["q"]
    with pytest.raises(NoMachineAvailable):
        world.assign("r")


def test_whoever_waits_in_a_pool_that_vanishes_is_told_so_whatever_comes_out_of_its_reserve() -> None:
    world = a_reserve()
    world.assign("p")
    world.resize()
    world.spec = several(other={})
    assert list(waiting_line.turn_away(world.fleet, world.spec, world.now)) == ["p"]


def test_nobody_waits_for_a_try_of_what_does_not_come_up_while_an_older_machine_is_parked() -> None:
    world = a_reserve(2, spec=a_spec(template=NEW, parked=2))
    world.begin()
    braked(world)
    for project in ("p", "q", "r"):
        world.assign(project)
        world.resize()
    assert sorted(world.in_state(STARTING)) == ["m1", "w1", "w2"]


def test_nobody_is_told_to_wait_for_a_reserve_of_another_pool() -> None:
    world = World(spec=several(a={"parked": 1}, b={"template": NEW, "paused": True}), fleet=a_fleet(parked(pool="a")))
    assert pool_refusal(world.fleet, world.spec, "a", world.now) is None
    assert pool_refusal(world.fleet, world.spec, "b", world.now) is not None
    world.watch("w1").is_paused = True
    world.instance("w1", Status.PAUSED)
    world.assign("p", "a")
    world.resize()
    assert world.fleet.unparking == 1
    assert world.fleet.has_reserve("a")
    assert not world.fleet.has_reserve("b")


def test_while_an_image_is_being_pulled_nothing_is_woken_of_an_older_template() -> None:
    world = a_reserve(1, spec=a_spec(template=None, pending=True, parked=1))
    assert world.assign("p") is None
    world.resize()
    assert world["w1"].state is PARKED


def test_a_paused_pool_wakes_for_projects_alone() -> None:
    world = a_reserve(2, paused=True, min_idle=2)
    world.resize()
    assert world.in_state(PARKED) == ["w1", "w2"]
    world.assign("p")
    world.resize()
    assert world.in_state(STARTING) == ["w1"]


def test_machines_that_cannot_serve_are_made_up_for_while_somebody_waits() -> None:
    world = a_reserve(3, min_idle=1)
    world.fleet.apply(None, a_machine("w9", port=9300), Cause.ADOPTED, world.now)
    world.instance("w9", Status.PAUSED, trouble="It is paused.")
    world.tick()
    assert len(world.in_state(PARKED)) == 3
    world.assign("p")
    world.resize()
    assert world.in_state(STARTING) == ["w1", "w2"], "one for the project, and one to be idle"


def test_as_many_are_woken_as_spare_wants() -> None:
    world = a_reserve(3, spare=0.5)
    for n in range(4):
        world.fleet.apply(None, a_machine(f"p{n}", port=9300 + n, project=f"p{n}"), Cause.ADOPTED, world.now)
    world.resize()
    assert world.in_state(STARTING) == ["w1", "w2"]


# templates


def test_parked_machines_of_an_older_template_go_when_new_ones_are_parked() -> None:
    world = a_reserve(2)
    world.wants(template=NEW)
    world.resize()
    assert (world.in_state(STARTING), world.in_state(PARKED)) == (["m1", "m2"], ["w1", "w2"])
    world.instance("m1", template=NEW)
    world.answer("m1")
    after(after(world, 0.0), 2.0)
    assert (world.in_state(PARKED), world["w1"].reason) == (["w2", "m1"], reasons.OUTDATED)
    world.paused("m1")
    world.instance("m2", template=NEW)
    world.answer("m2")
    after(after(world, 0.0), 2.0)
    assert world.in_state(PARKED) == ["m1", "m2"]
    assert_indexes_hold(world.fleet)


def test_a_full_reserve_of_today_leaves_no_place_for_one_of_an_older_template() -> None:
    world = a_reserve(1)
    world.fleet.apply(None, a_machine("old", template="template-0", port=9300), Cause.ADOPTED, world.now)
    old = world["old"]
    world.fleet.apply(old, replace(old, state=PARKED, reason=reasons.PARKED), Cause.PARKED, world.now)
    world.now += 1.0
    world.resize()
    assert (world["old"].reason, world.watch("old").since) == (reasons.OUTDATED, world.now)
    assert world["w1"].state is PARKED


def test_while_new_machines_do_not_come_up_the_old_reserve_stays() -> None:
    world = braked(a_reserve(2, spec=a_spec(template=NEW, parked=2)))
    after(world, 50.0)
    assert world.in_state(PARKED) == ["w1", "w2"]


def test_what_is_too_much_of_the_reserve_goes_after_a_while_the_oldest_template_first() -> None:
    world = a_reserve(3, shrink_after_s=10.0)
    world.fleet.apply(None, a_machine("old", template="template-0", port=9300), Cause.ADOPTED, world.now)
    old = world["old"]
    world.fleet.apply(old, replace(old, state=PARKED, reason=reasons.PARKED), Cause.PARKED, world.now)
    world.instance("old", Status.PAUSED)
    world.pool.proven_template = "template-0"
    for machine_id in ("w1", "w2", "w3"):
        one = world[machine_id]
        world.fleet.apply(one, replace(one, state=STARTING, reason=reasons.UNPARKED), Cause.UNPARKED, world.now)
    world.wants(parked=0)
    plan = world.tick()
    assert plan.wake_at is not None
    assert world["old"].state is PARKED
    assert world.pool.too_many_parked_since == world.now
    assert after(world, 10.0)["old"].reason == reasons.TOO_MANY_PARKED


def test_what_is_more_than_parked_is_retired_once_that_lasted() -> None:
    world = a_reserve(3, shrink_after_s=10.0)
    world.wants(parked=1)
    assert world.tick().wake_at == world.now + 10.0
    after(world, 5.0)
    world.wants(parked=3)
    after(world, 1.0)
    assert world.pool.too_many_parked_since is None
    world.wants(parked=1)
    after(after(world, 0.0), 10.0)
    assert (world.in_state(STOPPING), world["w1"].reason) == (["w1", "w2"], reasons.TOO_MANY_PARKED)
    assert world.watch("w1").since == world.now
    assert world.in_state(PARKED) == ["w3"]
    assert world.last_change().cause is Cause.RETIRED


def test_who_shows_that_it_answers_counts_where_the_reserve_is_too_large() -> None:
    world = a_reserve(2, parked_check_s=300.0)
    after(world, 300.0)
    world.wants(parked=1)
    world.resize()
    assert (world["w1"].state, world["w2"].state) == (STARTING, STOPPING)


def test_a_full_fleet_gives_up_an_old_parked_machine_for_a_new_one() -> None:
    world = a_reserve(2, spec=a_spec(template=NEW, parked=2, max_machines=2))
    world.resize()
    assert (world.in_state(STOPPING), world["w1"].reason) == (["w1"], reasons.OUTDATED)
    world.resize()
    assert world.in_state(STOPPING) == ["w1"], "one after the other"
    world.destroyed("w1")
    world.remove("w1")
    world.now += 1.0
    world.tick()
    assert world.in_state(STARTING) == ["m1"]


def test_a_pool_at_its_limit_gives_up_an_old_parked_machine_and_none_of_today() -> None:
    world = a_reserve(1, parked=3, max_machines=2)
    world.fleet.apply(None, a_machine("old", template="template-0", port=9300), Cause.ADOPTED, world.now)
    old = world["old"]
    world.fleet.apply(old, replace(old, state=PARKED, reason=reasons.PARKED), Cause.PARKED, world.now)
    world.resize()
    assert world.in_state(STOPPING) == ["old"]


def test_where_no_port_is_left_for_whoever_waits_a_reserve_lacks_ports_too() -> None:
    taken = [a_machine(f"p{n}", port=9093 + n, project=f"p{n}", pool="b") for n in range(2)]
    world = World(spec=several(last_port=9094, a={"parked": 1}, b={}), fleet=a_fleet(*taken))
    world.assign("q", "b")
    world.resize()
    assert (world.fleet.pool("a").out_of_ports, world.fleet.pool("b").out_of_ports) == (True, True)


def test_idle_machines_of_an_older_template_are_replaced_from_the_reserve_first() -> None:
    world = a_reserve(2, min_idle=2)
    for n in (7, 8):
        world.fleet.apply(None, a_machine(f"w{n}", template="template-0", port=9300 + n), Cause.ADOPTED, world.now)
    world.tick()
    assert world.in_state(STARTING) == ["w1", "w2"]


def test_a_pool_that_vanishes_lets_its_reserve_go() -> None:
    world = a_reserve(2)
    world.pool.parks_since = world.pool.too_many_parked_since = world.now
    world.spec = several(other={})
    world.now += 1.0
    world.resize()
    assert world.watch("w1").since == world.now
    assert (world.in_state(STOPPING), world["w1"].reason) == (["w1", "w2"], reasons.UNKNOWN_POOL)
    assert world.pool.parks_since is None
    assert world.pool.too_many_parked_since is None


# room


def test_parked_machines_hold_their_places_and_go_for_projects_of_other_pools_before_idle_ones() -> None:
    machines = [parked("w1", pool="a"), a_machine("w2", pool="a", port=9200), parked("w3", pool="a", port=9300)]
    world = World(spec=several(max_machines=3, a={"parked": 2}, b={}), fleet=a_fleet(*machines, now=1000.0))
    world.assign("p", "b")
    world.resize()
    assert (world.in_state(STOPPING), world["w1"].reason) == (["w1"], reasons.DISPLACED)
    world.resize()
    assert world.in_state(STOPPING) == ["w1"], "one for each project"


def test_no_parked_machine_goes_for_a_project_of_its_own_pool() -> None:
    world = a_reserve(1, is_known=False, max_machines=1)
    world.assign("p")
    world.resize()
    assert world["w1"].state is PARKED


def test_a_parked_machine_goes_for_one_that_wakes_where_only_so_many_may_be_awake() -> None:
    asleep = a_machine("w9", State.SLEEPING, project="p", port=9300, reason=reasons.asleep(reasons.falling_asleep("x")))
    world = World(
        spec=a_spec(max_awake=2, min_idle=1, parked=1), fleet=a_fleet(parked(), a_machine("w2", port=9200), asleep)
    )
    world.assign("p")
    world.resize()
    assert (world["w1"].reason, world["w2"].state) == (reasons.DISPLACED_BY_WAKER, READY)


def test_idle_machines_that_are_about_to_be_parked_are_not_too_many() -> None:
    world = up(3, min_idle=1, max_idle=1, parked=2)
    after(world, 0.0)
    assert world.in_state(READY) == ["m1", "m2", "m3"]
    after(world, 2.0)
    assert world.in_state(PARKED) == ["m2", "m3"]


def test_idle_machines_beyond_the_reserve_are_too_many() -> None:
    world = up(3, min_idle=1, max_idle=1, parked=1)
    world.tick()
    assert world.in_state(STOPPING) == ["m1"]


def test_what_windows_left_is_parked_before_it_is_shed() -> None:
    world = up(3, min_idle=1, parked=1)
    world.pool.shed_since = world.now - 1000.0
    world.tick()
    assert len(world.in_state(STOPPING)) == 1


def test_what_windows_left_is_shed_where_the_reserve_is_full() -> None:
    world = a_reserve(1, min_idle=1)
    for _ in range(3):
        world.up()
    world.pool.shed_since = world.now - 1000.0
    world.tick()
    assert len(world.in_state(STOPPING)) == 2


def test_the_room_for_idle_machines_is_not_taken_by_the_reserve() -> None:
    world = World(spec=several(max_machines=3, a={"parked": 3}, b={"min_idle": 2}))
    world.resize()
    assert sorted(world[one].pool for one in world.in_state(STARTING)) == ["a", "b", "b"]


def test_the_room_for_what_spare_wants_is_not_taken_by_the_reserve() -> None:
    held = [a_machine(f"p{n}", port=9300 + n, project=f"p{n}", pool="b") for n in range(2)]
    spec = several(max_machines=4, a={"parked": 3}, b={"spare": 1.0})
    world = World(spec=spec, fleet=a_fleet(*held, a_machine("w1", pool="b")))
    world.resize()
    assert [world[one].pool for one in world.in_state(STARTING)] == ["b"]


def test_idle_machines_and_the_reserve_together_keep_to_the_limit_of_their_pool() -> None:
    held = [a_machine(f"p{n}", port=9300 + n, project=f"p{n}") for n in range(2)]
    world = World(spec=a_spec(max_machines=100, min_idle=1, parked=2), fleet=a_fleet(*held))
    world.wants(max_machines=4)
    world.resize()
    assert len(world.in_state(STARTING)) == 2


def test_the_reserve_comes_before_replacements() -> None:
    old = a_machine("w1", template="template-0", pool="a")
    spec = several(max_machines=2, a={"min_idle": 1}, b={"parked": 1})
    world = World(spec=spec, fleet=a_fleet(old))
    world.resize()
    assert [world[one].pool for one in world.in_state(STARTING)] == ["b"]


def test_a_parked_machine_is_put_in_order_by_how_long_it_is_parked() -> None:
    world = a_reserve(2, min_idle=1)
    assert list(world.fleet.parked(DEFAULT_POOL, OLD)) == ["w1", "w2"]
    assert list(world.fleet.all_parked(DEFAULT_POOL)) == ["w1", "w2"]
    assert list(world.fleet.stale_parked(DEFAULT_POOL, NEW)) == ["w1", "w2"]
    assert list(world.fleet.stale_parked(DEFAULT_POOL, OLD)) == []
    assert list(world.fleet.all_parked("nowhere")) == []


def test_a_create_of_a_machine_that_is_to_go_on_is_never_due() -> None:
    world = a_reserve(min_idle=1)
    world.resize()
    world.remove("w1")
    plan = world.tick(busy={"w1"})
    assert [one for one in plan.actions if isinstance(one, Create) and one.machine_id == "w1"] == []
    assert Snapshot(0.0, {"w1": an_instance()}).instances["w1"].is_cut_off is False
