"""`orchestrator release`: give the machines of projects back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project_or_id
from worker_orchestrator.cli.exit_codes import FAILED, CommandFailed
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import find_machine, with_client
from worker_orchestrator.cli.several import Failures

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Released

__all__ = ["COMMANDS"]


@click.command(short_help="Give the machine of a project back.")
@click.argument("name", nargs=-1, required=True, metavar="PROJECT_OR_ID...", shell_complete=complete_project_or_id)
@output_option("text", "json", "name")
@with_client
def release(client: Client, name: tuple[str, ...], *, output: str) -> None:
    """Give machines back, by their projects or by their ids. --on-release of `serve` decides what happens to them then."""
    failures = Failures()
    for each in name:
        with failures.noted():
            _release(client, each, output)
    failures.end()


def _release(client: Client, name: str, output: str) -> None:
    machine = find_machine(client, name)
    if machine.project is None:
        raise CommandFailed(f"{name} is not assigned to a project, so there is nothing to release.", FAILED)
    released = client.release(machine.project, generation=machine.generation)
    if output == "json":
        from worker_orchestrator.cli.text_formats import json_line  # noqa: PLC0415 # only for this format

        click.echo(json_line(released))
    else:
        click.echo(released.machine if output == "name" else _in_words(released))


def _in_words(released: Released) -> str:
    """What happened, and what becomes of the machine."""
    done = f"{released.project} released {released.machine}"
    if released.removed is None:  # a service of an earlier version does not say
        return done
    if released.removed and released.retired:
        return f"{done}: it is removed with its files, since the settings no longer name its pool"
    if released.removed:
        return f"{done}: it is removed with its files, and the pool makes a new one if it needs one"
    if released.cleaned:
        return f"{done}: it is restarted, with its files, and goes back to the pool when none of its values are left"
    return f"{done}: it goes back to the pool as it is, with its files and processes"


COMMANDS: Final = (release,)
