"""`orchestrator assign`: get a machine for a project."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_pool, complete_project
from worker_orchestrator.cli.deadlines import deadline_options
from worker_orchestrator.cli.late_options import late_options, late_values
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client
from worker_orchestrator.errors import InvalidInput, OrchestratorError, ProjectHasNoMachine, SetupFailed

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Machine

__all__ = ["COMMANDS"]


@click.command(short_help="Get a machine for a project; prints its URL.")
@click.argument("project", shell_complete=complete_project)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait in line; 0: not at all. Default: --assign-timeout of the service.",
)
@click.option(
    "--pool",
    metavar="NAME",
    shell_complete=complete_pool,
    help="A machine of exactly this pool. Default: the machine that the project has, else one of the pool default.",
)
@click.option("--port", metavar="NAME", help="Print the URL of the port of this name. Default: the first one.")
@click.option("--metadata", multiple=True, metavar="K=V", help="A note to keep with the machine. May be repeated.")
@late_options
@deadline_options
@output_option("url", "json", "name")
@with_client
def assign(  # one argument for each option
    client: Client,
    project: str,
    *,
    wait: float | None,
    pool: str | None,
    port: str | None,
    metadata: tuple[str, ...],
    output: str,
    **options: Any,
) -> None:
    """Get the machine of PROJECT. It stays the same one until it is released, destroyed or gone, or a deadline passes.

    \b
    Standard output has its URL and nothing else:
    curl $(orchestrator assign my-project)
    """  # noqa: D301 # click reads the backspace
    from worker_orchestrator.cli.terminal_display import is_interactive, spinner  # noqa: PLC0415 # it does not load Rich yet

    asked = {**late_values(options), **options, "metadata": _notes(metadata) if metadata else None}
    with (
        _setup_explained(client, project, asked, as_json=output == "json"),
        spinner(f"Waiting for a machine for {project}", lambda: _what_it_waits_for(client, project)),
    ):
        machine = client.assign(project, wait_seconds=wait, pool=pool, **asked)
    if output == "json":
        from worker_orchestrator.cli.text_formats import json_document  # noqa: PLC0415 # only for this format

        click.echo(json_document(machine))
        return
    if output == "url" and is_interactive(sys.stdout):
        click.echo(f"{project} has {machine.id}:", err=True)
    _tell_outdated(machine)
    _tell_configured(machine, is_interactive=is_interactive(sys.stderr))
    url = machine.url if port is None else _url_of(machine, port)
    if output == "url" and machine.preview_url is not None and is_interactive(sys.stderr):
        click.echo(f"Its preview stays at {machine.preview_url} (orchestrator open {project}).", err=True)
    click.echo(machine.id if output == "name" else url or machine.id)


@contextmanager
def _setup_explained(client: Client, project: str, asked: Mapping[str, object], *, as_json: bool) -> Iterator[None]:
    """Before the sentence that says why, print the last lines of a hook that failed; or which machine was left.

    `as_json`: how a set-up failed is the result, so it is on standard output as well.
    """
    try:
        yield
    except SetupFailed as error:
        from worker_orchestrator.cli.text_formats import output_line  # noqa: PLC0415 # only then

        for line in error.output.splitlines():
            click.echo(f"  {output_line(line)}", err=True)
        if as_json:
            _print_failed(project, error)
        raise
    except OrchestratorError as error:
        if any(asked[name] is not None for name in ("env", "secrets", "files")):
            _tell_left(client, project, error)
        raise


def _print_failed(project: str, error: SetupFailed) -> None:
    """The words of the problem that /v1 replies."""
    from worker_orchestrator.cli.text_formats import json_document  # noqa: PLC0415 # only for this format

    setup = {"exit_code": error.exit_code, "ms": error.took_ms, "output": error.output}
    told = {"project": project, "code": error.code, "detail": error.message, "machine": error.machine, "setup": setup}
    click.echo(json_document(told))


def _tell_left(client: Client, project: str, error: OrchestratorError) -> None:
    """On standard error, that a set-up which ended with this error left its machine with the project."""
    from worker_orchestrator.client.set_up_ended import NOTHING_SET_UP, was_not_set_up  # noqa: PLC0415 # only then

    if isinstance(error, NOTHING_SET_UP):
        return
    with suppress(OrchestratorError):  # it has none, or nobody can be asked
        machine = client.machine_of(project)
        if was_not_set_up(machine, error):
            give_back = f"Assign again with values, or give it back: `orchestrator release {project}`."
            click.echo(f"{project} has {machine.id}, which is not configured. {give_back}", err=True)


def _tell_outdated(machine: Machine) -> None:
    if machine.outdated:
        from worker_orchestrator.core.reasons import OUTDATED  # noqa: PLC0415 # it is seldom said

        project = machine.project
        release = f"While newer machines come up, `orchestrator release {project}` gets it one; its files are lost."
        click.echo(f"{machine.id}: {OUTDATED} `orchestrator why {project}` says why. {release}", err=True)


def _tell_configured(machine: Machine, *, is_interactive: bool) -> None:
    """On standard error, whether the worker has the values of its project, if its pool takes any."""
    if machine.configured is False:
        click.echo(f"{machine.id} is not configured. `orchestrator why {machine.project}` says why.", err=True)
    elif machine.configured and machine.setup is not None and is_interactive:
        from worker_orchestrator.cli.text_formats import setup_in_words  # noqa: PLC0415 # only then

        click.echo(f"{machine.id} is configured: {setup_in_words(machine.setup)}.", err=True)


def _url_of(machine: Machine, port: str) -> str | None:
    """The URL of the port of this name. Raises InvalidInput, which says which names there are."""
    published = machine.ports.get(port)
    if published is not None:
        return published.url
    has = f"It has {', '.join(machine.ports)}." if machine.ports else "Its pool names no ports (setting `ports`)."
    raise InvalidInput(f"{machine.project} has {machine.id}, which has no port named {port!r}. {has}")


def _what_it_waits_for(client: Client, project: str) -> str:
    """Why a project waits for its own machine, or for any; empty if nothing is known. Raises OrchestratorError."""
    from worker_orchestrator.cli.text_formats import printable, time_left  # noqa: PLC0415 # few wait so long

    try:
        machine = client.machine_of(project)
        if machine.state == "sleeping":
            return f"Waiting until the machine of {project} can wake."
        if machine.state != "restarting":
            return ""
        next_try = f" The next try is in {time_left(machine.next_try_at)}." if machine.next_try_at is not None else ""
        return f"Waiting: the worker of {project} is restarting. {printable(machine.reason)}{next_try}"
    except ProjectHasNoMachine:
        pass
    try:
        client.why(project)
    except ProjectHasNoMachine as error:
        return f"Waiting: {printable(error.message)}"
    return ""  # it has one by now


def _notes(arguments: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in arguments]
    if any(not key or not equals for key, equals, _ in pairs):
        raise click.BadParameter("each must be NAME=value.", param_hint="--metadata")
    return {key: value for key, _, value in pairs}


COMMANDS: Final = (assign,)
