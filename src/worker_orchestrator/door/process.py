"""What runs in the door's process, from its start until the service ends it or is gone.

It has no token, no database and no engine: it knows what the service answers, and relays. `python -m
worker_orchestrator.door.process` is started by the service with one end of a pair of sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any, Final

import msgspec
import structlog

from worker_orchestrator.door import pages
from worker_orchestrator.door.channel import Channel, Heard
from worker_orchestrator.door.clients import client_of, is_on_loopback
from worker_orchestrator.door.connections import Connections
from worker_orchestrator.door.messages import Config, Gone, Ping, Pong, encoded, told
from worker_orchestrator.door.pages import Said
from worker_orchestrator.door.refusals import Refusals
from worker_orchestrator.door.routes import Routes
from worker_orchestrator.door.stream import Stream
from worker_orchestrator.door.visitor import Visitor
from worker_orchestrator.door.workers import Workers
from worker_orchestrator.telemetry import logs

__all__ = ["MODULE", "Door", "main", "room"]

MODULE: Final = "worker_orchestrator.door.process"
RESERVE: Final = 64
"""File descriptors for what runs here beside connections."""
PER_VISITOR: Final = 3
"""File descriptors: its own, that to its worker, and a third for what rests or is about to end."""
_log = structlog.get_logger(__name__)
_FULL: Final = Said(503, "Too many connections", "There are as many as there may be. Try again in a second.", "full", 1)


class Door:
    """Takes the connections that the service hands over on `own`, until that ends."""

    def __init__(self, own: socket.socket, config: Config) -> None:
        self._config, self._loop = config, asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = Connections(config.per_client, config.total)
        self._refusals = Refusals()
        self._ended = asyncio.Event()
        self._channel = Channel(own, Heard(self._hear, self._admit, self._ended.set))
        self._routes, self._workers = Routes(self._channel.tell, self._channel.catch_up), Workers()

    async def run(self) -> None:
        """Until the service ends the connection."""
        await self._ended.wait()
        for task in list(self._tasks):
            task.cancel()
        self._workers.close()
        self._routes.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the connections are closed in the next turn of the loop

    def _hear(self, message: bytes) -> None:
        heard = told(message)
        if isinstance(heard, Ping):
            self._channel.tell(encoded(Pong()))
            return
        self._routes.hear(heard)
        if isinstance(heard, Gone):
            self._workers.drop(heard.key)

    def _admit(self, connection: socket.socket, read: bytes) -> None:
        self._spawn(self._visit(connection, read))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended_task)

    def _ended_task(self, task: asyncio.Task[None]) -> None:
        """A defect costs one connection, and a line in the log."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("defect of the door", exc_info=error)

    async def _visit(self, connection: socket.socket, read: bytes) -> None:
        stream = Stream(read)
        try:
            connection.settimeout(0)
            await self._loop.connect_accepted_socket(lambda: stream, connection)
        except OSError:
            connection.close()  # the client has gone
            return
        visitor = Visitor(stream, self._routes, self._workers, self._connections, self._refusals, self._config)
        client = client_of(stream.client)
        # Behind a proxy on this computer all visitors have its address.
        if not self._connections.admit(visitor, client, shares_all=is_on_loopback(client)):
            await self._refuse(stream)
            return
        try:
            await visitor.run()
        finally:
            self._connections.leave(visitor)

    async def _refuse(self, stream: Stream) -> None:
        stream.write(pages.as_reply(_FULL, None, keep_alive=False))
        if len(self._tasks) > self._config.total * 5 // 4:
            stream.close()  # so many are being refused that lingering takes the descriptors of others
        else:
            await stream.linger()


def room(total: int) -> int:
    """As many connections as there may be, at most as many as this process has descriptors for."""
    try:
        import resource  # noqa: PLC0415 # not on Windows
    except ImportError:
        return total
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return total
    return max(1, min(total, (descriptors - RESERVE) // PER_VISITOR))


async def _run(own: socket.socket, config: Config) -> None:
    await Door(own, msgspec.structs.replace(config, total=room(config.total))).run()


def main() -> None:
    """The arguments are the number of the socket's descriptor, and the `Config` as JSON."""
    own = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(own.fileno(), False)  # noqa: FBT003 # its name says what it is
    config = msgspec.json.decode(sys.argv[2], type=Config)
    logs.configure(config.log_format)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the service hears them, and ends this
    loop_factory = None
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 # not everywhere

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_run(own, config))


if __name__ == "__main__":
    main()
