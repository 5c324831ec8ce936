"""What a module of the core exports is what others may use: all of it, in the order of a word list."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import worker_orchestrator

SOURCE = Path(worker_orchestrator.__file__).parent
MODULES = sorted(path.stem for path in (SOURCE / "core").glob("*.py") if path.stem != "__init__")
CORE = ["errors", *(f"core.{name}" for name in MODULES)]

each_module = pytest.mark.parametrize("module", CORE)


def in_word_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def exported(module: str) -> list[str]:
    if module == "core":  # what is imported is a module
        return MODULES
    names: list[str] = importlib.import_module(f"worker_orchestrator.{module}").__all__
    return names


@each_module
def test_all_is_sorted(module: str) -> None:
    """Constants first, then classes, then functions, each by name and once."""
    assert exported(module) == sorted(set(exported(module)), key=in_word_order)


@each_module
def test_all_names_exist(module: str) -> None:
    """Whatever is exported is there."""
    members = vars(importlib.import_module(f"worker_orchestrator.{module}"))
    assert [name for name in exported(module) if name not in members] == []


@each_module
def test_all_holds_every_public_class_and_function(module: str) -> None:
    """A class or function without an underscore is for others, so it is exported."""
    found = importlib.import_module(f"worker_orchestrator.{module}")
    public = {
        name
        for name, value in vars(found).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == found.__name__
        and not name.startswith("_")
    }
    assert public - set(exported(module)) == set()


@each_module
def test_the_core_imports_only_what_is_exported(module: str) -> None:
    """No module of the core reaches into another one."""
    tree = ast.parse((SOURCE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    taken = {
        (node.module.removeprefix("worker_orchestrator."), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("worker_orchestrator.")
        for alias in node.names
    }
    assert [(source, name) for source, name in taken if name not in exported(source)] == []
