"""`assign`, `release`, `restart`, `why` and `destroy`: a project's way to its machine and away from it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from worker_orchestrator.cli.completion_candidates import names, projects
from worker_orchestrator.cli.exit_codes import FAILED, Failed
from worker_orchestrator.cli.service_connection import calls, find, output_option
from worker_orchestrator.errors import InvalidInput, MachineNotFound, OrchestratorError

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Machine, Why

__all__ = ["COMMANDS"]


@click.command(short_help="Get a machine for a project; prints its URL.")
@click.argument("project", shell_complete=projects)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait in line; 0: not at all. Default: as the service is set up.",
)
@click.option("--metadata", multiple=True, metavar="K=V", help="A note to keep with the machine. May be repeated.")
@output_option("url", "json", "name")
@calls
def assign(client: Client, project: str, *, wait: float | None, metadata: tuple[str, ...], output: str) -> None:
    """Get the machine of PROJECT, which is the same one until it is released, destroyed or gone.

    \b
    Standard output has its URL and nothing else:
    curl $(orchestrator assign my-project)
    """  # noqa: D301 # click reads the backspace
    from worker_orchestrator.cli.terminal_display import is_person, waiting  # noqa: PLC0415 # nothing of Rich yet

    notes = _pairs(metadata) if metadata else None
    with waiting(f"Waiting for a machine for {project}"):
        machine = client.assign(project, wait_seconds=wait, metadata=notes)
    if output == "json":
        from worker_orchestrator.cli.text_formats import as_json  # noqa: PLC0415 # only what is used

        click.echo(as_json(machine))
        return
    if output == "url" and is_person(sys.stdout):
        click.echo(f"{project} has {machine.id}:", err=True)
    click.echo(machine.id if output == "name" else machine.url or machine.id)


@click.command(short_help="Give the machine of a project back.")
@click.argument("name", nargs=-1, required=True, metavar="PROJECT_OR_ID...", shell_complete=names)
@output_option("text", "json", "name")
@calls
def release(client: Client, name: tuple[str, ...], *, output: str) -> None:
    """Give machines back, by their projects or by their ids. What becomes of one then is up to --on-release of `serve`."""
    for each in name:
        machine = find(client, each)
        if machine.project is None:
            raise Failed(f"{each} belongs to no project, so there is nothing to release.", FAILED)
        released = client.release(machine.project, generation=machine.generation)
        if output == "json":
            from worker_orchestrator.cli.text_formats import json_line  # noqa: PLC0415 # only what is used

            click.echo(json_line(released))
        else:
            click.echo(released.machine if output == "name" else f"{released.project} released {released.machine}")


@click.command(short_help="Start a project's machine again, with its files.")
@click.argument("name", nargs=-1, required=True, metavar="PROJECT_OR_ID...", shell_complete=names)
@output_option("text", "json", "name")
@calls
def restart(client: Client, name: tuple[str, ...], *, output: str) -> None:
    """Start machines of projects again in place, with their files, also what had failed for good.

    \b
    After a bad edit, mend the file and start it again:
    orchestrator cp ./app.conf my-project:/etc/app.conf
    orchestrator restart my-project
    """  # noqa: D301 # click reads the backspace
    from worker_orchestrator.cli.terminal_display import waiting  # noqa: PLC0415 # nothing of Rich yet

    for each in name:
        machine = find(client, each)
        with waiting(f"Starting {machine.id} again"):
            restarted = client.restart(machine.id, generation=machine.generation)
        if output == "json":
            from worker_orchestrator.cli.text_formats import json_line  # noqa: PLC0415 # only what is used

            click.echo(json_line(restarted))
        else:
            click.echo(restarted.id if output == "name" else f"restarted {restarted.id} of {restarted.project}")


@click.command(short_help="Remove a machine with all its files.")
@click.argument("name", nargs=-1, required=True, metavar="PROJECT_OR_ID...", shell_complete=names)
@click.option("--yes", "-y", is_flag=True, help="Do not ask, even where a project loses its files.")
@click.option("--now", is_flag=True, help="Give workers no time to end.")
@output_option("text", "json", "name")
@calls
def destroy(client: Client, name: tuple[str, ...], *, yes: bool, now: bool, output: str) -> None:
    """Remove machines with all their files; when it returns, their containers are gone.

    Asks first where a project holds the machine. One that was given to another project since then is left as it is.
    Its worker has --stop-timeout of `serve` to end.
    """
    machines = [find(client, each) for each in name]
    if not yes:
        _agree([machine for machine in machines if machine.project is not None])
    from worker_orchestrator.cli.terminal_display import waiting  # noqa: PLC0415 # nothing of Rich yet

    for machine in machines:
        with waiting(f"Removing {machine.id}"):
            destroyed = client.destroy(machine.id, generation=machine.generation, now=now)
        if output == "json":
            from worker_orchestrator.cli.text_formats import json_line  # noqa: PLC0415 # only what is used

            click.echo(json_line(destroyed))
        else:
            click.echo(destroyed.machine if output == "name" else f"destroyed {destroyed.machine}")


def _agree(assigned: list[Machine]) -> None:
    """Ask about machines that projects hold. Raises Failed where nobody can be asked, Abort where the answer is no."""
    if not assigned:
        return
    for machine in assigned:
        click.echo(f"  {machine.id}  assigned to {machine.project}: the project loses its files", err=True)
    if not sys.stdin.isatty():
        raise Failed("Nothing was removed, since nobody could be asked; --yes says that these may go.", FAILED)
    question = "Remove 1 assigned machine" if len(assigned) == 1 else f"Remove {len(assigned)} assigned machines"
    click.confirm(f"{question} with all files?", default=False, abort=True, err=True)


@click.command(short_help="Tell how a project came to its machine.")
@click.argument("name", metavar="PROJECT_OR_ID", shell_complete=names)
@output_option("text", "json")
@calls
def why(client: Client, name: str, *, output: str) -> None:
    """Tell how a project came to its machine: warm or cold and why, probes that failed, milliseconds for each stage."""
    from worker_orchestrator.cli.text_formats import as_json  # noqa: PLC0415 # only what is used

    told = _why(client, name)
    if output == "json":
        click.echo(as_json(told))
    else:
        _tell(told)


def _why(client: Client, name: str) -> Why:
    try:
        return client.why(name)
    except OrchestratorError as error:
        if not isinstance(error, MachineNotFound | InvalidInput):
            raise
    machine = find(client, name)
    if machine.project is None:
        raise Failed(f"{name} belongs to no project: it is {machine.state}.", FAILED)
    return client.why(machine.project)


def _tell(told: Why) -> None:
    from worker_orchestrator.cli.terminal_display import show_table  # noqa: PLC0415
    from worker_orchestrator.cli.text_formats import milliseconds, printable, when  # noqa: PLC0415 # only what is used

    at = f" at {when(told.at)}" if told.at else ""
    click.echo(f"{told.project} has {told.machine} (generation {told.generation}){at}: {told.how}.")
    click.echo(printable(told.why))
    if told.stages is not None:
        named = (
            ("in line", told.stages.line_ms),
            ("create", told.stages.create_ms),
            ("until ready", told.stages.ready_ms),
            ("probe", told.stages.probe_ms),
            ("commit", told.stages.commit_ms),
            ("total", told.stages.total_ms),
        )
        click.echo()
        show_table(("STAGE", "TIME"), [(name, milliseconds(ms)) for name, ms in named if ms is not None])
    if told.failed_probes:
        click.echo()
        show_table(("FAILED PROBE", "SAYS"), [(probe.machine, printable(probe.detail)) for probe in told.failed_probes])
    if told.events:
        click.echo()
        rows = [(when(e.at), e.machine, e.cause, e.state or "-", printable(e.reason)) for e in told.events]
        show_table(("TIME", "MACHINE", "EVENT", "STATE", "REASON"), rows)


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if any(not key or not equals for key, equals, _ in pairs):
        raise click.BadParameter("each must be NAME=value.", param_hint="--metadata")
    return {key: value for key, _, value in pairs}


COMMANDS: Final = (assign, release, restart, destroy, why)
