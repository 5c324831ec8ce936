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
from worker_orchestrator.service.process import Process
from worker_orchestrator.service.run_service import run_service
from worker_orchestrator.service.secrets import read_token, read_webhook_key
from worker_orchestrator.service.signals import call_on_signal
from worker_orchestrator.service.systemd import take_notifier, take_sockets
from worker_orchestrator.service.tracing import open_tracing, traced
from worker_orchestrator.settings.replicas import KUBERNETES
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

    run = _replica if settings.store == KUBERNETES else _alone
    process = Process(settings, read_again or (lambda: settings), sockets, token, webhook_key, tracing, stopping)
    try:
        return await run(process, answers)
    finally:
        if tracing is not None:
            await tracing.aclose()
        for listener in sockets:
            listener.close()


async def _replica(process: Process, answers: Callable[[], None]) -> list[Machine]:
    from worker_orchestrator.service.replicas.replica import run_replica  # noqa: PLC0415 # few services need it

    await run_replica(process, answers)
    return []


async def _alone(process: Process, answers: Callable[[], None]) -> list[Machine]:
    async with open_fleet(process.settings) as opened:
        read, engine, tracing = process.read_again, opened.engine, process.tracing
        settings = where_published(process.settings, engine)
        parts = assemble(
            settings, lambda: where_published(read(), engine), opened, process.webhook_key, process.token, tracing
        )
        await _look_around(engine)
        app = traced(app_of(parts, process.token), tracing)
        server = Server(app, settings.max_connections, answers, parts.previews.of_server, settings.root_path)
        await run_service(server, parts, process.sockets, process.stopping, call_on_signal)
        return _left_running(opened.fleet)


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
