"""Whose projects are whose, and how many machines a key may have at once."""

from __future__ import annotations

import random

import pytest
from tests.unit.core.build import World, a_fleet, a_machine, assert_indexes_hold, several

from worker_orchestrator.core import commands
from worker_orchestrator.core.key import beyond_limit, full_name, held, insist_on_limit, is_full, key_name, own_name
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.key_errors import KeyLimitReached


def a_world(machines: int, **quotas: int) -> World:
    fleet = a_fleet(*(a_machine(f"w{number}", port=number) for number in range(1, machines + 1)), now=1000.0)
    fleet.keys = {**quotas}
    return World(several(default={}), fleet)


def test_a_project_of_a_key_is_known_by_its_beginning() -> None:
    assert full_name("ci", "demo") == "ci:demo"
    assert own_name("ci", "ci:demo") == "demo"
    assert own_name("ci", "ci:a:b") == "a:b"
    assert own_name("ci", "demo") is None
    assert own_name("ci", "cix:demo") is None
    assert own_name("ci", None) is None


def test_a_name_of_a_key_is_short_and_plain() -> None:
    assert key_name("ci-2") == "ci-2"
    assert key_name("a" * 32) == "a" * 32
    for wrong in ("", "-a", "A", "a_b", "a:b", "a" * 33):
        with pytest.raises(InvalidInput) as refusal:
            key_name(wrong)
        assert refusal.value.message == (
            f"{wrong!r} is not the name of a key: use 1 to 32 small letters, digits or -, and begin with no -."
        )
    with pytest.raises(InvalidInput, match=f"^'{'a' * 40}' is"):
        key_name("a" * 41)


def test_a_key_gets_no_more_machines_than_it_may_have() -> None:
    world = a_world(3, ci=2)
    assert world.assign("ci:a")
    assert world.assign("ci:b")
    with pytest.raises(KeyLimitReached) as refusal:
        world.assign("ci:c")
    assert refusal.value.message == (
        "The key ci may have 2 machines at once (max_machines), and its projects have or wait for as many. Release one of "
        "them, or have the operator make a key with a higher limit."
    )
    assert world.assign("ci:a"), "what it has stays its own"
    assert world.assign("c"), "the operator has no limit"


def test_one_machine_is_told_of_as_one() -> None:
    world = a_world(1, ci=1)
    assert world.assign("ci:a")
    with pytest.raises(KeyLimitReached, match="may have 1 machine at once"):
        insist_on_limit(world.fleet, "ci:b")


def test_a_place_in_line_counts() -> None:
    """Otherwise all who wait would get one."""
    world = a_world(0, ci=1)
    assert world.assign("ci:a") is None
    with pytest.raises(KeyLimitReached):
        world.assign("ci:b")
    assert world.assign("ci:a") is None, "it goes on waiting"
    assert held(world.fleet, "ci") == {"ci:a"}


def test_a_release_makes_room() -> None:
    world = a_world(2, ci=1)
    world.assign("ci:a")
    assert is_full(world.fleet, "ci:b")
    machine = world.fleet.of_project("ci:a")
    assert machine is not None
    commands.release(world.fleet, world.spec, machine, 1000.0)
    assert not is_full(world.fleet, "ci:b")


def test_a_machine_that_is_gone_is_replaced_within_the_limit() -> None:
    world = World(
        several(default={}),
        a_fleet(a_machine("w1", project="ci:a", state=State.FAILED, gone=True), a_machine("w2", port=2), now=1000.0),
    )
    world.fleet.keys = {"ci": 1}
    assert world.assign("ci:a") == "w2"


def test_a_key_may_have_no_limit() -> None:
    world = a_world(3)
    world.fleet.keys = {"ci": None}
    assert all(world.assign(f"ci:{number}") for number in range(3))


@pytest.mark.parametrize("has_keys", [False, True])
def test_while_there_are_keys_no_machine_is_given_to_a_second_project(*, has_keys: bool) -> None:
    """It may hold files of another caller."""
    world = a_world(1)
    world.fleet.keys = {"ci": None} if has_keys else {}
    world.assign("p")
    machine = world.fleet.of_project("p")
    assert machine is not None
    after = commands.release(world.fleet, world.spec, machine, 1000.0)
    assert after is not None
    assert (after.state is State.STOPPING) is has_keys


@pytest.mark.parametrize("has_keys", [False, True])
def test_nor_one_that_its_project_did_not_hear_of(*, has_keys: bool) -> None:
    """Another client of that project may have found it."""
    world = a_world(1)
    world.fleet.keys = {"ci": None} if has_keys else {}
    world.assign("p")
    machine = world.fleet.of_project("p")
    assert machine is not None
    commands.withdraw(world.fleet, world.spec, machine, 1000.0)
    assert world["w1"].project is None
    assert world["w1"].state is (State.STOPPING if has_keys else State.READY)


def test_only_keys_with_a_limit_have_one() -> None:
    world = a_world(1, ci=1)
    world.assign("ci:a")
    assert not is_full(world.fleet, "other:b")
    assert not is_full(world.fleet, "ci"), "a project of the operator"
    insist_on_limit(world.fleet, "other:b")


@pytest.mark.parametrize("is_full_now", [False, True])
def test_the_short_way_leaves_a_key_at_its_limit_to_the_long_one(*, is_full_now: bool) -> None:
    world = a_world(2, ci=1)
    if is_full_now:
        world.assign("ci:a")
    for watch in world.fleet.watches.values():
        watch.verified_at = 1000.0
    got = commands.assign_verified(world.fleet, world.spec, "ci:b", 1000.0)
    assert (got is None) is is_full_now


@pytest.mark.parametrize("seed", range(20))
def test_no_history_gives_a_key_more_than_it_may_have(seed: int) -> None:
    rng = random.Random(seed)
    world = a_world(8, ci=2, web=3)
    names = [f"{key}{number}" for key in ("ci:", "web:", "") for number in range(5)]
    for _ in range(200):
        project = rng.choice(names)
        machine = world.fleet.of_project(project)
        try:
            if rng.random() < 0.5:
                commands.assign(world.fleet, world.spec, project, 1000.0)
            elif rng.random() < 0.5:
                commands.assign_verified(world.fleet, world.spec, project, 1000.0) if machine is None else None
            elif machine is not None:
                commands.release(world.fleet, world.spec, machine, 1000.0)
        except KeyLimitReached:
            assert machine is None
        assert len(held(world.fleet, "ci")) <= 2
        assert len(held(world.fleet, "web")) <= 3
        assert_indexes_hold(world.fleet)


def test_who_came_in_the_place_of_a_release_that_was_taken_back_leaves_the_line_again() -> None:
    world = a_world(1, ci=2, web=1)
    world.assign("ci:a")
    world.fleet.take_pending()
    before = world.fleet.of_project("ci:a")
    assert before is not None
    commands.release(world.fleet, world.spec, before, world.now)
    for project in ("ci:b", "web:x", "ci:c", "operator", "ci"):
        world.assign(project)  # all of them wait
    assert beyond_limit(world.fleet) == []
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert beyond_limit(world.fleet) == ["ci:c"]
    world.fleet.join_line("default", "ci:d")
    assert beyond_limit(world.fleet) == ["ci:d", "ci:c"]


@pytest.mark.parametrize("seed", range(20))
def test_no_history_with_batches_that_are_taken_back_gives_a_key_more_than_it_may_have(seed: int) -> None:
    rng = random.Random(seed)
    world = a_world(3, ci=2, web=3)
    world.fleet.take_pending()
    names = [f"{key}{number}" for key in ("ci:", "web:", "") for number in range(5)]
    for _ in range(200):
        project = rng.choice(names)
        machine = world.fleet.of_project(project)
        try:
            if machine is not None and rng.random() < 0.5:
                commands.release(world.fleet, world.spec, machine, 1000.0)
            elif machine is None or machine.state is State.READY:
                commands.assign(world.fleet, world.spec, project, 1000.0)
        except KeyLimitReached:
            assert machine is None
        if rng.random() < 0.3:
            changes = world.fleet.take_pending()
            if rng.random() < 0.5:
                world.fleet.undo(changes, 1000.0)
                for one in beyond_limit(world.fleet):
                    world.fleet.leave_line(one)
        assert len(held(world.fleet, "ci")) <= 2
        assert len(held(world.fleet, "web")) <= 3
        assert_indexes_hold(world.fleet)
