"""How a command asks before it removes something."""

from __future__ import annotations

import sys
from typing import Final

import click

from worker_orchestrator.cli.exit_codes import FAILED, CommandFailed

__all__ = ["NOBODY_TO_ASK", "ask"]

NOBODY_TO_ASK: Final = "Standard input is not a terminal, so nobody can be asked. Add --yes to go on without asking."


def ask(question: str, consequence: str) -> bool:
    """Whether the answer is yes. Raises Abort at Ctrl-C.

    Raises CommandFailed if standard input ends before an answer and is no terminal; it begins with `consequence`, which says
    what was not done.
    """
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # the question stands on this line
        raise CommandFailed(f"{consequence} {NOBODY_TO_ASK}", FAILED) from None
