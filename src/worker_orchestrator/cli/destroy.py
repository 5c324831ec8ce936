"""`orchestrator destroy`: remove machines with all their files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from worker_orchestrator.cli.asking import NOBODY_TO_ASK
from worker_orchestrator.cli.completion_candidates import complete_project_or_id
from worker_orchestrator.cli.exit_codes import FAILED, CommandFailed
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import find_machine, with_client
from worker_orchestrator.cli.several import Failures

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Machine

__all__ = ["COMMANDS"]


@click.command(short_help="Remove a machine with all its files.")
@click.argument("name", nargs=-1, required=True, metavar="PROJECT_OR_ID...", shell_complete=complete_project_or_id)
@click.option("--yes", "-y", is_flag=True, help="Do not ask, even if a project loses its files.")
@click.option("--now", is_flag=True, help="Give workers no time to end.")
@output_option("text", "json", "name")
@with_client
def destroy(client: Client, name: tuple[str, ...], *, yes: bool, now: bool, output: str) -> None:
    """Remove machines with all their files; when it returns, their containers are gone.

    Asks first if a project has the machine. A machine that was assigned to another project meanwhile is not removed.
    Its worker gets --stop-timeout of `serve` to end. If one cannot be removed, the others are removed all the same.
    """
    failures = Failures()
    machines: list[Machine] = []
    for each in name:
        with failures.noted():
            machines.append(find_machine(client, each))
    if not yes:
        _confirm([machine for machine in machines if machine.project is not None])
    from worker_orchestrator.cli.terminal_display import spinner  # noqa: PLC0415 # it does not load Rich yet

    for machine in machines:
        with failures.noted():
            with spinner(f"Removing {machine.id}"):
                destroyed = client.destroy(machine.id, generation=machine.generation, now=now)
            if output == "json":
                from worker_orchestrator.cli.text_formats import json_line  # noqa: PLC0415 # only for this format

                click.echo(json_line(destroyed))
            else:
                click.echo(destroyed.machine if output == "name" else f"destroyed {destroyed.machine}")
    failures.end()


def _confirm(assigned: list[Machine]) -> None:
    """Ask about machines that projects have. Raises CommandFailed if no person can be asked, Abort if the answer is no."""
    if not assigned:
        return
    for machine in assigned:
        click.echo(f"  {machine.id}  assigned to {machine.project}: the project loses its files", err=True)
    if not sys.stdin.isatty():
        raise CommandFailed(
            f"Nothing was removed. {NOBODY_TO_ASK}",
            FAILED,
        )
    question = "Remove 1 assigned machine" if len(assigned) == 1 else f"Remove {len(assigned)} assigned machines"
    click.confirm(f"{question} with all files?", default=False, abort=True, err=True)


COMMANDS: Final = (destroy,)
