"""A door in this process, the service's end of its channel in the hand of the test, and workers that do as they are told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from worker_orchestrator.door.channel import Channel, Heard
from worker_orchestrator.door.messages import Config, Gone, Kind, Question, Route, asked, encoded
from worker_orchestrator.door.process import Door

PATIENCE_S: Final = 20.0


async def until(holds: Callable[[], object]) -> None:
    """Return when that holds."""
    while not holds():  # noqa: ASYNC110 # whatever it is
        await asyncio.sleep(0.01)


Worker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Relayed:
    """A door whose hosts lead to `worker`, unless `answer` says something else. `port` takes connections for it."""

    def __init__(self, worker_port: int) -> None:
        self.worker_port = worker_port
        self.port = 0
        self.questions: list[Question] = []
        self.answer: Callable[[Question], Route] = self.to_worker
        self.channel: Channel
        self.door: Door
        self.ended = asyncio.Event()
        self._accepted: list[socket.socket] = []

    def to_worker(self, question: Question) -> Route:
        return Route(question.id, Kind.WORKER, "app", host="127.0.0.1", port=self.worker_port, key="m.1")

    def hear(self, message: bytes) -> None:
        question = asked(message)
        assert isinstance(question, Question)
        self.questions.append(question)
        self.channel.tell(encoded(self.answer(question)))

    def forget(self, key: str = "m.1") -> None:
        self.channel.tell(encoded(Gone(key)))

    async def accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            assert self.channel.hand_over(connection.fileno(), b"")
            connection.close()

    async def open(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        writer.write(data)
        return reader, writer

    async def ask(self, data: bytes) -> bytes:
        """All that comes back for these bytes, until the door ends the connection."""
        reader, writer = await self.open(data)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b"(reset)"
        finally:
            writer.close()

    async def get(self, *fields: str, path: str = "/") -> bytes:
        lines = [f"GET {path} HTTP/1.1", "Host: app.localhost", "Connection: close", *fields]
        return await self.ask("\r\n".join([*lines, "", ""]).encode())


USUAL: Final = Config("localhost", 100, 1000)


@asynccontextmanager
async def relayed(worker: Worker, config: Config = USUAL) -> AsyncIterator[Relayed]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await worker(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    own, theirs = socket.socketpair()
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20)
        stage = Relayed(server.sockets[0].getsockname()[1])
        nobody = Heard(stage.hear, lambda connection, _: connection.close(), stage.ended.set)
        stage.channel = Channel(own, nobody)
        stage.door = Door(theirs, config)
        door = tasks.create_task(stage.door.run())
        with socket.create_server(("127.0.0.1", 0), backlog=500) as listener:
            listener.settimeout(0)
            stage.port = listener.getsockname()[1]
            accepting = tasks.create_task(stage.accept(listener))
            try:
                yield stage
            finally:
                accepting.cancel()
                server.close()
                stage.channel.close()
                await door


def lived(worker: Worker, story: Callable[[Relayed], Awaitable[None]], config: Config = USUAL) -> None:
    """Live through a story with a door before this worker."""

    async def live() -> None:
        async with relayed(worker, config) as stage:
            await story(stage)

    asyncio.run(live())


def says(reply: bytes) -> Worker:
    """A worker that answers each request with these bytes, and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()

    return answer
