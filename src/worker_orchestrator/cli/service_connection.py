"""How a command calls the service: its address, its token, and the message if that fails."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.exit_codes import NOT_FOUND, CommandFailed, exit_code_of
from worker_orchestrator.errors import (
    InvalidSetting,
    MachineNotFound,
    OrchestratorError,
    ServiceUnreachable,
    Unauthorized,
)

if TYPE_CHECKING:
    from worker_orchestrator.client import AsyncClient, Client
    from worker_orchestrator.wire.v1 import Machine

__all__ = [
    "DEFAULT_URL",
    "find_machine",
    "is_machine_id",
    "open_async_client",
    "open_client",
    "open_patient_client",
    "read_token",
    "token_header",
    "with_client",
]

DEFAULT_URL: Final = "http://localhost:9092"
_CONNECTION: Final = "worker_orchestrator.connection"
_PATIENT_RETRIES: Final = 5
_MACHINE_ID: Final = re.compile(r"worker-\d+-[0-9a-z]+|[0-9a-f]{12}|[0-9a-f]{64}")
"""Such a text is taken for the id of a machine, or of its container before it is taken for a project."""


def with_client(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command --url and --token-file, and as its first argument a client that is closed when it ends."""

    @click.option(
        "--url", metavar="URL", help=f"The service to talk to. Default: ORCHESTRATOR_URL, else {DEFAULT_URL}."
    )
    @click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="File with its token.")
    @click.pass_context
    @functools.wraps(function)
    def run(ctx: click.Context, /, *args: Any, url: str | None, token_file: Path | None, **options: Any) -> None:
        general = ctx.obj  # the same options before the command's name
        url, token_file = url or (general and general.url), token_file or (general and general.token_file)
        with _failures_explained(url):
            token = None if token_file is None else read_token(token_file)
            ctx.meta[_CONNECTION] = url, token
            with open_client(url, token) as client:
                function(client, *args, **options)

    return run


def open_client(url: str | None, token: str | None = None, *, timeout_s: float = 60.0, retries: int = 0) -> Client:
    """A client of the service at this URL. It tries each call once: a person can repeat the command."""
    from worker_orchestrator.client import Client  # noqa: PLC0415 # only a command that calls the service needs it

    return Client(url, token=token, timeout_s=timeout_s, retries=retries)


def open_patient_client() -> Client:
    """A second client for a command that follows something: it continues after a restart of the service."""
    url, token = click.get_current_context().meta[_CONNECTION]
    return open_client(url, token, retries=_PATIENT_RETRIES)


def open_async_client(url: str) -> AsyncClient:
    """The same client on an event loop, for a command that goes on: it continues after a restart of the service."""
    from worker_orchestrator.client import AsyncClient  # noqa: PLC0415 # as above

    token = click.get_current_context().meta[_CONNECTION][1]
    return AsyncClient(url, token=token, retries=_PATIENT_RETRIES)


def token_header() -> dict[str, str]:
    """The header for a connection that is not the client's; empty if there is no token."""
    from worker_orchestrator.client.service_address import find_token  # noqa: PLC0415 # as above

    token = find_token(click.get_current_context().meta[_CONNECTION][1])
    return {"Authorization": f"Bearer {token}"} if token else {}


def read_token(file: Path) -> str:
    """The token in this file. Raises InvalidSetting, which never shows it."""
    try:
        return file.read_text(encoding="latin-1").strip()
    except OSError as error:
        raise InvalidSetting(f"The token file {file} cannot be read: {error.strerror}.") from None


@contextmanager
def _failures_explained(url: str | None) -> Iterator[None]:
    """Turn an error of a call into a sentence for this command line, and an exit code."""
    address = url or os.environ.get("ORCHESTRATOR_URL") or DEFAULT_URL
    try:
        yield
    except ServiceUnreachable as error:
        message = (
            f"No service answers at {address}. Start one with `orchestrator serve --image IMAGE`, or name another one "
            "with --url."
        )
        if "refused" not in error.message:
            message = error.message
        raise CommandFailed(message, exit_code_of(error)) from None
    except Unauthorized:
        message = (
            f"The service at {address} requires a valid token. Name the file of the token with --token-file, or set "
            "ORCHESTRATOR_TOKEN."
        )
        raise CommandFailed(message) from None
    except OrchestratorError as error:
        raise CommandFailed(error, exit_code_of(error)) from None


def is_machine_id(name: str) -> bool:
    """Whether this looks like the id of a machine or of its container, though a project may be called so as well."""
    return _MACHINE_ID.fullmatch(name) is not None


def find_machine(client: Client, name: str) -> Machine:
    """The machine with this id, or of this project. Raises CommandFailed if there is neither."""
    lookups = [client.get, client.machine_of]
    for look_up in lookups if is_machine_id(name) else reversed(lookups):
        try:
            return look_up(name)
        except MachineNotFound:
            continue
        except OrchestratorError as error:
            if error.code not in {"invalid_request", "invalid_project"}:
                raise
    message = f"{name} is neither a project with a machine nor the id of a machine. `orchestrator list` shows them."
    raise CommandFailed(message, NOT_FOUND)
