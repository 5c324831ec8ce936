"""How many idle machines a pool wants beside those that projects have, and how it shrinks."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import NEW, World, a_fleet, a_machine, a_spec, several

from worker_orchestrator.core.brake import failed_predecessor
from worker_orchestrator.core.machine import Cause, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.sizing import note_taken_away
from worker_orchestrator.core.spec import DEFAULT_POOL, UNKNOWN_POOL, PoolSpec

STARTING, STOPPING = State.STARTING, State.STOPPING


# how many are wanted


@pytest.mark.parametrize(
    ("spare", "assigned", "wanted"),
    [(0.0, 100, 2), (0.25, 0, 2), (0.25, 8, 2), (0.25, 9, 3), (0.25, 12, 3), (0.25, 13, 4), (1.0, 5, 5), (1.5, 3, 5)],
)
def test_a_share_of_what_projects_have_is_wanted_if_that_is_more_than_min_idle(
    spare: float, assigned: int, wanted: int
) -> None:
    """Rounded up."""
    assert PoolSpec("t", min_idle=2, spare=spare).wanted_idle(assigned) == wanted


def test_a_share_that_no_float_can_hold_is_not_rounded_up_for_that() -> None:
    """0.1 * 30 is 3.0000000000000004."""
    assert PoolSpec("t", min_idle=0, spare=0.1).wanted_idle(30) == 3
    assert PoolSpec("t", min_idle=0, spare=0.1).wanted_idle(31) == 4
    assert PoolSpec("t", min_idle=0, spare=0.000002).wanted_idle(1) == 1
    assert PoolSpec("t", min_idle=0, spare=0.0000004).wanted_idle(1) == 0, "less than a millionth of a machine"


def test_spare_wants_no_more_than_max_idle_and_no_less_than_min_idle() -> None:
    assert PoolSpec("t", min_idle=1, max_idle=3, spare=1.0).wanted_idle(10) == 3
    assert PoolSpec("t", min_idle=1, max_idle=3, spare=1.0).wanted_idle(2) == 2
    assert PoolSpec("t", min_idle=4, max_idle=3, spare=1.0).wanted_idle(10) == 4


def test_what_a_pool_may_keep_is_max_idle_else_what_it_wants_if_it_shrinks() -> None:
    assert PoolSpec("t", min_idle=2).most_idle(10) is None
    assert PoolSpec("t", min_idle=2, spare=1.0).most_idle(10) is None
    assert PoolSpec("t", min_idle=2, shrinks=True).most_idle(10) == 2
    assert PoolSpec("t", min_idle=2, max_idle=9, shrinks=True).most_idle(10) == 9
    assert PoolSpec("t", min_idle=2, max_idle=9, shrinks=True, is_adaptive=True).most_idle(10) == 2, (
        "it follows demand down"
    )
    assert PoolSpec("t", min_idle=2, spare=1.0, shrinks=True).most_idle(10) == 10
    assert PoolSpec("t", min_idle=2, max_idle=0, spare=1.0, shrinks=True).most_idle(10) == 0


def test_a_pool_is_at_its_limit_when_it_has_as_many_as_it_may_or_more() -> None:
    limited = PoolSpec("t", max_machines=2)
    assert [limited.is_at_limit(held) for held in (1, 2, 3)] == [False, True, True]
    assert not PoolSpec("t").is_at_limit(1_000_000)


def test_nothing_of_this_is_on_unless_it_is_set() -> None:
    plain = PoolSpec("t")
    assert (plain.max_machines, plain.spare, plain.shrinks, plain.shrink_after_s) == (None, 0.0, False, 0.0)
    assert (UNKNOWN_POOL.max_machines, UNKNOWN_POOL.spare, UNKNOWN_POOL.shrinks) == (None, 0.0, False)
    assert DEFAULT_POOL == "default"


def of_projects(count: int, **spec: Any) -> World:
    """So many machines, each of a project."""
    machines = [a_machine(f"w{n}", port=n, project=f"p{n}") for n in range(1, count + 1)]
    return World(fleet=a_fleet(*machines), spec=a_spec(**spec))


def test_a_pool_grows_with_what_projects_have() -> None:
    world = of_projects(4, spare=0.5)
    world.resize()
    assert len(world.in_state(STARTING)) == 2
    world.resize()
    assert len(world.in_state(STARTING)) == 2


def test_only_machines_of_the_pool_count() -> None:
    machines = [a_machine(f"w{n}", pool="b", port=n, project=f"p{n}") for n in range(1, 5)]
    world = World(several(a={"spare": 1.0}, b={}), a_fleet(*machines))
    world.resize()
    assert world.in_state(STARTING) == []
    assert (world.fleet.assigned_in("a"), world.fleet.assigned_in("b"), world.fleet.assigned_in("c")) == (0, 4, 0)


def test_whoever_waits_counts_beside_what_spare_wants() -> None:
    world = of_projects(2, spare=0.5)
    world.assign("p")
    world.resize()
    assert len(world.in_state(STARTING)) == 2


def test_old_machines_stay_for_as_long_as_spare_wants_them() -> None:
    """As they do for min_idle."""
    old = [a_machine(f"w{n}", port=n) for n in (1, 2, 3)]
    new = [a_machine("w4", port=4, template=NEW), *(a_machine(f"w{n}", port=n, project=f"p{n}") for n in (5, 6, 7))]
    world = World(fleet=a_fleet(*old, *new), spec=a_spec(template=NEW, spare=1.0))
    world.resize()
    assert world.in_state(STOPPING) == ["w1"]


def test_a_broken_image_shows_where_only_spare_wants_machines() -> None:
    """A new one is not called good until a machine of it answers."""
    for spare, is_told in ((0.0, False), (0.5, True)):
        world = of_projects(1, spare=spare)
        world.pool.image_brake = Brake("former", 1, world.now, world.now, is_on=True, reason="it exits")
        world.pool.proven_template, world.pool.proven_at = "former", 0.0
        assert (failed_predecessor(world.fleet, world.spec, DEFAULT_POOL) is not None) is is_told


# how it shrinks


def shrinking(idle: int, **spec: Any) -> World:
    machines = [a_machine(f"w{n}", port=n) for n in range(1, idle + 1)]
    return World(fleet=a_fleet(*machines), spec=a_spec(**spec))


def test_what_is_too_many_goes_once_that_has_been_so_for_long_enough() -> None:
    world = shrinking(3, max_idle=1, shrink_after_s=60.0)
    assert world.tick().wake_at == world.now + 60.0
    world.now += 59.9
    world.tick()
    assert world.in_state(STOPPING) == []
    world.now += 0.1
    world.tick()
    assert world.in_state(STOPPING) == ["w1", "w2"]
    assert world["w1"].reason == "There were more idle machines than max_idle allows."
    assert world.causes("w1") == [Cause.RETIRED]
    assert world.pool.too_many_since is None


def test_the_time_begins_anew_when_they_were_not_too_many_in_between() -> None:
    world = shrinking(2, max_idle=1, shrink_after_s=60.0)
    world.resize()
    world.now += 50.0
    world.assign("p")
    world.resize()
    assert world.pool.too_many_since is None
    world.now += 50.0
    world.answer("w1")
    world.release("w1")
    world.resize()
    assert world.pool.too_many_since == world.now
    world.now += 50.0
    world.resize()
    assert world.in_state(STOPPING) == []


def test_the_time_is_not_extended_while_they_stay_too_many() -> None:
    world = shrinking(4, max_idle=1, shrink_after_s=60.0)
    world.resize()
    world.now += 50.0
    world.assign("p")
    world.resize()
    world.now += 10.0
    world.resize()
    assert world.in_state(STOPPING) == ["w2", "w3"]


def test_a_pool_that_shrinks_keeps_what_it_wants() -> None:
    """And says so."""
    world = shrinking(3, min_idle=2, shrinks=True)
    world.resize()
    assert world.in_state(STOPPING) == ["w1"]
    assert world["w1"].reason == "There were more idle machines than its pool wants."


def test_what_spare_wanted_goes_when_projects_have_less() -> None:
    """After its time, and no more than that."""
    world = of_projects(2, spare=1.0, shrinks=True, shrink_after_s=5.0)
    for _ in range(2):
        world.up()
    world.resize()
    world.destroy("w1")
    world.resize()
    assert world.in_state(STOPPING) == ["w1"]
    world.now += 5.0
    world.resize()
    assert world.in_state(STOPPING) == ["w1", "m1"]
    world.resize()
    assert world.idle == ["m2"]


@pytest.mark.parametrize("prevented", ["paused", "unknown", "dropped"])
def test_while_a_pool_is_left_alone_no_time_runs(prevented: str) -> None:
    world = shrinking(2, max_idle=1, shrink_after_s=60.0)
    world.resize()
    if prevented == "dropped":
        world.spec = replace(world.spec, pools={})
    else:
        world.wants(**({"paused": True} if prevented == "paused" else {"template": None, "pending": True}))
    world.now += 50.0
    world.resize()
    assert world.pool.too_many_since is None
    assert world.tick().wake_at is None


def test_the_time_to_look_again_is_that_of_the_pool_that_shrinks_first() -> None:
    machines = [a_machine(f"w{n}", port=n, pool=pool) for n, pool in enumerate(["a", "a", "b", "b", "c", "c"], 1)]
    a, b = {"max_idle": 1, "shrink_after_s": 9.0}, {"max_idle": 1, "shrink_after_s": 5.0}
    world = World(several(a=a, b=b, c={}), a_fleet(*machines))
    assert world.tick().wake_at == world.now + 5.0
    world.now += 5.0
    assert world.tick().wake_at == world.now + 4.0


# what is left of windows and of `spare` that a reload took away


def reloaded(world: World, **changes: Any) -> None:
    before = world.spec
    world.wants(**changes)
    note_taken_away(world.fleet, before, world.spec, world.now)
    world.resize()


def test_what_windows_and_spare_left_goes_once_when_they_are_taken_away() -> None:
    """After that, idle machines above `min_idle` stay, as in a pool that never had any."""
    world = shrinking(4, min_idle=1, shrinks=True, shrink_after_s=60.0)
    reloaded(world, shrinks=False, shed_after_s=100.0)
    assert world.tick().wake_at == world.now + 100.0
    world.now += 99.9
    world.tick()
    assert world.in_state(STOPPING) == []
    world.now += 0.1
    world.tick()
    assert world.in_state(STOPPING) == ["w1", "w2", "w3"]
    assert world["w1"].reason == "There were more idle machines than its pool wants."
    assert world.watch("w1").since == world.now
    world.resize()
    assert world.pool.shed_since is None
    world.up()
    world.now += 1000.0
    assert world.tick().wake_at is None
    assert world.idle == ["w4", "m1"]


def test_a_pool_that_never_had_windows_or_spare_sheds_nothing() -> None:
    world = shrinking(4, min_idle=1)
    reloaded(world, min_idle=0)
    assert world.pool.shed_since is None
    world.now += 1000.0
    world.tick()
    assert len(world.idle) == 4


def test_machines_that_still_come_are_shed_as_well_and_those_that_are_waited_for_are_not() -> None:
    world = shrinking(1, min_idle=1, shrinks=True)
    coming = world.start()
    reloaded(world, shrinks=False, shed_after_s=5.0)
    world.now += 5.0
    world.tick()
    assert world.pool.shed_since is not None
    assert world.in_state(STOPPING) == [], "min_idle of them stay"
    world.answer(coming)
    world.tick()
    assert world.in_state(STOPPING) == ["w1"]
    other = shrinking(0, min_idle=0, shrinks=True)
    other.assign("p")
    other.resize()
    reloaded(other, shrinks=False)
    assert other.pool.shed_since is None


def test_what_spare_still_asks_for_is_not_shed() -> None:
    world = shrinking(3, min_idle=0, spare=1.0, shrinks=True)
    world.assign("p")
    reloaded(world, shrinks=False, shed_after_s=5.0)
    world.now += 5.0
    world.tick()
    assert len(world.idle) == 1, "one for the one that is assigned"
    world.tick()
    assert world.pool.shed_since is None


def test_a_max_idle_says_at_once_how_many_stay() -> None:
    world = shrinking(4, min_idle=1, shrinks=True, shrink_after_s=60.0)
    reloaded(world, shrinks=False, max_idle=3, shrink_after_s=0.0)
    assert world.in_state(STOPPING) == ["w1"]
    assert world.pool.shed_since is None
    world.now += 1000.0
    world.resize()
    assert world.idle == ["w2", "w3", "w4"]


def test_windows_that_come_back_and_a_pool_that_goes_end_the_shedding() -> None:
    for changes in ({"shrinks": True}, None):
        world = shrinking(4, min_idle=1, shrinks=True, shrink_after_s=60.0)
        reloaded(world, shrinks=False)
        assert world.pool.shed_since == world.now
        if changes is None:
            note_taken_away(world.fleet, world.spec, replace(world.spec, pools={}), world.now)
        else:
            reloaded(world, **changes)
        assert world.pool.shed_since is None


def test_what_is_left_goes_300_seconds_later_unless_shrink_after_says_otherwise() -> None:
    assert PoolSpec("t").shed_after_s == 300.0
