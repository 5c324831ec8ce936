"""The shape of the source: sizes, circles, callbacks, and the map in docs/design.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grimp
import pytest

import worker_orchestrator

SOURCE: Final = Path(worker_orchestrator.__file__).parent
FILES: Final = sorted(SOURCE.rglob("*.py"))
DESIGN: Final = Path(__file__).parents[2] / "docs" / "design.md"
LONGEST_FILE: Final = 320
LONGEST_FUNCTION: Final = 40
MOST_AT_THE_TOP: Final = 8
CLOCKS: Final = {"now", "wall_ms"}
"""Functions that tell the time: data that comes in, not a way back."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(file: Path) -> str:
    return str(file.relative_to(SOURCE))


def functions(file: Path) -> Iterator[_Function]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, _Function):
            yield node


def test_no_file_is_too_long() -> None:
    lengths = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{name_of(file)}: {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for file in FILES
        for function in functions(file)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_few_modules_stand_at_the_top() -> None:
    assert len([file for file in FILES if file.parent == SOURCE]) <= MOST_AT_THE_TOP


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """The modules that each module imports, also inside functions; not those that it needs for types alone."""
    graph = grimp.build_graph("worker_orchestrator", exclude_type_checking_imports=True)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_no_module_leads_back_to_itself(imports: dict[str, set[str]]) -> None:
    left = dict(imports)
    while ends := [module for module, imported in left.items() if not imported & left.keys()]:
        for module in ends:
            del left[module]
    assert sorted(left) == [], "these modules import each other in a circle, or lead to one"


# the joints of control/


def control() -> Iterator[tuple[str, ast.ClassDef]]:
    for file in FILES:
        if name_of(file).startswith("control/"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    yield name_of(file), node


def test_only_reports_and_effects_lead_back_up() -> None:
    """No class of control/ is given a function, but the one that `world/` tells its reports and the clocks."""
    given = {
        (name, argument.arg, ast.unparse(argument.annotation))
        for name, node in control()
        for function in node.body
        if isinstance(function, _Function) and function.name == "__init__"
        for argument in [*function.args.args, *function.args.kwonlyargs]
        if argument.annotation is not None and argument.arg not in CLOCKS
        if re.search(r"Callable|Tell|Reply", ast.unparse(argument.annotation))
    }
    assert {name for name, *_ in given if not name.startswith("control/world/")} == set()
    assert {(argument, kind) for _, argument, kind in given} == {("tell", "Tell")}


def test_no_attribute_of_control_is_a_hook() -> None:
    """A function that somebody may put into an attribute later on is a hand-over that no search can follow."""
    hooks = [
        (name, ast.unparse(statement))
        for name, node in control()
        for statement in ast.walk(node)
        if (isinstance(statement, ast.AnnAssign) and "Callable" in ast.unparse(statement.annotation))
        or (
            isinstance(statement, ast.Assign)
            and isinstance(statement.value, ast.Lambda)
            and any(isinstance(target, ast.Attribute) for target in statement.targets)
        )
    ]
    assert hooks == []


OWN_TIMES = {"control/deciding/state.py", "control/deciding/journal.py", "control/wiring.py"}
"""What may ask the event loop for the time in control/: where `ControlState.now` is made, and what decides nothing."""


def test_only_one_function_tells_decisions_the_time() -> None:
    """It has the lease clock follow the sleep of the computer first."""
    folder = SOURCE / "control"
    asking = {
        file.relative_to(SOURCE).as_posix()
        for file in folder.rglob("*.py")
        if re.search(r"loop\(\)\.time|loop\.time|time\.monotonic", file.read_text(encoding="utf-8"))
    }
    assert {name for name in asking if not name.startswith(("control/world/", "control/telling/"))} == OWN_TIMES


# the map


def test_the_map_names_each_folder_and_no_other() -> None:
    tree = DESIGN.read_text(encoding="utf-8").partition("## The map")[2].partition("```\n")[2].partition("```")[0]
    mapped, path = set(), list[str]()
    for line in tree.splitlines():
        found = re.match(r"( *)([a-z_0-9]+)/", line)
        if found is not None:
            depth = len(found[1]) // 2
            path[depth:] = [found[2]]
            mapped.add("/".join(path))
    there = {str(folder.relative_to(SOURCE)) for folder in (file.parent for file in FILES) if folder != SOURCE}
    assert mapped - {"dashboard"} == there
