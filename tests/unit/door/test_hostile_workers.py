"""Whatever a worker sends, or stops sending, the client hears one clear thing, and nothing is left of it in the door."""

from __future__ import annotations

import asyncio
import gc
import re

import pytest
from tests.unit.door.relayed import Relayed, Worker, lived, says, until
from tests.unit.door.test_channel import descriptors
from tests.unit.door.test_relay import GARBAGE, body_of

from worker_orchestrator.door import exchange

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-A: b\r\n\r\n0123456789"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-End: yes\r\n\r\n"
ENDLESS = {
    "fields": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 1000),
    "one line": (b"HTTP/1.1 200 OK\r\nA: ", b"b" * 5000),
    "interim replies": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 10),
    "blank lines": (b"", b"\r\n" * 1000),
    "nothing that is a line": (b"", b"\x00" * 5000),
}


def without_end(begin: bytes, more: bytes) -> Worker:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begin)
        while True:
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0)

    return send


def verdict_of(reply: bytes) -> bytes:
    """The status of the only final reply; empty if it was cut within."""
    finals = [part for part in re.split(rb"(?<!`)HTTP/1\.1 ", reply)[1:] if not part.startswith(b"1")]
    assert len(finals) <= 1, reply[:500]
    return finals[0][:3] if finals else b""


async def leaves_nothing(stage: Relayed) -> None:
    door = stage.door
    await until(lambda: not door._tasks)
    assert len(door._connections) == 0
    assert not door._routes._in_use
    assert not door._routes._asked


@pytest.mark.parametrize(("begin", "more"), ENDLESS.values(), ids=ENDLESS)
def test_a_head_without_an_end_is_one_clear_refusal(begin: bytes, more: bytes) -> None:
    async def story(stage: Relayed) -> None:
        assert verdict_of(await stage.get()) == b"502"
        await leaves_nothing(stage)

    lived(without_end(begin, more), story)


def test_a_head_that_comes_byte_by_byte_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "HEAD_S", 0.3)

    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\nA: " + b"b" * 10_000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async def story(stage: Relayed) -> None:
        assert verdict_of(await stage.get()) == b"504"
        await leaves_nothing(stage)

    lived(drips, story)


@pytest.mark.parametrize("whole", [LENGTH, CHUNKS], ids=["a length", "chunks"])
def test_a_worker_may_end_at_any_byte(whole: bytes) -> None:
    ends = iter(range(len(whole) + 1))

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(whole[: next(ends)])(reader, writer)

    async def story(stage: Relayed) -> None:
        for end in range(len(whole) + 1):
            reply = await stage.get()
            is_whole = body_of(reply) == body_of(whole) or reply.endswith(b"0\r\nX-End: yes\r\n\r\n")
            if end <= whole.index(b"\r\n\r\n") + 3:
                assert verdict_of(reply) == b"502", (end, reply)
            else:
                assert is_whole == (end == len(whole)), (end, reply)
                assert verdict_of(reply) in {b"200", b""}
        await leaves_nothing(stage)

    lived(worker, story)


def test_a_hundred_bad_replies_leave_neither_sockets_nor_tasks_nor_objects() -> None:
    turn = 0

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        turn += 1
        await says(list(GARBAGE.values())[turn % len(GARBAGE)][:200_000])(reader, writer)

    async def story(stage: Relayed) -> None:
        async def rounds(count: int) -> tuple[int, int, int]:
            for _ in range(count):
                await asyncio.gather(*(stage.get() for _ in range(len(GARBAGE))), return_exceptions=True)
            await leaves_nothing(stage)
            await until(lambda: len(asyncio.all_tasks()) <= 6)
            gc.collect()
            return descriptors(), len(asyncio.all_tasks()), len(gc.get_objects())

        before, after = await rounds(2), await rounds(8)
        assert after[0] <= before[0]
        assert after[1] <= before[1]
        assert after[2] <= before[2] + 500

    lived(worker, story)
