"""How small messages are passed on: in one piece each, since every write is a packet that wakes somebody."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

from tests.unit.door.relayed import Relayed, lived

from worker_orchestrator.door.stream import Stream

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"


def post(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 5\r\n\r\nhello".encode()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A worker that answers one request, when it has all of it."""
    head = await reader.readuntil(b"\r\n\r\nhello")
    writer.write(CHUNKS if head.startswith(b"POST /chunks ") else LENGTH)
    await reader.read()


def test_a_small_request_and_a_small_reply_are_one_write_each() -> None:
    written = list[bytes]()

    def write(stream: Stream, data: bytes) -> None:
        written.append(data)
        plain(stream, data)

    plain = Stream.write

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open()
        with patch.object(Stream, "write", write):
            for path, end in (("/length", b"\r\n\r\none"), ("/chunks", b"\r\n\r\n3\r\ntwo\r\n0\r\n\r\n")):
                writer.write(post(path))
                await reader.readuntil(end)
                request, reply = written
                assert request.startswith(b"POST /")
                assert request.endswith(b"\r\n\r\nhello")
                assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
                assert reply.endswith(end)
                written.clear()
        writer.close()

    lived(answer, story)


def test_who_closed_its_side_after_a_whole_body_gets_the_reply() -> None:
    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(post("/length"))
        writer.write_eof()
        assert (await reader.readuntil(b"one")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()

    lived(answer, story)


def test_what_is_wrong_with_the_first_chunk_cuts_the_reply_behind_its_head() -> None:
    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n")

    async def story(stage: Relayed) -> None:
        assert b"0\r\n\r\n" not in await stage.get()

    lived(worker, story)
