"""`orchestrator sleep` and `orchestrator wake`: stop the machines of projects with their files, and start them again."""

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
    from worker_orchestrator.wire.v1 import Machine

__all__ = ["COMMANDS"]


@click.command(short_help="Stop a project's machine, and keep it with its files.")
@click.argument("name", nargs=-1, required=True, metavar="PROJECT_OR_ID...", shell_complete=complete_project_or_id)
@output_option("text", "json", "name")
@with_client
def sleep(client: Client, name: tuple[str, ...], *, output: str) -> None:
    """Put machines of projects to sleep: they are stopped, as for a release, and their projects keep them with their files.

    A machine that sleeps uses no processor and no memory. It wakes when its project asks for it again, or with `wake`.
    """
    failures = Failures()
    for each in name:
        with failures.noted():
            _sleep(client, each, output)
    failures.end()


def _sleep(client: Client, name: str, output: str) -> None:
    from worker_orchestrator.cli.terminal_display import spinner  # noqa: PLC0415 # it does not load Rich yet

    machine = find_machine(client, name)
    with spinner(f"Putting {machine.id} to sleep"):
        asleep = client.sleep(_project_of(machine, name, "put to sleep"), generation=machine.generation)
    _print(asleep, f"{asleep.id} of {asleep.project} sleeps, with its files", output)


@click.command(short_help="Wake a project's machine.")
@click.argument("name", nargs=-1, required=True, metavar="PROJECT_OR_ID...", shell_complete=complete_project_or_id)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait until it answers; 0: not at all. Default: --assign-timeout of the service.",
)
@output_option("text", "json", "name")
@with_client
def wake(client: Client, name: tuple[str, ...], *, wait: float | None, output: str) -> None:
    """Wake machines of projects that sleep, in place, with their files. One that is awake is left as it is."""
    failures = Failures()
    for each in name:
        with failures.noted():
            _wake(client, each, wait, output)
    failures.end()


def _wake(client: Client, name: str, wait: float | None, output: str) -> None:
    from worker_orchestrator.cli.terminal_display import spinner  # noqa: PLC0415 # it does not load Rich yet

    machine = find_machine(client, name)
    project = _project_of(machine, name, "woken")
    with spinner(f"Waking {machine.id}"):
        awake = client.wake(project, generation=machine.generation, wait_seconds=wait)
    _print(awake, f"{awake.id} of {awake.project} is awake: {awake.url}", output)


def _project_of(machine: Machine, name: str, done: str) -> str:
    if machine.project is None:
        raise CommandFailed(f"{name} is not assigned to a project, so it cannot be {done}.", FAILED)
    return machine.project


def _print(machine: Machine, words: str, output: str) -> None:
    if output == "json":
        from worker_orchestrator.cli.text_formats import json_line  # noqa: PLC0415 # only for this format

        click.echo(json_line(machine))
    else:
        click.echo(machine.id if output == "name" else words)


COMMANDS: Final = (sleep, wake)
