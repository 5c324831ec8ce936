"""`orchestrator assign`: get a machine for a project."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client

if TYPE_CHECKING:
    from worker_orchestrator.client import Client

__all__ = ["COMMANDS"]


@click.command(short_help="Get a machine for a project; prints its URL.")
@click.argument("project", shell_complete=complete_project)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait in line; 0: not at all. Default: --assign-timeout of the service.",
)
@click.option("--metadata", multiple=True, metavar="K=V", help="A note to keep with the machine. May be repeated.")
@output_option("url", "json", "name")
@with_client
def assign(client: Client, project: str, *, wait: float | None, metadata: tuple[str, ...], output: str) -> None:
    """Get the machine of PROJECT. It stays the same one until it is released, destroyed or gone.

    \b
    Standard output has its URL and nothing else:
    curl $(orchestrator assign my-project)
    """  # noqa: D301 # click reads the backspace
    from worker_orchestrator.cli.terminal_display import is_interactive, spinner  # noqa: PLC0415 # it does not load Rich yet

    notes = _notes(metadata) if metadata else None
    with spinner(f"Waiting for a machine for {project}"):
        machine = client.assign(project, wait_seconds=wait, metadata=notes)
    if output == "json":
        from worker_orchestrator.cli.text_formats import json_document  # noqa: PLC0415 # only for this format

        click.echo(json_document(machine))
        return
    if output == "url" and is_interactive(sys.stdout):
        click.echo(f"{project} has {machine.id}:", err=True)
    click.echo(machine.id if output == "name" else machine.url or machine.id)


def _notes(arguments: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in arguments]
    if any(not key or not equals for key, equals, _ in pairs):
        raise click.BadParameter("each must be NAME=value.", param_hint="--metadata")
    return {key: value for key, _, value in pairs}


COMMANDS: Final = (assign,)
