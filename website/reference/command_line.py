"""Every command with its arguments and options, as `--help` shows them."""

from __future__ import annotations

import click

from website.reference.markdown import code, fenced, table
from worker_orchestrator.cli import main
from worker_orchestrator.cli.commands import TABLE
from worker_orchestrator.settings.settings import settings

__all__ = ["command_line"]

_INTRODUCTION = """\
# All commands

Made from the source of this version. [The command line](../docs/command-line.md) tells what they do at more length.

"""
_SETTINGS = {setting.flag for setting in settings()}


def _options(command: click.Command, context: click.Context) -> str:
    """Without those that are settings, which have a page of their own."""
    records = [
        (code(record[0]), record[1])
        for option in command.get_params(context)
        if isinstance(option, click.Option) and not _SETTINGS.intersection(option.opts)
        if (record := option.get_help_record(context)) is not None
    ]
    more = "It also takes [settings](settings.md) as options.\n\n"
    takes_settings = any(_SETTINGS.intersection(option.opts) for option in command.params)
    return table(("option", "meaning"), records) + (more if takes_settings else "")


def _entry(name: str, command: click.Command, parent: click.Context, level: int = 2) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    told = "\n\n".join(_paragraphs(command.help or ""))
    text = f"{'#' * level} `{context.command_path}`\n\n{told}\n\n{fenced(usage)}{_options(command, context)}"
    if isinstance(command, click.Group):
        text += "".join(_entry(each, one, context, level + 1) for each, one in command.commands.items())
    return text


def _paragraphs(text: str) -> list[str]:
    """One that click leaves as it is, by a backspace before it, keeps its lines."""
    return [
        fenced(part.removeprefix("\b").strip("\n")) if part.lstrip().startswith("\b") else " ".join(part.split())
        for part in text.split("\n\n")
    ]


def command_line() -> str:
    parent = click.Context(main, info_name="orchestrator")
    entries = []
    for name in TABLE:
        command = main.get_command(parent, name)
        assert command is not None, name
        entries.append(_entry(name, command, parent))
    common = f"## Before the name of a command\n\n{_options(main, parent)}"
    return _INTRODUCTION + common + "".join(entries)
