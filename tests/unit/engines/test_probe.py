"""What a probe says of what answers at a port: it serves, it is slow, it speaks something else, or nothing is there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from worker_orchestrator.engines.probe import http_probe, tcp_probe

pytestmark = pytest.mark.anyio

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def a_server(talk: Talk) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def found(talk: Talk, *, limit_s: float = 5.0) -> str | None:
    async with a_server(talk) as port:
        said = await http_probe("127.0.0.1", port, limit_s=limit_s, closely=True)
        return said and said.replace(str(port), "PORT")


def greets_with(words: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await reader.read()

    return talk


def answers_with(*pieces: bytes) -> Talk:
    """To the request, one byte or more at a time."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return talk


async def test_a_worker_that_trickles_its_answer_serves() -> None:
    assert await found(answers_with(b"H", b"T", b"TP", b"/", b"1.1 200 OK\r\n\r\n")) is None


async def test_a_worker_has_the_time_that_it_is_given() -> None:
    asked = asyncio.Event()

    async def never(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    assert await found(never, limit_s=0.05) == "no answer on port PORT within 0.05 s"

    async def after_more_than_a_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        late = asyncio.Event()
        asyncio.get_running_loop().call_later(1.2, late.set)
        await late.wait()
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")

    assert await found(after_more_than_a_second) is None


SETTINGS_OF_HTTP_2 = b"\0\0\x12\x04\0\0\0\0\0" + b"\0\x03\0\0\0\x64" * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "speaks SSH"),
        (b"220 mail.example.com ESMTP\r\n", "speaks SMTP or FTP"),
        (b"+OK POP3 ready\r\n", "speaks a protocol like that of Redis, POP3 or IMAP"),
        (b"-ERR unknown command 'GET'\r\n", "speaks a protocol like that of Redis, POP3 or IMAP"),
        (b"\x4a\0\0\0\x0a8.0.36\0", "speaks MySQL"),
        (SETTINGS_OF_HTTP_2, "speaks only HTTP/2, not HTTP/1.1"),
        (b"\x15\x03\x03\0\x02\x02\x0a", "speaks only TLS, not plain HTTP"),
        (b"hello\x1b[31m\nsecond line", "does not speak HTTP (its reply begins with 'hello\\x1b[31m')"),
        (b"\n", "does not speak HTTP (its reply begins with '')"),
    ],
)
async def test_what_speaks_something_else_is_named_with_what_to_do(words: bytes, said: str) -> None:
    assert (
        await found(greets_with(words))
        == f"the server on port PORT {said}: if that is intended, serve with --ready tcp"
    )


async def test_a_server_that_hangs_up_at_http_is_told_from_nothing() -> None:
    async def hangs_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    said = (
        "the server on port PORT closes the connection at an HTTP request: if that is intended, serve with --ready tcp"
    )
    assert await found(hangs_up) == said


async def test_a_server_of_tls_that_hangs_up_without_a_word_is_greeted() -> None:
    async def only_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.read(3))[:2] == b"\x16\x03":  # a greeting of TLS
            writer.write(b"\x15\x03\x03\0\x02\x02\x28")
            await reader.read()

    said = "the server on port PORT speaks only TLS, not plain HTTP: if that is intended, serve with --ready tcp"
    assert await found(only_tls) == said


async def test_a_proxy_with_nothing_behind_it_is_nothing() -> None:
    async def hangs_up_at_once(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return

    assert "nothing answers" in str(await found(hangs_up_at_once))
    async with a_server(hangs_up_at_once) as port:
        assert str(await tcp_probe("127.0.0.1", port)).startswith("nothing answers behind port ")


async def test_where_nobody_listens_nothing_answers() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert str(await http_probe("127.0.0.1", port, closely=True)).startswith(f"nothing answers on port {port} (")
