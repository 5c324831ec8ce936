"""Values for a worker on the command line: as options of `assign`, and how a secret is read without being seen.

Every user of a computer can read the command lines of its processes. So a secret comes from the environment, from a file,
from standard input or from the terminal, and never stands among the options.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from worker_orchestrator.cli.exit_codes import FAILED, USAGE, CommandFailed

__all__ = ["late_options", "late_values"]

_STANDARD_INPUT: Final = "-"
_LONGEST_BYTES: Final = 64 * 1024


def _variables(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return sorted(name for name in os.environ if name.startswith(incomplete))


def _secret_files(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Files behind the "=", after which most shells begin a new word."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 # only for completion

    return [CompletionItem(incomplete.partition("=")[2], type="file")] if "=" in incomplete else []


_OPTIONS: Final = (
    click.option(
        "--env", multiple=True, metavar="K=V", help="A variable for the worker, which runs already. May be repeated."
    ),
    click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="K",
        shell_complete=_variables,
        help="A secret for the worker: the variable K of your environment, or you are asked for it. May be repeated.",
    ),
    click.option(
        "--secret-file",
        "secret_files",
        multiple=True,
        metavar="K=FILE",
        shell_complete=_secret_files,
        help="A secret for the worker from a file, just as it is there; - is standard input. May be repeated.",
    ),
    click.option(
        "--files",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="A folder whose content is sent to the worker, at most 1 MiB.",
    ),
    click.option("--replace", is_flag=True, help="Also if the machine was configured with other values."),
)


def late_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options by which values for a worker are given."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def late_values(options: dict[str, Any]) -> dict[str, Any]:
    """What the client is to be given for these options, which are taken out. Raises CommandFailed, which shows no value."""
    env, secrets, secret_files = (options.pop(name) for name in ("env", "secrets", "secret_files"))
    files, replace = options.pop("files"), options.pop("replace")
    if replace and not (env or secrets or secret_files or files):
        raise CommandFailed("--replace needs values: add --env, --secret, --secret-file or --files.", USAGE)
    paths = [_pair(each, "--secret-file") for each in secret_files]
    if [path for _, path in paths].count(_STANDARD_INPUT) > 1:
        raise CommandFailed("Only one --secret-file can be -, which is standard input.", USAGE)
    names = [*secrets, *(name for name, _ in paths)]
    for name in names:
        if names.count(name) > 1:
            raise CommandFailed(f"The secret {name!r} is given twice.", USAGE)
    from_files = {name: _in_file(name, path) for name, path in paths}
    values = {name: _from_environment(name) for name in secrets} | from_files
    return {
        "env": _variables_of(env) or None,
        "secrets": values or None,
        "files": files,
        "replace": replace,
    }


def _variables_of(env: tuple[str, ...]) -> dict[str, str]:
    pairs = [_pair(each, "--env") for each in env]
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise CommandFailed(f"The variable {name!r} is given twice.", USAGE)
    return dict(pairs)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        problem = 'no name before its "="' if equals else 'no "=", and is not shown, since it may be a secret'
        form = "NAME=value" if option == "--env" else "NAME=FILE"
        raise CommandFailed(f"Each {option} must be {form}: one has {problem}.", USAGE)
    return name, value


def _from_environment(name: str) -> str:
    if "=" in name:
        raise CommandFailed(
            "--secret takes a name and no value, since every user of this computer can read command lines. The value comes "
            "from the variable of this name, or you are asked for it.",
            USAGE,
        )
    value = os.environ.get(name)
    if value is not None:
        return _text(name, os.fsencode(value))
    if not sys.stdin.isatty():
        raise CommandFailed(
            f"There is no secret {name!r}: no variable of this name is in the environment, and standard input is not a "
            f"terminal, so nobody can be asked. Set it, or use --secret-file {name}=FILE.",
            USAGE,
        )
    answer: str = click.prompt(f"Secret {name}", hide_input=True, err=True)
    return answer


def _in_file(name: str, path: str) -> str:
    if path == _STANDARD_INPUT:
        return _text(name, sys.stdin.buffer.read(_LONGEST_BYTES + 1))
    try:
        with Path(path).open("rb") as file:
            return _text(name, file.read(_LONGEST_BYTES + 1))
    except OSError as error:
        raise CommandFailed(f"The secret {name!r} cannot be read from {path}: {error.strerror}.", FAILED) from None


def _text(name: str, content: bytes) -> str:
    if len(content) > _LONGEST_BYTES or b"\0" in content:
        raise CommandFailed(f"The secret {name!r} has more than {_LONGEST_BYTES} bytes, or contains NUL.", USAGE)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CommandFailed(f"The secret {name!r} is not UTF-8 text. Send it as a file, with --files.", USAGE) from None
