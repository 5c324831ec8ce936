"""How a command reaches the service: where it is, with which token, and what is said when that fails."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.failed import NOT_FOUND, Failed, code_of_call
from worker_orchestrator.errors import (
    InvalidSetting,
    MachineNotFound,
    OrchestratorError,
    ServiceUnreachable,
    Unauthorized,
)

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Machine

__all__ = ["DEFAULT_URL", "calls", "connect", "find", "follower", "headers", "output_option", "read_token", "reported"]

DEFAULT_URL: Final = "http://localhost:9092"
_REACH: Final = "worker_orchestrator.reach"
_PATIENT: Final = 5
_MACHINE_ID: Final = re.compile(r"worker-\d+-[0-9a-z]+")
"""What looks like the id of a machine, and is one rather than a project. The service knows the ids of containers."""


def calls(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command --url and --token-file, and as its first argument a client that is closed when it ends."""

    @click.option(
        "--url", metavar="URL", help=f"The service to talk to. Default: ORCHESTRATOR_URL, else {DEFAULT_URL}."
    )
    @click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="File with its token.")
    @click.pass_context
    @functools.wraps(function)
    def run(ctx: click.Context, /, *args: Any, url: str | None, token_file: Path | None, **options: Any) -> None:
        said = ctx.obj
        url, token_file = url or (said and said.url), token_file or (said and said.token_file)
        with reported(url):
            token = None if token_file is None else read_token(token_file)
            ctx.meta[_REACH] = url, token
            with connect(url, token) as client:
                function(client, *args, **options)

    return run


def connect(url: str | None, token: str | None = None, *, timeout_s: float = 60.0, retries: int = 0) -> Client:
    """A client of the service at this URL. It tries once: whoever typed a command can type it again."""
    from worker_orchestrator.client import Client  # noqa: PLC0415 # nobody waits for it who does not call

    return Client(url, token=token, timeout_s=timeout_s, retries=retries)


def follower() -> Client:
    """Another client of the service of this command, for what goes on and on: it comes back when the service does."""
    url, token = click.get_current_context().meta[_REACH]
    return connect(url, token, retries=_PATIENT)


def headers() -> dict[str, str]:
    """What a connection beside the client must send: the token, where there is one."""
    from worker_orchestrator.client.address import find_token  # noqa: PLC0415 # as above

    token = find_token(click.get_current_context().meta[_REACH][1])
    return {"Authorization": f"Bearer {token}"} if token else {}


def read_token(file: Path) -> str:
    """The token in this file. Raises InvalidSetting, which never shows it."""
    try:
        return file.read_text(encoding="latin-1").strip()
    except OSError as error:
        raise InvalidSetting(f"The token file {file} cannot be read: {error.strerror}.") from None


@contextmanager
def reported(url: str | None) -> Iterator[None]:
    """Turn what goes wrong in a call into one sentence and an exit code."""
    where = url or os.environ.get("ORCHESTRATOR_URL") or DEFAULT_URL
    try:
        yield
    except ServiceUnreachable as error:
        message = (
            f"Nothing answers at {where}: start it with `orchestrator serve --image IMAGE`, or name another with --url."
        )
        if "refused" not in error.message:
            message = error.message
        raise Failed(message, code_of_call(error)) from None
    except Unauthorized:
        message = (
            f"The service at {where} wants a token, and the right one: name its file with --token-file, or set "
            "ORCHESTRATOR_TOKEN."
        )
        raise Failed(message) from None
    except OrchestratorError as error:
        raise Failed(error, code_of_call(error)) from None


def find(client: Client, name: str) -> Machine:
    """The machine of this id, or of this project. Raises Failed where it is neither."""
    ways = [client.get, client.machine_of]
    for look in ways if _MACHINE_ID.fullmatch(name) else reversed(ways):
        try:
            return look(name)
        except MachineNotFound:
            continue
        except OrchestratorError as error:
            if error.code not in {"invalid_request", "invalid_project"}:
                raise
    message = f"{name} is neither a project that has a machine nor the id of one; `orchestrator list` shows them."
    raise Failed(message, NOT_FOUND)


def output_option(*formats: str) -> Callable[[Any], Any]:
    """-o with these formats, the first of which is the default."""
    text = f"How to print it. [{formats[0]}]"
    return click.option("-o", "--output", type=click.Choice(formats), default=formats[0], help=text)
