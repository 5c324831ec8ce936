"""`orchestrator reload`: have the running service read its settings again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client
from worker_orchestrator.cli.terminal_display import is_interactive
from worker_orchestrator.cli.text_formats import json_document, printable
from worker_orchestrator.errors import SettingsChanged

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Reloaded, SettingChange

__all__ = ["COMMANDS"]

_APPLIED: Final = "Applied."


@click.command(short_help="Have the service read its settings again.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option("text", "json")
@with_client
def reload(client: Client, *, dry_run: bool, yes: bool, output: str) -> None:
    """Have the running service read its settings again, and take over what changed, without a restart.

    It reads the same file as at its start, with the same flags and environment. On a terminal this shows what changes, and
    asks; if the file is changed before the answer, it shows that and asks again. A file with an error changes nothing.

    Without a terminal, as in a script, it applies what changed without asking, and says so; --dry-run only shows it.
    """
    asks = output == "text" and not yes and is_interactive(sys.stdin) and is_interactive(sys.stdout)
    if dry_run:
        _show(client.reload(dry_run=True), output)
    elif not asks:
        _tell_applied(client.reload(), output)
    else:
        while not _is_settled(client):
            click.echo("The settings have changed meanwhile. Now the difference is:")


def _tell_applied(found: Reloaded, output: str) -> None:
    _show(found, output)
    if output == "text" and found.applied and _has_effect(found):
        click.echo(_APPLIED)


def _has_effect(found: Reloaded) -> bool:
    """Whether anything of this can be applied while the service runs."""
    return any(not change.needs_restart for change in found.changes)


def _is_settled(client: Client) -> bool:
    """Show what would change, and ask. False if it is not applied because it is not what was shown any more."""
    found = client.reload(dry_run=True)
    _show(found, "text")
    if _has_effect(found) and click.confirm("Apply?", default=True):
        try:
            client.reload(digest=found.digest)
        except SettingsChanged:
            return False
        click.echo(_APPLIED)
    return True


def _show(reloaded: Reloaded, output: str) -> None:
    if output == "json":
        click.echo(json_document(reloaded))
        return
    if not reloaded.changes:
        click.echo("Nothing has changed.")
    for change in reloaded.changes:
        click.echo(printable(_line(change)))
    if any(change.needs_restart for change in reloaded.changes):
        click.echo("What needs a restart of the service stays as it is until then.", err=True)


def _line(change: SettingChange) -> str:
    """A pool that is new (+), gone (-) or changed (~), or a setting of the service."""
    if change.setting is None:
        return f"- pool {change.pool}" if change.after is None else f"+ pool {change.pool}: {change.after}"
    whose = "" if change.pool is None else f"pool {change.pool}, "
    restart = " (needs a restart)" if change.needs_restart else ""
    holds = "" if change.holds is None else f" (`orchestrator scale` has set {change.holds}, which goes on to hold)"
    return f"~ {whose}{change.setting}: {change.before} -> {change.after}{restart}{holds}"


COMMANDS: Final[tuple[Any, ...]] = (reload,)
