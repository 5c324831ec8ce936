"""Runs the orchestrator and the server over it until something ends both."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from typing import Final

from worker_orchestrator.control.background import Background
from worker_orchestrator.http.server.uvicorn_server import Server
from worker_orchestrator.service.parts import Parts
from worker_orchestrator.store.checkpoints import keep_checkpointed

__all__ = ["run_service"]

YOUNG_OBJECTS: Final = 1_000
"""After so many more allocations than deallocations the garbage collector looks at the new objects, which takes a tenth of a
millisecond. An assign leaves next to none."""


async def run_service(
    server: Server,
    parts: Parts,
    sockets: list[socket.socket],
    stopping: Callable[[], None],
    listen_to: Callable[[Callable[[], None], Callable[[], object]], None],
) -> None:
    """Run the orchestrator and the server until a signal ends both, or a defect in one ends the other, which is raised.

    `stopping` is called when that begins, while requests are still being answered. `listen_to` is told what ends it, and
    what has it read its settings again.
    """
    orchestrator = parts.orchestrator

    def stop() -> None:
        if not server.should_exit:
            stopping()
        orchestrator.turn_all_away()
        parts.service_end.announce()
        server.force_exit = server.should_exit  # a second signal does not wait for open connections
        server.should_exit = True

    background, configuration = Background(orchestrator.defect), parts.configuration
    listen_to(stop, lambda: background.spawn(configuration.reload_or_say_why_not(), "reload"))
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


def _spawn_what_goes_along(background: Background, parts: Parts) -> None:
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


def _freeze_garbage_collector() -> None:
    """Exclude what exists now from later collections: one that looked at all of it kept every request waiting for 10 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
