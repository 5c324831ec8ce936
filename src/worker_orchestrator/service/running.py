"""The running service: the fleet, the orchestrator over it and HTTP in front of it, until a signal or a defect ends them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.background import Background
from worker_orchestrator.control.keys import Keys
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.history import History
from worker_orchestrator.control.reading.prometheus import CONTENT_TYPE, Metrics
from worker_orchestrator.control.telling.observer import Observers
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import Activity, Bearings
from worker_orchestrator.engines.pausable import Pausable
from worker_orchestrator.errors import EngineError, PortInUse
from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.access.guard import Guard
from worker_orchestrator.http.app import App
from worker_orchestrator.http.document import Document
from worker_orchestrator.http.monitoring import Monitoring
from worker_orchestrator.http.previews.finding import ToldRoutes
from worker_orchestrator.http.server.listening import listen
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.http.server.uvicorn_server import Server
from worker_orchestrator.http.v1 import v1
from worker_orchestrator.http.v1.health import Health
from worker_orchestrator.http.v1.keys import KeyRoutes
from worker_orchestrator.service.agents import with_agents
from worker_orchestrator.service.already_running import who_listens
from worker_orchestrator.service.egress.keeper import Egress, refuse_without_squid
from worker_orchestrator.service.ending import end_in_time
from worker_orchestrator.service.opening import Opened, open_fleet, spec_of
from worker_orchestrator.service.placing import where_published
from worker_orchestrator.service.previews import PreviewParts, previews_of
from worker_orchestrator.service.reload import Configuration, limits_of
from worker_orchestrator.service.sandboxes import SandboxParts, names_of, sandboxes_of
from worker_orchestrator.service.secrets import read_token, read_webhook_key
from worker_orchestrator.service.systemd import take_notifier, take_sockets
from worker_orchestrator.service.tracing import Tracing, open_tracing, traced, webhook_calls
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.checkpoints import keep_checkpointed

if TYPE_CHECKING:
    from worker_orchestrator.control.telling.webhook import Webhook

__all__ = ["serve"]

_log = structlog.get_logger(__name__)

YOUNG_OBJECTS: Final = 1_000
"""After so many more allocations than deallocations the garbage collector looks at the new objects, which takes a tenth of a
millisecond. An assign leaves next to none."""


@dataclass(frozen=True, slots=True)
class _WorkerPorts:
    """Host ports that belong or may belong to a worker: those of the range, and those assigned under an earlier range."""

    first: int
    last: int
    fleet: Fleet

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and (self.first <= port <= self.last or ("", port) in self.fleet.ports)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the service consists of once its fleet is open. `service_end` ends the streams; `webhook` may be None."""

    settings: Settings
    opened: Opened
    orchestrator: Orchestrator
    configuration: Configuration
    metrics: Metrics
    history: History
    service_end: ServiceEnd
    webhook: Webhook | None
    callers: Callers
    previews: PreviewParts
    egress: Egress
    sandboxes: SandboxParts | None = None


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

    try:
        async with open_fleet(settings) as opened:
            read, engine = read_again or (lambda: settings), opened.engine
            settings = where_published(settings, engine)
            parts = _assemble(settings, lambda: where_published(read(), engine), opened, webhook_key, token, tracing)
            await _look_around(opened.engine)
            server = Server(
                traced(_app(parts, token), tracing),
                settings.max_connections,
                answers,
                parts.previews.of_server,
                settings.root_path,
            )
            await _run(server, parts, sockets, lambda: tell("STOPPING=1"))
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


def _webhook(  # what it says, where to, and who hears of it
    settings: Settings, key: bytes, opened: Opened, metrics: Metrics, clock: Clock, tracing: Tracing | None
) -> Webhook | None:
    if not settings.webhook:
        return None
    from worker_orchestrator.control.telling.webhook import Webhook  # noqa: PLC0415 # it imports aiohttp, which is slow

    return Webhook(opened.store.outbox, webhook_calls(settings.webhook, key, tracing), metrics, clock.wall_ms)


def _assemble(  # all that it consists of
    settings: Settings,
    read_again: Callable[[], Settings],
    opened: Opened,
    webhook_key: bytes,
    token: str,
    tracing: Tracing | None,
) -> _Parts:
    clock, metrics, told = Clock(), Metrics(), ToldRoutes()
    history = History(opened.store, clock.wall_ms)
    webhook = _webhook(settings, webhook_key, opened, metrics, clock, tracing)
    more = [*([] if webhook is None else [webhook]), *([] if tracing is None else [tracing.spans])]
    orchestrator = Orchestrator(
        opened.fleet,
        spec_of(
            settings,
            plans_ports=opened.engine.plans_ports,
            restarts_in_place=opened.engine.restarts_in_place,
            pauses=isinstance(opened.engine, Pausable),
            sees_use=isinstance(opened.engine, Activity),
        ),
        opened.engine,
        opened.store,
        clock,
        limits_of(settings),
        opened.identity.id,
        observer=Observers(metrics, history, told, *more),
        late_key=opened.values_key,
    )
    configuration = Configuration(settings, read_again, opened.engine, orchestrator)
    keys = Keys(opened.store.keys, opened.fleet, clock.wall_ms)
    callers = Callers(token, settings.rate_limit, time.monotonic, opened.fleet.owner, keys)
    asked = (settings, callers, opened.engine, orchestrator, configuration, told, opened.links_key)
    previews = previews_of(*asked, names=names_of(opened.values_key, keys) if settings.e2b else None)
    door = (orchestrator, settings.advertise_host, opened.values_key, keys, end := ServiceEnd(), previews.domain)
    sandboxes = sandboxes_of(*door) if settings.e2b else None
    egress = Egress(opened.engine, lambda: configuration.settings.pools, orchestrator, metrics)
    of_history = (metrics, history, end, webhook, callers, previews, egress, sandboxes)
    return _Parts(settings, opened, orchestrator, configuration, *of_history)


def _app(parts: _Parts, token: str) -> App:
    settings, fleet, orchestrator = parts.settings, parts.opened.fleet, parts.orchestrator
    health = Health(orchestrator, settings.engine, command_line(settings, "recover"), parts.webhook)
    routes = v1(
        orchestrator,
        health,
        parts.history,
        parts.service_end,
        advertise_host=settings.advertise_host,
        configuration=parts.configuration,
        previews=parts.previews.calls,
        keys=None if parts.callers.keys is None else KeyRoutes(orchestrator, parts.callers.keys, is_open=not token),
    )
    guard = Guard(
        settings.allow_host,
        settings.allow_origin,
        worker_ports=_WorkerPorts(settings.first_port, settings.last_port, fleet),
        any_host=bool(token),
        previews=parts.previews.hosts,
        preview_ports=parts.previews.ports,
    )
    return App(
        Document(orchestrator, settings.advertise_host),
        with_agents(routes, settings, parts.callers, parts.service_end),
        Monitoring(health.obstacles, lambda: (parts.metrics.exposition(orchestrator.gauges()), CONTENT_TYPE)),
        guard,
        parts.callers,
        orchestrator.defect.report,
        settings.root_path,
        e2b=None if parts.sandboxes is None else parts.sandboxes.app,
    )


def _left_running(fleet: Fleet) -> list[Machine]:
    runs = {State.READY, State.PARKED, State.STARTING, State.STOPPING}
    return [machine for machine in fleet.machines.values() if machine.state in runs or machine.project]


async def _run(server: Server, parts: _Parts, sockets: list[socket.socket], tell_stopping: Callable[[], None]) -> None:
    """Run the orchestrator and the server until a signal ends both, or a defect in one ends the other.

    `tell_stopping` is called when that begins, while requests are still being answered.
    """
    orchestrator = parts.orchestrator

    def stop() -> None:
        if not server.should_exit:
            tell_stopping()
            end_in_time()
        orchestrator.turn_all_away()
        parts.service_end.announce()
        server.force_exit = server.should_exit  # a second signal does not wait for open connections
        server.should_exit = True

    background, configuration = Background(orchestrator.defect), parts.configuration
    _call_on_signal(stop, lambda: background.spawn(configuration.reload_or_say_why_not(), "reload"))
    pool = asyncio.create_task(orchestrator.run(), name="orchestrator")
    pool.add_done_callback(lambda _: stop())
    try:
        await orchestrator.first_look()
        _spawn_what_goes_along(background, parts)
        _freeze_garbage_collector()
        await server.serve(sockets)
    finally:
        await background.aclose()
        if parts.sandboxes is not None:
            await parts.sandboxes.aclose()
        pool.cancel()
        await asyncio.wait({pool})
        if not pool.cancelled() and (defect := pool.exception()) is not None:
            raise defect


def _spawn_what_goes_along(background: Background, parts: _Parts) -> None:
    """What runs beside the orchestrator for as long as it does, now that it has looked at its machines once."""
    background.spawn(parts.history.run(parts.orchestrator.gauges), "history")
    background.spawn(keep_checkpointed(parts.opened.store), "checkpoints")
    background.spawn(parts.egress.run(), "egress")
    if parts.webhook is not None:
        background.spawn(parts.webhook.run(), "webhook")
    if parts.previews.door is not None:
        background.spawn(parts.previews.door.run(background.spawn), "door")
    if parts.sandboxes is not None:
        background.spawn(parts.sandboxes.processes.strays.end(), "commands of an earlier run")


def _call_on_signal(stop: Callable[[], None], reload: Callable[[], object]) -> None:
    """`reload` only without a terminal: one that is closed ends what runs in it, by the same signal."""
    loop = asyncio.get_running_loop()
    if os.name != "nt" and not _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGINT, signal.SIGTERM):
        if os.name == "nt":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
        else:
            loop.add_signal_handler(number, stop)


def _has_terminal() -> bool:
    """Whether a terminal controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _freeze_garbage_collector() -> None:
    """Exclude what exists now from later collections: one that looked at all of it kept every request waiting for 10 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
