"""`orchestrator serve`: run the service, say where it is, and in the end say what keeps running.

With JSON for log lines all of that is log lines too: whoever collects standard error reads one document a line.
"""

from __future__ import annotations

import asyncio
import shlex
import socket
import sys
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
import structlog

from worker_orchestrator.cli.calling import DEFAULT_URL
from worker_orchestrator.cli.failed import FAILED, Failed
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.server.listening import is_beyond_loopback
from worker_orchestrator.service import running
from worker_orchestrator.settings import token
from worker_orchestrator.settings.command_line import command_line, program
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.telemetry import logs

__all__ = ["run", "run_loop"]

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def run(settings: Settings, file_with_token: Path | None = None) -> None:
    """Serve until a signal. Raises OrchestratorError, or with JSON for log lines SystemExit."""
    logs.configure(settings.log_format)
    if file_with_token is not None:
        token.warn_if_readable(file_with_token)
    if settings.log_format == "json":
        _run_in_json(settings)
        return
    kept = run_loop(running.serve(settings, lambda sockets: _announce(settings, sockets)))
    click.echo(_farewell(settings, kept), err=True)


def _run_in_json(settings: Settings) -> None:
    try:
        kept = run_loop(running.serve(settings, lambda sockets: _log_start(settings, sockets)))
    except Exception as error:  # noqa: BLE001 # the outermost edge: Python would print what is no JSON
        _log_failure(error)
    _log_end(settings, kept)


def run_loop(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on the fastest event loop at hand."""
    try:
        import uvloop  # noqa: PLC0415 # not on Windows
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


# the start


def _announce(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    url = _url(settings, sockets)
    click.echo(f"\n  The pool is at {url}. Get a worker for a project, in another terminal:\n", err=True)
    for command in _ways_to_assign(settings, url):
        click.echo(f"      {command}", err=True)
    click.echo(err=True)
    for warning in _warnings(settings):
        click.echo(f"  {warning}\n", err=True)
    sys.stderr.flush()


def _log_start(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    url = _url(settings, sockets)
    _log.info("serving", url=url, assign_with=_ways_to_assign(settings, url))
    for warning in _warnings(settings):
        _log.warning("open to others", why=warning)


def _url(settings: Settings, sockets: Sequence[socket.socket]) -> str:
    host = "localhost" if settings.host in {*_LOCAL, "0.0.0.0", "::"} else settings.host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}"


def _ways_to_assign(settings: Settings, url: str) -> list[str]:
    """Commands to be pasted into a shell."""
    return [
        f"{program()} {_way(settings, url)}assign my-project",
        f"curl {_credentials(settings)}{url}/my-project",
    ]


def _warnings(settings: Settings) -> Iterator[str]:
    if not _credentials(settings) and is_beyond_loopback(settings.host):
        yield f"Careful: whoever reaches {settings.host}:{settings.port} can create containers here."
    if is_beyond_loopback(settings.publish_address):
        yield (
            f"Careful: workers are published on {settings.publish_address}: whoever reaches one there can use it, without "
            "a token."
        )
    elif is_beyond_loopback(settings.host) and settings.advertise_host in _LOCAL:
        yield (
            f"The URLs of workers are on {settings.advertise_host}. For callers on other computers add "
            "--advertise-host NAME --publish-address 0.0.0.0."
        )


def _way(settings: Settings, url: str) -> str:
    """What a command must be told to come here; a token that the environment held is not said again."""
    words = [] if url == DEFAULT_URL else ["--url", url]
    if settings.token_file is not None:
        words += ["--token-file", str(settings.token_file.absolute())]
    return "".join(f"{shlex.quote(word)} " for word in words)


def _credentials(settings: Settings) -> str:
    """What curl must be told to send; never the token itself."""
    if settings.token_file is not None:
        return f'-H "Authorization: Bearer $(cat {shlex.quote(str(settings.token_file))})" '
    return '-H "Authorization: Bearer $ORCHESTRATOR_TOKEN" ' if settings.token else ""


# the end


def _farewell(settings: Settings, kept: Sequence[Machine]) -> str:
    if settings.engine == "memory":
        return "Stopped. The demo's machines ended with it."
    running = _running(kept)
    if not running:
        return "Stopped. No container keeps running."
    lines = [f"Stopped. {len(running)} container{'s keep' if len(running) > 1 else ' keeps'} running:"]
    lines += [f"  {machine.id}  {_holder(machine)}" for machine in running]
    last = f"They are known when the service comes back. `{command_line(settings, 'down')}` removes idle ones."
    return "\n".join([*lines, last])


def _log_end(settings: Settings, kept: Sequence[Machine]) -> None:
    if settings.engine == "memory":
        _log.info("stopped", keep_running=[], why="the demo's machines ended with it")
        return
    running = [{"machine": machine.id, "is": _holder(machine)} for machine in _running(kept)]
    _log.info("stopped", keep_running=running, remove_idle_with=command_line(settings, "down") if running else None)


def _log_failure(error: Exception) -> NoReturn:
    if isinstance(error, OrchestratorError):
        _log.error("failed", why=error.message)
        sys.exit(Failed(error).exit_code)
    _log.error("defect", exc_info=error)
    sys.exit(FAILED)


def _running(kept: Sequence[Machine]) -> list[Machine]:
    """What keeps running. A dead machine that holds files does not, though it is kept as well."""
    running = [machine for machine in kept if machine.state is not State.FAILED and not machine.gone]
    return sorted(running, key=lambda machine: machine.id)


def _holder(machine: Machine) -> str:
    if machine.project is not None:
        return f"assigned to {machine.project}"
    return "idle" if machine.is_idle else machine.state.value
