"""`orchestrator logs`: what a worker wrote to its standard output and error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project_or_id
from worker_orchestrator.cli.service_connection import find_machine, with_client

if TYPE_CHECKING:
    from worker_orchestrator.client import Client

__all__ = ["COMMANDS"]


@click.command(short_help="Print what a worker wrote.")
@click.argument("name", metavar="PROJECT_OR_ID", shell_complete=complete_project_or_id)
@click.option("-f", "--follow", is_flag=True, help="Continue until the worker ends.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("-t", "--timestamps", is_flag=True, help="Begin each line with its time.")
@with_client
def logs(client: Client, name: str, *, follow: bool, tail: int | None, timestamps: bool) -> None:
    """Print what a worker wrote to its standard output and error."""
    out = sys.stdout.buffer
    for part in client.logs(find_machine(client, name).id, tail=tail, follow=follow, timestamps=timestamps):
        out.write(part)
        out.flush()


COMMANDS: Final[tuple[Any, ...]] = (logs,)
