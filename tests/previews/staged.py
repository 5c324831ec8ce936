"""A door in its process, as the service starts it, with this process in the place of the service and of the worker."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import psutil

from worker_orchestrator.door.channel import Channel, Heard
from worker_orchestrator.door.messages import Config, Kind, Question, Route, asked, encoded
from worker_orchestrator.door.process import MODULE

MIB: Final = 1024 * 1024
GET: Final = b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n"
Worker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Staged:
    """`port` takes connections for the door with this `pid`, whose hosts lead all to one worker at `worker_port`."""

    def __init__(self, pid: int, port: int, worker_port: int) -> None:
        self.port, self.worker_port = port, worker_port
        self._door = psutil.Process(pid)

    @property
    def memory_mib(self) -> float:
        """What the door has of its own."""
        return float(self._door.memory_full_info().uss) / MIB

    @property
    def cpu_s(self) -> float:
        times = self._door.cpu_times()
        return float(times.user + times.system)

    @property
    def sockets(self) -> int:
        return int(self._door.num_fds())

    async def open(self, data: bytes = GET, *, receives: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A visitor. `receives`: so many bytes its kernel takes for it."""
        own = socket.socket()
        if receives:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        own.settimeout(0)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=own, limit=64 * 1024)
        writer.write(data)
        return reader, writer


@asynccontextmanager
async def staged(worker: Worker) -> AsyncIterator[Staged]:
    """A door before this worker."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await worker(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=64 * 1024)
    worker_port = server.sockets[0].getsockname()[1]
    own, theirs = socket.socketpair()
    command = (
        sys.executable,
        "-m",
        MODULE,
        str(theirs.fileno()),
        msgspec.json.encode(Config("localhost", 9, 9999)).decode(),
    )
    door = await asyncio.create_subprocess_exec(*command, pass_fds=(theirs.fileno(),))
    theirs.close()

    def hear(message: bytes) -> None:
        question = asked(message)
        assert isinstance(question, Question)
        route = Route(question.id, Kind.WORKER, "app", host="127.0.0.1", port=worker_port, key="m.1")
        channel.tell(encoded(route))

    channel = Channel(own, Heard(hear, lambda connection, _: connection.close(), lambda: None))
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listener:
        listener.settimeout(0)
        accepting = asyncio.create_task(_hand_over(listener, channel))
        try:
            yield Staged(door.pid, listener.getsockname()[1], worker_port)
        finally:
            accepting.cancel()
            server.close()
            channel.close()
            await door.wait()


async def _hand_over(listener: socket.socket, channel: Channel) -> None:
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listener)
        assert channel.hand_over(connection.fileno(), b"")
        connection.close()
