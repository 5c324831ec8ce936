"""How a connection ends whose other side takes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

import pytest
from tests.unit.door.relayed import Relayed, lived, until

from worker_orchestrator.door import stream
from worker_orchestrator.door.stream import Stream


def test_what_nobody_takes_does_not_keep_a_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than what makes a writer wait: nobody else would ever look at it."""
    monkeypatch.setattr(stream, "CLOSE_S", 0.2)

    async def story() -> None:
        own, peer = socket.socketpair()
        with peer:
            loop = asyncio.get_running_loop()
            _, held = await loop.create_connection(Stream, sock=own)
            while not held.is_full:
                held.write(b"x" * 4096)
            held.close()
            assert not held.is_lost, "what can go out goes out first"
            await asyncio.wait_for(until(lambda: held.is_lost), 10)

    asyncio.run(story())


def test_what_was_taken_ends_at_once() -> None:
    async def story() -> None:
        own, peer = socket.socketpair()
        with peer:
            _, held = await asyncio.get_running_loop().create_connection(Stream, sock=own)
            held.write(b"bye")
            held.close()
            await asyncio.wait_for(until(lambda: held.is_lost), 2)
            assert peer.recv(10) == b"bye"

    asyncio.run(story())


POST = b"POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n"


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none", b""])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_who_closed_its_side_after_a_body_gets_what_comes_of_it(reply: bytes, *, in_pieces: bool) -> None:
    """A worker that thinks for a while must not make the difference; b"": it ends without a reply."""

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        await asyncio.sleep(0.3)
        writer.write(reply)
        writer.close()

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(POST[:-2] if in_pieces else POST)
        if in_pieces:
            await asyncio.sleep(0.1)
            writer.write(POST[-2:])
        writer.write_eof()
        assert (await reader.readuntil(b"\r\n")) == (
            b"HTTP/1.1 200 OK\r\n" if reply else b"HTTP/1.1 502 Bad Gateway\r\n"
        )
        writer.close()

    lived(worker, story)


@pytest.mark.parametrize(("request_", "is_reset"), [(POST, True), (GET, True), (GET, False)])
def test_a_worker_hears_when_nobody_waits_for_its_reply(request_: bytes, *, is_reset: bool) -> None:
    heard = asyncio.Event()

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(request_[-4:])
        with contextlib.suppress(ConnectionError):
            await reader.read()
        heard.set()
        writer.close()

    async def story(stage: Relayed) -> None:
        _, writer = await stage.open(request_)
        await asyncio.sleep(0.1)
        if is_reset:
            peer = writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        await asyncio.wait_for(heard.wait(), 5)

    lived(worker, story)
