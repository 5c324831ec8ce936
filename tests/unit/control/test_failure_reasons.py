"""Every reason for which the core lets a machine fail has a word of its own in the metrics."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.core.build import World, a_machine, with_one

import worker_orchestrator
from worker_orchestrator.control.reading.metrics import FAILURES, failure_reason
from worker_orchestrator.core.action import Result
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine, State

SOURCES = Path(worker_orchestrator.__file__).parent
CORE = [
    f"core/{name}" for name in ("brake", "commands", "due_actions", "outcomes", "reconcile", "sizing", "waiting_line")
]
MODULES = [*CORE, "control/assigning/search", "control/orchestrator"]
HOW_IT_ENDED = "its container is exited (exit code 1)"
COMING = a_machine(state=State.STARTING)


def reasons() -> Iterator[tuple[str, str]]:
    """Where a machine is let fail, and the words, with anything in the gaps. Empty words: it is the engine who speaks."""
    for module in MODULES:
        tree = ast.parse((SOURCES / f"{module}.py").read_text())
        constants = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            for words in said(node):
                value = constants.get(words.id, words) if isinstance(words, ast.Name) else words
                yield f"{module}:{node.lineno}", text(value)  # type: ignore[attr-defined] # calls and assignments have it


def said(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Failure", "self._fail"}:
        return node.args[:1]
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "reason" and "did not" in ast.unparse(node):
        return [node.value]
    return []


def text(words: ast.expr) -> str:
    match words:
        case ast.Constant(value=str(found)):
            return found
        case ast.JoinedStr(values=parts):
            return "".join(text(part) for part in parts)
        case ast.FormattedValue(value=ast.Call() as call):
            return text(call)
        case ast.FormattedValue():
            return "3"
        case ast.Call() if ast.unparse(words.func) == "self._how_it_ended":
            return HOW_IT_ENDED
        case ast.Attribute() if ast.unparse(words) == "outcome.message":
            return ""
        case ast.Name(id="reason"):
            return HOW_IT_ENDED  # handed on
    raise AssertionError(f"a reason of another form: {ast.unparse(words)}")


FOUND = list(reasons())


def test_the_places_are_found() -> None:
    assert len(FOUND) >= 13


@pytest.mark.parametrize(("place", "words"), FOUND, ids=[place for place, _ in FOUND])
def test_each_has_a_word(place: str, words: str) -> None:
    before = COMING if words == "" else a_machine()
    assert failure_reason(before, words) in set(FAILURES) - {"other"}


def failed(world: World, machine_id: str = "w1") -> tuple[Machine | None, str]:
    """The change by which it failed: what it was, and why."""
    change = next(c for c in world.fleet.pending if c.after is not None and c.after.state is State.FAILED)
    assert change.machine.id == machine_id
    return change.before, change.machine.reason


@pytest.mark.parametrize(
    ("detail", "kind"),
    [
        ("exit code 3", "exited"),
        ("", "exited"),
        ("exit code 137, out of memory", "out_of_memory"),
        ("exit code 137, killed from outside", "killed"),
    ],
)
def test_a_container_that_ended_is_told_by_how(detail: str, kind: str) -> None:
    world = with_one(a_machine(), Status.EXITED, detail=detail)
    world.tick()
    assert failure_reason(*failed(world)) == kind


def test_a_container_that_is_gone_vanished() -> None:
    for project in (None, "p"):
        world = with_one(a_machine(project=project, generation=1), None)
        world.tick()
        assert failure_reason(*failed(world)) == "vanished"


def test_a_container_that_is_being_removed_vanishes() -> None:
    world = with_one(a_machine(), Status.TERMINATING)
    world.tick()
    assert failure_reason(*failed(world)) == "vanished"


def test_a_container_that_ends_again_and_again_was_not_restarted() -> None:
    world = with_one(a_machine(project="p", generation=1), Status.EXITED)
    world.watch("w1").tries = 6
    world.tick()
    assert failure_reason(*failed(world)) == "not_restarted"


@pytest.mark.parametrize("message", ["Docker says: no space left on device", "The name w1 is taken", "it says no", ""])
def test_what_an_engine_refuses_is_rejected(message: str) -> None:
    world = World()
    machine_id = world.begin()
    world.created(machine_id, Result.REJECTED, message)
    assert failure_reason(*failed(world, machine_id)) == "rejected"


def test_what_nobody_foresaw_is_something_else() -> None:
    assert failure_reason(a_machine(), "the sky is green") == "other"
