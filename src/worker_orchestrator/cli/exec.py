"""`orchestrator exec`: a command in a worker, with a terminal or without one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.completion_candidates import names
from worker_orchestrator.cli.exit_codes import FAILED, USAGE, Failed
from worker_orchestrator.cli.service_connection import calls, find, headers
from worker_orchestrator.errors import CallFailed

if TYPE_CHECKING:
    from worker_orchestrator.client import Client

__all__ = ["COMMANDS"]

TIMED_OUT: Final = 124
"""As `timeout` says it."""
_STDIN_LIMIT_BYTES: Final = 1024 * 1024
_TOO_LARGE: Final = 413


@click.command(
    "exec",
    short_help="Run a command in a worker.",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
)
@click.option(
    "-i", "--stdin", "interactive", is_flag=True, help="Give it what comes on standard input: text, at most 1 MiB."
)
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal: yours. As -it, for shells and editors.")
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Environment variable. May be repeated; not with -t.")
@click.option("-u", "--user", default="", metavar="USER", help="User to run as. Default: the worker's.")
@click.option("-w", "--workdir", default="", metavar="FOLDER", help="Folder to run in. Default: the image's.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    metavar="SECONDS",
    help="Without -t: it is killed after so long, and the exit code is 124. [60]",
)
@click.argument("name", metavar="PROJECT_OR_ID", shell_complete=names)
@click.argument("command", nargs=-1, metavar="[--] COMMAND...", type=click.UNPROCESSED)
@calls
def exec_(  # noqa: PLR0913 # one for each option
    client: Client,
    *,
    name: str,
    command: tuple[str, ...],
    interactive: bool,
    tty: bool,
    env: tuple[str, ...],
    user: str,
    workdir: str,
    timeout: float,
) -> None:
    """Run a command in a worker. The exit code is that of the command.

    \b
    orchestrator exec my-project -- ls -l
    orchestrator exec -it my-project            opens a shell
    ls | orchestrator exec -i my-project sort
    """  # noqa: D301 # click reads the backspace
    words = list(command[1:] if command[:1] == ("--",) else command)
    if tty:
        if env:
            raise Failed("--env does not go with -t: begin the command with `env NAME=value` instead.", USAGE)
        sys.exit(_terminal(client, name, words or ["sh"], user, workdir))
    if not words:
        raise Failed("Which command? Name it after the machine, or take -it for a shell.", USAGE)
    variables = dict(_pair(each) for each in env)
    stdin = _standard_input() if interactive else ""
    machine = find(client, name)
    with _too_large_reported():
        ran = client.exec(
            machine.id,
            words,
            stdin=stdin,
            env=variables or None,
            user=user,
            workdir=workdir,
            timeout_seconds=timeout,
            generation=machine.generation,
        )
    sys.stdout.write(ran.stdout)
    sys.stdout.flush()
    sys.stderr.write(ran.stderr)
    if ran.truncated:
        click.echo("orchestrator: there was more output than is kept; write it to a file, and copy that.", err=True)
    if ran.exit_code is None:
        click.echo(
            f"orchestrator: it did not end within {timeout:g} s and was killed; --timeout gives it longer.", err=True
        )
    sys.exit(TIMED_OUT if ran.exit_code is None else ran.exit_code)


def _terminal(client: Client, name: str, command: list[str], user: str, workdir: str) -> int:
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise Failed("-t needs a terminal, and this is none: leave it out where a pipe reads or writes.", FAILED)
    from worker_orchestrator.cli.worker_terminal import attach, url_of_terminal  # noqa: PLC0415 # only where there is one
    from worker_orchestrator.client.request_building import generation_header  # noqa: PLC0415 # as above

    machine = find(client, name)
    url = url_of_terminal(client.url, machine.id, command, user=user, workdir=workdir)
    return attach(url, {**headers(), **generation_header(machine.generation)})


def _standard_input() -> str:
    given = sys.stdin.buffer.read(_STDIN_LIMIT_BYTES + 1)
    if len(given) > _STDIN_LIMIT_BYTES:
        raise _too_much()
    try:
        return given.decode()
    except UnicodeDecodeError:
        message = (
            "What comes on standard input is no UTF-8 text: copy it into the worker with `orchestrator cp` instead."
        )
        raise Failed(message, USAGE) from None


@contextmanager
def _too_large_reported() -> Iterator[None]:
    """The limit is that of the whole request, in which some characters take more room than here."""
    try:
        yield
    except CallFailed as error:
        raise _too_much() if error.status == _TOO_LARGE else error from None


def _too_much() -> Failed:
    message = (
        "This is too much for one call, which takes 1 MiB of standard input, command and variables together: copy a file "
        "into the worker with `orchestrator cp`, and let the command read that."
    )
    return Failed(message, USAGE)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        what = 'no name before its "="' if equals else 'no "=", and is not shown, since it may be a secret'
        raise Failed(f"--env has an entry that is not allowed, but must be NAME=value: one has {what}.", USAGE)
    return name, value


COMMANDS: Final[tuple[Any, ...]] = (exec_,)
