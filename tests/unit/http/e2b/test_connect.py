"""Connect in JSON: envelopes however they are cut, and what is no stream."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

from worker_orchestrator.errors import EngineUnavailable
from worker_orchestrator.http.e2b import connect
from worker_orchestrator.http.e2b.messages import Input, PathRequest
from worker_orchestrator.http.e2b.refusal import Refusal


def request(*parts: bytes, kind: str = connect.STREAM, **headers: str) -> Request:
    sent = iter(
        [*({"type": "http.request", "body": part, "more_body": True} for part in parts), {"type": "http.request"}]
    )

    async def receive() -> Any:
        return next(sent)

    fields = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": encoded, "query_string": b""}, receive)


def framed(message: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BI", flags, len(message)) + message


async def messages(of: Request) -> list[PathRequest]:
    return [each async for each in connect.streamed_messages(of, PathRequest)]


@pytest.mark.parametrize("size", [1, 2, 5, 7, 1000])
def test_a_stream_is_read_however_it_is_cut(size: int) -> None:
    sent = framed(b'{"path":"/a"}') + framed(b'{"path":"/b","unknown":1}') + framed(b"{}", 2)
    parts = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert [one.path for one in asyncio.run(messages(request(*parts)))] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("sent", "kind", "name"),
    [
        (framed(b"{}", 1), connect.STREAM, "unimplemented"),
        (framed(b'{"path":1}'), connect.STREAM, "invalid_argument"),
        (framed(b"no json"), connect.STREAM, "invalid_argument"),
        (struct.pack(">BI", 0, 2**31) + b"x", connect.STREAM, "resource_exhausted"),
        (framed(b"{}"), "application/json", "invalid_argument"),
    ],
)
def test_what_is_no_stream_of_messages_is_refused(sent: bytes, kind: str, name: str) -> None:
    with pytest.raises(Refusal) as refused:
        asyncio.run(messages(request(sent, kind=kind)))
    assert refused.value.name == name


def test_a_stream_without_a_message_is_refused() -> None:
    with pytest.raises(Refusal, match="no message"):
        asyncio.run(connect.streamed_message(request(framed(b"{}", 2)), PathRequest))


def test_a_reply_ends_with_its_error() -> None:
    """Else a client would take what it has for complete."""

    async def told(error: Exception | None) -> bytes:
        async def some() -> AsyncIterator[object]:
            yield {"a": 1}
            if error is not None:
                raise error

        return b"".join([part async for part in connect.closed(some())])

    begin = framed(b'{"a":1}')
    assert asyncio.run(told(None)) == begin + framed(b"{}", 2)
    away = asyncio.run(told(EngineUnavailable("It is away.")))
    assert away == begin + framed(b'{"error":{"code":"unavailable","message":"It is away."}}', 2)
    gone = asyncio.run(told(Refusal.gone("a")))
    assert b"was not found" in gone.removeprefix(begin)


def test_bytes_are_base64() -> None:
    asked = asyncio.run(connect.unary(request(b'{"stdin":"aGkK"}', kind="application/json"), Input))
    assert (asked.stdin, asked.pty) == (b"hi\n", None)


@pytest.mark.parametrize(("given", "expected"), [("", None), ("0", None), ("1500", 1.5)])
def test_the_time_of_a_call(given: str, expected: float | None) -> None:
    assert connect.timeout_s(request(connect_timeout_ms=given)) == expected


def test_a_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(Refusal, match="milliseconds"):
        connect.timeout_s(request(connect_timeout_ms="soon"))
