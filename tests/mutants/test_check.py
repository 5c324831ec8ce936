"""The judge of the mutants: none escapes it, and its list cannot rot."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.mutants.check import LIST, Judged, Mutant, changed_lines, complaints, listed, table

import worker_orchestrator

CORE = Path(worker_orchestrator.__file__).parent / "core"
ONE = Mutant("fleet.py", "Fleet.apply", "a < b", "a <= b")
OTHER = Mutant("ports.py", "next_port", "return port", "return None")


def judged(mutant: Mutant, status: str) -> Judged:
    return Judged(mutant, status, f"name of {mutant.function}")


@pytest.mark.parametrize("status", ["killed", "timeout"])
def test_nothing_is_wrong_where_all_are_killed_or_listed(status: str) -> None:
    """A mutant that never ends is as visible as one that fails a test."""
    assert list(complaints([judged(ONE, status), judged(OTHER, "survived")], [OTHER])) == []


@pytest.mark.parametrize("status", ["survived", "no tests", "suspicious", "segfault", "not checked"])
def test_a_mutant_that_no_test_killed_is_shown_with_its_lines(status: str) -> None:
    """Only a failed test or an endless loop is a kill."""
    assert list(complaints([judged(ONE, status)], [])) == [
        f"{status} (name of Fleet.apply):\n    fleet.py Fleet.apply\n    - a < b\n    + a <= b"
    ]


def test_a_listed_mutant_that_is_killed_is_a_lie() -> None:
    """Then it is not equivalent, and has to leave the list."""
    (wrong,) = complaints([judged(ONE, "killed")], [ONE])
    assert wrong.startswith("listed as equivalent, but killed (name of Fleet.apply)")


def test_a_listed_mutant_that_does_not_exist_is_a_lie() -> None:
    """The code that it was made of has changed."""
    (wrong,) = complaints([judged(ONE, "killed")], [OTHER])
    assert wrong.startswith("listed as equivalent, but there is no such mutant any more:\n    ports.py next_port")


def test_the_figures_are_counted_per_file() -> None:
    """Each mutant in one column, beside their sum."""
    run = [judged(ONE, "killed"), judged(ONE, "timeout"), judged(OTHER, "survived"), judged(ONE, "survived")]
    assert [line.split() for line in table(run, [OTHER])] == [
        ["file", "mutants", "killed", "timed", "out", "equivalent", "survived"],
        ["fleet.py", "3", "1", "1", "0", "1"],
        ["ports.py", "1", "0", "0", "1", "0"],
        ["all", "4", "1", "1", "1", "1"],
    ]


def test_a_mutant_is_known_by_its_lines_without_indentation() -> None:
    """So that neither a new line above nor a new block around it changes its name."""
    diff = "--- a.py\n+++ a.py\n@@ -1,3 +1,3 @@\n def f():\n-    return -1\n+    return +1\n     # end"
    assert changed_lines(diff) == ("return -1", "return +1")


def test_the_list_has_no_mutant_twice_and_none_without_a_reason() -> None:
    """Who reads it wants to know why, once."""
    assert all(why.endswith(".") for why in listed(LIST.read_text(encoding="utf-8")).values())
    entry = '[[mutant]]\nfile = "a"\nfunction = "f"\nbefore = "1"\nafter = "2"\nwhy = "{}"\n'
    with pytest.raises(AssertionError, match="listed without a reason: a f"):
        listed(entry.format(""))
    with pytest.raises(AssertionError, match="listed twice: a f"):
        listed(entry.format("So.") * 2)


@pytest.mark.parametrize("mutant", listed(LIST.read_text(encoding="utf-8")), ids=lambda mutant: mutant.function)
def test_each_listed_mutant_changes_a_line_that_its_function_has(mutant: Mutant) -> None:
    """So a moved or renamed function is noticed at once, and not only by the next long run."""
    text = (CORE / mutant.file).read_text(encoding="utf-8")
    owner, _, name = mutant.function.rpartition(".")
    tree: ast.Module | ast.ClassDef = ast.parse(text)
    if owner:
        tree = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    lines = {line.strip() for line in text.splitlines()[function.lineno - 1 : function.end_lineno]}
    assert set(mutant.before.splitlines()) <= lines
