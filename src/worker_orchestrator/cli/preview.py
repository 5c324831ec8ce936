"""`orchestrator url` and `orchestrator open`: the address of a project's preview, for whoever is to see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project
from worker_orchestrator.cli.durations import seconds_of
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Link

__all__ = ["COMMANDS"]

LONGEST_S: Final = 30 * 86_400


def _link_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a link can have."""
    port = click.option("--port", metavar="NAME", help="Of the port with this name. Default: the first one.")
    lasts = click.option(
        "--for",
        "lasts_s",
        metavar="DURATION",
        callback=seconds_of(1, LONGEST_S),
        help="How long the link is good. Default: 1h.",
    )
    return lasts(port(command))


@click.command(short_help="Make a link to the preview of a project.")
@click.argument("project", shell_complete=complete_project)
@_link_options
@output_option("url", "json")
@with_client
def url(client: Client, project: str, *, lasts_s: int | None, port: str | None, output: str) -> None:
    """Print a URL by which the preview of PROJECT can be seen.

    Where previews are not for everybody, whoever has it can see the preview until its time is over, or until the project
    loses its machine.
    """
    link = client.link(project, seconds=lasts_s, port=port)
    if output == "json":
        from worker_orchestrator.cli.text_formats import json_document  # noqa: PLC0415 # only for this format

        click.echo(json_document(link))
        return
    click.echo(link.url)
    _tell_end(link)


@click.command("open", short_help="Open the preview of a project in a browser.")
@click.argument("project", shell_complete=complete_project)
@_link_options
@with_client
def open_(client: Client, project: str, *, lasts_s: int | None, port: str | None) -> None:
    """Open the preview of PROJECT in a browser on this computer, and print its URL."""
    import webbrowser  # noqa: PLC0415 # for this command alone

    link = client.link(project, seconds=lasts_s, port=port)
    click.echo(link.url)
    _tell_end(link)
    if not webbrowser.open(link.url):
        click.echo("There is no browser here that could be opened.", err=True)


def _tell_end(link: Link) -> None:
    if link.expires_at is not None:
        from worker_orchestrator.cli.text_formats import utc_time  # noqa: PLC0415 # only where it ends

        click.echo(f"It is good until {utc_time(link.expires_at)}.", err=True)


COMMANDS: Final[tuple[Any, ...]] = (url, open_)
