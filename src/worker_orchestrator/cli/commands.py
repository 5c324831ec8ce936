"""`orchestrator` and its commands. An error is one sentence on standard error; exit code 2 for bad settings, else 1."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from worker_orchestrator import __version__
from worker_orchestrator.command_line import PLACES
from worker_orchestrator.errors import InvalidSetting, OrchestratorError
from worker_orchestrator.settings import Setting, Settings, load, settings

__all__ = ["main"]


class _Failed(click.ClickException):
    """An error of ours, in click's words."""

    def __init__(self, error: OrchestratorError) -> None:
        super().__init__(error.message)
        self.exit_code = 2 if isinstance(error, InvalidSetting) else 1  # type: ignore[misc] # click reads it off the instance

    def show(self, file: Any = None) -> None:
        click.echo(f"orchestrator: {self.message}", file=file or sys.stderr)


def _with_settings(*shown: str) -> Callable[[Any], Any]:
    """Give a command a flag for each setting, and --config. Its help shows these settings, without any of them all."""

    def give(command: Any) -> Any:
        for setting in reversed([setting for setting in settings() if setting.flag]):
            command = _option(setting, hidden=bool(shown) and setting.name not in shown)(command)
        where = "TOML file with settings. Default: orchestrator.toml, where there is one."
        return click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help=where)(command)

    return give


def _option(setting: Setting, *, hidden: bool) -> Any:
    shown = setting.default if isinstance(setting.default, str | int | float | Path) and setting.default != "" else None
    text = setting.help + (f" [{shown}]" if shown is not None and not isinstance(shown, bool) else "")
    if isinstance(setting.default, bool):
        return click.option(setting.flag, setting.name, is_flag=True, default=None, hidden=hidden, help=text)
    return click.option(
        setting.flag,
        setting.name,
        default=None,
        multiple=setting.repeatable,
        metavar=f"[{setting.values}]" if "|" in setting.values else setting.values,
        hidden=hidden,
        help=text,
    )


def _load(config: Path | None, flags: dict[str, Any]) -> Settings:
    import os  # noqa: PLC0415

    try:
        return load({k: list(v) if isinstance(v, tuple) and v else v for k, v in flags.items()}, os.environ, config)
    except InvalidSetting as error:
        raise _Failed(error) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="orchestrator")
def main() -> None:
    """A durable warm pool of worker containers on plain Docker.

    Every setting can be given as a flag, as ORCHESTRATOR_<NAME> in the environment, or in orchestrator.toml.
    """


@main.command(short_help="Keep a warm pool and answer the API.")
@_with_settings()
def serve(config: Path | None, **flags: Any) -> None:
    """Keep a warm pool and answer the API."""
    from worker_orchestrator.cli.serve import run  # noqa: PLC0415 # --help must not wait for the server

    chosen = _load(config, flags)
    try:
        run(chosen)
    except OrchestratorError as error:
        raise _Failed(error) from None


@main.command(short_help="Stop the service and remove its machines.")
@click.option("--all", "everything", is_flag=True, help="Assigned machines too; asks first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_with_settings(*PLACES, "log_format")
def down(config: Path | None, *, everything: bool, yes: bool, **flags: Any) -> None:
    """Stop the service and remove its idle machines (--all: the assigned ones too).

    Settings that matter to `serve` only are taken as well.
    """
    from worker_orchestrator.cli.down import run  # noqa: PLC0415

    chosen = _load(config, flags)
    try:
        run(chosen, everything=everything, yes=yes)
    except OrchestratorError as error:
        raise _Failed(error) from None


@main.command(short_help="Adopt or purge what the database lacks.")
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
@_with_settings(*PLACES, "log_format")
def recover(
    config: Path | None, *, adopt: tuple[str, ...], purge: tuple[str, ...], accept: bool, yes: bool, **flags: Any
) -> None:
    """List worker containers that this database does not know, and adopt or purge them.

    Settings that matter to `serve` only are taken as well.
    """
    from worker_orchestrator.cli.recover import run  # noqa: PLC0415

    chosen = _load(config, flags)
    try:
        run(chosen, adopt=adopt, purge=purge, accept=accept, yes=yes)
    except OrchestratorError as error:
        raise _Failed(error) from None


@main.command(short_help="Write a copy of the database.")
@click.argument("file", type=click.Path(path_type=Path))
@_with_settings("state_dir")
def backup(file: Path, config: Path | None, **flags: Any) -> None:
    """Write a copy of the database to FILE, also beside a running service.

    Settings that matter to `serve` only are taken as well.
    """
    from worker_orchestrator.cli.backup import run  # noqa: PLC0415

    chosen = _load(config, flags)
    try:
        run(chosen, file)
    except OrchestratorError as error:
        raise _Failed(error) from None
