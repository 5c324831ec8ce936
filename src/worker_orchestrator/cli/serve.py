"""`orchestrator serve`: run the service, say where it is, and in the end say what keeps running."""

from __future__ import annotations

import asyncio
import shlex
import socket
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

import click

from worker_orchestrator import logs, serving
from worker_orchestrator.cli.calling import DEFAULT_URL
from worker_orchestrator.command_line import command_line
from worker_orchestrator.http.listening import is_beyond_loopback
from worker_orchestrator.machine import Machine, State
from worker_orchestrator.settings import Settings

__all__ = ["run", "run_loop"]

_T = TypeVar("_T")
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def run(settings: Settings) -> None:
    """Serve until a signal. Raises OrchestratorError."""
    logs.configure(settings.log_format)
    kept = run_loop(serving.serve(settings, lambda sockets: _announce(settings, sockets)))
    click.echo(_farewell(settings, kept), err=True)


def run_loop(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on the fastest event loop at hand."""
    try:
        import uvloop  # noqa: PLC0415 # not on Windows
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _announce(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    host = "localhost" if settings.host in {*_LOCAL, "0.0.0.0", "::"} else settings.host  # noqa: S104
    url = f"http://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}"
    click.echo(f"\n  The pool is at {url}. Get a worker for a project, in another terminal:\n", err=True)
    click.echo(f"      orchestrator {_way(settings, url)}assign my-project", err=True)
    click.echo(f"      curl {_credentials(settings)}{url}/my-project\n", err=True)
    if not _credentials(settings) and is_beyond_loopback(settings.host):
        click.echo(
            f"  Careful: whoever reaches {settings.host}:{settings.port} can create containers here.\n", err=True
        )
    if is_beyond_loopback(settings.publish_address):
        click.echo(
            f"  Careful: workers are published on {settings.publish_address}: whoever reaches one there can use it, without "
            "a token.\n",
            err=True,
        )
    elif is_beyond_loopback(settings.host) and settings.advertise_host in _LOCAL:
        click.echo(
            f"  The URLs of workers are on {settings.advertise_host}. For callers on other computers add "
            "--advertise-host NAME --publish-address 0.0.0.0.\n",
            err=True,
        )
    sys.stderr.flush()


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


def _farewell(settings: Settings, kept: Sequence[Machine]) -> str:
    """What keeps running. A dead machine that holds files does not, though it is kept as well."""
    if settings.engine == "memory":
        return "Stopped. The demo's machines ended with it."
    running = [machine for machine in kept if machine.state is not State.FAILED and not machine.gone]
    if not running:
        return "Stopped. No container keeps running."
    lines = [f"Stopped. {len(running)} container{'s keep' if len(running) > 1 else ' keeps'} running:"]
    lines += [f"  {machine.id}  {_holder(machine)}" for machine in sorted(running, key=lambda machine: machine.id)]
    last = f"They are known when the service comes back. `{command_line(settings, 'down')}` removes idle ones."
    return "\n".join([*lines, last])


def _holder(machine: Machine) -> str:
    if machine.project is not None:
        return f"assigned to {machine.project}"
    return "idle" if machine.is_idle else machine.state.value
