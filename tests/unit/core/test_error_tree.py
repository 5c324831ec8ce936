"""One tree of errors, whose docstrings are what people read."""

from __future__ import annotations

import re

import pytest

from worker_orchestrator import errors
from worker_orchestrator.errors import NoMachineAvailable, OrchestratorError, PortTaken

CLASSES: list[type[OrchestratorError]] = [getattr(errors, name) for name in errors.__all__]


def drawn_tree() -> dict[str, str]:
    """From each class in the drawing to the one it hangs from."""
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    branch: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line)
        if found:
            depth = len(found[1]) // 4
            branch[depth:] = [found[2]]
            parents[found[2]] = branch[depth - 1] if depth else "Exception"
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    """Every class is drawn, under its base, and nothing else is."""
    bases = {cls.__name__: base.__name__ for cls in CLASSES for base in cls.__bases__}
    assert drawn_tree() == bases
    assert len(bases) == 38


@pytest.mark.parametrize("cls", CLASSES)
def test_a_docstring_is_the_default_message(cls: type[OrchestratorError]) -> None:
    """Without a message, the first line of the class's docstring is the message."""
    assert cls.__doc__
    assert str(cls()) == cls().message == cls.__doc__.splitlines()[0]
    assert str(cls("")) == str(cls())


@pytest.mark.parametrize("cls", CLASSES)
def test_a_message_of_its_own_replaces_the_default(cls: type[OrchestratorError]) -> None:
    """What is said is what is read."""
    assert str(cls("the disk is full")) == cls("the disk is full").message == "the disk is full"


def test_only_the_first_line_of_a_docstring_is_the_message() -> None:
    """What a docstring says beyond its first line is for readers of the code."""

    class Odd(PortTaken):
        """
        Odd.

        Very odd.
        """

    assert Odd().message == "Odd."


def test_what_is_not_available_may_be_tried_again_in_three_seconds() -> None:
    """Unless the brake says otherwise."""
    assert NoMachineAvailable().retry_after_s == 3.0
    assert NoMachineAvailable("later", retry_after_s=7.5).retry_after_s == 7.5
    assert NoMachineAvailable().message == "Please retry in a few seconds"


def test_every_error_has_a_code_of_its_own() -> None:
    """A client finds the class again by it."""
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
