"""The server's side of the Connect protocol, in JSON and uncompressed, as E2B's clients speak it.

A call with one reply is a POST with JSON both ways. A stream is a POST whose body and reply consist of envelopes: a byte of
flags, the length in four bytes, and JSON; the last one of a reply has the flag 2, and tells of an error if there was one.

Source: https://connectrpc.com/docs/protocol
"""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.e2b.refusal import Refusal, of_error

__all__ = [
    "STREAM",
    "closed",
    "envelope",
    "reply",
    "stream_end",
    "streamed_message",
    "streamed_messages",
    "timeout_s",
    "unary",
]

STREAM: Final = "application/connect+json"
_LARGEST_BYTES: Final = 1024 * 1024
_HEAD: Final = struct.Struct(">BI")
_COMPRESSED, _END = 1, 2
_TIMEOUT: Final = re.compile(r"[0-9]{1,10}")
_T = TypeVar("_T")


async def unary(request: Request, kind: type[_T]) -> _T:
    """The message of a call with one reply. Raises Refusal."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refusal(415, "invalid_argument", "Send JSON: `Content-Type: application/json`.")
    return _decoded(await request.body(), kind)


def reply(message: object) -> Response:
    return Response(msgspec.json.encode(message), media_type="application/json")


async def streamed_message(request: Request, kind: type[_T]) -> _T:
    """The only message of a call that is answered by a stream. Raises Refusal."""
    async for message in streamed_messages(request, kind):
        return message
    raise Refusal.invalid("The call has no message.")


async def streamed_messages(request: Request, kind: type[_T]) -> AsyncIterator[_T]:
    """The messages of a call that sends a stream, as they come. Raises Refusal."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != STREAM:
        raise Refusal(415, "invalid_argument", f"Send a Connect stream in JSON: `Content-Type: {STREAM}`.")
    held = b""
    async for part in request.stream():
        held += part
        while len(held) >= _HEAD.size:
            flags, length = _HEAD.unpack_from(held)
            if flags & _COMPRESSED:
                raise Refusal.missing("compressed messages")
            if length > _LARGEST_BYTES:
                raise Refusal(413, "resource_exhausted", f"A message may have at most {_LARGEST_BYTES} bytes.")
            end = _HEAD.size + length
            if len(held) < end:
                break
            message, held = held[_HEAD.size : end], held[end:]
            if not flags & _END:
                yield _decoded(message, kind)


def envelope(message: object) -> bytes:
    encoded = msgspec.json.encode(message)
    return _HEAD.pack(0, len(encoded)) + encoded


def stream_end(refusal: Refusal | None = None) -> bytes:
    """The last envelope of a stream, with what went wrong, if anything did."""
    encoded = msgspec.json.encode({} if refusal is None else {"error": refusal.body()})
    return _HEAD.pack(_END, len(encoded)) + encoded


async def closed(messages: AsyncIterator[Any]) -> AsyncGenerator[bytes, None]:
    """These messages as envelopes, and the last one, with the error that ended them."""
    try:
        async for message in messages:
            yield envelope(message)
    except OrchestratorError as error:
        yield stream_end(of_error(error))
    except Refusal as refusal:
        yield stream_end(refusal)
    else:
        yield stream_end()


def timeout_s(request: Request) -> float | None:
    """The time limit of this call, as its client asks for it; None if there is none. Raises Refusal."""
    given = request.headers.get("connect-timeout-ms", "")
    if not given or given == "0":
        return None
    if not _TIMEOUT.fullmatch(given):
        raise Refusal.invalid(f"Connect-Timeout-Ms is {given[:40]!r}, but must be a number of milliseconds.")
    return int(given) / 1000


def _decoded(encoded: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(encoded or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal.invalid(f"The message is invalid: {error}.") from None
