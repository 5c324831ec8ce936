"""Which host port comes next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.build import World, a_fleet, a_machine, a_spec

from worker_orchestrator.core.host_ports import PORT_LEFT_S, next_port, take_ports
from worker_orchestrator.core.lease import Terms
from worker_orchestrator.core.machine import Cause, State


def none_taken(port: int) -> bool:
    return False


@pytest.mark.parametrize(
    ("last_given", "expected"),
    [
        pytest.param(None, 9093, id="the first one, when none was given yet"),
        pytest.param(9093, 9094, id="the one after the last one given"),
        pytest.param(9094, 9095, id="up to the last one, included"),
        pytest.param(9095, 9093, id="the first one again after the last one"),
        pytest.param(9092, 9093, id="the first one, when the range moved up"),
        pytest.param(9096, 9093, id="the first one, when the range moved down"),
    ],
)
def test_ports_are_given_in_a_circle(last_given: int | None, expected: int) -> None:
    """A freed port is given again last, so that a stale URL does not show the next tenant."""
    assert next_port(last_given, 9093, 9095, none_taken) == expected


def test_a_taken_port_is_passed_over() -> None:
    """Whoever holds a port keeps it."""
    assert next_port(9093, 9093, 9096, {9094, 9095}.__contains__) == 9096
    assert next_port(9094, 9093, 9096, {9095, 9096}.__contains__) == 9093


def test_the_last_one_given_is_given_again_when_it_is_the_only_free_one() -> None:
    """Last is not never."""
    assert next_port(9094, 9093, 9095, {9093, 9095}.__contains__) == 9094


def test_none_is_left_when_all_are_taken() -> None:
    """None says that the range is used up."""
    assert next_port(9093, 9093, 9095, {9093, 9094, 9095}.__contains__) is None


def test_a_range_of_one_port() -> None:
    """Both ends belong to the range."""
    assert next_port(None, 65535, 65535, none_taken) == 65535
    assert next_port(65535, 65535, 65535, none_taken) == 65535
    assert next_port(None, 1, 1, none_taken) == 1


@pytest.mark.parametrize(("first", "last"), [(0, 10), (-1, 10), (10, 9), (65535, 65536)])
def test_a_range_that_is_none_stops_the_process(first: int, last: int) -> None:
    """A port is 1 to 65535, and a range has one at least."""
    with pytest.raises(AssertionError, match=f"no port range: {first}..{last}"):
        next_port(None, first, last, none_taken)


@given(
    last_given=st.none() | st.integers(9080, 9110),
    size=st.integers(1, 12),
    taken=st.sets(st.integers(9090, 9105)),
)
def test_a_free_port_of_the_range_is_found_if_there_is_one(last_given: int | None, size: int, taken: set[int]) -> None:
    """It is free, of the range, and no other free one comes before it on the circle."""
    ports = range(9093, 9093 + size)
    port = next_port(last_given, ports[0], ports[-1], taken.__contains__)
    free = [p for p in ports if p not in taken]
    if last_given is not None and last_given in ports:
        free = [p for p in free if p > last_given] + [p for p in free if p <= last_given]
    assert port == (free[0] if free else None)


# ports that a project had


def a_world(last_port: int = 9096) -> World:
    """Project p had m1 at 9093, which has left it at this moment. m2 and m3 have 9094 and 9095, and 9096 was given last."""
    world = World(spec=a_spec(last_port=last_port, terms=Terms(ttl=10)))
    world.up()
    world.assign("p")
    for _ in range(2):
        world.up()
    world.fleet.last_port = last_port
    world.now += 10
    world.tick()
    assert world["m1"].state is State.STOPPING
    world.remove("m1")
    world.destroyed("m1")
    world.now += 1
    world.tick()
    assert "m1" not in world.fleet.machines
    return world


def take(world: World, count: int = 1) -> tuple[int, ...] | None:
    return take_ports(world.fleet, world.spec, count, world.now)


def test_the_port_of_an_expired_machine_is_not_given_within_a_minute_while_another_is_free() -> None:
    """It would be the next one in the circle, and its former client may still ask there."""
    world = a_world()
    assert world.fleet.left_ports == {9093: world.now}
    world.now += PORT_LEFT_S - 0.001
    assert take(world) == (9096,)
    world.fleet.last_port = 9096
    world.now += 0.001
    assert take(world) == (9093,)
    assert not world.fleet.left_ports


def test_where_no_other_one_is_free_it_is_given_at_once() -> None:
    """A project that waits is worse than an old URL."""
    world = a_world(last_port=9095)
    assert take(world) == (9093,)
    assert take(world, 2) is None


def test_of_several_that_were_left_the_first_left_is_given_first() -> None:
    world = a_world()
    world.fleet.left_ports = {9096: world.now - 2, 9093: world.now - 1, 9092: world.now, 9094: world.now}
    assert take(world, 2) == (9096, 9093)
    assert world.fleet.last_port == 9093
    assert take(world, 3) is None, "9092 is of no range, and 9094 is taken"


def test_a_port_that_is_left_again_is_left_now() -> None:
    world = a_world()
    world.fleet.left_ports = {9094: world.now - 5, 9093: world.now - 1}
    held = world["m2"]
    assigned = a_machine("m2", port=9094, project="q", generation=9, reason=held.reason)
    world.fleet.apply(held, assigned, Cause.ASSIGNED, world.now)
    assert world.fleet.left_ports == {9094: world.now - 5, 9093: world.now - 1}, "an assignment leaves nothing"
    lost = a_machine("m2", State.FAILED, port=9094, project="q", generation=9, gone=True)
    world.fleet.apply(world["m2"], lost, Cause.FAILED, world.now)
    assert list(world.fleet.left_ports.items()) == [(9093, world.now - 1), (9094, world.now)]
    world.now += 1
    world.fleet.apply(lost, None, Cause.FORGOTTEN, world.now)
    assert world.fleet.left_ports[9094] == world.now - 1, "it was left before"


def test_a_port_that_no_project_had_and_an_address_of_the_engine_are_no_ones_url() -> None:
    idle, elsewhere = a_machine("w1"), a_machine("w2", host="10.0.0.2", project="p", generation=1)
    fleet = a_fleet(idle, elsewhere)
    for machine in (idle, elsewhere):
        gone = a_machine(machine.id, State.FAILED, host=machine.host, gone=True, project=machine.project, generation=1)
        fleet.apply(machine, gone, Cause.FAILED, 5.0)
    assert fleet.left_ports == {}
