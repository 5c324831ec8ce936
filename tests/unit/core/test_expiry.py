"""Deadlines of assignments: who is kept, who expires, and when nothing does."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import World, a_fleet, a_machine, a_spec, assert_indexes_hold

from worker_orchestrator.core import commands, expiry
from worker_orchestrator.core.action import Destroy
from worker_orchestrator.core.due_actions import follow_up
from worker_orchestrator.core.expiry import AILING_S, FRESH_S, LATE_S
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.lease import SPARED_S, EndsBy, Lease, OnExpiry, Terms
from worker_orchestrator.core.machine import Cause, Holding, State
from worker_orchestrator.core.refusals import insist_on_terms
from worker_orchestrator.errors import InvalidInput

READY, STARTING, STOPPING, FAILED = State.READY, State.STARTING, State.STOPPING, State.FAILED
TERMS = Terms(ttl=10)


def a_world(terms: Terms = TERMS, **pool: Any) -> World:
    """A pool with these terms, and one idle machine."""
    world = World(spec=a_spec(terms=terms or None, **pool))
    world.up()
    return world


def assigned(terms: Terms = TERMS, **pool: Any) -> World:
    """Project p has machine m1, and everything so far is stored."""
    world = a_world(terms, **pool)
    world.assign("p")
    world.fleet.take_pending()
    return world


def at(world: World, seconds: float) -> World:
    """So many seconds after the start of the world a tick comes."""
    world.now = 1000.0 + seconds
    world.tick()
    return world


def read(world: World, seconds: float, *, is_active: bool | None = False) -> None:
    """A reading of m1 is taken then."""
    world.now = 1000.0 + seconds
    expiry.note_reading(world.fleet, "m1", world["m1"].generation, world.now, is_active=is_active)


def keep(world: World, terms: Terms = Terms()) -> None:  # noqa: B008 # it never changes
    expiry.keep(world.fleet, world["m1"], world.now, terms)


def test_without_terms_an_assignment_has_no_lease() -> None:
    world = assigned(Terms())
    assert world["m1"].lease is None
    assert not world.fleet.leased
    assert world["m1"].project == at(world, 1e6)["m1"].project == "p"
    keep(world)
    assert not world.fleet.pending, "nothing is to be kept"


def test_an_assignment_has_the_terms_of_its_pool() -> None:
    world = assigned()
    assert world["m1"].lease == Lease(TERMS, 1000, 1000)
    assert world.fleet.leased == {"m1"}
    assert_indexes_hold(world.fleet)


def test_an_assignment_ends_when_its_time_is_over_and_not_before() -> None:
    world = assigned()
    assert at(world, 9.99)["m1"].state is READY
    plan = world.tick()
    assert plan.wake_at == 1010
    world.now = 1010
    world.tick()
    machine = world["m1"]
    assert (machine.state, machine.project, machine.lease) == (STOPPING, None, None)
    assert machine.reason == "Its project had not asked for it for 10 s."
    (change,) = [one for one in world.fleet.pending if one.machine.id == "m1"]
    assert (change.cause, change.deadline) == (Cause.EXPIRED, EndsBy.TTL)
    assert follow_up(world.fleet, change, world.now) == Destroy("m1", gently=True, pool="default")
    assert_indexes_hold(world.fleet)


def test_where_the_operator_wants_that_its_worker_gets_no_time_to_stop() -> None:
    world = at(assigned(on_expiry=OnExpiry.DESTROY), 10)
    assert world.fleet.hurried == ["m1"]
    assert at(assigned(), 10).fleet.hurried == []


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (Terms(ttl=5400), "Its project had not asked for it for 90 min."),
        (Terms(max_age=172_800), "Its project had it for 2 d, which is its max_age."),
        (Terms(max_age=3600), "Its project had it for 1 h, which is its max_age."),
        (Terms(ttl=90), "Its project had not asked for it for 90 s."),
    ],
)
def test_the_reason_names_the_deadline_as_people_say_it(terms: Terms, reason: str) -> None:
    assert at(assigned(terms), 200_000)["m1"].reason == reason


# keeping


def test_asking_again_begins_a_ttl_anew() -> None:
    world = assigned()
    world.now = 1009
    assert world.assign("p") == "m1"
    assert [change.cause for change in world.fleet.pending] == [Cause.KEPT]
    assert at(world, 18.9)["m1"].state is READY
    assert at(world, 19)["m1"].state is STOPPING


def test_being_kept_does_not_put_off_a_max_age() -> None:
    world = assigned(Terms(ttl=10, max_age=15))
    world.now = 1009
    keep(world)
    assert at(world, 14.9)["m1"].state is READY
    assert at(world, 15)["m1"].reason == "Its project had it for 15 s, which is its max_age."


def test_a_project_may_ask_for_other_deadlines() -> None:
    world = assigned()
    keep(world, Terms(ttl=100))
    assert at(world, 99)["m1"].lease == Lease(Terms(ttl=100), 1000, 1000, is_used=True)
    keep(world, Terms(ttl=0))
    assert world["m1"].lease is None
    assert at(world, 1e6)["m1"].state is READY
    keep(world, Terms(ttl=5))
    assert at(world, 1e6 + 5)["m1"].state is STOPPING


def test_terms_that_are_set_with_an_assignment_are_no_use_of_it() -> None:
    world = assigned(Terms())
    machine = expiry.set_terms(world.fleet, world["m1"], Terms(confirm_within=5), world.now)
    assert machine.lease == Lease(Terms(confirm_within=5), 1000, 1000)
    assert expiry.set_terms(world.fleet, machine, Terms(confirm_within=5), world.now) is machine
    assert expiry.set_terms(world.fleet, machine, Terms(confirm_within=0), world.now).lease is None


@pytest.mark.parametrize("on_expiry", list(OnExpiry))
def test_the_first_deadlines_begin_when_they_are_asked_for_and_end_as_the_operator_wants(on_expiry: OnExpiry) -> None:
    """The caller knows what that is: the assignment had no deadline, so it has no note of it."""
    terms = Terms(ttl=50, max_age=90)
    for ask, is_used in ((expiry.keep, True), (expiry.set_terms, False)):
        world = assigned(Terms())
        world.now = 1007
        if ask is expiry.keep:
            machine = expiry.keep(world.fleet, world["m1"], world.now, terms, on_expiry)
        else:
            machine = expiry.set_terms(world.fleet, world["m1"], terms, world.now, on_expiry)
        assert machine.lease == Lease(terms, 1007, 1007, is_used=is_used, on_expiry=on_expiry)


def test_what_its_container_said_last_goes_with_the_assignment() -> None:
    lease = Lease(TERMS, 1000, 1000)
    machine = a_machine(holding=Holding("p", lease=lease), generation=1, evidence="it hurts")
    world = at(World(spec=a_spec(terms=TERMS), fleet=a_fleet(machine, now=1000.0)), 10)
    assert (world["w1"].state, world["w1"].evidence) == (STOPPING, "")
    assert world.watch("w1").since == 1010


def test_a_requested_restart_is_a_sign_of_its_project() -> None:
    world = assigned()
    world.now = 1009
    commands.restart(world.fleet, world["m1"], world.now)
    assert world["m1"].lease == Lease(TERMS, 1000, 1009, is_used=True)


def test_no_project_keeps_a_machine_for_longer_than_the_operator_lets_it() -> None:
    spec = a_spec(terms=Terms(ttl=10, max_age=100))
    insist_on_terms(spec, "default", Terms(ttl=1000, max_age=100))
    for more, told in ((101, "101 seconds"), (0, "0, which is no limit")):
        with pytest.raises(
            InvalidInput, match=f"^max_age is {told}, but the pool default lets nobody have a machine for more"
        ):
            insist_on_terms(spec, "default", Terms(max_age=more))
    insist_on_terms(a_spec(), "default", Terms(max_age=1e9))


@pytest.mark.parametrize("terms", [Terms(idle_timeout=9), Terms(confirm_within=9)])
def test_deadlines_of_use_are_refused_where_use_cannot_be_seen(terms: Terms) -> None:
    """Else they would never pass, and nobody would know."""
    insist_on_terms(a_spec(), "default", terms)
    blind = replace(a_spec(), sees_use=False)
    with pytest.raises(InvalidInput, match="cannot tell whether a machine is used"):
        insist_on_terms(blind, "default", terms)
    insist_on_terms(blind, "default", Terms(ttl=9, max_age=9, idle_timeout=0, confirm_within=0))


# silence


def test_what_is_not_read_does_not_expire_for_silence() -> None:
    world = at(assigned(Terms(idle_timeout=20)), 10_000)
    assert world["m1"].state is READY
    read(world, 10_000)
    assert at(world, 10_019)["m1"].state is READY
    read(world, 10_020)
    assert world.tick().wake_at is None or world["m1"].state is STOPPING
    assert world["m1"].reason == "Its project had not used it for 20 s."


@pytest.mark.parametrize("is_active", [True, None])
def test_use_and_ignorance_begin_the_silence_anew(is_active: bool | None) -> None:  # noqa: FBT001 # a case
    world = assigned(Terms(idle_timeout=20))
    read(world, 0)
    read(world, 19, is_active=is_active)
    read(world, 25)
    assert at(world, 38)["m1"].state is READY
    read(world, 38.9)
    assert at(world, 39)["m1"].state is READY


def test_what_the_service_sees_itself_is_use() -> None:
    world = assigned(Terms(idle_timeout=20))
    read(world, 0)
    world.now = 1015
    expiry.note_use(world.fleet, "m1", world.now)
    read(world, 34)
    assert at(world, 34)["m1"].state is READY
    read(world, 35)
    assert at(world, 35)["m1"].state is STOPPING


@pytest.mark.parametrize("how", ["read", "seen", "kept", "asked"])
def test_an_assignment_that_nobody_used_goes_back(how: str) -> None:
    world = assigned(Terms(confirm_within=20))
    read(world, 0)
    if how == "read":
        read(world, 5, is_active=True)
        read(world, 6, is_active=True)
    elif how == "seen":
        expiry.note_use(world.fleet, "m1", 1005)
    elif how == "kept":
        keep(world)
    else:
        world.assign("p")
    assert [change.cause for change in world.fleet.pending] == [Cause.KEPT], "it is stored, and once"
    read(world, 30)
    assert at(world, 30)["m1"].state is READY
    assert expiry.expected_end(world.fleet, world["m1"]) is None
    unused = assigned(Terms(confirm_within=20))
    read(unused, 0)
    read(unused, 20)
    assert at(unused, 20)["m1"].reason == "Its project did not use it at all within 20 s."


def test_a_reading_of_an_earlier_assignment_says_nothing_of_this_one() -> None:
    world = assigned(Terms(idle_timeout=20))
    expiry.note_reading(world.fleet, "m1", world["m1"].generation - 1, 1000, is_active=False)
    read(world, 20)
    assert at(world, 20)["m1"].state is READY
    expiry.note_reading(world.fleet, "m9", 1, 1000, is_active=False)
    expiry.note_use(world.fleet, "m9", 1000)
    assert expiry.expected_end(world.fleet, world["m1"]) is not None


def test_the_next_assignment_begins_with_no_silence() -> None:
    world = assigned(Terms(idle_timeout=20))
    read(world, 0)
    read(world, 19)
    world.release("m1")
    assert not world.fleet.leased
    assert world.fleet.timers.first() is None
    world.answer("m1")
    world.assign("q")
    read(world, 21)
    assert at(world, 21)["m1"].project == "q"


# what waits


def test_one_that_failed_waits_for_its_project() -> None:
    world = assigned()
    world.instance("m1", Status.EXITED)
    at(world, 5)
    assert world["m1"].state is STARTING
    assert at(world, 20)["m1"].project == "p"
    world.instance("m1")
    world.restarted("m1")
    world.now = 1030
    world.answer("m1")
    assert world["m1"].state is READY
    end = expiry.expected_end(world.fleet, world["m1"])
    assert end is not None
    assert end.at == 1030 + SPARED_S
    assert at(world, 30 + SPARED_S - 0.1)["m1"].state is READY, "its client may keep it first"
    assert at(world, 30 + SPARED_S)["m1"].state is STOPPING


def test_what_its_last_project_was_spared_is_not_for_the_next_one() -> None:
    world = assigned()
    world.instance("m1", Status.EXITED)
    at(world, 5)
    world.instance("m1")
    world.restarted("m1")
    world.answer("m1")
    world.release("m1")
    world.assign("q")
    assert at(world, 15)["m1"].state is STOPPING


def test_one_that_is_paused_waits_for_its_project() -> None:
    world = assigned()
    world.instance("m1", Status.PAUSED, trouble="It is paused.")
    at(world, 5)
    assert at(world, 20)["m1"].state is READY
    world.instance("m1")
    assert at(world, 20.5)["m1"].state is READY
    assert at(world, 20.6)["m1"].state is READY
    assert at(world, 20 + AILING_S)["m1"].state is STOPPING


def test_a_machine_whose_container_vanished_has_no_timer_left() -> None:
    world = assigned()
    world.remove("m1")
    at(world, 5)
    assert (world["m1"].state, world["m1"].gone) == (FAILED, True)
    at(world, 30)
    world.assign("p")
    assert not world.fleet.leased
    assert world.fleet.timers.first() is None


# the clock


def test_after_a_start_nothing_expires_for_a_minute() -> None:
    """And what was due meanwhile comes once it is over."""
    machine = a_machine(holding=Holding("p", lease=Lease(TERMS, 1, 1)), generation=1)
    world = World(spec=a_spec(terms=TERMS), fleet=a_fleet(machine, now=1000.0))
    world.fleet.nothing_expires_before = 1000 + SPARED_S
    end = expiry.expected_end(world.fleet, world["w1"])
    assert end is not None
    assert (end.at, end.by) == (1000 + SPARED_S, EndsBy.TTL)
    assert at(world, SPARED_S - 0.1)["w1"].state is READY
    assert world.tick().wake_at == 1000 + SPARED_S
    assert at(world, SPARED_S)["w1"].state is STOPPING


@pytest.mark.parametrize("slept", [True, False])
def test_after_a_wake_nothing_expires_for_a_minute(slept: bool) -> None:  # noqa: FBT001 # a case
    """Whether the computer slept, which only the lease clock shows, or this process was stopped."""
    world, asleep_s = assigned(), 600.0
    world.now = 1001 if slept else 1000 + asleep_s
    expiry.put_clock(world.fleet, asleep_s if slept else 0.0, world.now, looked_at=1000)
    woke = world.now - 1000
    assert at(world, woke + SPARED_S - 0.1)["m1"].state is READY
    assert at(world, woke + SPARED_S)["m1"].state is STOPPING


def test_a_look_that_comes_a_little_late_is_no_wake() -> None:
    world = assigned()
    expiry.put_clock(world.fleet, 0.0, 1000 + LATE_S, looked_at=1000)
    assert at(world, 10)["m1"].state is STOPPING


def test_the_time_that_the_computer_slept_counts() -> None:
    world = assigned()
    expiry.put_clock(world.fleet, 4.0, 1001, looked_at=1000)
    end = expiry.expected_end(world.fleet, world["m1"])
    assert end is not None
    assert end.at == 1006
    assert world.tick().wake_at == 1006
    expiry.put_clock(world.fleet, 3.9, 1001, looked_at=1001)
    assert world.fleet.lease_offset == 4.0, "it never goes back"
    assert at(world, 6)["m1"].state is STOPPING


# what could not be stored


def test_what_could_not_be_stored_is_taken_back_with_its_timer() -> None:
    world = at(assigned(), 10)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world["m1"].project == "p"
    assert world.fleet.timers.first() == 1010
    assert_indexes_hold(world.fleet)
    world.now = 1011
    keep(world)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.fleet.timers.first() == 1010


def test_annotations_keep_the_lease() -> None:
    world = assigned()
    commands.annotate(world.fleet, world["m1"], '{"a":"b"}', world.now)
    assert world["m1"].lease == Lease(TERMS, 1000, 1000)
    assert replace(world["m1"], holding=None).lease is None


def test_a_machine_without_a_lease_is_not_expected_to_end() -> None:
    world = assigned(Terms())
    assert expiry.expected_end(world.fleet, world["m1"]) is None


def test_silence_that_was_read_long_ago_is_read_anew() -> None:
    """While the engine was away, somebody may have used it."""
    world = assigned(Terms(idle_timeout=20))
    read(world, 0)
    read(world, 20)
    assert at(world, 20 + FRESH_S + 1)["m1"].state is READY
    read(world, 30)
    assert at(world, 30)["m1"].state is READY
    read(world, 50)
    assert at(world, 50)["m1"].state is STOPPING


def test_silence_that_was_read_a_moment_ago_counts() -> None:
    world = assigned(Terms(idle_timeout=20))
    read(world, 0)
    read(world, 20)
    assert at(world, 20 + FRESH_S)["m1"].state is STOPPING


@pytest.mark.parametrize("why", ["stale", "starting"])
def test_one_that_does_not_expire_yet_keeps_no_other_from_that(why: str) -> None:
    """Both are looked at in the same tick, the one that stays first."""
    world = assigned(Terms(idle_timeout=20) if why == "stale" else Terms(ttl=20))
    read(world, 0)
    if why == "stale":
        read(world, 20)
    else:
        world.instance("m1", Status.EXITED)
        assert at(world, 10)["m1"].state is STARTING
    lease = Lease(Terms(ttl=1), 1000, 1024)
    other = a_machine("w2", port=9999, generation=9, holding=Holding("q", lease=lease))
    world.fleet.apply(None, replace(other, holding=None), Cause.ADOPTED, world.now)
    world.fleet.apply(world["w2"], other, Cause.ASSIGNED, world.now)
    world.now = 1030
    expiry.expire(world.fleet, world.now)
    assert (world["m1"].project, world["w2"].project) == ("p", None)


def test_a_use_that_could_not_be_stored_is_noted_again() -> None:
    world = assigned(Terms(confirm_within=20))
    read(world, 0)
    expiry.note_use(world.fleet, "m1", 1005)
    world.fleet.undo(world.fleet.take_pending(), 1005)
    lease = world["m1"].lease
    assert lease is not None
    assert not lease.is_used
    assert expiry.expected_end(world.fleet, world["m1"]) is None
    read(world, 10)
    assert [change.cause for change in world.fleet.pending] == [Cause.KEPT]
    read(world, 40)
    assert at(world, 40)["m1"].state is READY
