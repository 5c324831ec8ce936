"""How a command ends that failed: one sentence on standard error, and an exit code that a script can tell apart."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from worker_orchestrator.errors import (
    EngineObstructed,
    EngineUnavailable,
    InvalidInput,
    InvalidProject,
    InvalidSetting,
    MachineNotFound,
    NoMachineAvailable,
    OrchestratorError,
    PathNotFound,
    PoolNotFound,
    ServiceUnreachable,
    TooManyRequests,
)

__all__ = ["FAILED", "NOT_FOUND", "NOT_NOW", "USAGE", "Failed", "code_of_call"]

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
NOT_NOW: Final = 4


class Failed(click.ClickException):
    """An error of ours, in click's words."""

    def __init__(self, error: OrchestratorError | str, code: int | None = None) -> None:
        super().__init__(error if isinstance(error, str) else error.message)
        usual = USAGE if isinstance(error, InvalidSetting | InvalidProject) else FAILED
        self.exit_code = usual if code is None else code  # type: ignore[misc] # click reads it off the instance

    def show(self, file: Any = None) -> None:
        click.echo(f"orchestrator: {self.message}", file=file or sys.stderr)


def code_of_call(error: OrchestratorError) -> int:
    """The exit code for what a service answered, or for none that answers."""
    if isinstance(error, MachineNotFound | PoolNotFound | PathNotFound):
        return NOT_FOUND
    if isinstance(
        error, NoMachineAvailable | EngineUnavailable | EngineObstructed | ServiceUnreachable | TooManyRequests
    ):
        return NOT_NOW
    return USAGE if isinstance(error, InvalidInput) else FAILED
