"""How a command fails: with one sentence on standard error, and an exit code by which a script can tell the causes apart."""

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
    PortInUse,
    ServiceUnreachable,
    SetupFailed,
    TooManyRequests,
)
from worker_orchestrator.key_errors import KeyLimitReached, KeyNotFound

__all__ = ["FAILED", "NOT_FOUND", "NOT_NOW", "SETUP_FAILED", "USAGE", "CommandFailed", "exit_code_of"]

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
NOT_NOW: Final = 4
SETUP_FAILED: Final = 5


class CommandFailed(click.ClickException):
    """Ends the command with this message and exit code.

    `exit_code`: if None, 2 for a wrong setting or project, 4 for a port that is in use, else 1.
    """

    def __init__(self, error: OrchestratorError | str, exit_code: int | None = None) -> None:
        super().__init__(error if isinstance(error, str) else error.message)
        default = USAGE if isinstance(error, InvalidSetting | InvalidProject) else FAILED
        if isinstance(error, PortInUse):
            default = NOT_NOW  # not 2, which keeps systemd from trying again
        self.exit_code = default if exit_code is None else exit_code  # type: ignore[misc] # click reads it off the instance

    def show(self, file: Any = None) -> None:
        click.echo(f"orchestrator: {self.message}", file=file or sys.stderr)


def exit_code_of(error: OrchestratorError) -> int:
    """The exit code for an error that a service replied, or for a service that does not answer."""
    if isinstance(error, MachineNotFound | PoolNotFound | PathNotFound | KeyNotFound):
        return NOT_FOUND
    if isinstance(
        error,
        NoMachineAvailable
        | EngineUnavailable
        | EngineObstructed
        | ServiceUnreachable
        | TooManyRequests
        | KeyLimitReached,
    ):
        return NOT_NOW
    if isinstance(error, SetupFailed):
        return SETUP_FAILED
    return USAGE if isinstance(error, InvalidInput) else FAILED
