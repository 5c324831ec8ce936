"""`orchestrator init`: asks what a first service needs to know, and writes a commented orchestrator.toml."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from worker_orchestrator.cli.asking import NOBODY_TO_ASK
from worker_orchestrator.cli.exit_codes import USAGE, CommandFailed
from worker_orchestrator.cli.systemd_units import units_for
from worker_orchestrator.errors import InvalidInput, InvalidSetting
from worker_orchestrator.settings.loading import CONFIG_FILE
from worker_orchestrator.settings.pool_tables import is_pool_name
from worker_orchestrator.settings.sample_file import sample_file
from worker_orchestrator.settings.settings import DEFAULT_POOL, PoolSettings, Setting, Settings, settings

__all__ = ["COMMANDS"]


class _Question(NamedTuple):
    """What is asked for one setting, and what is offered as the answer; None: the default of the setting."""

    setting: str
    text: str
    offered: str | None = None
    is_needed: bool = False
    """Nothing is offered."""


_QUESTIONS: Final = (
    _Question("image", "Which image do workers run"),
    _Question("min_idle", "How many idle machines shall stand ready"),
    _Question("max_machines", "How many machines may there be at most"),
    _Question("memory", "How much memory may each worker use (such as 512m or 2g; none for no limit)", "none"),
    _Question(
        "on_release",
        "A project gives its machine back: replace it (recycle), or hand it on as it is (reuse)",
        "recycle",
    ),
)
_QUESTIONS_OF_POOL: Final = (
    _Question("image", "Which image do workers of {pool} run", is_needed=True),
    _Question("min_idle", "How many idle machines of {pool} shall stand ready"),
)
_ANOTHER: Final = "Another pool? Its name (empty: none)"
_NONE: Final = "none"


@click.command(short_help="Ask a few questions, and write orchestrator.toml.")
@click.argument("file", type=click.Path(path_type=Path), default=CONFIG_FILE)
@click.option("--yes", is_flag=True, help="Ask nothing: write what would be offered as the answers.")
@click.option("--systemd", is_flag=True, help="Write a systemd service and its socket beside FILE as well.")
def init(file: Path, *, yes: bool, systemd: bool) -> None:
    """Ask a few questions, and write FILE, by default orchestrator.toml in this folder, which `serve` reads.

    Other pools may be named too. The file contains every setting, with its meaning and its default. A file that exists is
    never replaced.
    """
    units = units_for(file) if systemd else {}
    for wanted in (file, *units):
        if wanted.exists():
            raise InvalidInput(f"{wanted} exists already, and is not replaced. Edit it, or choose another name.")
    if not yes and not _is_terminal():
        raise CommandFailed(f"Nothing was written. {NOBODY_TO_ASK}", USAGE)
    chosen = {setting.name: _answer(question, setting, ask=not yes) for question, setting in _asked(_QUESTIONS)}
    pools = {} if yes else _other_pools()
    _check(chosen, pools)
    _write(file, sample_file(chosen, pools))
    option = "" if file == Path(CONFIG_FILE) else f" --config {shlex.quote(str(file))}"
    click.echo(
        f"Wrote {file}. `orchestrator doctor{option}` checks this computer, and `orchestrator serve{option}` keeps the pool."
    )
    for unit, text in units.items():
        _write(unit, text)
    if units:
        click.echo(f"Wrote {' and '.join(map(str, units))}. Their first lines say how to install them.")


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _asked(questions: Sequence[_Question]) -> list[tuple[_Question, Setting]]:
    known = {setting.name: setting for setting in settings()}
    return [(question, known[question.setting]) for question in questions]


def _other_pools() -> dict[str, dict[str, Any]]:
    """The settings of each further pool, by its name."""
    pools = dict[str, dict[str, Any]]()

    def new_name(text: str) -> str:
        if text and not is_pool_name(text):
            raise click.BadParameter(
                f"{text!r} must be 1 to 40 lower-case letters, digits and hyphens, with a letter or digit at both ends."
            )
        if text in {DEFAULT_POOL, *pools}:
            raise click.BadParameter(f"There is a pool {text} already.")
        return text

    while name := click.prompt(_ANOTHER, default="", show_default=False, value_proc=new_name, err=True):
        pools[name] = {
            setting.name: _answer(question._replace(text=question.text.format(pool=name)), setting, ask=True)
            for question, setting in _asked(_QUESTIONS_OF_POOL)
        }
    return pools


def _answer(question: _Question, setting: Setting, *, ask: bool) -> Any:
    offered = str(setting.default) if question.offered is None else question.offered

    def parsed(text: str) -> Any:
        if text == _NONE == question.offered:
            return setting.default
        try:
            return setting.parse(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} must be {error}.") from None

    if not ask:
        return parsed(offered)
    return click.prompt(question.text, default=None if question.is_needed else offered, value_proc=parsed, err=True)


def _check(chosen: Mapping[str, Any], pools: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises InvalidSetting where the answers contradict each other."""
    try:
        Settings(**chosen, other_pools={name: PoolSettings(**pool) for name, pool in pools.items()})
    except InvalidSetting as error:
        raise InvalidSetting(f"{error.message} Nothing was written.") from None


def _write(file: Path, text: str) -> None:
    try:
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError:
        raise InvalidInput(f"{file} exists already, and is not replaced. Edit it, or choose another name.") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}. Choose another place.") from None


COMMANDS: Final[tuple[Any, ...]] = (init,)
