"""What callers are told of the beginning and of the end of an assignment."""

from __future__ import annotations

from dataclasses import dataclass

from worker_orchestrator.core.machine import Machine

__all__ = ["Assignment", "Release", "SetupReport"]


@dataclass(frozen=True, slots=True)
class SetupReport:
    """How a machine was set up. `exit_code` is that of the hook; None if there was none, or if it was killed.

    `output` has its last lines without the values of the request; empty if another request had it run.
    """

    exit_code: int | None
    took_ms: int
    output: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A project's machine. `is_new`: it was assigned just now. `setup` tells of its set-up, if it was asked for one."""

    machine: Machine
    is_new: bool
    setup: SetupReport | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """The machine that a project had, as it was. `is_removed`: it goes with its files, and no other project gets it.

    `is_cleaned`: it is restarted before another one does.
    """

    machine: Machine
    is_removed: bool
    is_cleaned: bool = False
