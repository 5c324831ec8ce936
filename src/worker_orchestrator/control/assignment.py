"""What callers are told of the beginning and of the end of an assignment."""

from __future__ import annotations

from dataclasses import dataclass

from worker_orchestrator.core.machine import Machine

__all__ = ["Assignment", "Release"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A project's machine. `is_new`: it was assigned just now."""

    machine: Machine
    is_new: bool


@dataclass(frozen=True, slots=True)
class Release:
    """The machine that a project had, as it was. `is_removed`: it goes with its files, and no other project gets it."""

    machine: Machine
    is_removed: bool
