"""Options and help of the commands that work where the service runs, on its state directory and its engine.

What each of them does is in the module of its name, which is imported once its settings are known to be valid.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.settings_flags import flag_values, load_settings, with_settings
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.command_line import PLACES
from worker_orchestrator.settings.loading import config_file, file_with_token
from worker_orchestrator.settings.settings import Settings

__all__ = ["COMMANDS"]


def _url_option(command: Any) -> Any:
    """Give a command --url, whose default is the --url before the command's name."""
    text = "The running service. Default: ORCHESTRATOR_URL, else localhost with --port."
    return click.option("--url", metavar="URL", default=_general_url, help=text)(command)


def _general_url() -> str | None:
    general = click.get_current_context().obj
    return None if general is None or general.url is None else str(general.url)


@click.command(short_help="Keep a warm pool and answer the API.")
@with_settings()
def serve(config: Path | None, **flags: Any) -> None:
    """Keep a warm pool and answer the API.

    Every setting can be given as a flag, as ORCHESTRATOR_<NAME> in the environment, or in orchestrator.toml.
    """
    chosen = load_settings(config, flags)
    from worker_orchestrator.cli.serve import run  # noqa: PLC0415 # --help must not load the server

    file = config_file(os.environ, config)
    run(chosen, file_with_token(os.environ, config), lambda: _load_again(file, flags))


def _load_again(file: Path | None, flags: dict[str, Any]) -> Settings:
    """The settings once more. Where a file was read, it must be there: without it, a reload would retire all its pools.

    Raises InvalidSetting, for a pipe too: it gives its text once, and is empty from then on.
    """
    if file is not None and file.exists() and not file.is_file():
        raise InvalidSetting(
            f"The configuration file {file} is a pipe or a device, which cannot be read again. Restart the service."
        )
    return load_settings(file, flags)


@click.command(short_help="Stop the service and remove its machines.")
@click.option("--all", "everything", is_flag=True, help="Assigned machines too; asks first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings(*PLACES, "stop_timeout", "log_format")
def down(config: Path | None, *, everything: bool, yes: bool, **flags: Any) -> None:
    """Stop the service and remove its idle machines (--all: the assigned ones too).

    Settings that only matter to `serve` are accepted and ignored.
    """
    chosen = load_settings(config, flags)
    from worker_orchestrator.cli.down import run  # noqa: PLC0415 # as above

    run(chosen, everything=everything, yes=yes)


@click.command(short_help="List, adopt or remove unknown containers.")
@click.option(
    "--adopt",
    multiple=True,
    metavar="ID[=PROJECT]",
    help="Record this machine as assigned to a project. May be repeated.",
)
@click.option(
    "--purge",
    multiple=True,
    metavar="ID",
    help="Remove this container; asks first. `strays`: all strays. May be repeated.",
)
@click.option("--accept", is_flag=True, help="Use this database with this engine and computer from now on.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings(*PLACES, "stop_timeout", "log_format")
def recover(
    config: Path | None, *, adopt: tuple[str, ...], purge: tuple[str, ...], accept: bool, yes: bool, **flags: Any
) -> None:
    """List worker containers that this database does not know, and adopt or purge them.

    Stop the service before --adopt and --accept; its workers keep running. To list and to purge it need not be stopped.
    Settings that only matter to `serve` are accepted and ignored.
    """
    chosen = load_settings(config, flags)
    from worker_orchestrator.cli.recover import run  # noqa: PLC0415 # as above

    run(chosen, adopt=adopt, purge=purge, accept=accept, yes=yes)


@click.command(short_help="Write a copy of the database.")
@click.argument("file", type=click.Path(path_type=Path))
@with_settings("state_dir")
def backup(file: Path, config: Path | None, **flags: Any) -> None:
    """Write a copy of the database to FILE, also while the service runs.

    Settings that only matter to `serve` are accepted and ignored.
    """
    chosen = load_settings(config, flags)
    from worker_orchestrator.cli.backup import run  # noqa: PLC0415 # as above

    run(chosen, file)


@click.command(short_help="Check this computer, and say how to fix it.")
@output_option("text", "json")
@with_settings(
    *PLACES,
    "image",
    "worker_port",
    "ports",
    "port",
    "first_port",
    "last_port",
    "publish_address",
    "advertise_host",
    "max_machines",
    "token_file",
)
@_url_option
def doctor(config: Path | None, *, url: str | None, output: str, **flags: Any) -> None:
    """Check the engine, the image, ports, the state directory, the clock, limits and a running service.

    It changes nothing. Give it the same flags as `serve`. The exit code is 1 if something is wrong.
    """
    from worker_orchestrator.cli.doctor.report import run  # noqa: PLC0415 # as above

    run(url, config, flag_values(flags), output=output)


@click.command("config", short_help="Show the settings and where each came from.")
@output_option("table", "json")
@click.option("--changed", is_flag=True, help="Only those that are not at their default.")
@with_settings()
@_url_option
def config_(config: Path | None, *, url: str | None, output: str, changed: bool, **flags: Any) -> None:
    """Show the settings that `serve` would use with these flags, and where each came from.

    Sizes that `scale` changed in a running service are marked as such. Secrets are never shown.
    """
    from worker_orchestrator.cli.config import run  # noqa: PLC0415 # as above

    run(url, config, flag_values(flags), output=output, changed=changed)


COMMANDS: Final = (serve, down, recover, backup, doctor, config_)
