"""The end of an assignment is announced beforehand: when, how often, and when it is not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import World, a_fleet, a_machine, a_spec, an_instance, assert_indexes_hold, several

from worker_orchestrator.core import commands, expiry
from worker_orchestrator.core.expiry import AILING_S
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.lease import (
    SPARED_S,
    Announcement,
    Ending,
    EndsBy,
    Lease,
    OnExpiry,
    Quiet,
    Terms,
    certain_ending,
    lead_s,
    unannounced_ending,
)
from worker_orchestrator.core.machine import Cause, Holding

TTL = Terms(ttl=200)
EXPIRING, EXPIRED = Cause.EXPIRING, Cause.EXPIRED


def assigned(terms: Terms = TTL, *, warn_before_s: float = 60, **pool: Any) -> World:
    """Project p has machine m1 since 1000, and everything so far is stored."""
    world = World(spec=a_spec(terms=terms, warn_before_s=warn_before_s, **pool))
    world.up()
    world.assign("p")
    world.tick()
    world.fleet.take_pending()
    return world


def told(world: World, seconds: float) -> list[Cause]:
    """What a tick so many seconds after the start of the world changes of the machine."""
    world.now = 1000.0 + seconds
    world.tick()
    return [change.cause for change in world.fleet.take_pending() if change.machine.id in {"m1", "w1"}]


def read(world: World, seconds: float, *, is_active: bool = False) -> None:
    world.now = 1000.0 + seconds
    expiry.note_reading(world.fleet, "m1", world["m1"].generation, world.now, is_active=is_active)
    world.fleet.take_pending()


def test_the_end_is_announced_once_and_then_comes() -> None:
    world = assigned()
    assert told(world, 139.9) == []
    assert world.tick().wake_at == 1140
    world.now = 1140
    world.tick()
    (change,) = world.fleet.take_pending()
    assert (change.cause, change.deadline) == (EXPIRING, EndsBy.TTL)
    assert change.before is not None
    assert change.after == replace(change.before, holding=change.machine.holding), "nothing else changes"
    assert change.announced == change.machine.lease.announced == Announcement(1140, 1200, EndsBy.TTL)  # type: ignore[union-attr]
    assert change.reason == "It expires in 1 min, unless its project asks for it or keeps it."
    assert world.tick().wake_at == 1200
    assert told(world, 199.9) == []
    assert told(world, 200) == [EXPIRED]
    assert_indexes_hold(world.fleet)


def test_another_change_announces_nothing_and_has_the_reason_of_its_machine() -> None:
    world = assigned()
    told(world, 140)
    commands.annotate(world.fleet, world["m1"], '{"a":"b"}', world.now)
    world.release("m1")
    for change in world.fleet.take_pending():
        assert change.announced is None
        assert change.reason == change.machine.reason
    free = World()
    free.up()
    assert free.last_change().announced is None


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (Terms(max_age=200), "It expires in 1 min, when it reaches its max_age."),
        (Terms(idle_timeout=200), "It expires in 1 min, unless its project uses it."),
        (Terms(confirm_within=200), "It expires in 1 min, unless its project uses it for the first time."),
    ],
)
def test_the_reason_says_what_would_put_it_off(terms: Terms, reason: str) -> None:
    world = assigned(terms)
    read(world, 0)
    world.now = 1140
    world.tick()
    assert world.last_change().reason == reason


def test_the_reason_tells_no_fractions_of_seconds() -> None:
    world = assigned()
    world.now = 1140.02
    world.tick()
    assert world.last_change().reason.startswith("It expires in 1 min, ")


@pytest.mark.parametrize("warn_before_s", [60, 1000])
def test_a_short_deadline_is_announced_half_way(warn_before_s: float) -> None:
    """Else a client that keeps its machine in time would be warned again and again."""
    world = assigned(Terms(ttl=30), warn_before_s=warn_before_s)
    assert told(world, 14.9) == []
    assert told(world, 15) == [EXPIRING]


def test_the_lead_is_that_of_the_deadline_which_comes_first() -> None:
    lease = Lease(Terms(ttl=100, max_age=1000), 0, 0)
    assert (lead_s(lease, EndsBy.TTL, 60), lead_s(lease, EndsBy.MAX_AGE, 60)) == (50, 60)


def test_where_nobody_wants_to_be_warned_nobody_is() -> None:
    world = assigned(warn_before_s=0)
    assert world.fleet.warnings.first() is None
    assert told(world, 199) == []
    assert told(world, 200) == [EXPIRED]


def test_before_the_settings_are_known_nobody_is_to_be_warned() -> None:
    machine = a_machine(holding=Holding("p", lease=Lease(TTL, 1000, 1000)), generation=1)
    assert a_fleet(machine).warnings.first() is None


def test_a_deadline_may_pass_when_the_clock_has_just_begun() -> None:
    world = World(spec=a_spec(terms=Terms(ttl=0.5)), now=0.0)
    world.up()
    world.assign("p")
    world.now = 0.5
    world.tick()
    assert world.last_change().cause is EXPIRED


def test_other_settings_hold_at_once() -> None:
    world = assigned(warn_before_s=0)
    world.wants(warn_before_s=100)
    assert told(world, 99) == []
    world.wants(warn_before_s=0)
    assert told(world, 110) == []
    world.wants(warn_before_s=50)
    assert told(world, 120) == []
    assert told(world, 150) == [EXPIRING]


def test_each_pool_has_its_own_time() -> None:
    wanted = {"terms": TTL, "warn_before_s": 60}
    world = World(
        spec=several(default=wanted, slow={**wanted, "warn_before_s": 90}, silent={**wanted, "warn_before_s": 0})
    )
    machines = [
        a_machine(
            f"w{number}", pool=name, port=9000 + number, holding=Holding(name, "", Lease(TTL, 1000, 1000)), generation=1
        )
        for number, name in enumerate(("default", "slow", "silent", "gone"))
    ]
    world.fleet.load(machines, (), world.now)
    world.instances = {one.id: an_instance(one.id, pool=one.pool) for one in machines}
    warned = {}
    for after_s in range(201):
        world.now = 1000.0 + after_s
        world.tick()
        for change in world.fleet.take_pending():
            if change.cause is EXPIRING:
                warned[change.machine.pool] = after_s
    assert warned == {"default": 140, "slow": 110}


def test_a_pool_that_the_settings_name_no_more_warns_as_it_did() -> None:
    world = assigned(warn_before_s=60)
    retired = world.spec.retired_by((), {"default"})
    assert retired["default"].warn_before_s == 60
    world.spec = replace(world.spec, pools={}, retired=retired)
    assert told(world, 139.9) == []
    assert told(world, 140) == [EXPIRING]


# what puts it off


def test_what_is_kept_is_announced_anew() -> None:
    world = assigned()
    assert told(world, 140) == [EXPIRING]
    world.now = 1180
    expiry.keep(world.fleet, world["m1"], world.now)
    assert world["m1"].lease == Lease(TTL, 1000, 1180, is_used=True)
    assert told(world, 319) == [Cause.KEPT]
    assert told(world, 320) == [EXPIRING]
    assert told(world, 380) == [EXPIRED]


def test_with_other_terms_it_is_announced_anew_only_where_it_ends_later() -> None:
    world = assigned()
    told(world, 140)
    expiry.set_terms(world.fleet, world["m1"], Terms(ttl=190), world.now)
    assert told(world, 150) == [Cause.KEPT]
    expiry.set_terms(world.fleet, world["m1"], Terms(ttl=300), world.now)
    assert told(world, 239) == [Cause.KEPT]
    assert told(world, 240) == [EXPIRING]


def test_silence_is_announced_only_where_it_is_watched() -> None:
    world = assigned(Terms(idle_timeout=200))
    assert told(world, 190) == []
    read(world, 200)
    assert told(world, 339) == []
    assert told(world, 340) == [EXPIRING]
    read(world, 400)
    assert told(world, 400) == [EXPIRED]


def test_what_was_used_after_its_warning_is_warned_before_the_next_end() -> None:
    world = assigned(Terms(idle_timeout=200))
    read(world, 0)
    assert told(world, 140) == [EXPIRING]
    read(world, 150, is_active=True)
    assert told(world, 289) == []
    assert told(world, 290) == [EXPIRING]


def test_silence_that_lasted_longer_than_foreseen_is_announced_once() -> None:
    world = assigned(Terms(idle_timeout=200))
    read(world, 0)
    assert told(world, 250) == [EXPIRING]
    assert world["m1"].lease is not None
    assert world["m1"].lease.announced == Announcement(1250, 1250, EndsBy.IDLE_TIMEOUT)
    assert told(world, 260) == []


def test_an_ending_that_was_announced_is_none_any_more() -> None:
    lease = Lease(TTL, 0, 0)
    certain = certain_ending(lease, Quiet())
    assert unannounced_ending(lease, Quiet(), certain) == Ending(200, EndsBy.TTL)
    for ends_at, is_told in ((199, False), (200, True), (201, True)):
        after = replace(lease, announced=Announcement(140, ends_at, EndsBy.TTL))
        assert (unannounced_ending(after, Quiet(), certain) is None) is is_told
    assert unannounced_ending(Lease(Terms(idle_timeout=9), 0, 0), Quiet(), None) is None


def test_what_was_confirmed_has_no_end_to_announce() -> None:
    world = assigned(Terms(confirm_within=100))
    read(world, 0)
    expiry.note_use(world.fleet, "m1", 1001)
    assert expiry.expected_end(world.fleet, world["m1"]) is None
    assert world.fleet.warnings.first() is None


def test_what_was_released_is_not_announced() -> None:
    world = assigned()
    world.release("m1")
    assert world.fleet.warnings.first() is None
    assert EXPIRING not in told(world, 150)


def test_a_machine_whose_container_vanished_has_no_warning_left() -> None:
    world = assigned()
    world.remove("m1")
    told(world, 5)
    world.assign("p")
    assert world.fleet.warnings.first() is None


# when nothing is announced


@pytest.mark.parametrize(
    ("left_s", "expected"), [(-100, [EXPIRED]), (30, [EXPIRED]), (SPARED_S + 30, [EXPIRING]), (SPARED_S + 70, [])]
)
def test_in_the_minute_after_a_start_nothing_is_announced(left_s: float, expected: list[Cause]) -> None:
    """What is due at its end expires without: its client had a minute to keep it."""
    lease = Lease(TTL, 1000, 1000 + left_s - 200)
    fleet = a_fleet(a_machine(holding=Holding("p", lease=lease), generation=1), now=1000.0)
    world = World(spec=a_spec(terms=TTL, warn_before_s=60), fleet=fleet)
    world.fleet.nothing_expires_before = 1000 + SPARED_S
    assert told(world, 0) == []
    assert world.tick().wake_at in {1000 + SPARED_S, 1070.0}
    assert told(world, SPARED_S - 0.1) == []
    assert told(world, SPARED_S) == expected


def test_a_restart_does_not_announce_again() -> None:
    world = assigned()
    told(world, 140)
    again = World(spec=world.spec, fleet=a_fleet(world["m1"], now=1150.0))
    assert told(again, 150) == []
    assert told(again, 200) == [EXPIRED]


def test_one_that_failed_is_announced_once_it_is_back() -> None:
    world = assigned(Terms(ttl=30))
    world.instance("m1", Status.EXITED)
    told(world, 5)
    assert EXPIRING not in told(world, 20)
    world.instance("m1")
    world.restarted("m1")
    world.now = 1025
    world.answer("m1")
    assert EXPIRING not in told(world, 25 + SPARED_S - 15.1)
    assert told(world, 25 + SPARED_S - 15) == [EXPIRING]
    assert world["m1"].lease is not None
    assert world["m1"].lease.announced == Announcement(1070, 1085, EndsBy.TTL)
    assert told(world, 25 + SPARED_S) == [EXPIRED]


def test_one_that_is_paused_is_announced_once_it_can_serve() -> None:
    world = assigned()
    world.instance("m1", Status.PAUSED, trouble="It is paused.")
    told(world, 5)
    assert told(world, 140) == []
    world.instance("m1")
    told(world, 141)
    assert told(world, 140 + AILING_S) == [EXPIRING]


def test_what_could_not_be_stored_is_announced_at_the_next_look() -> None:
    world = assigned()
    world.now = 1140
    world.tick()
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world["m1"].lease == Lease(TTL, 1000, 1000)
    assert told(world, 141) == [EXPIRING]


def test_the_end_of_what_sleeps_is_announced_as_well() -> None:
    """With it the files are gone."""
    world = assigned(Terms(ttl=100, max_age=1000), on_expiry=OnExpiry.SLEEP)
    assert told(world, 50) == [EXPIRING]
    assert told(world, 100) == [Cause.SLEPT]
    world.instance("m1", Status.EXITED)
    assert told(world, 101) == [Cause.ASLEEP]
    assert told(world, 939) == []
    assert told(world, 940) == [EXPIRING]
    assert told(world, 941) == []
    assert told(world, 1000) == [EXPIRED]


def test_of_what_silence_put_to_sleep_only_the_age_is_announced() -> None:
    world = assigned(Terms(idle_timeout=100, max_age=1000), on_expiry=OnExpiry.SLEEP)
    read(world, 0)
    read(world, 100)
    told(world, 100)
    world.instance("m1", Status.EXITED)
    assert told(world, 101) == [Cause.ASLEEP]
    assert world.fleet.warnings.first() == 1940
    assert told(world, 940) == [EXPIRING]
    lease = world["m1"].lease
    assert lease is not None
    assert lease.announced == Announcement(1940, 2000, EndsBy.MAX_AGE)
