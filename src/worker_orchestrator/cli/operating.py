"""The commands of whoever runs the service: they work beside it, on its state directory and its engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from worker_orchestrator.cli.settings_flags import given, load_settings, with_settings
from worker_orchestrator.settings.command_line import PLACES
from worker_orchestrator.settings.loading import file_with_token

__all__ = ["COMMANDS"]


def _at(command: Any) -> Any:
    """Give a command --url, which may stand before the command's name as well."""
    text = "The running service. Default: ORCHESTRATOR_URL, else localhost with --port."
    return click.option("--url", metavar="URL", default=_said, help=text)(command)


def _said() -> str | None:
    place = click.get_current_context().obj
    return None if place is None or place.url is None else str(place.url)


@click.command(short_help="Keep a warm pool and answer the API.")
@with_settings()
def serve(config: Path | None, **flags: Any) -> None:
    """Keep a warm pool and answer the API.

    Every setting can be given as a flag, as ORCHESTRATOR_<NAME> in the environment, or in orchestrator.toml.
    """
    chosen = load_settings(config, flags)
    from worker_orchestrator.cli.serve import run  # noqa: PLC0415 # --help must not wait for the server

    run(chosen, file_with_token(os.environ, config))


@click.command(short_help="Stop the service and remove its machines.")
@click.option("--all", "everything", is_flag=True, help="Assigned machines too; asks first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings(*PLACES, "stop_timeout", "log_format")
def down(config: Path | None, *, everything: bool, yes: bool, **flags: Any) -> None:
    """Stop the service and remove its idle machines (--all: the assigned ones too).

    Settings that matter to `serve` only are taken as well.
    """
    chosen = load_settings(config, flags)
    from worker_orchestrator.cli.down import run  # noqa: PLC0415 # as above

    run(chosen, everything=everything, yes=yes)


@click.command(short_help="Adopt or purge what the database lacks.")
@click.option(
    "--adopt", multiple=True, metavar="ID[=PROJECT]", help="Take this machine on record, as assigned. May be repeated."
)
@click.option(
    "--purge",
    multiple=True,
    metavar="ID",
    help="Remove this container; asks first. `strays`: all of them. May be repeated.",
)
@click.option("--accept", is_flag=True, help="Use this database with the engine and computer at hand from now on.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings(*PLACES, "stop_timeout", "log_format")
def recover(
    config: Path | None, *, adopt: tuple[str, ...], purge: tuple[str, ...], accept: bool, yes: bool, **flags: Any
) -> None:
    """List worker containers that this database does not know, and adopt or purge them.

    Stop the service before --adopt, --purge and --accept; its workers keep running. The list is to be had beside it.
    Settings that matter to `serve` only are taken as well.
    """
    chosen = load_settings(config, flags)
    from worker_orchestrator.cli.recover import run  # noqa: PLC0415 # as above

    run(chosen, adopt=adopt, purge=purge, accept=accept, yes=yes)


@click.command(short_help="Write a copy of the database.")
@click.argument("file", type=click.Path(path_type=Path))
@with_settings("state_dir")
def backup(file: Path, config: Path | None, **flags: Any) -> None:
    """Write a copy of the database to FILE, also beside a running service.

    Settings that matter to `serve` only are taken as well.
    """
    chosen = load_settings(config, flags)
    from worker_orchestrator.cli.backup import run  # noqa: PLC0415 # as above

    run(chosen, file)


@click.command(short_help="Say what is wrong here, and how to mend it.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it. [text]")
@with_settings(
    *PLACES,
    "image",
    "worker_port",
    "port",
    "first_port",
    "last_port",
    "publish_address",
    "advertise_host",
    "max_machines",
    "token_file",
)
@_at
def doctor(config: Path | None, *, url: str | None, output: str, **flags: Any) -> None:
    """Check the engine, the image, ports, the state directory, the clock, limits and a running service.

    It changes nothing. Give it the flags that `serve` is given. The exit code is 1 where something is wrong.
    """
    from worker_orchestrator.cli.doctor import run  # noqa: PLC0415 # as above

    run(url, config, given(flags), output=output)


@click.command("config", short_help="Show the settings and where each came from.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print it. [table]")
@click.option("--changed", is_flag=True, help="Only those that are not at their default.")
@with_settings()
@_at
def config_(config: Path | None, *, url: str | None, output: str, changed: bool, **flags: Any) -> None:
    """Show the settings that `serve` would use with these flags, and where each came from.

    What was changed in a running service by `scale` or `pause` is shown as such. Secrets are never shown.
    """
    from worker_orchestrator.cli.config import run  # noqa: PLC0415 # as above

    run(url, config, given(flags), output=output, changed=changed)


COMMANDS: Final = (serve, down, recover, backup, doctor, config_)
