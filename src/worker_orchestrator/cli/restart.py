"""`orchestrator restart`: start the machines of projects again in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project_or_id
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import find_machine, with_client
from worker_orchestrator.cli.several import Failures

if TYPE_CHECKING:
    from worker_orchestrator.client import Client

__all__ = ["COMMANDS"]


@click.command(short_help="Start a project's machine again, with its files.")
@click.argument("name", nargs=-1, required=True, metavar="PROJECT_OR_ID...", shell_complete=complete_project_or_id)
@output_option("text", "json", "name")
@with_client
def restart(client: Client, name: tuple[str, ...], *, output: str) -> None:
    """Start machines of projects again in place, with their files, also if they have failed for good.

    \b
    After a bad edit, correct the file and start the machine again:
    orchestrator cp ./app.conf my-project:/etc/app.conf
    orchestrator restart my-project
    """  # noqa: D301 # click reads the backspace
    failures = Failures()
    for each in name:
        with failures.noted():
            _restart(client, each, output)
    failures.end()


def _restart(client: Client, name: str, output: str) -> None:
    from worker_orchestrator.cli.terminal_display import spinner  # noqa: PLC0415 # it does not load Rich yet

    machine = find_machine(client, name)
    with spinner(f"Restarting {machine.id}"):
        restarted = client.restart(machine.id, generation=machine.generation)
    if output == "json":
        from worker_orchestrator.cli.text_formats import json_line  # noqa: PLC0415 # only for this format

        click.echo(json_line(restarted))
    else:
        click.echo(restarted.id if output == "name" else f"restarted {restarted.id} of {restarted.project}")


COMMANDS: Final = (restart,)
