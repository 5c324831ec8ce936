"""Who was too slow is told apart: the client (408) and the worker (504), and neither is told what the other one did."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from tests.unit.door.relayed import Relayed, Worker, lived, says
from tests.unit.door.test_relay import body_of, echo, status_of

from worker_orchestrator.door import exchange, stream, visitor

POST = b"POST / HTTP/1.1\r\nHost: app.localhost\r\n"
LONG = POST + b"Content-Length: 10\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def reads_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(10)
    writer.write(OK)


async def says_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    await reader.read(-1)


async def thinks(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(-1)


def code_of(reply: bytes) -> tuple[int, str]:
    return status_of(reply), str(json.loads(body_of(reply))["code"])


@pytest.mark.parametrize("worker", [reads_all, says_half], ids=["silent", "half a head"])
@pytest.mark.parametrize("head", [LONG + b"abc", POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"])
def test_a_client_that_does_not_go_on_with_its_body_is_told_that_it_is_late(
    head: bytes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.2)

    async def story(stage: Relayed) -> None:
        reply = await stage.ask(head)
        assert code_of(reply) == (408, "late_request")
        assert b"Nothing of the body has come for 0.2 s." in reply

    lived(worker, story)


def test_a_body_may_take_longer_than_a_worker_may_think() -> None:
    """However long it takes, as long as it goes on."""

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(LONG)
        for _ in range(10):
            await asyncio.sleep(0.1)
            writer.write(b"x")
        assert status_of(await reader.readuntil(b"ok")) == 200
        writer.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "FIRST_BYTE_S", 0.3)
        lived(reads_all, story)


def test_a_worker_has_its_time_from_the_end_of_the_body_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FIRST_BYTE_S", 0.4)

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(10)
        await asyncio.sleep(0.2)
        writer.write(OK)

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(LONG)
        await asyncio.sleep(0.35)
        writer.write(b"0123456789")
        assert status_of(await reader.readuntil(b"ok")) == 200
        writer.close()

    lived(worker, story)


@pytest.mark.parametrize(
    ("worker", "limit", "why"),
    [
        (thinks, "FIRST_BYTE_S", b"It has not answered within 0.2 s."),
        (says_half, "HEAD_S", b"does not come to an end within 0.2 s."),
    ],
)
def test_a_worker_that_is_too_slow_is_504(
    worker: Worker, limit: str, why: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, limit, 0.2)

    async def story(stage: Relayed) -> None:
        reply = await stage.get()
        assert code_of(reply) == (504, "late_reply")
        assert why in reply

    lived(worker, story)


def test_a_worker_that_takes_nothing_of_a_body_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STALL_S", 0.3)
    ended = asyncio.Event()

    async def worker(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await ended.wait()

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(POST + b"Content-Length: 100000000\r\n\r\n")

        async def send() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()

        sending = asyncio.create_task(send())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 504 ")
        ended.set()
        sending.cancel()
        writer.close()

    lived(worker, story)


def test_a_worker_that_takes_no_connection_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        raise TimeoutError

    async def story(stage: Relayed) -> None:
        monkeypatch.setattr(stage.door._workers, "connect", never)
        assert code_of(await stage.get()) == (504, "late_reply")

    lived(echo, story)


def test_a_head_that_does_not_come_to_an_end_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor, "HEAD_S", 0.2)

    async def story(stage: Relayed) -> None:
        assert code_of(await stage.ask(b"GET / HTTP/1.1\r\nHost:")) == (408, "late_request")

    lived(echo, story)


# blank lines before a request


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_few_blank_lines_before_a_request_are_ignored(count: int) -> None:
    async def story(stage: Relayed) -> None:
        request = b"GET /%d HTTP/1.1\r\nHost: app.localhost\r\n"
        first, second = request % 1 + b"\r\n", request % 2 + b"Connection: close\r\n\r\n"
        blank = b"\r\n" * count
        reply = await stage.ask(blank + first + blank + second)
        assert reply.count(b"HTTP/1.1 200 ") == 2

    lived(echo, story)


def test_they_may_come_one_byte_at_a_time() -> None:
    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open()
        for byte in b"\r\n\r\nGET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n":
            writer.write(bytes([byte]))
            await asyncio.sleep(0.002)
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
        writer.close()

    lived(echo, story)


@pytest.mark.parametrize("before", [b"\r\n" * 5, b"\n", b"\r", b"\r\n\n", b" \r\n", b"\r\r\n"])
def test_many_of_them_or_other_bytes_are_refused(before: bytes) -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.ask(before + b"GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n")
        assert status_of(reply) == 400

    lived(echo, story)


def test_blank_lines_behind_a_request_do_not_make_its_connection_one_that_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visitor, "HEAD_S", 0.1)

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n\r\n")
        await reader.readuntil(b"ok")
        await asyncio.sleep(0.3)
        writer.write(b"GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()

    lived(says(OK), story)
