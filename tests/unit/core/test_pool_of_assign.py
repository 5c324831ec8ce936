"""From which pool a project gets its machine, and what a project hears that has one of another pool."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.core.build import World, a_fleet, a_machine, several

from worker_orchestrator.core import commands
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.errors import MachineFailed, NoMachineAvailable, OtherPool, PoolNotFound


def a_world(*machines: Machine) -> World:
    return World(several(default={}, node={}), a_fleet(*machines, now=1000.0))


def test_a_project_that_asks_for_no_pool_gets_a_machine_of_the_default_one() -> None:
    world = a_world(a_machine("w1", pool="node", port=1), a_machine("w2", port=2))
    assert world.assign("p") == "w2"
    assert world.assign("q") is None
    assert world.fleet.waiting == {"q": "default"}


def test_a_project_gets_a_machine_of_the_pool_that_it_asks_for() -> None:
    world = a_world(a_machine("w1", pool="node", port=1), a_machine("w2", port=2))
    assert world.assign("p", "node") == "w1"
    assert world.assign("q", "node") is None
    assert world.fleet.waiting == {"q": "node"}


def test_a_machine_that_the_project_has_is_its_own_whatever_pool_it_is_of() -> None:
    world = a_world(a_machine("w1", pool="node", project="p"), a_machine("w2", port=2))
    assert world.assign("p") == world.assign("p", "node") == "w1"
    assert world.fleet.pending == []


def test_a_project_that_has_a_machine_of_another_pool_hears_what_to_do() -> None:
    """Nothing is changed."""
    world = a_world(a_machine("w1", pool="node", project="p"), a_machine("w2", port=2))
    with pytest.raises(OtherPool) as refusal:
        world.assign("p", "default")
    assert refusal.value.message == (
        "The project p has the machine w1 of the pool node, not of default. Release it first, or ask without naming a pool."
    )
    assert (refusal.value.has, refusal.value.asked, refusal.value.code) == ("node", "default", "other_pool")
    assert (world.fleet.pending, world.fleet.waiting) == ([], {})


def test_a_project_that_waits_for_another_pool_hears_what_to_do() -> None:
    """And keeps its place."""
    world = a_world(a_machine("w1"))
    world.assign("p", "node")
    with pytest.raises(OtherPool) as refusal:
        world.assign("p", "default")
    assert refusal.value.message == (
        "The project p waits for a machine of the pool node, not of default. Let that request end first, or ask without "
        "naming a pool."
    )
    assert (refusal.value.has, refusal.value.asked) == ("node", "default")
    assert world.fleet.waiting == {"p": "node"}


def test_a_project_that_waits_waits_on_if_it_asks_for_no_pool() -> None:
    world = a_world(a_machine("w1"))
    world.assign("p", "node")
    ticket = world.fleet.pool("node").line["p"]
    assert world.assign("p") is None
    assert world.assign("p", "node") is None
    assert world.fleet.pool("node").line == {"p": ticket}


def test_a_project_whose_machine_failed_for_good_hears_of_that_unless_it_asks_for_another_pool() -> None:
    world = a_world(a_machine("w1", State.FAILED, pool="node", project="p"))
    with pytest.raises(MachineFailed):
        world.assign("p")
    with pytest.raises(OtherPool):
        world.assign("p", "default")


def lost(pool: str = "node") -> Machine:
    """A project's machine whose container is gone."""
    return a_machine("w1", State.FAILED, pool=pool, port=1, project="p", gone=True)


def test_what_was_lost_is_replaced_from_its_pool() -> None:
    """The project had what it needs there."""
    world = a_world(lost(), a_machine("w2", port=2), a_machine("w3", pool="node", port=3))
    assert world.assign("p") == "w3"


def test_after_a_loss_another_pool_may_be_asked_for() -> None:
    world = a_world(lost(), a_machine("w2", port=2), a_machine("w3", pool="node", port=3))
    assert world.assign("p", "default") == "w2"
    assert list(world.fleet.machines) == ["w2", "w3"]


def test_what_was_lost_of_a_pool_that_is_not_there_any_more_is_replaced_from_the_default_one() -> None:
    world = a_world(lost("former"), a_machine("w2", port=2))
    with pytest.raises(PoolNotFound):
        world.assign("p", "former")
    assert world.assign("p") == "w2"


def test_a_pool_that_the_settings_do_not_name_is_not_found() -> None:
    world = a_world(a_machine("w1", pool="former"))
    with pytest.raises(PoolNotFound) as refusal:
        world.assign("p", "former")
    assert refusal.value.message == "There is no pool former. The pools are: default, node."
    assert (world.fleet.waiting, world.fleet.pools.get("former")) == ({}, world.fleet.pools.get("former"))


def test_a_machine_of_such_a_pool_stays_with_its_project_and_can_be_asked_for() -> None:
    world = a_world(a_machine("w1", pool="former", project="p"))
    assert world.assign("p") == world.assign("p", "former") == "w1"
    with pytest.raises(OtherPool):
        world.assign("p", "node")


def test_whoever_waits_in_a_pool_that_vanishes_may_ask_for_another_one_once_it_is_turned_away() -> None:
    world = a_world(a_machine("w1"))
    world.assign("p", "node")
    world.spec = replace(world.spec, pools={"default": world.spec.pools["default"]})
    with pytest.raises(NoMachineAvailable, match="no pool of this name"):
        world.assign("p")
    world.fleet.leave_line("p")
    assert world.assign("p") == "w1"


def test_without_a_default_pool_a_project_that_asks_for_none_is_told() -> None:
    world = World(several(node={}), a_fleet(a_machine("w1", pool="node")))
    with pytest.raises(NoMachineAvailable) as refusal:
        world.assign("p")
    assert refusal.value.message == "The settings have no pool of this name, so it makes no machines."


# the short way


def test_the_short_way_takes_the_pool_that_was_asked_for_else_the_default_one() -> None:
    world = a_world(a_machine("w1", port=1), a_machine("w2", pool="node", port=2))
    world.answer("w1")
    world.answer("w2")
    node = commands.assign_verified(world.fleet, world.spec, "p", world.now, "node")
    other = commands.assign_verified(world.fleet, world.spec, "q", world.now)
    assert (node and node.id, other and other.id) == ("w2", "w1")


@pytest.mark.parametrize("pool", ["node", None])
def test_the_short_way_gives_nothing_to_a_project_that_waits_in_another_line(pool: str | None) -> None:
    """It would have two machines in the end."""
    world = World(
        several(default={}, node={}, other={}), a_fleet(a_machine("w1"), a_machine("w2", pool="node", port=2))
    )
    world.answer("w1")
    world.answer("w2")
    world.assign("p", "other")
    assert commands.assign_verified(world.fleet, world.spec, "p", world.now, pool) is None


def test_the_short_way_gives_nothing_of_a_pool_that_is_not_there_and_remembers_no_such_name() -> None:
    """Anybody may ask for any name."""
    world = a_world(a_machine("w1", pool="former"))
    world.answer("w1")
    known = set(world.fleet.pools)
    for name in ("former", "never heard of"):
        assert commands.assign_verified(world.fleet, world.spec, "p", world.now, name) is None
        with pytest.raises(PoolNotFound):
            world.assign("p", name)
    assert set(world.fleet.pools) == known
