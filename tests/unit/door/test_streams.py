"""What goes on for long: WebSockets say through the door what they say without it, and no side outruns the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from tests.unit.door.relayed import Relayed, lived, relayed
from tests.unit.door.test_relay import echo
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from worker_orchestrator.door.stream import HIGH_BYTES

Socket = websockets.asyncio.client.ClientConnection
MESSAGES: list[str | bytes] = [
    "",
    "hello",
    "\u00e4\u20ac\U0001f600",
    b"",
    b"\x00\xff" * 500,
    "x" * 70_000,
    b"y" * 900_000,
]


@asynccontextmanager
async def sockets(
    serve: Callable[[websockets.asyncio.server.ServerConnection], Awaitable[None]],
) -> AsyncIterator[tuple[int, int]]:
    """The ports of a server of WebSockets, and of a door before it."""
    async with websockets.asyncio.server.serve(serve, "127.0.0.1", 0, max_size=2**21) as server, relayed(echo) as stage:
        stage.worker_port = next(iter(server.sockets)).getsockname()[1]
        yield stage.worker_port, stage.port


def connect(port: int, path: str = "/", **words: Any) -> websockets.asyncio.client.connect:
    url = f"ws://app.localhost:{port}{path}"
    return websockets.asyncio.client.connect(url, host="127.0.0.1", port=port, max_size=2**21, **words)


async def said_by(port: int, talk: Callable[[Socket], Awaitable[object]]) -> object:
    async with connect(port) as socket:
        return await talk(socket)


def test_messages_of_all_kinds_come_back_as_without_a_door() -> None:
    async def serve(socket: websockets.asyncio.server.ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async def talk(socket: Socket) -> object:
        back = []
        for message in MESSAGES:
            await socket.send(message)
            back.append(await socket.recv())
        await socket.send(["in ", "several ", "pieces"])
        back.append(await socket.recv())
        pong = await socket.ping(b"are you there?")
        await pong
        return back

    async def story() -> None:
        async with sockets(serve) as ports:
            direct, through = [await said_by(port, talk) for port in ports]
            assert direct == through == [*MESSAGES, "in several pieces"]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going"), (1011, "broken"), (3000, "mine"), (4999, "x")]
)
def test_both_sides_hear_how_it_was_closed(code: int, reason: str) -> None:
    heard = asyncio.Queue[tuple[int, str]]()

    async def serve(socket: websockets.asyncio.server.ServerConnection) -> None:
        if await socket.recv() == "you close":
            await socket.close(code, reason)
            return
        with contextlib.suppress(ConnectionClosed):
            await socket.recv()
        await socket.wait_closed()
        heard.put_nowait((socket.close_code or 0, socket.close_reason or ""))

    async def talk(socket: Socket) -> object:
        await socket.send("you close")
        await socket.wait_closed()
        return socket.close_code, socket.close_reason

    async def close(socket: Socket) -> object:
        await socket.send("I close")
        await socket.close(code, reason)
        return None

    async def story() -> None:
        async with sockets(serve) as ports:
            direct, through = [await said_by(port, talk) for port in ports]
            assert direct == through == (code, reason)
            for port in ports:
                await said_by(port, close)
            assert [await heard.get(), await heard.get()] == [(code, reason)] * 2

    asyncio.run(story())


def test_protocols_that_are_offered_and_a_refusal_arrive() -> None:
    async def serve(socket: websockets.asyncio.server.ServerConnection) -> None:
        await socket.send(socket.subprotocol or "none")

    def refuse(socket: websockets.asyncio.server.ServerConnection, _: object) -> Any:
        return socket.respond(418, "no") if socket.request and socket.request.path == "/no" else None

    async def story() -> None:
        protocol = Subprotocol("vite-hmr")
        server = websockets.asyncio.server.serve(serve, "127.0.0.1", 0, subprotocols=[protocol], process_request=refuse)
        async with server as serving, relayed(echo) as stage:
            stage.worker_port = next(iter(serving.sockets)).getsockname()[1]
            async with connect(stage.port, subprotocols=[Subprotocol("other"), protocol]) as socket:
                assert await socket.recv() == "vite-hmr"
            with pytest.raises(InvalidStatus) as refused:
                async with connect(stage.port, "/no"):
                    pass
            assert refused.value.response.status_code == 418

    asyncio.run(story())


def test_a_client_that_reads_nothing_keeps_the_worker_waiting() -> None:
    sent = 0

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 500_000_000:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async def story(stage: Relayed) -> None:
        _, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined] # asyncio's own can
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert HIGH_BYTES < sent < 60_000_000
        writer.transport.abort()

    lived(worker, story)


def test_a_worker_that_reads_nothing_keeps_the_client_waiting() -> None:
    done = asyncio.Event()

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await done.wait()

    async def story(stage: Relayed) -> None:
        head = b"POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 500000000\r\n\r\n"
        _, writer = await stage.open(head)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 500_000_000:
                writer.write(b"x" * 65536)
                sent += 65536
                async with asyncio.timeout(1):
                    await writer.drain()
        assert HIGH_BYTES < sent < 60_000_000
        writer.transport.abort()
        done.set()

    lived(worker, story)
