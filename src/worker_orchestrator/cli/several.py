"""Commands for several machines: what fails for one does not keep the others from being done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from worker_orchestrator.cli.exit_codes import CommandFailed, exit_code_of
from worker_orchestrator.errors import OrchestratorError, ServiceUnreachable, Unauthorized

__all__ = ["Failures"]


class Failures:
    """The failures of one command, each told at once."""

    def __init__(self) -> None:
        self._first_code = 0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Around what is done for one machine. A service that answers nobody ends the command all the same."""
        try:
            yield
        except (ServiceUnreachable, Unauthorized):
            raise
        except CommandFailed as error:
            self._note(error, error.exit_code)
        except OrchestratorError as error:
            self._note(CommandFailed(error), exit_code_of(error))

    def _note(self, error: CommandFailed, exit_code: int) -> None:
        error.show()
        self._first_code = self._first_code or exit_code

    def end(self) -> None:
        """End the command with the exit code of the first failure, if there was one."""
        if self._first_code:
            click.get_current_context().exit(self._first_code)
