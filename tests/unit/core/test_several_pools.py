"""Several pools in one fleet: limits of their own, a fair order where room is scarce, and idle machines that make room."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import NEW, OLD, World, a_fleet, a_machine, a_spec, an_instance, several

from worker_orchestrator.core import refusals, sizing
from worker_orchestrator.core.action import Result
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.reasons import DISPLACED, DISPLACED_BY_MIN_IDLE, OUTDATED, SURPLUS

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED


def some(pool: str, *, idle: int = 0, assigned: int = 0, first: int = 1, **fields: Any) -> list[Machine]:
    """Machines of this pool: the idle ones are a1, a2, …, of the pool a; the others ap1, ap2, …, each of a project."""
    port = 100 * sum(map(ord, pool)) + 10 * first
    free = [a_machine(f"{pool}{first + n}", pool=pool, port=port + n, **fields) for n in range(idle)]
    held = [f"{pool}p{n + 1}" for n in range(assigned)]
    return free + [
        a_machine(name, pool=pool, port=port + 50 + n, project=f"of-{name}", **fields) for n, name in enumerate(held)
    ]


def begun(world: World) -> Counter[str]:
    """How many machines of each pool are starting."""
    return Counter(machine.pool for machine in world.fleet.machines.values() if machine.state is STARTING)


def in_order(world: World) -> list[str]:
    """The pools of the machines that were begun, in the order in which they were."""
    return [change.machine.pool for change in world.fleet.pending if change.cause is Cause.CREATED]


def displaced(world: World) -> list[str]:
    return [machine.id for machine in world.fleet.machines.values() if machine.reason == DISPLACED]


def world_of(*machines: list[Machine], max_machines: int = 100, last_port: int = 65535, **pools: Any) -> World:
    fleet = a_fleet(*(machine for some_machines in machines for machine in some_machines), now=1000.0)
    return World(several(max_machines=max_machines, last_port=last_port, **pools), fleet)


# slots


def test_slots_are_counted_by_pool() -> None:
    """All of them together are those of the fleet; what is gone holds none."""
    gone = [a_machine("x", FAILED, pool="a", port=1, gone=True)]
    world = world_of(some("a", idle=2, assigned=1), some("b", idle=1), gone, a={}, b={})
    assert [world.fleet.slots_held_by(name) for name in ("a", "b", "c")] == [3, 1, 0]
    assert world.fleet.slots_held == 4
    world.destroy("a1")
    assert world.fleet.slots_held_by("a") == 3, "until its container is gone"
    world.destroyed("a1")
    world.remove("a1")
    world.now += 1.0
    world.tick()
    assert (world.fleet.slots_held_by("a"), world.fleet.slots_held) == (2, 3)


# the limit of a pool


def test_a_pool_never_exceeds_its_own_limit() -> None:
    world = world_of(a={"min_idle": 5, "max_machines": 2}, b={"min_idle": 1})
    world.assign("p", "a")
    world.resize()
    assert begun(world) == {"a": 2, "b": 1}
    world.resize()
    assert begun(world) == {"a": 2, "b": 1}


def test_a_machine_above_the_limit_of_its_pool_is_never_recorded() -> None:
    """The pool's own and that of the fleet: an assertion, because nothing may ask for that."""
    world = world_of(some("a", idle=1), some("b", idle=1), a={"max_machines": 1}, b={})
    with pytest.raises(AssertionError, match=r"^1 machines of 1 of the pool a$"):
        sizing.new_machine(world.fleet, world.spec, "a", OLD, "x", world.now)
    world.spec = replace(world.spec, max_machines=2)
    with pytest.raises(AssertionError, match=r"^2 machines of 2$"):
        sizing.new_machine(world.fleet, world.spec, "b", OLD, "x", world.now)


def test_a_pool_above_a_limit_that_was_lowered_is_left_alone() -> None:
    world = world_of(some("a", idle=3), a={"max_machines": 1})
    world.assign("p", "a")
    world.assign("q", "a")
    world.tick()
    assert world.in_state(STOPPING) == []
    assert len(world.fleet.machines) == 3


def test_the_refusal_says_which_limit_is_reached() -> None:
    """The pool's own comes first: more room in the fleet would not help."""
    world = world_of(some("a", assigned=2), some("b", assigned=1), max_machines=3, a={"max_machines": 2}, b={})
    assert refusals.why_none_came(world.fleet, world.spec, "a") == (
        "All 2 machines of the pool a (its max_machines) are held by projects. Held longest: of-ap1 and of-ap2. Release "
        "one, or allow more with `orchestrator scale --pool a --max-machines N`."
    )
    assert refusals.why_none_came(world.fleet, world.spec, "b") == (
        "All 3 machines (max_machines) are held by projects. Held longest: of-ap1, of-ap2 and of-bp1. Release one, or "
        "allow more with `orchestrator scale --limit N`."
    )
    world.wants("a", max_machines=3)
    assert refusals.why_none_came(world.fleet, world.spec, "a").startswith("All 3 machines (max_machines)")


def test_a_container_that_turned_up_again_has_its_machine_back_within_both_limits() -> None:
    for limit in (1, 2):
        lost = a_machine("x", FAILED, pool="a", port=1, project="p", gone=True)
        world = world_of([lost], some("a", assigned=1), a={"max_machines": limit})
        world.instance("x")
        world.tick()
        assert world["x"].gone is (limit == 1)


def test_at_its_own_limit_an_old_machine_goes_before_the_new_one_comes() -> None:
    """The fleet has room, and that is of no use to this pool."""
    world = world_of(some("a", idle=2), a={"template": NEW, "min_idle": 2, "max_machines": 2})
    world.resize()
    assert world.in_state(STOPPING) == ["a1"]
    assert world["a1"].reason == OUTDATED
    world.resize()
    assert world.in_state(STOPPING) == ["a1"]


def test_beside_room_in_its_own_limit_the_new_one_comes_first() -> None:
    world = world_of(some("a", idle=2), a={"template": NEW, "min_idle": 2, "max_machines": 3})
    world.resize()
    assert (world.in_state(STOPPING), begun(world)) == ([], {"a": 1})


# a fair order


def test_whoever_waits_longest_gets_the_room_whatever_the_order_of_the_settings() -> None:
    world = world_of(max_machines=2, a={}, b={})
    for project, pool in (("p", "b"), ("q", "b"), ("r", "a")):
        world.assign(project, pool)
    world.resize()
    assert in_order(world) == ["b", "b"]
    world = world_of(max_machines=2, a={}, b={})
    for project, pool in (("p", "b"), ("q", "a"), ("r", "b")):
        world.assign(project, pool)
    world.resize()
    assert in_order(world) == ["b", "a"]


def test_for_whom_a_machine_comes_already_needs_no_other() -> None:
    """Only those behind them do."""
    world = world_of(max_machines=2, a={}, b={})
    world.assign("p", "a")
    world.resize()
    for project, pool in (("q", "b"), ("r", "a")):
        world.assign(project, pool)
    world.resize()
    assert in_order(world) == ["a", "b"]


def test_whoever_leaves_the_line_and_comes_back_waits_anew() -> None:
    world = world_of(max_machines=1, a={}, b={})
    world.assign("p", "a")
    world.assign("q", "b")
    world.assign("p", "a")
    world.fleet.leave_line("p")
    world.assign("p", "a")
    world.resize()
    assert in_order(world) == ["b"]


def test_whoever_waits_comes_before_what_shall_be_idle() -> None:
    world = world_of(max_machines=3, a={"min_idle": 3}, b={})
    world.assign("p", "b")
    world.resize()
    assert in_order(world) == ["b", "a", "a"]


@pytest.mark.parametrize("prevented", ["unknown", "paused", "braked", "obstructed", "limited"])
def test_a_pool_that_cannot_use_the_room_leaves_it_to_the_others(prevented: str) -> None:
    """And none of them waits for what it cannot have."""
    world = world_of(some("a", assigned=1), max_machines=2, a={}, b={})
    world.fleet.join_line("a", "p")
    world.assign("q", "b")
    match prevented:
        case "unknown":
            world.wants("a", template=None, pending=True)
        case "paused":
            world.wants("a", paused=True)
        case "braked":
            world.fleet.pool("a").image_brake = Brake(OLD, 1, world.now, world.now + 1.0, is_on=True, reason="")
        case "obstructed":
            world.fleet.pool("a").obstacle = Brake(OLD, 1, world.now, world.now + 1.0, is_on=True, reason="")
        case _:
            world.wants("a", max_machines=1)
    world.resize()
    assert in_order(world) == ["b"]


def test_a_pool_whose_brake_has_paused_tries_one_machine_in_its_turn() -> None:
    world = world_of(max_machines=3, a={}, b={})
    world.fleet.pool("a").image_brake = Brake(OLD, 1, 0.0, world.now, is_on=True, reason="")
    for project, pool in (("p", "a"), ("q", "a"), ("r", "b")):
        world.fleet.join_line(pool, project)
    world.resize()
    assert in_order(world) == ["a", "b"]
    world.resize()
    assert in_order(world) == ["a", "b"]


def test_idle_machines_go_to_the_pool_that_has_least_of_its_own() -> None:
    """Each in turn; of two equal ones to the first by name, whatever the order of the settings."""
    world = world_of(max_machines=5, b={"min_idle": 2}, a={"min_idle": 4})
    world.resize()
    assert in_order(world) == ["a", "b", "a", "a", "b"]
    world = world_of(some("a", idle=1), max_machines=3, a={"min_idle": 2}, b={"min_idle": 2})
    world.resize()
    assert in_order(world) == ["b", "a"]


def test_what_is_on_its_way_counts_as_what_is_there() -> None:
    world = world_of(max_machines=1, a={"min_idle": 2}, b={"min_idle": 2})
    world.resize()
    world.spec = replace(world.spec, max_machines=2)
    world.resize()
    assert in_order(world) == ["a", "b"]


def test_what_comes_for_whoever_waits_does_not_count_as_idle() -> None:
    world = world_of(max_machines=2, a={"min_idle": 2}, b={"min_idle": 2})
    for project in ("p", "q"):
        world.assign(project, "a")
    world.resize()
    world.spec = replace(world.spec, max_machines=4)
    world.resize()
    assert in_order(world) == ["a", "a", "a", "b"]


@pytest.mark.parametrize(("waits", "first"), [(True, "a"), (False, "b")])
def test_an_idle_machine_that_cannot_serve_does_not_count_while_somebody_waits(*, waits: bool, first: str) -> None:
    """With it a would have half of its two, and b has a third of its three."""
    world = world_of(some("a", idle=1), some("b", idle=1), max_machines=4, a={"min_idle": 2}, b={"min_idle": 3})
    world.fleet.doubted, world.fleet.ailing = {"a1"}, {"a1": "The container is paused."}
    if waits:
        world.fleet.join_line("a", "p")
    world.resize()
    assert in_order(world)[1 if waits else 0] == first


def test_min_idle_comes_before_what_spare_wants() -> None:
    """Then the one that has least of what it wants."""
    world = world_of(
        some("a", idle=1, assigned=4), some("b", assigned=8), max_machines=17, a={"min_idle": 1, "spare": 1.0},
        b={"min_idle": 2, "spare": 0.5},
    )  # fmt: skip
    world.resize()
    assert in_order(world) == ["b", "b", "a", "a"]


def test_a_replacement_comes_after_what_others_lack() -> None:
    world = world_of(
        some("a", idle=1), max_machines=3, a={"template": NEW, "min_idle": 1}, b={"min_idle": 1}, c={"min_idle": 1}
    )
    world.resize()
    assert in_order(world) == ["b", "c"]
    assert world.in_state(STOPPING) == ["a1"], "it is next, and the fleet is full"


def test_what_spare_wants_goes_to_the_pool_that_has_least_of_it() -> None:
    """By its share, and not by the number."""
    a, b = {"min_idle": 1, "spare": 1.0}, {"min_idle": 1, "spare": 1.0}
    world = world_of(
        some("a", idle=2, assigned=4), some("b", idle=3, assigned=9), max_machines=19, a=a, b=b
    )  # a has a half, b a third
    world.resize()
    assert in_order(world) == ["b"]


def test_a_replacement_comes_after_what_spare_wants() -> None:
    a, b = {"template": NEW, "min_idle": 1}, {"min_idle": 1, "spare": 1.0}
    world = world_of(some("a", idle=1), some("b", idle=1, assigned=2), max_machines=5, a=a, b=b)
    world.resize()
    assert in_order(world) == ["b"]


def test_replacements_come_in_the_order_of_names_whatever_is_there_of_the_old() -> None:
    a, b = {"template": NEW, "min_idle": 1}, {"template": NEW, "min_idle": 1}
    world = world_of(some("b", idle=1), some("a", idle=2), max_machines=4, b=b, a=a)
    world.resize()
    assert in_order(world) == ["a"]


def test_an_old_machine_below_min_idle_is_replaced_in_the_turn_of_its_pool() -> None:
    world = world_of(some("a", idle=1), max_machines=3, a={"template": NEW, "min_idle": 4}, b={"min_idle": 2})
    world.resize()
    assert in_order(world) == ["b", "a"]


def test_ports_that_run_out_are_told_to_all_who_could_use_one() -> None:
    world = world_of(max_machines=9, last_port=9094, a={"min_idle": 1}, b={"min_idle": 3}, c={})
    world.assign("p", "c")
    world.wants("a", max_idle=1)
    world.resize()
    assert in_order(world) == ["c", "a"]
    assert [world.fleet.pool(name).out_of_ports for name in ("a", "b", "c")] == [False, True, False]
    for machine_id in world.in_state(STARTING):
        world.instance(machine_id)
        world.answer(machine_id)
    world.assign("q", "c")
    world.wants("a", min_idle=2, max_idle=None)
    world.resize()
    assert [world.fleet.pool(name).out_of_ports for name in ("a", "b", "c")] == [True, True, True]


# displacement


def test_each_pool_that_needs_more_ports_than_are_left_is_told_so() -> None:
    """Also the one that was not tried any more, because another pool had asked for as many in vain."""
    two = {"min_idle": 1, "port_names": ("http", "hmr")}
    world = world_of(last_port=9093, a=two, b=two, c={"min_idle": 1})
    world.resize()
    assert [world.fleet.pool(name).out_of_ports for name in ("a", "b", "c")] == [True, True, False]
    assert in_order(world) == ["c"]


def test_what_was_found_of_the_ports_stays_while_there_is_no_slot_to_try_again() -> None:
    world = world_of(some("a", assigned=1), max_machines=1, a={})
    world.fleet.pool("a").out_of_ports = True
    world.fleet.join_line("a", "p")
    world.resize()
    assert world.fleet.pool("a").out_of_ports


def test_an_idle_machine_above_min_idle_goes_for_a_project_of_another_pool() -> None:
    world = world_of(some("a", idle=3), max_machines=3, a={"min_idle": 1}, b={})
    assert world.assign("p", "b") is None
    world.resize()
    assert displaced(world) == ["a1"]
    assert world["a1"].state is STOPPING
    assert world.causes("a1") == [Cause.RETIRED]
    assert world.watch("a1").since == world.now
    world.resize()
    assert displaced(world) == ["a1"], "one place is all that is needed"
    world.destroyed("a1")
    world.remove("a1")
    world.now += 1.0
    world.tick()
    assert begun(world) == {"b": 1}


def test_nothing_goes_below_min_idle_and_no_machine_of_a_project() -> None:
    world = world_of(some("a", idle=2, assigned=3), max_machines=5, a={"min_idle": 1}, b={})
    for project in ("p", "q", "r"):
        world.assign(project, "b")
    world.resize()
    assert displaced(world) == ["a1"]


def test_beside_a_free_place_nothing_goes() -> None:
    world = world_of(some("a", idle=2), max_machines=3, a={}, b={})
    world.assign("p", "b")
    world.resize()
    assert (displaced(world), begun(world)) == ([], {"b": 1})
    world.resize()
    assert displaced(world) == [], "what comes serves whoever waits"
    world.assign("q", "b")
    world.resize()
    assert displaced(world) == ["a1"]


def test_where_no_port_is_left_an_idle_machine_makes_room_as_where_no_slot_is() -> None:
    machines = [a_machine("a1", pool="a", port=9093), a_machine("a2", pool="a", port=9094)]
    world = world_of(machines, max_machines=9, last_port=9094, a={"min_idle": 1}, b={})
    world.assign("p", "b")
    world.assign("q", "b")
    world.resize()
    assert displaced(world) == ["a1"]
    world.resize()
    assert displaced(world) == ["a1"]


def test_who_gets_a_free_place_needs_no_other_one() -> None:
    """The other one of two does."""
    world = world_of(some("a", idle=2), max_machines=3, a={}, b={})
    world.assign("p", "b")
    world.assign("q", "b")
    world.resize()
    assert (begun(world), displaced(world)) == ({"b": 1}, ["a1"])


def test_the_one_that_is_idle_for_longest_goes_first_whichever_pool_has_it() -> None:
    """Of several at the same time the first by its id."""
    world = world_of(some("b", idle=3), some("c", idle=3), some("d", idle=1), max_machines=7, a={}, b={}, c={}, d={})
    for machine_id, since in {"b1": 5.0, "b2": 1.0, "c1": 3.0, "c2": 7.0, "d1": 3.0}.items():
        world.watch(machine_id).since = since
    for number, gone in enumerate(["c1", "d1", "b1", "b2"], 1):
        world.assign(f"p{number}", "a")
        world.resize()
        assert world[gone].state is STOPPING
        assert len(displaced(world)) == number


def test_outdated_machines_count_as_any_other_idle_one() -> None:
    old, newer = some("b", idle=1), some("b", idle=1, first=5, template=NEW)
    world = world_of(old, newer, max_machines=2, a={}, b={"template": "template-3", "min_idle": 1})
    world.watch("b5").since = 1.0
    world.assign("p", "a")
    world.resize()
    assert displaced(world) == ["b5"]


def test_no_more_go_than_projects_wait_for_which_no_place_becomes_free() -> None:
    """Whatever pool leaves it."""
    leaving = [a_machine("x", STOPPING, pool="c", port=1)]
    world = world_of(some("a", idle=4), leaving, max_machines=5, a={}, b={}, c={})
    for project in ("p", "q", "r"):
        world.assign(project, "b")
    world.resize()
    assert displaced(world) == ["a1", "a2"]


def test_a_pool_at_its_own_limit_gains_nothing_so_nothing_goes_for_it() -> None:
    world = world_of(some("a", idle=2), some("b", assigned=1), max_machines=3, a={}, b={"max_machines": 1})
    world.assign("p", "b")
    world.resize()
    assert displaced(world) == []
    world.wants("b", max_machines=2)
    world.assign("q", "b")
    world.resize()
    assert displaced(world) == ["a1"], "one more is all that it may have"


def test_nothing_goes_for_what_shall_be_idle() -> None:
    world = world_of(some("a", idle=3), max_machines=3, a={}, b={"min_idle": 2})
    world.resize()
    assert displaced(world) == []


# what nobody asked for in writing


def by_demand(world: World) -> list[str]:
    return [one.id for one in world.fleet.machines.values() if one.reason == DISPLACED_BY_MIN_IDLE]


def paused(pool: str, count: int) -> list[Machine]:
    return some(pool, idle=count, state=State.PARKED)


def test_a_min_idle_gets_the_places_of_what_another_pool_has_parked_by_demand_alone() -> None:
    """In a full fleet the pool that came later had no idle machine, for as long as the other one expected bursts."""
    held = some("a", assigned=22)
    world = world_of(
        paused("a", 7), some("c", idle=1), held, max_machines=30, a={"parked": 7, "parked_by_demand": 7}, b={}, c={}
    )
    for number in range(1, 8):
        world.instances[f"a{number}"] = an_instance(f"a{number}", Status.PAUSED, pool="a")
    for one in ("c1", *(f"ap{number}" for number in range(1, 23))):
        world.instances[one] = an_instance(one, pool=one[0])
    world.tick()
    world.watch("a4").since, world.watch("a6").since = 1.0, 2.0
    world.resize()
    assert by_demand(world) == []
    world.wants("b", min_idle=2)
    world.resize()
    assert by_demand(world) == ["a4", "a6"], "who was parked for longest goes first"
    world.resize()
    assert by_demand(world) == ["a4", "a6"], "two places are all that is needed"
    for gone in ("a4", "a6"):
        world.destroyed(gone)
        world.remove(gone)
    world.now += 1.0
    world.tick()
    assert begun(world) == {"b": 2}
    world.tick()
    assert (by_demand(world), len(world.in_state(State.PARKED))) == ([], 5)


def test_what_a_forecast_has_left_of_its_reserve_goes_as_well() -> None:
    world = world_of(paused("a", 3), max_machines=3, a={"parked": 1, "shrink_after_s": 300.0}, b={"min_idle": 3})
    world.resize()
    assert len(by_demand(world)) == 2, "one is asked for in writing"


def test_no_more_go_than_a_min_idle_lacks_though_demand_asks_for_more() -> None:
    demand = {"parked": 3, "parked_by_demand": 3}
    world = world_of(
        paused("a", 3), some("b", idle=1), max_machines=4, a=demand, b={"min_idle": 4, "idle_by_demand": 2}
    )
    world.resize()
    assert by_demand(world) == ["a1"], "it has one of two, and demand alone asks for the others"


@pytest.mark.parametrize(
    "pools",
    [
        {"a": {"parked": 3}, "b": {"min_idle": 2}},
        {"a": {"parked": 3, "parked_by_demand": 3}, "b": {"min_idle": 2, "idle_by_demand": 2}},
        {"a": {"parked": 3, "parked_by_demand": 3}, "b": {"min_idle": 2, "max_machines": 0}},
    ],
)
def test_what_is_written_does_not_yield_and_nothing_yields_to_what_is_not(pools: Any) -> None:
    world = world_of(paused("a", 3), max_machines=3, **pools)
    world.resize()
    assert by_demand(world) == []


def test_projects_that_wait_are_served_first_and_what_ends_anyway_counts() -> None:
    leaving = [a_machine("x", STOPPING, pool="c", port=1)]
    demand = {"parked": 5, "parked_by_demand": 5}
    world = world_of(paused("a", 5), leaving, max_machines=6, a=demand, b={"min_idle": 2}, c={})
    world.assign("p", "c")
    world.resize()
    assert (displaced(world), by_demand(world)) == ([], ["a1", "a2"])
    world.assign("q", "c")
    world.resize()
    assert (displaced(world), by_demand(world)) == ([], ["a1", "a2", "a3"])


def test_no_pool_makes_room_for_itself() -> None:
    """What is idle there and does not serve is outdated or doubted."""
    world = world_of(some("a", idle=2), max_machines=2, a={})
    for machine_id in ("a1", "a2"):
        world.fleet.doubt(machine_id, world.now)
    world.assign("p", "a")
    world.assign("q", "a")
    world.assign("r", "a")
    world.resize()
    assert displaced(world) == []


def test_idle_machines_of_a_pool_that_the_settings_do_not_name_go_anyway() -> None:
    world = world_of(some("a", idle=1), some("x", idle=1), max_machines=2, a={}, b={})
    world.assign("p", "b")
    world.resize()
    assert displaced(world) == []
    assert world["x1"].reason == "Its pool is not in the settings."


def test_surplus_goes_before_anything_is_displaced() -> None:
    world = world_of(some("a", idle=2), some("b", idle=2), max_machines=4, a={}, b={"max_idle": 1}, c={})
    world.assign("p", "c")
    world.resize()
    assert [world[machine_id].reason for machine_id in world.in_state(STOPPING)] == [SURPLUS]


# an old machine that goes first


def full_of_old(**pools: Any) -> World:
    """A full fleet: a has two idle machines of an older template, b has one of a project."""
    a = {"template": NEW, "min_idle": 2, **pools.pop("a", {})}
    return world_of(some("a", idle=2), some("b", assigned=1), max_machines=3, a=a, b=pools.pop("b", {}))


def test_an_old_machine_goes_first_where_its_pool_gets_the_place() -> None:
    world = full_of_old()
    world.resize()
    assert world.in_state(STOPPING) == ["a1"]


def test_while_its_image_is_unproven_no_old_machine_goes_for_another_pool() -> None:
    """It would cost what works, and show nothing."""
    world = full_of_old()
    world.assign("p", "b")
    world.resize()
    assert world.in_state(STOPPING) == []
    world.fleet.pool("a").proven_template = NEW
    world.resize()
    assert world.in_state(STOPPING) == ["a1"]


def test_an_old_machine_goes_for_a_project_of_its_pool_though_another_one_is_first() -> None:
    world = full_of_old()
    world.assign("p", "b")
    world.assign("q", "a")
    world.resize()
    assert world.in_state(STOPPING) == ["a1"]


def test_no_old_machine_goes_first_while_a_cause_outside_prevents_new_ones() -> None:
    """When its pause is over a try needs the place."""
    world = full_of_old()
    world.fleet.pool("a").proven_template = NEW
    world.fleet.pool("a").obstacle = Brake(NEW, 1, 0.0, world.now + 1.0, is_on=True, reason="The disk is full.")
    world.resize()
    assert world.in_state(STOPPING) == []
    world.now += 1.0
    world.resize()
    assert world.in_state(STOPPING) == ["a1"]
    assert world.watch("a1").since == world.now


def test_what_another_pool_or_template_meets_keeps_no_old_machine() -> None:
    world = full_of_old()
    world.fleet.pool("b").obstacle = Brake(NEW, 1, 0.0, world.now + 1.0, is_on=True, reason="The disk is full.")
    world.fleet.pool("a").obstacle = Brake(OLD, 1, 0.0, world.now + 1.0, is_on=True, reason="The disk is full.")
    world.resize()
    assert world.in_state(STOPPING) == ["a1"]


def test_the_one_that_goes_first_is_outdated_whatever_is_older() -> None:
    newer, old = some("a", idle=1, template=NEW), some("a", idle=1, first=2)
    world = world_of(newer, old, max_machines=2, a={"template": NEW, "min_idle": 2})
    world.resize()
    assert world.in_state(STOPPING) == ["a2"]


# workers that take their time to end


def stopping(world: World) -> list[str]:
    """Machines whose workers still have time to end."""
    return [machine_id for machine_id, watch in world.fleet.watches.items() if watch.ends_gently]


def test_the_workers_of_every_pool_are_hurried_for_whoever_waits_for_a_place() -> None:
    """The one that began to end first is the first, and no more than are needed."""
    world = world_of(
        some("b", assigned=2), some("a", assigned=1), max_machines=3, a={"recycle": True}, b={"recycle": True}
    )
    for machine_id in ("bp2", "ap1", "bp1"):
        world.release(machine_id)
        world.now += 1.0
    world.assign("p", "a")
    world.resize()
    assert stopping(world) == ["bp1", "ap1"]
    world.assign("q", "b")
    world.resize()
    assert (stopping(world), world.fleet.hurried) == (["bp1"], ["bp2", "ap1"])


def test_at_its_own_limit_only_workers_of_its_pool_are_hurried() -> None:
    """Though others end as well."""
    world = world_of(
        some("a", assigned=2), some("b", assigned=1), max_machines=9, a={"recycle": True, "max_machines": 2},
        b={"recycle": True},
    )  # fmt: skip
    for machine_id in ("bp1", "ap1", "ap2"):
        world.release(machine_id)
    world.assign("p", "a")
    world.resize()
    assert stopping(world) == ["ap2", "bp1"]
    world.assign("q", "b")
    world.resize()
    assert stopping(world) == ["ap2", "bp1"]


def test_what_comes_for_one_pool_serves_nobody_in_another() -> None:
    """And what is too much in one is no less needed in the other."""
    world = world_of(some("a", assigned=1), max_machines=3, a={"recycle": True, "min_idle": 2}, b={})
    world.resize()
    world.release("ap1")
    world.assign("p", "a")
    world.assign("q", "b")
    world.resize()
    assert world.fleet.hurried == ["ap1"]


@pytest.mark.parametrize("change", [{"paused": True}, {"template": None, "pending": True}])
def test_nobody_is_hurried_for_a_pool_that_starts_nothing(change: dict[str, Any]) -> None:
    """As soon as it does, somebody is."""
    world = world_of(some("a", assigned=1), max_machines=1, a={"recycle": True}, b={})
    world.assign("p", "b")
    world.wants("b", **change)
    world.release("ap1")
    world.resize()
    assert stopping(world) == ["ap1"]
    world.wants("b", paused=False, template=OLD, pending=False)
    world.resize()
    assert stopping(world) == []


def test_who_ends_at_once_counts_as_room() -> None:
    leaving = [a_machine("x", STOPPING, pool="b", port=1)]
    world = world_of(some("a", assigned=1), leaving, max_machines=2, a={"recycle": True}, b={})
    world.release("ap1")
    world.assign("p", "b")
    world.resize()
    assert stopping(world) == ["ap1"]


# settings that change meanwhile


def test_a_pool_that_comes_back_into_the_settings_is_as_any_other() -> None:
    world = world_of(some("a", idle=1, assigned=1), a={"min_idle": 1}, b={})
    both = world.spec
    world.spec = replace(both, pools={"b": both.pools["b"]})
    world.resize()
    assert world["a1"].state is STOPPING
    world.spec = both
    world.resize()
    assert begun(world) == {"a": 1}
    world.release("ap1")
    world.resize()
    assert world["ap1"].state is STARTING, "it answers again and is idle"


def test_pools_are_looked_at_once_for_a_change_in_one_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but their quick check, however many machines there are."""
    pools: dict[str, Any] = {f"pool{number}": {"min_idle": 1} for number in range(10)}
    world = world_of(*(some(name, idle=2) for name in pools), **pools)
    world.assign("p", "pool3")
    world.fleet.take_pending()
    monkeypatch.delattr("worker_orchestrator.core.sizing._retire_surplus")
    monkeypatch.delattr("worker_orchestrator.core.sizing.claim_of")
    world.resize()
    assert world.fleet.pending == []


def test_in_a_full_fleet_a_pool_that_lacks_idle_machines_is_right_as_long_as_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = world_of(
        some("a", assigned=2), some("b", assigned=1), max_machines=4, a={"min_idle": 2, "max_machines": 2}, b={}
    )
    monkeypatch.delattr("worker_orchestrator.core.sizing.claim_of")
    world.assign("p", "a")
    world.resize()
    world.wants("a", max_machines=None)
    world.spec = replace(world.spec, max_machines=3)
    world.fleet.leave_line("p")
    world.resize()
    world.assign("p", "a")
    with pytest.raises(NameError):
        world.resize()


def test_a_create_that_is_refused_a_port_is_no_create_too_many() -> None:
    """It moves on within its slot."""
    world = World(spec=a_spec(min_idle=1, max_machines=1))
    world.resize()
    world.created("m1", Result.PORT_TAKEN)
    assert (world.fleet.slots_held, world["m1"].port) == (1, 9094)
