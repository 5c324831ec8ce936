"""Every failure that the core decides on carries its kind, and the metrics count by it: they read no prose."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.core.build import World, a_machine, with_one

import worker_orchestrator
from worker_orchestrator.control.reading.prometheus import Metrics
from worker_orchestrator.core import commands
from worker_orchestrator.core.action import Result
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, Change, State

SOURCES = Path(worker_orchestrator.__file__).parent
CORE = [
    f"core/{name}"
    for name in (
        "brake",
        "commands",
        "due_actions",
        "observation",
        "outcomes",
        "parking",
        "reconcile",
        "sizing",
        "waiting_line",
    )
]
MODULES = [*CORE, "control/assigning/search", "control/orchestrator"]
NAMED = {f"FailureKind.{kind.name}" for kind in FailureKind if kind is not FailureKind.OTHER}
BY_HOW_IT_ENDED = {"self.instance.end", "instance.end"}
HANDED_ON = {"kind", "failure.kind"}


def kinds() -> Iterator[tuple[str, str]]:
    """Where a machine is let fail, and how the source gives the kind."""
    for module in MODULES:
        tree = ast.parse((SOURCES / f"{module}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Failure", "self._fail"}:
                yield f"{module}:{node.lineno}", ast.unparse(node.args[0])
            elif isinstance(node, ast.Call) and len(node.args) == 5 and ast.unparse(node.func).endswith("fleet.apply"):
                yield f"{module}:{node.lineno}", ast.unparse(node.args[4])


FOUND = list(kinds())


def test_the_places_are_found() -> None:
    assert len(FOUND) >= 13


@pytest.mark.parametrize(("place", "kind"), FOUND, ids=[place for place, _ in FOUND])
def test_each_has_a_kind(place: str, kind: str) -> None:
    assert kind in NAMED | BY_HOW_IT_ENDED | HANDED_ON


def test_every_kind_is_given_somewhere() -> None:
    """But for the one of what nobody foresaw, and those that an instance tells by how it ended."""
    told = {FailureKind.EXITED, FailureKind.KILLED, FailureKind.OUT_OF_MEMORY}
    assert {kind for _, kind in FOUND} >= NAMED - {f"FailureKind.{kind.name}" for kind in told}


def failed(world: World, machine_id: str = "w1") -> Change:
    """The change by which it failed."""
    change = next(c for c in world.fleet.pending if c.after is not None and c.after.state is State.FAILED)
    assert change.machine.id == machine_id
    return change


def counted(change: Change) -> str:
    """The label value under which the metrics count this change."""
    metrics = Metrics()
    metrics.committed([change], 0.001)
    [kind] = [kind for kind, count in metrics._failures.of.items() if count]
    return kind.value


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        ({"detail": "exit code 3"}, "exited"),
        ({}, "exited"),
        ({"detail": "exit code 137", "out_of_memory": True}, "out_of_memory"),
        ({"detail": "exit code 137", "killed": True}, "killed"),
    ],
)
def test_a_container_that_ended_is_told_by_how(ended: dict[str, object], kind: str) -> None:
    world = with_one(a_machine(), Status.EXITED, **ended)
    world.tick()
    assert counted(failed(world)) == kind


def test_words_of_an_engine_are_not_read() -> None:
    """They are for people, and an engine may put anything into them."""
    world = with_one(a_machine(), Status.EXITED, detail="vanished, killed from outside, out of memory")
    world.tick()
    assert counted(failed(world)) == "exited"


def test_a_container_that_is_gone_vanished() -> None:
    for project in (None, "p"):
        world = with_one(a_machine(project=project, generation=1), None)
        world.tick()
        assert counted(failed(world)) == "vanished"


def test_a_container_that_is_being_removed_vanishes() -> None:
    world = with_one(a_machine(), Status.TERMINATING)
    world.tick()
    assert counted(failed(world)) == "vanished"


def test_a_container_that_ends_again_and_again_was_not_restarted() -> None:
    world = with_one(a_machine(project="p", generation=1), Status.EXITED)
    world.watch("w1").tries = 6
    world.tick()
    assert counted(failed(world)) == "not_restarted"


def test_a_container_that_somebody_keeps_from_serving_is_held_up() -> None:
    world = with_one(a_machine(state=State.STARTING), trouble="it is paused")
    world.tick()
    assert counted(failed(world)) == "held_up"


def test_a_container_that_does_not_come_up_in_time_is_told_by_what_it_lacked() -> None:
    for status, kind in ((Status.PENDING, "start_timeout"), (Status.RUNNING, "answer_timeout")):
        world = with_one(a_machine(state=State.STARTING), status)
        world.now += 61
        world.miss("w1")
        world.tick()
        assert counted(failed(world)) == kind


def test_a_machine_that_misses_its_probes_stopped_answering() -> None:
    world = with_one(a_machine())
    for _ in range(3):
        world.miss("w1")
    assert counted(failed(world)) == "stopped_answering"


def test_a_machine_that_did_not_answer_when_it_was_to_be_handed_out_stopped_answering() -> None:
    world = with_one(a_machine())
    world.assign("p")
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now, broken="did not answer")
    assert counted(failed(world)) == "stopped_answering"


@pytest.mark.parametrize("message", ["Docker says: no space left on device", "The name w1 is taken", "vanished", ""])
def test_what_an_engine_refuses_is_rejected(message: str) -> None:
    world = World()
    machine_id = world.begin()
    world.created(machine_id, Result.REJECTED, message)
    assert counted(failed(world, machine_id)) == "rejected"


def test_what_nobody_foresaw_is_something_else() -> None:
    world = with_one(a_machine())
    world.tick()
    before = world["w1"]
    world.fleet.take_pending()
    world.fleet.apply(before, replace(before, state=State.FAILED, reason="the sky is green"), Cause.FAILED, world.now)
    assert counted(failed(world)) == "other"
