"""What is told of a pool: how many idle machines it wants, by which rule, what it lacks, and what holds it back."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.unit.core.build import NEW, OLD, World, a_fleet, a_machine, a_spec

from worker_orchestrator.core.machine import Cause, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.core.wanted import HeldBack, Wanted, nothing_left, paused, wanted
from worker_orchestrator.core.windows import Window


def told(world: World) -> Wanted:
    return wanted(world.fleet, world.spec, DEFAULT_POOL)


def holds(world: World) -> list[str]:
    return [hold.by for hold in told(world).held_back]


def a_world(*, assigned: int = 0, idle: int = 0, **spec: Any) -> World:
    machines = [a_machine(f"p{n}", port=n, project=f"p{n}") for n in range(1, assigned + 1)]
    machines += [a_machine(f"w{n}", port=50 + n) for n in range(1, idle + 1)]
    return World(a_spec(**spec), a_fleet(*machines))


def test_a_pool_that_has_what_it_wants_is_held_back_by_nothing() -> None:
    """Whatever limit it has reached."""
    world = a_world(idle=2, min_idle=2, max_machines=2)
    assert told(world) == Wanted(idle=2, rule="min_idle", most_idle=None, missing=0, held_back=())


def test_a_pool_that_lacks_machines_and_may_start_them_is_held_back_by_nothing() -> None:
    assert told(a_world(min_idle=2)) == Wanted(idle=2, rule="min_idle", most_idle=None, missing=2, held_back=())


def test_the_rule_is_the_one_that_wants_most() -> None:
    """Of two that want the same it is min_idle."""
    assert told(a_world(assigned=4, min_idle=2, spare=0.5)).rule == "min_idle"
    assert told(a_world(assigned=5, min_idle=2, spare=0.5)) == Wanted(3, "spare", None, 3, ())
    assert told(a_world(assigned=5, min_idle=2, max_idle=2, spare=0.5)) == Wanted(2, "min_idle", 2, 2, ())
    assert told(a_world(assigned=5, min_idle=2, spare=0.5, shrinks=True)).most_idle == 3


def test_what_is_missing_counts_those_who_wait_and_what_comes() -> None:
    world = a_world(min_idle=2)
    for project in ("p", "q"):
        world.assign(project)
    assert told(world).missing == 4
    world.begin()
    assert told(world).missing == 3
    for _ in range(5):
        world.begin()
    assert told(world).missing == 0


def test_during_a_replacement_one_machine_is_missing_at_a_time_beside_those_for_whoever_waits() -> None:
    world = a_world(idle=3, min_idle=3, template=NEW)
    assert told(world).missing == 1
    world.assign("p")
    world.assign("q")
    assert told(world).missing == 2
    world.begin()
    assert told(world).missing == 1
    world.fleet.leave_line("p")
    world.fleet.leave_line("q")
    assert told(world).missing == 0


def test_idle_machines_that_cannot_serve_are_missing_only_while_somebody_waits() -> None:
    world = a_world(idle=2, min_idle=2)
    world.instance("w1", trouble="it is paused")
    world.instance("w2", trouble="it is paused")
    world.tick()
    assert told(world).missing == 0
    world.assign("p")
    assert told(world).missing == 3


def test_no_template_is_all_that_holds_a_pool_back_which_has_none() -> None:
    world = a_world(assigned=1, min_idle=1, max_machines=1, template=None, problem="No such image.")
    assert told(world).held_back == (HeldBack("template", "No such image."),)
    world.wants(problem="", pending=True)
    assert told(world).held_back == (HeldBack("template", ""),)


def test_each_thing_that_holds_a_pool_back_is_told_the_first_to_mend_first() -> None:
    world = a_world(assigned=1, min_idle=1)
    world.pool.out_of_ports = True
    assert told(world).held_back == (
        HeldBack(
            "ports",
            "No host port from 9093 to 65535 is free. Free some, or serve with a wider range (--first-port, --last-port).",
        ),
    )
    world.spec = a_spec(min_idle=1, max_machines=1)
    assert holds(world) == ["limit", "ports"]
    world.wants(paused=True)
    assert holds(world) == ["paused", "limit", "ports"]
    world.wants(max_machines=1)
    assert holds(world) == ["paused", "pool_limit", "limit", "ports"]
    world.pool.image_brake = Brake(OLD, 1, 0.0, world.now, is_on=True, reason="it exits", evidence="its last line")
    assert holds(world) == ["image", "paused", "pool_limit", "limit", "ports"]
    assert told(world).held_back[0].why == "it exits\nits last line"
    assert told(world).held_back[1].why == (
        "No machine is idle, and the pool default is paused. Run `orchestrator resume` to start machines again."
    )
    world.pool.obstacle = Brake(OLD, 1, 0.0, world.now + 1.0, is_on=True, reason="The disk is full.")
    assert told(world).held_back[0] == HeldBack("obstacle", "The disk is full.")


@pytest.mark.parametrize("field", ["image_brake", "obstacle"])
def test_a_brake_that_was_let_go_or_is_of_another_template_holds_nothing_back(field: str) -> None:
    world = a_world(min_idle=1)
    setattr(world.pool, field, Brake(OLD, 1, 0.0, world.now + 1.0, is_on=False, reason=""))
    assert holds(world) == []
    setattr(world.pool, field, Brake(NEW, 1, 0.0, world.now + 1.0, is_on=True, reason=""))
    assert holds(world) == []


MORE = "Release one, or allow more with `orchestrator scale --limit N`."


def limited(*generations: int, most: int | None = None, **beside: Any) -> World:
    """Projects got their machines in this order, and no more machines are allowed."""
    held = [a_machine(f"w{n}", port=n, project=f"p{n}", generation=n) for n in generations]
    machines = [*held, *(a_machine("beside", port=99, **fields) for fields in [beside] if fields)]
    return World(a_spec(min_idle=2, max_machines=most or len(machines)), a_fleet(*machines))


def left(world: World) -> str:
    return nothing_left(world.fleet, world.spec, DEFAULT_POOL)


@pytest.mark.parametrize(
    ("generations", "longest"),
    [((7,), "p7"), ((7, 2), "p2 and p7"), ((7, 2, 5), "p2, p5 and p7"), ((7, 9, 2, 5), "p2, p5 and p7")],
)
def test_where_projects_hold_all_machines_the_three_that_hold_one_for_longest_are_named(
    generations: tuple[int, ...], longest: str
) -> None:
    world = limited(*generations)
    named = f"All {len(generations)} machines (max_machines) are held by projects. Held longest: {longest}. {MORE}"
    assert left(world) == named
    assert told(world).held_back == (HeldBack("limit", named),)


def test_where_something_else_has_a_place_nothing_is_said_of_who_holds_machines() -> None:
    """It will come, or go, or is idle: only that all are in use is true then."""
    for state in (State.STARTING, State.FAILED, State.READY):
        assert left(limited(3, 4, state=state)) == ""
    assert (
        told(limited(3, 4, state=State.STARTING)).held_back[0].why
        == f"All 3 machines (max_machines) are in use. {MORE}"
    )
    assert left(limited(3, 4, most=3)) == ""


def test_a_machine_whose_container_is_gone_has_no_place_so_its_project_holds_none() -> None:
    gone: dict[str, Any] = {"state": State.FAILED, "gone": True, "project": "gone", "generation": 1}
    assert "Held longest: p3 and p4. " in left(limited(3, 4, most=2, **gone))
    assert left(limited(3, most=2, **gone)) == ""
    world = limited(3, most=2, **gone)
    world.fleet.apply(None, a_machine("s", State.STARTING, port=98), Cause.CREATED, world.now)
    assert (world.fleet.slots_held, left(world)) == (2, "")


def test_of_a_pool_at_its_own_limit_its_own_projects_are_named() -> None:
    world = limited(1, 2, pool="b", project="of-b", most=9)
    world.wants(max_machines=2)
    assert left(world) == (
        "All 2 machines of the pool default (its max_machines) are held by projects. Held longest: p1 and p2. Release one, "
        "or allow more with `orchestrator scale --pool default --max-machines N`."
    )
    assert nothing_left(world.fleet, world.spec, "b") == ""
    world.wants(max_machines=3)
    assert left(world) == ""


def test_a_pool_at_its_own_limit_is_judged_by_its_own_machines() -> None:
    """An idle machine of another pool is no way out, and one of its own is one."""
    beside = limited(1, 2, pool="b", most=9)
    beside.wants(max_machines=2)
    assert "Held longest: p1 and p2. " in left(beside)
    own = limited(1, 2, state=State.READY, most=9)
    own.wants(max_machines=3)
    assert left(own) == ""


def test_the_pool_to_resume_is_named_unless_it_is_the_default_one() -> None:
    assert paused("b") == (
        "No machine is idle, and the pool b is paused. Run `orchestrator resume --pool b` to start machines again."
    )
    assert "`orchestrator resume`" in paused(DEFAULT_POOL)


def test_where_a_window_asks_for_min_idle_it_is_the_rule() -> None:
    world = a_world(assigned=6, min_idle=2)
    world.wants(window=Window("0 8 * * *", 3600, ZoneInfo("UTC"), 2))
    assert told(world).rule == "window"
    world.wants(spare=0.5)
    assert told(world).rule == "spare"


def test_demand_is_the_rule_where_it_asks_for_more_than_min_idle_and_spare() -> None:
    assert told(a_world(min_idle=4, is_adaptive=True, idle_by_demand=1, shrinks=True)) == Wanted(
        4, "adaptive", 4, 4, ()
    )
    assert told(a_world(min_idle=2, is_adaptive=True, shrinks=True)).rule == "min_idle"
    assert told(a_world(assigned=10, min_idle=4, spare=0.5, is_adaptive=True, idle_by_demand=1)).rule == "spare"
