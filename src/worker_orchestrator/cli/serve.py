"""`orchestrator serve`: run the service, print its address, and at the end print which containers keep running.

With --log-format json all of these are log lines too, so that every line of standard error is one JSON document.
"""

from __future__ import annotations

import shlex
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

import click
import structlog

from worker_orchestrator.cli.event_loop import run_on_event_loop
from worker_orchestrator.cli.exit_codes import FAILED, CommandFailed
from worker_orchestrator.cli.service_connection import DEFAULT_URL
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.server.listening import is_beyond_loopback, own_url
from worker_orchestrator.service import running
from worker_orchestrator.settings import token
from worker_orchestrator.settings.command_line import command_line, program
from worker_orchestrator.settings.replicas import KUBERNETES
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.store import DATABASE
from worker_orchestrator.telemetry import logs

__all__ = ["run"]

_log = structlog.get_logger(__name__)
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ON_RELEASE: Final = {
    "reuse": (
        "The next project gets a released machine as it is, with its files (.env too) and its running processes. "
        "If projects must not see each other's data, use --on-release recycle."
    ),
    "recycle": "A released machine is removed with its files, and the next project gets a new one.",
}
"""What happens to a released machine. `reuse` is the default, and nobody should find out by accident what it hands on."""


def run(
    settings: Settings, file_with_token: Path | None = None, read_again: Callable[[], Settings] | None = None
) -> None:
    """Serve until a signal. `read_again` reads the settings anew. Raises OrchestratorError, or SystemExit with JSON logs."""
    logs.configure(settings.log_format)
    if file_with_token is not None:
        token.warn_if_readable(file_with_token)
    if settings.log_format == "json":
        _run_in_json(settings, read_again)
        return
    goes_on = settings.engine != "memory" and settings.store != KUBERNETES and _has_records(settings.state_dir)
    machines = run_on_event_loop(
        running.serve(settings, lambda sockets: _announce(settings, sockets, goes_on=goes_on), read_again)
    )
    click.echo(_farewell(settings, machines), err=True)


def _has_records(state_dir: Path) -> bool:
    try:
        return (state_dir / DATABASE).exists()
    except OSError:
        return False  # opening it says why it cannot be used


def _run_in_json(settings: Settings, read_again: Callable[[], Settings] | None) -> None:
    try:
        machines = run_on_event_loop(running.serve(settings, lambda sockets: _log_start(settings, sockets), read_again))
    except Exception as error:  # noqa: BLE001 # else Python would print a traceback, which is not JSON
        _log_failure(error)
    _log_end(settings, machines)


# the start


def _announce(settings: Settings, sockets: Sequence[socket.socket], *, goes_on: bool) -> None:
    """`goes_on`: with the records of an earlier run."""
    url = _url(settings, sockets)
    click.echo(f"\n  The pool is at {url}. Get a worker for a project, in another terminal:\n", err=True)
    for command in _assign_commands(settings, url):
        click.echo(f"      {command}", err=True)
    click.echo("", err=True)
    for what in _on_release(settings):
        click.echo(f"  {what}\n", err=True)
    if goes_on:
        click.echo(
            f"  This goes on with the records of an earlier run in {settings.state_dir.absolute()}. Ports go on as well: "
            "the worker is at the URL in the reply.\n",
            err=True,
        )
    for warning in (*_warnings(settings), *_images(settings)):
        click.echo(f"  {warning}\n", err=True)
    sys.stderr.flush()


def _on_release(settings: Settings) -> Iterator[str]:
    """What happens to released machines, for each value that a pool has: the pools are named if there are several values."""
    pools = dict[str, list[str]]()
    for name, pool in settings.pools.items():
        pools.setdefault(pool.on_release, []).append(name)
    for value, names in pools.items():
        flag = f"--on-release {value}" if len(pools) == 1 else f"on_release {value} ({', '.join(names)})"
        yield f"{flag}: {_ON_RELEASE[value]}"


def _log_start(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    url = _url(settings, sockets)
    _log.info(
        "serving",
        url=url,
        assign_with=_assign_commands(settings, url),
        on_release=settings.on_release,
        on_release_means=_ON_RELEASE[settings.on_release],
        **_on_release_of_pools(settings),
    )
    for warning in _warnings(settings):
        _log.warning("open to others", why=warning)
    for warning in _images(settings):
        _log.warning("the default image is used", why=warning)


def _on_release_of_pools(settings: Settings) -> dict[str, dict[str, str]]:
    """For the log: the value of each pool, if one has another than `default`."""
    values = {name: pool.on_release for name, pool in settings.pools.items()}
    return {"on_release_of_pools": values} if len(set(values.values())) > 1 else {}


def _url(settings: Settings, sockets: Sequence[socket.socket]) -> str:
    return f"{own_url(settings.host, sockets[0].getsockname()[1])}{settings.root_path}"


def _assign_commands(settings: Settings, url: str) -> list[str]:
    """Commands to paste into a shell."""
    return [
        f"{program()} {_url_options(settings, url)}assign my-project",
        f"curl {_credentials(settings)}{url}/my-project",
    ]


def _warnings(settings: Settings) -> Iterator[str]:
    if not _credentials(settings) and is_beyond_loopback(settings.host):
        yield (
            f"Careful: every computer that reaches {settings.host}:{settings.port} can create containers here. Require a "
            "token with --token-file."
        )
    if is_beyond_loopback(settings.publish_address):
        yield (
            f"Careful: workers are published on {settings.publish_address}: every computer that reaches one can use it, "
            "without a token, and so can every other worker."
        )
    elif is_beyond_loopback(settings.host) and settings.advertise_host in _LOCAL:
        yield (
            f"The URLs of workers are on {settings.advertise_host}. For callers on other computers add "
            "--advertise-host NAME --publish-address 0.0.0.0."
        )


def _images(settings: Settings) -> Iterator[str]:
    """Of pools whose image may be another one than was meant."""
    for name in settings.without_image if settings.engine != "memory" else ():
        yield (
            f"The pool {name} uses the default image {settings.pools[name].image}: its table names no image, and no pool "
            f"inherits the one in [pools.default]. Put `image` into [pools.{name}], or above all tables."
        )


def _url_options(settings: Settings, url: str) -> str:
    """The options by which a command reaches this service; without a token that was in the environment."""
    words = [] if url == DEFAULT_URL else ["--url", url]
    if settings.token_file is not None:
        words += ["--token-file", str(settings.token_file.absolute())]
    return "".join(f"{shlex.quote(word)} " for word in words)


def _credentials(settings: Settings) -> str:
    """The option by which curl sends the token, without the token itself."""
    if settings.token_file is not None:
        return f'-H "Authorization: Bearer $(cat {shlex.quote(str(settings.token_file.absolute()))})" '
    return '-H "Authorization: Bearer $ORCHESTRATOR_TOKEN" ' if settings.token else ""


# the end


def _farewell(settings: Settings, machines: Sequence[Machine]) -> str:
    if settings.engine == "memory":
        return "Stopped. The demo's machines ended with it."
    if settings.store == KUBERNETES:
        return "Stopped. Workers keep running, and the replica that leads goes on with them."
    running = _running(machines)
    if not running:
        return "Stopped. No container keeps running."
    lines = [f"Stopped. {len(running)} container{'s keep' if len(running) > 1 else ' keeps'} running:"]
    lines += [f"  {machine.id}  {_holder(machine)}" for machine in running]
    last = f"The service knows them when it starts again. `{command_line(settings, 'down')}` removes idle ones."
    return "\n".join([*lines, last])


def _log_end(settings: Settings, machines: Sequence[Machine]) -> None:
    if settings.engine == "memory":
        _log.info("stopped", keep_running=[], why="the demo's machines ended with it")
        return
    if settings.store == KUBERNETES:
        _log.info("stopped", why="the replica that leads goes on with the workers")
        return
    running = [{"machine": machine.id, "is": _holder(machine)} for machine in _running(machines)]
    _log.info("stopped", keep_running=running, remove_idle_with=command_line(settings, "down") if running else None)


def _log_failure(error: Exception) -> NoReturn:
    if isinstance(error, OrchestratorError):
        _log.error("failed", why=error.message)
        sys.exit(CommandFailed(error).exit_code)
    _log.error("defect", exc_info=error)
    sys.exit(FAILED)


def _running(machines: Sequence[Machine]) -> list[Machine]:
    """The machines that keep running. One that failed with files, or sleeps, is kept too, but does not run."""
    stopped = {State.FAILED, State.SLEEPING}
    running = [machine for machine in machines if machine.state not in stopped and not machine.gone]
    return sorted(running, key=lambda machine: machine.id)


def _holder(machine: Machine) -> str:
    if machine.project is not None:
        return f"assigned to {machine.project}"
    return "idle" if machine.is_idle else machine.state.value
