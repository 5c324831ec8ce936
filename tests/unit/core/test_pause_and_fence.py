"""What the operator and late callers may do: pausing a pool, the fence of a generation, metadata of a project."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.core.build import NEW, World, a_fleet, a_machine, a_spec

from worker_orchestrator.core import commands, refusals, waiting_line
from worker_orchestrator.core.machine import Cause, Change, Holding, State
from worker_orchestrator.errors import GenerationMismatch, NoMachineAvailable
from worker_orchestrator.settings.settings import DEFAULT_POOL

PAUSED = "No machine is idle, and the pool default is paused. Run `orchestrator resume` to start machines again."
MINE = a_machine(project="p", generation=7, metadata='{"owner":"ada"}')


# pause


def test_a_paused_pool_starts_nothing() -> None:
    """However few are idle; and it does again when it is resumed."""
    world = World(spec=a_spec(min_idle=2, paused=True))
    world.tick()
    assert not world.fleet.machines
    world.wants(paused=False)
    world.tick()
    assert len(world.in_state(State.STARTING)) == 2


def test_a_paused_pool_replaces_and_retires_nothing() -> None:
    """Neither an older template nor what is more than max_idle."""
    world = World(spec=a_spec(max_idle=0, paused=True), fleet=a_fleet(a_machine("w1"), a_machine("w2", port=9094)))
    world.wants(template=NEW)
    world.tick()
    assert world.idle == ["w1", "w2"]


def test_a_paused_pool_hands_out_what_is_idle_whatever_it_is_made_of() -> None:
    """Nothing newer will come."""
    world = World(spec=a_spec(paused=True, template=NEW), fleet=a_fleet(a_machine()))
    assert world.assign("p") == "w1"


def test_in_a_paused_pool_nobody_waits_for_what_will_not_come() -> None:
    """They hear so at once, and what to do."""
    world = World(spec=a_spec(paused=True))
    with pytest.raises(NoMachineAvailable) as refusal:
        world.assign("p")
    assert refusal.value.message == PAUSED == refusals.why_none_came(world.fleet, world.spec, DEFAULT_POOL)
    assert refusal.value.retry_after_s == 10.0
    assert world.line == []


def test_in_a_paused_pool_what_is_on_its_way_is_waited_for() -> None:
    """It was begun before the pause."""
    world = World()
    machine_id = world.start()
    world.wants(paused=True)
    assert world.assign("p") is None
    world.answer(machine_id)
    assert world[machine_id].project == "p"


def test_a_pause_turns_away_who_waits_in_vain() -> None:
    """At once, not after the time-out."""
    world = World()
    world.assign("p")
    world.wants(paused=True)
    away = waiting_line.turn_away(world.fleet, world.spec, world.now)
    assert [(project, error.message) for project, error in away.items()] == [("p", PAUSED)]


def test_a_release_serves_who_waits_in_a_paused_pool() -> None:
    """A machine that changes hands is not a new one."""
    world = World(fleet=a_fleet(MINE))
    world.start()
    world.wants(paused=True)
    world.assign("q")
    world.answer("w1")
    world.release("w1")
    assert world["w1"].project == "q"


# fence


def test_a_generation_that_holds_lets_pass() -> None:
    commands.check_generation(MINE, 7)


@pytest.mark.parametrize(
    ("generation", "why"),
    [(0, ", because it was assigned again since then"), (6, ", because it was assigned again since then"), (8, "")],
)
def test_another_generation_is_refused_by_name(generation: int, why: str) -> None:
    """A release that comes late must not hit the next tenant."""
    with pytest.raises(GenerationMismatch) as refusal:
        commands.check_generation(MINE, generation)
    assert refusal.value.message == f"w1 has generation 7, not {generation}{why}. Nothing was changed."
    assert refusal.value.generation == 7


# metadata


def test_what_a_project_says_is_kept_until_it_says_something_else() -> None:
    world = World(fleet=a_fleet(MINE))
    after = commands.annotate(world.fleet, MINE, "{}", world.now)
    assert after == world["w1"]
    assert after.metadata == "{}"
    assert world.last_change() == Change(MINE, after, Cause.ANNOTATED)


def test_saying_the_same_again_changes_nothing() -> None:
    world = World(fleet=a_fleet(MINE))
    assert commands.annotate(world.fleet, MINE, MINE.metadata, world.now) is MINE
    assert not world.fleet.pending


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda world: world.release("w1"), id="released"),
        pytest.param(lambda world: world.destroy("w1"), id="destroyed"),
        pytest.param(lambda world: commands.withdraw(world.fleet, world.spec, MINE, world.now), id="withdrawn"),
        pytest.param(
            lambda world: commands.withdraw(world.fleet, world.spec, MINE, world.now, broken="mute"), id="broken"
        ),
    ],
)
@pytest.mark.parametrize("recycle", [False, True])
def test_what_a_project_said_goes_with_it(end: Callable[[World], object], recycle: bool) -> None:  # noqa: FBT001 # a parameter
    """Nothing of one project for the next."""
    world = World(spec=a_spec(recycle=recycle), fleet=a_fleet(MINE))
    end(world)
    assert world["w1"].project is None
    assert not world["w1"].metadata


def test_a_machine_of_nobody_has_nothing_said_of_it() -> None:
    """There is no place for it but beside the project."""
    with pytest.raises(TypeError, match="project"):
        Holding(metadata="{}")  # type: ignore[call-arg] # that it is refused is the point
    free = a_machine()
    world = World(fleet=a_fleet(free))
    for metadata in ("{}", ""):
        with pytest.raises(AssertionError, match=r"^w1: no project has it, so none says anything of it$"):
            commands.annotate(world.fleet, free, metadata, world.now)
    assert world["w1"] == free
