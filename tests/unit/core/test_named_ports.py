"""Machines with several host ports by name: they are taken, left and given back together, and no two machines share one."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import (
    World,
    a_fleet,
    a_machine,
    a_spec,
    an_instance,
    assert_indexes_hold,
    several,
    with_one,
)

from worker_orchestrator.core import outcomes
from worker_orchestrator.core.action import Create, Outcome, Result
from worker_orchestrator.core.due_actions import due_action
from worker_orchestrator.core.host_ports import no_port_left, take_ports
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, State
from worker_orchestrator.core.spec import PoolSpec
from worker_orchestrator.core.wanted import held_back

NAMES = ("http", "hmr", "debug")
PORTS = (("http", 9093), ("hmr", 9094), ("debug", 9095))


def a_world(last_port: int = 65535, first_port: int | None = 9093) -> World:
    return World(spec=a_spec(first_port=first_port, last_port=last_port, port_names=NAMES))


def taken(world: World, machine_id: str, port: int | None = None) -> None:
    """Its create was refused, because another process has this port, or one of its own."""
    outcome = Outcome(Result.PORT_TAKEN, "a port is in use", port=port)
    outcomes.apply_outcome(world.fleet, world.spec, Create(world[machine_id]), outcome, world.now)


# a machine


def test_the_first_of_its_ports_is_its_port() -> None:
    machine = a_machine(port=9093, ports=PORTS)
    assert machine.host_ports == (9093, 9094, 9095)
    assert a_machine(port=9093).host_ports == (9093,)
    assert a_machine(port=None).host_ports == ()
    with pytest.raises(AssertionError, match="w1: the first of its ports is its port"):
        a_machine(port=9094, ports=PORTS)


def test_a_pool_without_names_needs_one_port() -> None:
    assert PoolSpec(None).port_count == 1
    assert PoolSpec(None, port_names=("http",)).port_count == 1
    assert PoolSpec(None, port_names=NAMES).port_count == 3


# giving ports


def test_a_new_machine_gets_as_many_ports_as_its_pool_names() -> None:
    world = a_world()
    first, second = world[world.begin()], world[world.begin()]
    assert first.ports == PORTS
    assert (second.port, second.host_ports) == (9096, (9096, 9097, 9098))
    assert world.fleet.last_port == 9098
    assert_indexes_hold(world.fleet)
    assert {port: world.fleet.ports["", port] for port in range(9093, 9099)} == {
        **dict.fromkeys((9093, 9094, 9095), "m1"),
        **dict.fromkeys((9096, 9097, 9098), "m2"),
    }


def test_where_fewer_are_free_none_is_given() -> None:
    """What was left of the range is there for whoever needs less."""
    world = a_world(last_port=9097)
    world.begin()
    assert take_ports(world.fleet, world.spec, 3, world.now) is None
    assert world.fleet.last_port == 9095
    assert take_ports(world.fleet, world.spec, 2, world.now) == (9096, 9097)
    assert world.fleet.last_port == 9097
    assert take_ports(world.fleet, world.spec, 1, world.now) == (9096,), "nobody has it"


def test_taken_ones_are_passed_over_and_the_circle_goes_on() -> None:
    world = a_world(last_port=9099)
    world.fleet.refused_ports = {9094: world.now + 1}
    world.fleet.last_port = 9098
    assert take_ports(world.fleet, world.spec, 3, world.now) == (9099, 9093, 9095)


def test_an_engine_that_gives_addresses_is_given_no_ports() -> None:
    world = a_world(first_port=None)
    machine = world[world.begin()]
    assert (machine.port, machine.ports) == (None, ())


def test_it_is_said_how_many_are_needed() -> None:
    world = a_world(last_port=9097)
    world.wants(min_idle=2)
    world.resize()
    assert len(world.fleet.machines) == 1
    (hold,) = held_back(world.fleet, world.spec, "default")
    assert hold.by == "ports"
    assert hold.why == (
        "A machine of this pool needs 3 host ports, and fewer are free from 9093 to 9097. Free some, or serve with a wider "
        "range (--first-port, --last-port)."
    )
    assert no_port_left(world.spec).startswith("No host port from 9093 to 9097 is free. Free some")


# ports that others have


@pytest.mark.parametrize(
    ("port", "left", "moved"),
    [
        (9093, [9093], (9096, 9094, 9095)),
        (9094, [9094], (9093, 9096, 9095)),
        (9095, [9095], (9093, 9094, 9096)),
        (None, [9093, 9094, 9095], (9096, 9097, 9098)),
        (4242, [9093, 9094, 9095], (9096, 9097, 9098)),
    ],
)
def test_a_machine_leaves_the_port_that_is_taken_or_all_if_nobody_knows_which(
    port: int | None, left: list[int], moved: tuple[int, ...]
) -> None:
    world = a_world()
    machine_id = world.begin()
    before = world[machine_id]
    taken(world, machine_id, port)
    after = world[machine_id]
    assert after == replace(
        before, port=moved[0], ports=tuple(zip(NAMES, moved, strict=True)), reason="a port is in use."
    )
    assert world.last_change().cause is Cause.MOVED
    assert world.fleet.refused_ports == dict.fromkeys(left, world.now + 60.0)
    assert_indexes_hold(world.fleet)
    world.fleet.undo(world.fleet.take_pending()[1:], world.now)
    assert world[machine_id] == before
    assert_indexes_hold(world.fleet)


def test_a_machine_without_a_way_out_is_removed_and_its_ports_are_free() -> None:
    world = a_world(last_port=9095)
    machine_id = world.begin()
    taken(world, machine_id, 9094)
    assert world[machine_id].state is State.STOPPING
    assert world[machine_id].reason.startswith("A machine of this pool needs 3 host ports, and fewer are free")
    world.destroyed(machine_id)
    world.now += 1
    world.wants(paused=True)
    world.tick()
    assert not world.fleet.ports


def test_a_machine_with_one_named_port_moves_as_one_without_a_name() -> None:
    world = World(spec=a_spec(port_names=("http",)))
    machine_id = world.begin()
    taken(world, machine_id)
    assert (world[machine_id].port, world[machine_id].ports) == (9094, (("http", 9094),))


# the fleet


def test_two_machines_that_share_any_port_stop_the_process() -> None:
    with pytest.raises(AssertionError, match="port 9094 belongs to w1"):
        a_fleet(a_machine("w1", port=9093, ports=PORTS), a_machine("w2", port=9094))
    with pytest.raises(AssertionError, match="port 9095 belongs to w1"):
        a_fleet(
            a_machine("w1", port=9095),
            a_machine("w2", port=9093, ports=PORTS),
        )


def test_a_machine_that_is_gone_gives_all_its_ports_back_and_gets_them_again_only_together() -> None:
    """Its container turned up again, with a project's files: but one of its ports is another's by now."""
    gone = a_machine("w1", State.FAILED, project="p", port=9093, ports=PORTS, gone=True)
    world = World(spec=a_spec(), fleet=a_fleet(gone, a_machine("w2", port=9095), now=1000.0))
    world.instance("w1", Status.EXITED)
    world.tick()
    assert world["w1"].gone
    world.destroy("w2")
    world.destroyed("w2")
    world.remove("w2")
    world.now += 1
    world.tick()
    world.tick()
    assert not world["w1"].gone
    assert_indexes_hold(world.fleet)


def test_other_further_ports_alone_are_another_place() -> None:
    world = World(fleet=a_fleet(a_machine("w1", State.STARTING, port=9093, ports=PORTS[:2]), now=1000.0))
    other = replace(world["w1"], ports=(("http", 9093), ("hmr", 9099)))
    world.fleet.apply(world["w1"], other, Cause.MOVED, world.now)
    assert set(world.fleet.ports) == {("", 9093), ("", 9099)}
    assert_indexes_hold(world.fleet)


@pytest.mark.parametrize(
    ("fields", "is_due"),
    [
        ({"port": 9093, "ports": PORTS}, False),
        ({"port": 9093, "ports": (*PORTS[:2], ("debug", 9099))}, True),
        ({"port": 9099}, True),
        ({"port": None}, False),
    ],
)
def test_a_container_on_other_ports_than_planned_is_made_anew(fields: dict[str, Any], *, is_due: bool) -> None:
    """An earlier create landed late."""
    machine = a_machine("w1", State.STARTING, port=9093, ports=PORTS)
    world = with_one(machine)
    action = due_action(world.fleet, world.spec, machine, an_instance("w1", **fields), world.now)
    assert action == (Create(machine) if is_due else None)


# several pools


def test_a_pool_that_needs_fewer_ports_is_not_kept_waiting_by_one_that_lacks_more() -> None:
    """Two are left: too few for `a`, which is due first."""
    needs = {"a": NAMES, "c": (*NAMES, "metrics")}
    for count in (2, 4):
        a, c = ({"min_idle": count, "port_names": names} for names in needs.values())
        world = World(several(a=a, b={"min_idle": 2}, c={**c, "min_idle": 1}, last_port=9097))
        world.resize()
        pools = [machine.pool for machine in world.fleet.machines.values()]
        assert sorted(pools) == ["a", "b", "b"]
        assert {name: world.fleet.pool(name).out_of_ports for name in "abc"} == {"a": True, "b": False, "c": True}


def test_a_project_that_came_first_is_not_passed_by_one_that_needs_fewer_ports() -> None:
    world = World(several(a={"port_names": NAMES}, b={}, last_port=9094))
    assert world.assign("p1", "a") is None
    assert world.assign("p2", "b") is None
    world.resize()
    assert not world.fleet.machines
    assert world.fleet.pool("a").out_of_ports
    assert world.fleet.pool("b").out_of_ports


def test_a_pool_that_was_passed_is_still_out_of_ports_when_another_finds_none_either() -> None:
    """`a` lacks three, then the last two go to `b`, which lacks one more; `c` lacks nothing."""
    world = World(several(a={"min_idle": 1, "port_names": NAMES}, b={"min_idle": 3}, c={}, last_port=9094))
    world.resize()
    assert {name: world.fleet.pool(name).out_of_ports for name in "abc"} == {"a": True, "b": True, "c": False}
