"""docs/command-line.md names every command and every option, and the table of commands says what the commands say."""

from __future__ import annotations

import re
import shlex
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from worker_orchestrator.cli import main
from worker_orchestrator.cli.commands import TABLE
from worker_orchestrator.cli.exit_codes import USAGE
from worker_orchestrator.settings.settings import settings

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = (DOCS / "command-line.md").read_text(encoding="utf-8")
SETTINGS = {setting.flag for setting in settings()}

each_command = pytest.mark.parametrize("name", TABLE)


def loaded(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def section(name: str) -> str:
    """What the document says of one command, and of what all have in common."""
    common = DOCUMENT.partition("\n## The service")[0]
    found = next(part for part in re.split(r"\n### ", DOCUMENT) if f"`orchestrator {name}" in part.partition("\n")[0])
    return common + found


@each_command
def test_the_help_of_all_commands_says_what_each_one_says(name: str) -> None:
    command = loaded(name)
    assert (command.name, command.short_help) == (name, TABLE[name].help)


@each_command
def test_every_option_is_documented_with_its_command(name: str) -> None:
    """But for the settings of `serve`, which docs/settings.md lists."""
    text = section(name)
    options = [option for option in loaded(name).params if isinstance(option, click.Option)]
    words = {word for option in options for word in option.opts if word not in SETTINGS or word == "--token-file"}
    assert [word for word in sorted(words) if not re.search(rf"{word}(?![\w-])", text)] == []


@each_command
def test_every_option_has_help_that_ends_like_a_sentence(name: str) -> None:
    for option in loaded(name).params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.help.endswith((".", "]")), option.help


@each_command
def test_examples_in_the_help_stand_on_lines_of_their_own(name: str) -> None:
    command = loaded(name)
    text = command.get_help(click.Context(command, info_name=name))
    assert "\\b" not in text
    examples = [line.strip() for line in (command.help or "").splitlines() if line.startswith("orchestrator ")]
    assert [example for example in examples if example not in text] == []


def test_the_systemd_unit_starts_the_service_with_flags_that_there_are() -> None:
    """And it tries again when Docker does not answer, but not with settings that are wrong."""
    unit = ConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign] # keys as they are written
    recipe = (DOCS / "recipes" / "systemd.md").read_text(encoding="utf-8")
    unit.read_string(recipe.partition("```ini\n")[2].partition("```")[0])
    service = unit["Service"]
    program, command, *flags = shlex.split(service["ExecStart"])
    assert (Path(program).name, command) == ("orchestrator", "serve")
    given = loaded("serve").make_context("serve", flags).params
    assert given["state_dir"] == f"/var/lib/{service['StateDirectory']}"
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("always", str(USAGE))


def test_options_of_the_program_itself_are_documented() -> None:
    words = [word for option in main.params for word in option.opts if word.startswith("--")]
    assert [word for word in words if word not in DOCUMENT] == []


def test_exit_codes_are_documented_in_the_help_as_well() -> None:
    found = click.Context(main).command.get_help(click.Context(main, info_name="orchestrator"))
    for code in ("0 done", "1 failed", "2 wrong usage", "3 not found", "4 not now", "130 interrupted"):
        assert code in found
