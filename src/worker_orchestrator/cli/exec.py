"""`orchestrator exec`: a command in a worker, with a terminal or without one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project_or_id
from worker_orchestrator.cli.exit_codes import FAILED, USAGE, CommandFailed
from worker_orchestrator.cli.service_connection import find_machine, token_header, with_client
from worker_orchestrator.errors import CallFailed

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import ExecEnd, ExecOutput

__all__ = ["COMMANDS"]

TIMED_OUT: Final = 124
"""The exit code of `timeout` for the same case."""
_LONGEST_S: Final = 3600.0
"""The greatest time limit that the service accepts."""
_STDIN_LIMIT_BYTES: Final = 1024 * 1024
_TOO_LARGE: Final = 413


@click.command(
    "exec",
    short_help="Run a command in a worker.",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
)
@click.option("-i", "--stdin", "interactive", is_flag=True, help="Pass standard input on to it: text, at most 1 MiB.")
@click.option("-t", "--tty", is_flag=True, help="Give it your terminal. As -it, for shells and editors.")
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Environment variable. May be repeated; not with -t.")
@click.option("-u", "--user", default="", metavar="USER", help="User to run as. Default: the worker's.")
@click.option("-w", "--workdir", default="", metavar="FOLDER", help="Folder to run in. Default: the image's.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=_LONGEST_S),
    default=60.0,
    metavar="SECONDS",
    help="Without -t, which has no limit: kill it after this time, with exit code 124. At most 3600. [60]",
)
@click.argument("name", metavar="PROJECT_OR_ID", shell_complete=complete_project_or_id)
@click.argument("command", nargs=-1, metavar="[--] COMMAND...", type=click.UNPROCESSED)
@with_client
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
    _check_usage(words, env, tty=tty)
    if tty:
        sys.exit(_run_on_terminal(client, name, words or ["sh"], user, workdir))
    variables = dict(_name_and_value(each) for each in env)
    stdin = _standard_input() if interactive else ""
    machine = find_machine(client, name)
    output = client.exec_stream(
        machine.id,
        words,
        stdin=stdin,
        env=variables or None,
        user=user,
        workdir=workdir,
        timeout_seconds=timeout,
        generation=machine.generation,
    )
    with _too_large_explained(), closing(output):
        sys.exit(_print(output, timeout))


def _check_usage(words: list[str], env: tuple[str, ...], *, tty: bool) -> None:
    if tty and env:
        raise CommandFailed("--env cannot be used with -t. Begin the command with `env NAME=value` instead.", USAGE)
    if not tty and not words:
        raise CommandFailed("There is no command to run. Add it after the machine, or use -it for a shell.", USAGE)


def _print(output: Iterable[ExecOutput | ExecEnd], timeout_s: float) -> int:
    """Print what the command writes while it runs, each stream to its own, and return the exit code."""
    from worker_orchestrator.wire.v1 import ExecOutput  # noqa: PLC0415 # the shapes load msgspec, which no help text needs

    exit_code: int | None = None
    for part in output:
        if isinstance(part, ExecOutput):
            file = sys.stderr if part.stream == "stderr" else sys.stdout
            file.write(part.text)
            file.flush()
            continue
        exit_code = part.exit_code
        if part.truncated:
            click.echo(
                "orchestrator: some of the output is missing: the command wrote more than is kept. Let it write into a "
                "file, and copy that.",
                err=True,
            )
    if exit_code is not None:
        return exit_code
    click.echo(
        f"orchestrator: the command did not end within {timeout_s:g} s and was killed. --timeout gives it more time, "
        "up to 3600 s; with -t there is no limit.",
        err=True,
    )
    return TIMED_OUT


def _run_on_terminal(client: Client, name: str, command: list[str], user: str, workdir: str) -> int:
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise CommandFailed("-t needs a terminal for input and output. Leave it out if a pipe or file is used.", FAILED)
    from worker_orchestrator.cli.worker_terminal import attach, terminal_url  # noqa: PLC0415 # only with -t
    from worker_orchestrator.client.request_building import generation_header  # noqa: PLC0415 # as above

    machine = find_machine(client, name)
    url = terminal_url(client.url, machine.id, command, user=user, workdir=workdir)
    return attach(url, {**token_header(), **generation_header(machine.generation)})


def _standard_input() -> str:
    content = sys.stdin.buffer.read(_STDIN_LIMIT_BYTES + 1)
    if len(content) > _STDIN_LIMIT_BYTES:
        raise _too_large()
    try:
        return content.decode()
    except UnicodeDecodeError:
        message = "Standard input is not UTF-8 text. Copy it into the worker as a file with `orchestrator cp` instead."
        raise CommandFailed(message, USAGE) from None


@contextmanager
def _too_large_explained() -> Iterator[None]:
    """The service limits the whole request, in which some characters take more bytes than in standard input."""
    try:
        yield
    except CallFailed as error:
        raise _too_large() if error.status == _TOO_LARGE else error from None


def _too_large() -> CommandFailed:
    message = (
        "Standard input, command and variables are larger than 1 MiB together, which is the limit of one call. Copy a file "
        "into the worker with `orchestrator cp`, and let the command read that."
    )
    return CommandFailed(message, USAGE)


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        problem = 'no name before its "="' if equals else 'no "=", and is not shown, since it may be a secret'
        raise CommandFailed(f"Each --env must be NAME=value: one has {problem}.", USAGE)
    return name, value


COMMANDS: Final[tuple[Any, ...]] = (exec_,)
