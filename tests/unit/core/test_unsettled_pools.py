"""Only those pools are looked at that may need it, and it makes no difference to what is decided."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import World, a_fleet, a_machine, several

from worker_orchestrator.core import sizing
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, State
from worker_orchestrator.core.spec import PoolSpec, Spec

STARTING = State.STARTING


class Looked(list[str]):
    """The pools whose sizes were compared, in the order in which that was done."""

    def take(self) -> list[str]:
        taken = list(self)
        self.clear()
        return taken


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    pools, compare = Looked(), sizing._size

    def noting(fleet: Any, wanted: PoolSpec, name: str, *rest: Any) -> Any:
        pools.append(name)
        return compare(fleet, wanted, name, *rest)

    monkeypatch.setattr(sizing, "_size", noting)
    return pools


def three(*, max_machines: int = 100, **more: Any) -> World:
    """The pools c, a and b, each with an idle machine and as large as it should be."""
    machines = [a_machine(f"w{port}", pool=pool, port=port) for port, pool in enumerate(["a", "b", "c"], 1)]
    one: dict[str, Any] = {"min_idle": 1, **more}
    return World(several(max_machines=max_machines, c=one, a=one, b=one), a_fleet(*machines))


def test_an_assign_has_only_its_own_pool_looked_at(looked: Looked) -> None:
    world = three()
    world.resize()
    assert looked.take() == ["c", "a", "b"], "all of them at first, in the order of the settings"
    world.resize()
    assert looked.take() == []
    world.answer("w2")
    world.resize()
    assert looked.take() == [], "an answer changes no size"
    world.assign("p", "b")
    world.resize()
    assert looked.take() == ["b"]
    assert [world[one].pool for one in world.in_state(STARTING)] == ["b"]


def test_a_machine_that_is_adopted_has_its_pool_looked_at(looked: Looked) -> None:
    world = three()
    world.resize()
    looked.clear()
    world.fleet.apply(None, a_machine("w4", pool="a", port=4), Cause.ADOPTED, world.now)
    world.resize()
    assert looked.take() == ["a"]


def test_each_tick_and_each_other_spec_has_all_looked_at(looked: Looked) -> None:
    world = three()
    world.tick()
    looked.clear()
    world.tick()
    assert looked.take() == ["c", "a", "b"]
    world.wants("a", min_idle=0)
    world.resize()
    assert looked.take() == ["c", "a", "b"]


def test_a_pool_that_lacks_something_is_looked_at_until_it_has_it(looked: Looked) -> None:
    world = three(min_idle=2)
    world.resize()
    assert looked.take() == ["c", "a", "b"]
    world.resize()
    assert looked.take() == ["c", "a", "b"], "three machines were begun"
    world.resize()
    assert looked.take() == []


def test_pools_that_start_nothing_and_those_with_enough_machines_that_ail_are_as_they_should_be() -> None:
    world = three()
    world.wants("a", paused=True)
    world.wants("b", template=None, problem="No such image.")
    world.instance("w3", Status.PAUSED)
    world.tick()
    assert list(world.fleet.ailing) == ["w3"]
    assert world.fleet.unsettled == set()


def test_what_is_undone_is_looked_at_again(looked: Looked) -> None:
    world = three()
    world.resize()
    world.fleet.take_pending()
    world.assign("p", "a")
    world.resize()
    world.fleet.undo(world.fleet.take_pending(), world.now)
    looked.clear()
    world.resize()
    assert looked.take() == ["a"]


def test_a_pool_in_which_somebody_waits_is_looked_at_and_when_nobody_does_any_more_once(looked: Looked) -> None:
    world = three(max_machines=3)
    world.assign("p", "a")
    world.resize()
    world.assign("q", "a")
    looked.clear()
    for _ in range(2):
        world.resize()
        assert looked.take() == ["a"], "its line is served"
    world.fleet.leave_line("q")
    world.resize()
    assert looked.take() == ["a"]
    world.resize()
    assert looked.take() == []


def test_a_paused_pool_whose_line_somebody_stands_in_is_still_served() -> None:
    world = three(min_idle=0)
    world.wants("a", paused=True)
    world.assign("p", "a")
    world.fleet.join_line("a", "q")
    world.resize()
    world.answer("w1")
    world.release("w1")
    assert world.fleet.of_project("q") is not None


def test_pools_that_a_full_fleet_keeps_small_are_looked_at_when_a_place_is_free(looked: Looked) -> None:
    world = three(min_idle=2, max_machines=3)
    world.resize()
    looked.clear()
    world.assign("p", "a")
    world.resize()
    assert looked.take() == ["a"]
    assert world.in_state(STARTING) == []
    world.destroy("w1")
    world.remove("w1")
    world.destroyed("w1")
    world.now += 1.0
    world.tick()
    assert looked.take() == ["c", "a", "b"]
    (begun,) = world.in_state(STARTING)
    assert world[begun].pool == "a", "it has least of what it wants"
    world.spec = replace(world.spec, max_machines=3)
    world.resize()
    looked.clear()
    world.fleet.apply(world[begun], replace(world[begun], state=State.FAILED), Cause.FAILED, world.now)
    failed = world[begun]
    world.fleet.apply(failed, replace(failed, gone=True), Cause.REMOVED, world.now)
    world.resize()
    assert looked.take() == ["c", "a", "b"], "without a tick as well"
    for begun in world.in_state(STARTING):
        world.answer(begun)
    world.resize()
    assert looked.take() == ["c", "a", "b"]
    world.resize()
    assert looked.take() == [], "they are kept small again"


def test_a_free_place_makes_nobody_forget_what_else_changed(looked: Looked) -> None:
    world = three(max_machines=3)
    world.wants("a", min_idle=2)
    world.resize()
    assert world.fleet.crowded_out == {"a"}
    looked.clear()
    failed = replace(world["w2"], state=State.FAILED)
    world.fleet.apply(world["w2"], failed, Cause.FAILED, world.now)
    world.fleet.apply(failed, replace(failed, gone=True), Cause.REMOVED, world.now)
    world.resize()
    assert looked.take() == ["a", "b"]


def test_of_any_two_pools_the_first_in_the_settings_is_looked_at_first(looked: Looked) -> None:
    names = [f"{letter}{number}" for letter in "ba" for number in range(5)]
    machines = [a_machine(name, pool=name, port=port) for port, name in enumerate(names, 1)]
    pools: dict[str, Any] = {name: {} for name in names}
    world = World(several(**pools), a_fleet(*machines))
    world.resize()
    for first, second in combinations(names, 2):
        looked.clear()
        for name in (second, first):
            world.assign(f"of-{name}", name)
            world.release(name)
            world.answer(name)
        world.resize()
        assert looked.take() == [first, second]


def test_pools_that_are_not_in_the_settings_come_first() -> None:
    """In the order of their names, whatever others need."""
    machines = [a_machine(f"w{port}", pool=pool, port=port) for port, pool in enumerate(["z", "y", "a"], 1)]
    world = World(Spec({"a": PoolSpec("template-1", min_idle=2)}), a_fleet(*machines))
    world.resize()
    assert [(change.machine.pool, change.cause.value) for change in world.fleet.pending] == [
        ("y", "retired"),
        ("z", "retired"),
        ("a", "created"),
    ]
    world.fleet.take_pending()
    world.resize()
    world.resize()
    assert world.fleet.pending == []
    assert world.fleet.unsettled == set()


def test_they_come_before_the_surplus_of_those_that_are() -> None:
    """However many those are."""
    names = ["z", "c", "y", "b", "a"]
    machines = [a_machine(name, pool=name, port=port) for port, name in enumerate(names, 1)]
    pools: dict[str, Any] = {name: {"max_idle": 0} for name in ("c", "b", "a")}
    world = World(several(**pools), a_fleet(*machines))
    world.resize()
    assert [change.machine.id for change in world.fleet.pending] == ["y", "z", "c", "b", "a"]
