"""What a project asks for with an assignment: the assignment is made so, whichever way the project comes to its machine."""

from __future__ import annotations

import pytest
from tests.unit.core.build import World, a_spec

from worker_orchestrator.core import commands
from worker_orchestrator.core.lease import Asked, Lease, OnExpiry, Terms, agreed
from worker_orchestrator.core.machine import Cause, Holding

ASKED = Asked('{"a": "b"}', Terms(ttl=5, idle_timeout=0))
OURS = Terms(idle_timeout=60, max_age=100)


def held(at: float) -> Holding:
    return Holding("p", '{"a": "b"}', Lease(Terms(ttl=5, max_age=100), at, at, on_expiry=OnExpiry.DESTROY))


def a_world() -> World:
    world = World(spec=a_spec(terms=OURS, on_expiry=OnExpiry.DESTROY, max_machines=1))
    world.fleet.lease_offset = 7000.0
    return world


def test_an_idle_machine_is_assigned_as_it_was_asked_for() -> None:
    world = a_world()
    world.up()
    machine = commands.assign(world.fleet, world.spec, "p", world.now, None, ASKED)
    assert machine is not None
    assert machine.holding == held(8000.0)
    assert world.causes("m1")[-1] is Cause.ASSIGNED
    assert world["m1"] == machine


def test_so_is_one_that_has_just_answered() -> None:
    world = a_world()
    world.up()
    machine = commands.assign_verified(world.fleet, world.spec, "p", world.now, None, ASKED)
    assert machine is not None
    assert machine.holding == held(8000.0)


def test_so_is_one_for_which_the_project_waited() -> None:
    world = a_world()
    assert commands.assign(world.fleet, world.spec, "p", world.now, None, ASKED) is None
    assert world.fleet.asked == {"p": ASKED}
    world.now += 3
    world.up()
    assert world["m1"].holding == held(8003.0)
    assert not world.fleet.asked


def test_who_leaves_the_line_takes_along_what_it_asked_for() -> None:
    world = a_world()
    commands.assign(world.fleet, world.spec, "p", world.now, None, ASKED)
    world.fleet.leave_line("p")
    assert not world.fleet.asked
    world.assign("p")
    world.up()
    assert world["m1"].holding == Holding("p", "", Lease(OURS, 8000.0, 8000.0, on_expiry=OnExpiry.DESTROY))


def test_the_first_who_asks_for_a_project_in_line_decides() -> None:
    world = a_world()
    commands.assign(world.fleet, world.spec, "p", world.now, None, ASKED)
    commands.assign(world.fleet, world.spec, "p", world.now, None, Asked("{}"))
    assert world.fleet.asked == {"p": ASKED}


def test_nothing_of_it_is_kept_for_who_asks_for_nothing() -> None:
    world = a_world()
    world.assign("p")
    assert not world.fleet.asked


def test_a_machine_that_the_project_has_is_left_as_it_is() -> None:
    world = World(spec=a_spec())
    world.up()
    world.assign("p")
    assert commands.assign(world.fleet, world.spec, "p", world.now, None, ASKED) == world["m1"]
    assert world["m1"].holding == Holding("p")


def test_who_wants_no_deadline_has_none() -> None:
    world = World(spec=a_spec(terms=Terms(ttl=60)))
    world.up()
    machine = commands.assign(world.fleet, world.spec, "p", world.now, None, Asked(terms=Terms(ttl=0)))
    assert machine is not None
    assert machine.holding == Holding("p")
    assert not world.fleet.leased


@pytest.mark.parametrize(
    ("ours", "asked", "expected"),
    [
        (None, Terms(), Terms()),
        (None, Terms(ttl=5, max_age=9), Terms(ttl=5, max_age=9)),
        (None, Terms(ttl=0), Terms()),
        (Terms(ttl=60), Terms(max_age=900), Terms(ttl=60, max_age=900)),
        (Terms(ttl=60, max_age=100), Terms(ttl=0), Terms(max_age=100)),
        (Terms(max_age=100), Terms(max_age=99), Terms(max_age=99)),
        (Terms(max_age=100), Terms(max_age=101), Terms(max_age=100)),
        (Terms(max_age=100), Terms(max_age=0), Terms(max_age=100)),
    ],
)
def test_it_gets_the_deadlines_of_the_pool_but_for_what_it_asked_for_as_far_as_that_is_allowed(
    ours: Terms | None, asked: Terms, expected: Terms
) -> None:
    assert agreed(ours, asked) == expected
