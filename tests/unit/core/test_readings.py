"""When a machine is read, and what it means if a reading shows no use of it."""

from __future__ import annotations

import pytest
from tests.unit.core.build import World, a_spec

from worker_orchestrator.core import expiry, readings
from worker_orchestrator.core.lease import SPARED_S, Terms
from worker_orchestrator.core.machine import State
from worker_orchestrator.core.readings import Silence

IDLE = Terms(idle_timeout=30)


def assigned(terms: Terms = IDLE) -> World:
    """Project p has machine m1 since second 1000."""
    world = World(spec=a_spec(terms=terms or None))
    world.up()
    world.assign("p")
    return world


def read(world: World, at: float, *, is_active: bool | None = False) -> None:
    expiry.note_reading(world.fleet, "m1", world["m1"].generation, at, is_active=is_active)


def due(world: World, now: float, longest_s: float = 30.0) -> float:
    """In how many seconds m1 is to be read again."""
    return readings.next_reading(world.fleet, world["m1"], now, longest_s) - now


def meaning(world: World, now: float) -> Silence:
    return readings.meaning_of_silence(world.fleet, world["m1"], now)


@pytest.mark.parametrize(
    ("terms", "needed"),
    [
        (Terms(), False),
        (Terms(ttl=10, max_age=10), False),
        (Terms(idle_timeout=10), True),
        (Terms(confirm_within=10), True),
    ],
)
def test_only_a_deadline_that_depends_on_use_needs_readings(terms: Terms, *, needed: bool) -> None:
    assert readings.needs_readings(assigned(terms)["m1"]) is needed
    assert not readings.needs_readings(None)


def test_an_assignment_that_was_used_need_not_be_confirmed_any_more() -> None:
    world = assigned(Terms(confirm_within=10))
    read(world, 1001, is_active=True)
    assert not readings.needs_readings(world["m1"])
    world = assigned(Terms(confirm_within=9, idle_timeout=60))
    read(world, 1001)
    assert due(world, 1001) == pytest.approx(3, abs=0.01)
    read(world, 1002, is_active=True)
    assert due(world, 1002) == pytest.approx(20, abs=0.01)


def test_readings_come_in_a_third_of_the_time_and_one_exactly_at_its_end() -> None:
    world, now, times = assigned(), 1000.0, []
    read(world, now)
    while meaning(world, now) is Silence.GOES_ON:
        read(world, now)
        now += due(world, now)
        times.append(now)
    assert times == pytest.approx([1010, 1020, 1030], abs=0.01)
    assert times[-1] >= 1030
    assert meaning(world, now) is Silence.ENDS


@pytest.mark.parametrize(
    ("idle_timeout", "longest_s", "steps_s"),
    [(30, 30, 10), (900, 30, 30), (900, 7, 6.97), (3, 30, 1.5), (1, 30, 1), (6, 30, 2), (100, 30, 25)],
)
def test_they_are_evenly_spaced_about_two_seconds_apart_at_least(
    idle_timeout: float, longest_s: float, steps_s: float
) -> None:
    world = assigned(Terms(idle_timeout=idle_timeout))
    read(world, 1000)
    assert due(world, 1000, longest_s) == pytest.approx(steps_s, abs=0.01)


def test_what_could_not_be_read_is_tried_again_soon() -> None:
    world = assigned(Terms(idle_timeout=900))
    read(world, 1000)
    read(world, 1010, is_active=None)
    assert due(world, 1010) == 5
    assert meaning(world, 2000) is Silence.GOES_ON
    world = assigned(Terms(idle_timeout=9))
    assert due(world, 1000) == 3


def test_one_that_is_past_its_end_and_still_there_is_read_on() -> None:
    """The engine could not be listed just now."""
    world = assigned()
    read(world, 1000)
    assert due(world, 1030) == due(world, 1040) == 10


def test_while_nothing_expires_silence_decides_nothing_and_one_reading_comes_right_after() -> None:
    world = assigned()
    world.fleet.nothing_expires_before = 1060
    read(world, 1000)
    assert due(world, 1030) == pytest.approx(10, abs=0.01)
    assert due(world, 1055) == pytest.approx(5, abs=0.01)
    assert [meaning(world, at) for at in (1029, 1030, 1059, 1060)] == [
        Silence.GOES_ON,
        Silence.SPARED,
        Silence.SPARED,
        Silence.ENDS,
    ]


def test_one_that_came_back_to_life_is_spared_as_long() -> None:
    world = assigned()
    read(world, 1000)
    world.watch("m1").spared_until = 1000 + SPARED_S
    assert meaning(world, 1059) is Silence.SPARED
    assert meaning(world, 1060) is Silence.ENDS


def test_the_times_are_those_of_the_lease_clock() -> None:
    """It has gone on while the computer slept."""
    world = assigned()
    read(world, 1000)
    world.fleet.lease_offset = 25.0
    assert due(world, 1000) == pytest.approx(5, abs=0.01)
    assert meaning(world, 1005) is Silence.ENDS


def test_only_a_machine_that_serves_is_read() -> None:
    world = assigned()
    assert readings.is_readable(world.fleet, world["m1"])
    world.fleet.doubt("m1", 2000)
    assert not readings.is_readable(world.fleet, world["m1"])
    world = assigned()
    world.destroy("m1")
    assert world["m1"].state is State.STOPPING
    assert not readings.is_readable(world.fleet, world["m1"])


@pytest.mark.parametrize("name", ["next_reading", "meaning_of_silence"])
def test_a_machine_without_deadlines_is_not_asked_about(name: str) -> None:
    world = assigned(Terms())
    arguments = (30.0,) if name == "next_reading" else ()
    with pytest.raises(AssertionError, match=r"^m1 has no deadlines$"):
        getattr(readings, name)(world.fleet, world["m1"], 1000.0, *arguments)
