"""The running service: the fleet, the orchestrator over it and HTTP in front of it, until a signal or a defect ends them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import structlog

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import Bearings
from worker_orchestrator.errors import EngineError, PortInUse
from worker_orchestrator.http.server.listening import listen
from worker_orchestrator.http.server.uvicorn_server import Server
from worker_orchestrator.service.already_running import who_listens
from worker_orchestrator.service.egress.keeper import refuse_without_squid
from worker_orchestrator.service.ending import end_in_time
from worker_orchestrator.service.opening import open_fleet
from worker_orchestrator.service.parts import app_of, assemble
from worker_orchestrator.service.placing import where_published
from worker_orchestrator.service.run_service import run_service
from worker_orchestrator.service.secrets import read_token, read_webhook_key
from worker_orchestrator.service.signals import call_on_signal
from worker_orchestrator.service.systemd import take_notifier, take_sockets
from worker_orchestrator.service.tracing import open_tracing, traced
from worker_orchestrator.settings.settings import Settings

__all__ = ["serve"]

_log = structlog.get_logger(__name__)


async def serve(
    settings: Settings,
    announce: Callable[[list[socket.socket]], None],
    read_again: Callable[[], Settings] | None = None,
) -> list[Machine]:
    """Run until SIGINT or SIGTERM. Returns the machines that keep running. Without a terminal, SIGHUP reloads the settings.

    `read_again` reads the settings as they were read before. `announce` is called once the service answers. Raises what
    `open_fleet` raises, and the error of a defect.
    """
    refuse_without_squid(settings)
    tracing = open_tracing(settings)
    token, webhook_key = read_token(settings), read_webhook_key(settings)
    tell, sockets = take_notifier(), take_sockets(settings) or await _listen(settings)

    def answers() -> None:
        announce(sockets)
        tell("READY=1")

    def stopping() -> None:
        tell("STOPPING=1")
        end_in_time()

    try:
        async with open_fleet(settings) as opened:
            read, engine = read_again or (lambda: settings), opened.engine
            settings = where_published(settings, engine)
            parts = assemble(settings, lambda: where_published(read(), engine), opened, webhook_key, token, tracing)
            await _look_around(opened.engine)
            server = Server(
                traced(app_of(parts, token), tracing),
                settings.max_connections,
                answers,
                parts.previews.of_server,
                settings.root_path,
            )
            await run_service(server, parts, sockets, stopping, call_on_signal)
            return _left_running(opened.fleet)
    finally:
        if tracing is not None:
            await tracing.aclose()
        for listener in sockets:
            listener.close()


async def _listen(settings: Settings) -> list[socket.socket]:
    try:
        return listen(settings.host, settings.port)
    except PortInUse as error:
        raise await who_listens(settings, error) from None


async def _look_around(engine: Engine) -> None:
    """Say beforehand that no worker will be reached from here, as far as that is known."""
    if not isinstance(engine, Bearings):
        return
    with contextlib.suppress(EngineError):
        if why := await engine.misplacement():
            _log.error("no worker can be reached from here", why=f"workers are published on Docker's host, and {why}")


def _left_running(fleet: Fleet) -> list[Machine]:
    runs = {State.READY, State.PARKED, State.STARTING, State.STOPPING}
    return [machine for machine in fleet.machines.values() if machine.state in runs or machine.project]
