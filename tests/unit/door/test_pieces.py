"""In which pieces messages are passed on: small ones in one each, since every write is a packet that wakes somebody, and
large bodies in large pieces as long as somebody takes them.
"""

from __future__ import annotations

import asyncio
from unittest.mock import patch

from tests.unit.door.relayed import Relayed, lived

from worker_orchestrator.door.stream import LARGE_BYTES, LARGE_PIECE_BYTES, PIECE_BYTES, SLOW_S, Stream

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


BODY = bytes(range(256)) * (16 * 2**20 // 256)


async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A worker whose only page is a large one, and which takes uploads of that size."""
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"PUT "):
        writer.write(CHUNKS if await reader.readexactly(len(BODY)) == BODY else LENGTH)
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        writer.write(BODY)
    await reader.read()


def test_a_large_body_arrives_as_it_is_either_way() -> None:
    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(BODY)) == BODY
        writer.close()
        head = b"PUT / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        reader, writer = await stage.open(head + BODY)
        await reader.readuntil(b"3\r\ntwo\r\n0\r\n\r\n")
        writer.close()

    lived(large, story)


def grown(stream: Stream) -> None:
    """A large body comes, and is taken."""
    for _ in range(LARGE_BYTES // PIECE_BYTES):
        assert len(stream.get_buffer(0)) == PIECE_BYTES
        stream.buffer_updated(PIECE_BYTES)
        assert len(stream.take()) == PIECE_BYTES
    assert len(stream.get_buffer(0)) == LARGE_PIECE_BYTES


def test_a_body_that_has_shown_to_be_large_is_read_in_large_pieces_until_a_small_one_comes() -> None:
    async def story() -> None:
        stream = Stream()
        grown(stream)
        stream.buffer_updated(LARGE_PIECE_BYTES)
        assert len(stream.get_buffer(0)) == LARGE_PIECE_BYTES
        stream.buffer_updated(100)
        assert stream.take()
        grown(stream)

    asyncio.run(story())


def test_for_a_side_that_has_to_be_waited_for_small_pieces_are_held() -> None:
    async def waited(source: Stream, sink: Stream, for_s: float) -> None:
        sink.pause_writing()
        drain = asyncio.create_task(sink.drain(source))
        await asyncio.sleep(for_s)
        sink.resume_writing()
        await drain

    async def story() -> None:
        source, sink = Stream(), Stream()
        grown(source)
        await waited(source, sink, 0)
        assert len(source.get_buffer(0)) == LARGE_PIECE_BYTES
        await waited(source, sink, 2 * SLOW_S)
        grown(source)

    asyncio.run(story())
