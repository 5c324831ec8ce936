"""The running service: the fleet, the orchestrator over it, HTTP before it; until a signal or a defect ends all of them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.background import Background
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.history import History
from worker_orchestrator.control.reading.metrics import CONTENT_TYPE, Metrics
from worker_orchestrator.control.telling.observer import Observers
from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.access.guard import Guard
from worker_orchestrator.http.app import App
from worker_orchestrator.http.document import Document
from worker_orchestrator.http.operations import Operating
from worker_orchestrator.http.server.listening import is_beyond_loopback, listen
from worker_orchestrator.http.server.streams import Closing
from worker_orchestrator.http.server.uvicorn_server import Server
from worker_orchestrator.http.v1 import v1
from worker_orchestrator.http.v1.pools import Health
from worker_orchestrator.service.opening import open_fleet, spec_of
from worker_orchestrator.settings import token as token_file
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.settings import DEFAULT_POOL, Settings
from worker_orchestrator.store.checkpoints import keep_checkpointed

__all__ = ["serve"]

YOUNG_OBJECTS: Final = 1_000
"""So many more than were freed, and the collector looks at them: a tenth of a millisecond. An assign leaves next to none."""


@dataclass(frozen=True, slots=True)
class _WorkerPorts:
    """Host ports that are a worker's, or may be one's: those of the range, and those given out under another one."""

    first: int
    last: int
    fleet: Fleet

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and (self.first <= port <= self.last or ("", port) in self.fleet.ports)


async def serve(settings: Settings, announce: Callable[[list[socket.socket]], None]) -> list[Machine]:
    """Run until SIGINT or SIGTERM. Returns the machines that keep running.

    `announce` is called once the service answers. Raises what `open_fleet` raises, and what a defect raised.
    """
    token = settings.token or (token_file.read(settings.token_file) if settings.token_file is not None else "")
    if not token and not settings.insecure_no_auth and is_beyond_loopback(settings.host):
        raise InvalidSetting(
            f"--host {settings.host} can be reached from other computers, and whoever reaches it can create containers "
            "here: give a token (--token-file FILE), or --insecure-no-auth, or stay on localhost."
        )
    sockets = listen(settings.host, settings.port)
    metrics, closing = Metrics(), Closing()
    try:
        async with open_fleet(settings) as opened:
            clock = Clock()
            history = History(opened.store, clock.wall_ms)
            engine = opened.engine
            orchestrator = Orchestrator(
                opened.fleet,
                spec_of(settings, plans_ports=engine.plans_ports, restarts_in_place=engine.restarts_in_place),
                engine,
                opened.store,
                clock,
                Limits(settings.assign_timeout, settings.refresh_interval, settings.stop_timeout),
                opened.identity.id,
                observer=Observers(metrics, history),
            )
            health = Health(orchestrator, settings.engine, command_line(settings, "recover"))
            operating = Operating(health.obstacles, lambda: (metrics.exposition(orchestrator), CONTENT_TYPE))
            image = "a demo in memory" if settings.engine == "memory" else settings.image
            routes = v1(
                orchestrator,
                health,
                history,
                closing,
                advertise_host=settings.advertise_host,
                image=image,
                pool=DEFAULT_POOL,
            )
            document = Document(orchestrator, settings.advertise_host)
            guard = Guard(
                settings.allow_host,
                settings.allow_origin,
                worker_ports=_WorkerPorts(settings.first_port, settings.last_port, opened.fleet),
                any_host=bool(token),
            )
            callers = Callers(token, settings.rate_limit, time.monotonic, opened.fleet.owner)
            app = App(document, routes, operating, guard, callers, orchestrator.defect.report)
            server = Server(app, settings.max_connections, lambda: announce(sockets))

            def begin(background: Background) -> None:
                background.spawn(history.run(orchestrator.gauges), "history")
                background.spawn(keep_checkpointed(opened.store), "checkpoints")

            await _run(server, orchestrator, begin, closing, sockets)
            kept = {State.READY, State.STARTING, State.STOPPING}
            return [machine for machine in opened.fleet.machines.values() if machine.state in kept or machine.project]
    finally:
        for listener in sockets:
            listener.close()


def _spare_the_collector() -> None:
    """What is there now stays: a collection that looked at all of it kept everybody waiting for 10 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)


async def _run(
    server: Server,
    orchestrator: Orchestrator,
    begin: Callable[[Background], None],
    closing: Closing,
    sockets: list[socket.socket],
) -> None:
    """Both until a signal ends them, or a defect in one ends the other. `begin` starts what goes on beside them."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        orchestrator.turn_all_away()
        closing.close()
        server.force_exit = server.should_exit  # a second signal does not wait for open connections
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        if os.name == "nt":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
        else:
            loop.add_signal_handler(number, stop)
    pool = asyncio.create_task(orchestrator.run(), name="orchestrator")
    pool.add_done_callback(lambda _: stop())
    background = Background(orchestrator.defect)
    try:
        await orchestrator.first_look()
        begin(background)
        _spare_the_collector()
        await server.serve(sockets)
    finally:
        await background.aclose()
        pool.cancel()
        await asyncio.wait({pool})
        if not pool.cancelled() and (defect := pool.exception()) is not None:
            raise defect
