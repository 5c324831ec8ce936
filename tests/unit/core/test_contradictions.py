"""What must never be is noticed at once, before it does harm, and said in words that name the machine and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from tests.unit.core.build import World, a_fleet, a_machine, a_spec

from worker_orchestrator.core import expiry, room, sleep, windows
from worker_orchestrator.core.lease import Announcement, EndsBy, Lease, Terms
from worker_orchestrator.core.machine import Holding, Machine
from worker_orchestrator.core.windows import Window


def with_lease(terms: Terms, announced: Announcement | None = None) -> World:
    """Project p has w1 since 1000 on these terms."""
    lease = Lease(terms, 1000, 1000, announced=announced)
    return World(spec=a_spec(), fleet=a_fleet(a_machine(holding=Holding("p", lease=lease), generation=1), now=1000.0))


def of(machine: Machine) -> World:
    return World(spec=a_spec(), fleet=a_fleet(machine, now=1000.0))


FREE, NO_LEASE = a_machine(), a_machine(project="p", generation=1)


# deadlines


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda world: expiry.keep(world.fleet, FREE, world.now), "w1: no project has it, so nobody keeps it"),
        (
            lambda world: expiry.set_terms(world.fleet, FREE, Terms(ttl=1), world.now),
            "w1: no project has it, so it has no deadlines",
        ),
        (lambda world: world.fleet.quiet("w1"), "w1 has no lease, so nobody watches its use"),
        (lambda world: world.fleet.set_timer(FREE), "w1 has no lease, so it has no deadline"),
        (
            lambda world: sleep.wake_or_wait(world.fleet, world.spec, FREE, world.now),
            "w1: no project has it, so it does not sleep",
        ),
    ],
)
def test_nothing_is_asked_of_a_lease_that_is_not_there(ask: Callable[[World], object], words: str) -> None:
    world = of(FREE)
    with pytest.raises(AssertionError, match=f"^{words}$"):
        ask(world)
    assert world.fleet.pending == []


def test_with_the_assignment_ends_what_is_known_of_its_use() -> None:
    world = with_lease(Terms(ttl=10))
    assert world.fleet.quiet("w1").active_at == 1000
    world.release("w1")
    with pytest.raises(AssertionError, match=r"^w1 has no lease, so nobody watches its use$"):
        world.fleet.quiet("w1")


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (of(NO_LEASE), "w1 has a timer, but no lease"),
        (with_lease(Terms(idle_timeout=5)), "w1 has a timer, but no deadline"),
        (with_lease(Terms(ttl=11)), "w1 expires too early"),
    ],
)
def test_no_assignment_ends_without_a_deadline_that_has_passed(world: World, words: str) -> None:
    world.fleet.timers.set("w1", 1010)
    with pytest.raises(AssertionError, match=f"^{words}$"):
        expiry.expire(world.fleet, 1010)
    assert world.fleet.pending == []


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (of(FREE), "w1 is warned, but no project has it"),
        (of(NO_LEASE), "w1 is warned, but has no lease"),
        (with_lease(Terms(ttl=90), Announcement(1005, 1090, EndsBy.TTL)), "w1 is warned, but has no deadline"),
    ],
)
def test_no_end_is_announced_that_does_not_come(world: World, words: str) -> None:
    expiry.warn(world.fleet, world.spec, 1000)
    world.fleet.warnings.set("w1", 1010)
    with pytest.raises(AssertionError, match=f"^{words}$"):
        expiry.warn(world.fleet, world.spec, 1010)
    assert world.fleet.pending == []


# those who wait to wake a machine


def test_who_waits_to_wake_a_machine_has_one() -> None:
    world = World()
    world.fleet.wakers["p"] = None
    with pytest.raises(AssertionError, match=r"^who waits to wake a machine has one$"):
        sleep.serve_wakers(world.fleet, world.spec, world.now)


def test_nothing_makes_room_among_those_awake_where_that_has_no_limit() -> None:
    world = of(FREE)
    world.fleet.wakers["p"] = None
    with pytest.raises(AssertionError, match=r"^without max_awake nobody waits to wake a machine$"):
        room.displace_for_wakers(world.fleet, world.spec, world.now)
    assert world["w1"].is_idle


# clocks


class Odd(tzinfo):
    """A zone whose answers do not fit together: it shows another time than its offset says, or one for the second time."""

    key = "Odd/Zone"

    def __init__(self, *, ahead: timedelta = timedelta(), fold: int = 0) -> None:
        self._ahead, self._fold = ahead, fold

    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta()

    def dst(self, _: datetime | None) -> None: ...

    def tzname(self, _: datetime | None) -> None: ...

    def fromutc(self, time: datetime) -> datetime:
        return (time + self._ahead).replace(fold=self._fold)


def odd(**answers: Any) -> Window:
    return Window("0 8 * * *", 3600, cast("ZoneInfo", Odd(**answers)), 1)


def test_a_time_that_comes_twice_needs_a_clock_that_was_put_back() -> None:
    with pytest.raises(AssertionError, match=r"^the clock of Odd/Zone was not put back before 86400$"):
        windows.next_start(odd(fold=1), 86_400)


def test_a_time_that_is_never_shown_needs_a_clock_that_leaves_it_out() -> None:
    with pytest.raises(AssertionError, match=r"^the clock of Odd/Zone does not leave out 1970-01-01 08:00:00$"):
        windows.next_start(odd(ahead=timedelta(minutes=1)), 0)


@pytest.mark.parametrize(
    ("search", "finds", "words"),
    [
        ("next_start", [None, None], "0 8 * * * has no start at 28800"),
        ("previous_start", [28_800, None], "0 8 * * * has no start at 28800"),
    ],
)
def test_a_window_that_is_open_was_opened(monkeypatch: pytest.MonkeyPatch, search: str, finds: Any, words: str) -> None:
    """The way there and the way back find the same openings."""
    found = iter(finds)
    monkeypatch.setattr(windows, search, lambda _, __: next(found))
    daily = Window("0 8 * * *", 3600, ZoneInfo("UTC"), 1)
    with pytest.raises(AssertionError, match=f"^{words.replace('*', '[*]')}$"):
        windows.sizes_at([daily], 0, None, 29_000)
