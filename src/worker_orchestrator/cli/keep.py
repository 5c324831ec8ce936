"""`orchestrator keep`: have a project keep its machine for longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project
from worker_orchestrator.cli.deadlines import deadline_options, expiry_in_words
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Machine

__all__ = ["COMMANDS"]


@click.command(short_help="Keep the machine of a project for longer.")
@click.argument("project", shell_complete=complete_project)
@deadline_options
@click.option(
    "--generation",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only if the machine is of this generation: never that of a later assignment.",
)
@output_option("text", "json")
@with_client
def keep(
    client: Client,
    project: str,
    *,
    generation: int | None,
    output: str,
    **deadlines: int | None,
) -> None:
    """Have PROJECT keep its machine: its ttl and its idle time begin anew. It never gets one by this.

    With other deadlines, those are the ones of the assignment from now on. Says until when the project has the machine.
    """
    client.keep(project, generation=generation, **deadlines)
    machine = client.machine_of(project)
    if output == "json":
        from worker_orchestrator.cli.text_formats import json_document  # noqa: PLC0415 # only for this format

        click.echo(json_document(machine))
    else:
        click.echo(_in_words(machine))


def _in_words(machine: Machine) -> str:
    until = "" if machine.lease is None else expiry_in_words(machine.lease)
    if until:
        return f"{machine.project} keeps {machine.id} until {until}"
    return f"{machine.project} has {machine.id} until it is released: no deadline ends that"


COMMANDS: Final = (keep,)
