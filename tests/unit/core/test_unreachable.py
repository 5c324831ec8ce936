"""A project's machine that the engine has lost sight of: kept, unless a grace is over and the project asks again."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.core.build import NEW, World, a_fleet, a_machine, a_spec, assert_indexes_hold

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.reasons import RELEASED_UNREACHABLE
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.core.unreachable import give_up, is_unreachable

READY, STARTING, SLEEPING, STOPPING, FAILED = State.READY, State.STARTING, State.SLEEPING, State.STOPPING, State.FAILED
LOST_AT, GRACE_S = 990.0, 60.0


def lost(machine: Machine | None = None, *others: Machine, for_s: float = GRACE_S + 0.1, **pool: Any) -> World:
    """A world in which the engine lost sight of the machine of project p so long before the last listing."""
    ours = machine or a_machine(project="p", generation=1)
    spec = a_spec(**{"min_idle": 0, "unreachable_grace_s": GRACE_S, **pool})
    world = World(fleet=a_fleet(ours, *others, now=1000.0), spec=spec)
    world.instance(ours.id, Status.UNKNOWN, unreachable_since=LOST_AT)
    world.now = LOST_AT + for_s
    world.tick()
    return world


def given_up(world: World, pool: str | None = None) -> str | None:
    return give_up(world.fleet, world.spec, "p", pool, world.now)


@pytest.mark.parametrize("state", [READY, STARTING])
@pytest.mark.parametrize("pool", [None, DEFAULT_POOL])
def test_after_the_grace_the_project_that_asks_loses_it_and_gets_one_of_the_same_pool(
    state: State, pool: str | None
) -> None:
    world = lost(a_machine(state=state, project="p", generation=1, evidence="its last words"))
    assert given_up(world, pool) == DEFAULT_POOL
    machine = world["w1"]
    assert (machine.state, machine.holding, machine.reason) == (STOPPING, None, RELEASED_UNREACHABLE)
    assert machine.evidence == "", "what its worker wrote is its project's alone"
    assert world.last_change().cause is Cause.RELEASED
    assert world.watch("w1").ends_gently, "it may still run"
    assert world.fleet.of_project("p") is None
    assert_indexes_hold(world.fleet)


def test_the_next_one_has_a_later_generation_and_comes_beside_the_old_one_that_is_being_removed() -> None:
    world = lost(None, a_machine("w2", port=9094))
    world.fleet.generation = 1  # as it is stored
    given_up(world)
    assert world.assign("p") == "w2"
    assert world["w2"].generation > world["w1"].generation
    assert world["w1"].state is STOPPING


def test_nothing_happens_by_itself() -> None:
    world = lost(for_s=86_400.0)
    before = world["w1"]
    world.tick()
    assert world["w1"] == before
    assert is_unreachable(world.fleet, before)
    assert world.assign("p") == "w1", "whoever does not give it up is given it"


@pytest.mark.parametrize(("for_s", "grace_s"), [(GRACE_S, GRACE_S), (86_400.0, 0.0)], ids=["in time", "never"])
def test_within_the_grace_and_without_one_it_is_kept(for_s: float, grace_s: float) -> None:
    world = lost(for_s=for_s, unreachable_grace_s=grace_s)
    before = world["w1"]
    assert given_up(world) is None
    assert world["w1"] == before
    assert is_unreachable(world.fleet, before)


def test_it_is_unreachable_from_the_listing_on_that_noticed_it() -> None:
    """The engine says since when only once it has looked, which is a little later than the listing began."""
    world = lost(for_s=-0.5)
    assert world.watch("w1").unreachable_s == 0.0
    assert is_unreachable(world.fleet, world["w1"])


def test_time_in_which_nothing_is_listed_does_not_count() -> None:
    """While the engine is away nobody can say that the node still does not report."""
    world = lost(for_s=GRACE_S)
    world.now += 3600
    assert given_up(world) is None


def test_a_listing_proves_nothing_of_one_with_an_action_in_flight() -> None:
    world = lost(for_s=GRACE_S)
    world.now += 3600
    world.tick(busy=["w1"])
    assert world.watch("w1").unreachable_s == GRACE_S


@pytest.mark.parametrize("status", [Status.RUNNING, Status.UNKNOWN])
def test_one_that_is_seen_again_is_kept(status: Status) -> None:
    """UNKNOWN alone does not say for how long."""
    world = lost()
    world.instance("w1", status)
    world.tick()
    assert not is_unreachable(world.fleet, world["w1"])
    assert given_up(world) is None


def test_one_whose_container_vanished_is_not_unreachable_any_more() -> None:
    world = lost()
    world.remove("w1")
    world.tick()
    assert not is_unreachable(world.fleet, world["w1"])


def test_a_project_without_a_machine_gives_up_none() -> None:
    assert given_up(World()) is None


@pytest.mark.parametrize("state", [FAILED, SLEEPING])
def test_one_that_is_kept_for_its_files_is_not_given_up(state: State) -> None:
    world = lost(a_machine(state=state, project="p", generation=1))
    assert given_up(world) is None
    assert world["w1"].state is state


def test_a_project_that_asks_for_another_pool_keeps_what_it_has() -> None:
    """It is told that it has one of this pool."""
    world = lost()
    assert given_up(world, "other") is None
    assert world["w1"].project == "p"


@pytest.mark.parametrize("idle", [[], [a_machine("w2", port=9094)]], ids=["none idle", "one idle"])
def test_it_is_kept_where_no_other_one_would_come(idle: list[Machine]) -> None:
    """An address that may work is worth more than no machine."""
    world = lost(None, *idle, paused=True)
    assert given_up(world) == (DEFAULT_POOL if idle else None)
    assert world["w1"].state is (STOPPING if idle else READY)


def test_it_is_kept_while_the_image_does_not_come_up() -> None:
    world = lost(None, template=None, problem="There is no such image.")
    assert given_up(world) is None


def test_a_pool_that_has_left_the_settings_has_no_grace() -> None:
    world = lost(a_machine(pool="former", template=NEW, project="p", generation=1))
    assert given_up(world) is None


def test_an_idle_machine_is_nobodys_and_so_not_told_to_be_unreachable() -> None:
    world = lost(a_machine())
    assert not is_unreachable(world.fleet, world["w1"])


def test_one_that_is_no_longer_on_record_is_not_told_to_be_unreachable() -> None:
    world = lost()
    gone = world["w1"]
    world.remove("w1")
    world.tick()
    world.release("w1")
    assert "w1" not in world.fleet.machines
    assert not is_unreachable(world.fleet, gone)


def test_the_grace_begins_anew_with_the_service() -> None:
    world = lost()
    world.crash()
    assert world.watch("w1").unreachable_s is None
    assert given_up(world) is None
