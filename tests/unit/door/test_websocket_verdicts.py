"""A client that speaks every kind of WebSocket frame, right and wrong, gets the same verdict with a door and without one.

The categories are those of the Autobahn test suite. The server is `websockets`, which echoes, and which notes how each
connection ended. Frames are written by hand, since no library sends the wrong ones.
https://www.rfc-editor.org/rfc/rfc6455
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import zlib
from dataclasses import dataclass

import pytest
import websockets.asyncio.server
from tests.unit.door.relayed import relayed
from tests.unit.door.test_relay import echo
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

MASK = b"\x11\x22\x33\x44"
TEXT, BINARY, CLOSE, PING, PONG, FIN, RSV1 = 1, 2, 8, 9, 10, 0x80, 0x40
LARGEST = 2**21
KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
Event = tuple[object, ...]


def masked(data: bytes) -> bytes:
    long = MASK * (len(data) // 4 + 1)
    return (int.from_bytes(data, "big") ^ int.from_bytes(long[: len(data)], "big")).to_bytes(len(data), "big")


def frame(first: int, data: bytes = b"", *, mask: bool = True, length: int | None = None) -> bytes:
    """A frame of a client. `first` has FIN, the reserved bits and the kind; `length` is what it says, if that is a lie."""
    size = len(data) if length is None else length
    bit = FIN if mask else 0
    head = bytes([first])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65_536:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    return head + (MASK + masked(data) if mask else data)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(FIN | CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def deflated(data: bytes, bits: int = 15) -> bytes:
    squeezed = zlib.compressobj(wbits=-bits)
    return (squeezed.compress(data) + squeezed.flush(zlib.Z_SYNC_FLUSH))[:-4]


@dataclass(frozen=True)
class Case:
    """What the client sends, and `fields` of its request. `end`: how it goes: it waits, ends its side, or is gone.

    It waits and `answers` if it is the server that closes first.
    """

    sent: bytes
    fields: str = ""
    end: str = "waits"
    pieces: int = 0


SIZES = (0, 1, 125, 126, 127, 128, 65_535, 65_536, 2**20)
CLOSES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 3000, 3999, 4000, 4999)
NO_CLOSES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535)
NO_TEXT = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xce\xba\xe1\xbd", b"ok\x80")
PARAMETERS = (
    "",
    "; client_no_context_takeover",
    "; server_no_context_takeover",
    "; server_max_window_bits=10",
    "; client_max_window_bits",
    "; client_max_window_bits=10; server_max_window_bits=9; server_no_context_takeover; client_no_context_takeover",
    "; unknown=1",
    "; server_max_window_bits=99",
)


def _cases() -> dict[str, Case]:
    end = close()
    cases = {f"text of {size}": Case(frame(FIN | TEXT, b"*" * size) + end) for size in SIZES}
    cases |= {f"binary of {size}": Case(frame(FIN | BINARY, b"\xfe" * size) + end) for size in SIZES}
    cases |= {f"text in pieces of {n}": Case(frame(FIN | TEXT, b"*" * 3000) + end, pieces=n) for n in (1, 997)}
    cases |= {f"ping of {size}": Case(frame(FIN | PING, b"p" * size) + end) for size in (0, 5, 125, 126)}
    cases |= {f"pong of {size}": Case(frame(FIN | PONG, b"p" * size) + end) for size in (0, 125, 126)}
    cases["ten pings"] = Case(b"".join(frame(FIN | PING, b"%d" % n) for n in range(10)) + end)
    cases["a ping in pieces"] = Case(frame(PING, b"a") + frame(FIN, b"b") + end)
    for bits in range(1, 8):
        for kind in (TEXT, PING, CLOSE):
            cases[f"reserved bits {bits} of kind {kind}"] = Case(frame(FIN | bits << 4 | kind, b"\x03\xe8") + end)
    cases |= {f"kind {n}": Case(frame(FIN | n, b"x") + end) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)}
    parts = frame(TEXT, b"one "), frame(0, b"two "), frame(FIN, b"three")
    ping = frame(FIN | PING, b"between")
    cases["fragments"] = Case(b"".join(parts) + end)
    cases["fragments with pings between"] = Case(ping.join(parts) + end)
    cases["fragments with a pong between"] = Case(frame(FIN | PONG).join(parts) + end)
    cases["empty fragments"] = Case(frame(TEXT) + frame(0) + frame(FIN) + end)
    cases["a close between fragments"] = Case(parts[0] + end)
    cases["a fragment of nothing"] = Case(frame(FIN, b"x") + end)
    cases["a message within fragments"] = Case(parts[0] + frame(FIN | TEXT, b"x") + end)
    cases["hundreds of fragments"] = Case(frame(BINARY, b"") + frame(0, b"y") * 300 + frame(FIN, b"z") + end)
    cases |= {f"no text {n}": Case(frame(FIN | TEXT, data), end="answers") for n, data in enumerate(NO_TEXT)}
    letter = "\u20ac".encode()
    cases["a letter in two fragments"] = Case(frame(TEXT, letter[:1]) + frame(FIN, letter[1:]) + end)
    cases["half a letter at the end"] = Case(frame(TEXT, b"a") + frame(FIN, letter[:2]), end="answers")
    cases |= {f"close {code}": Case(close(code, b"why")) for code in (*CLOSES, *NO_CLOSES)}
    cases["close without a code"] = Case(close(None))
    cases["close with half a code"] = Case(frame(FIN | CLOSE, b"\x03"))
    cases["close with no text"] = Case(close(1000, b"\xff"))
    cases |= {f"close with {size} bytes": Case(close(1000, b"r" * size)) for size in (123, 124)}
    cases["two closes"] = Case(end + close(1001))
    cases["a message behind the close"] = Case(end + frame(FIN | TEXT, b"late"))
    cases["the server closes"] = Case(frame(FIN | TEXT, b"you close"), end="answers")
    cases["not masked"] = Case(frame(FIN | TEXT, b"x", mask=False) + end)
    cases["too long"] = Case(frame(FIN | BINARY, b"", length=LARGEST + 1))
    cases["impossibly long"] = Case(frame(FIN | BINARY, b"", length=2**63))
    cases["gone at once"] = Case(b"", end="gone")
    cases["gone within a frame"] = Case(frame(FIN | TEXT, b"x" * 200)[:50], end="gone")
    cases["ends its side at once"] = Case(b"", end="ends")
    cases["ends its side within a frame"] = Case(frame(FIN | TEXT, b"x" * 200)[:50], end="ends")
    cases["ends its side between fragments"] = Case(parts[0], end="ends")
    cases["subprotocols"] = Case(frame(FIN | TEXT, b"x") + end, "Sec-WebSocket-Protocol: other, chat\r\n")
    cases["no subprotocol that there is"] = Case(frame(FIN | TEXT, b"x") + end, "Sec-WebSocket-Protocol: other\r\n")
    for parameters in PARAMETERS:
        for size in (10, 70_000):
            bits = 9 if "bits=10" in parameters else 15
            sent = frame(FIN | RSV1 | TEXT, deflated(b"ab" * size, bits)) * 2 + frame(FIN | TEXT, b"plain") + end
            cases[f"deflate{parameters} of {size}"] = Case(sent, f"{DEFLATE}{parameters}\r\n")
    half = deflated(b"in two parts, " * 9)
    split = frame(RSV1 | TEXT, half[:5]) + frame(FIN | PING) + frame(FIN, half[5:])
    cases["deflate in fragments"] = Case(split + end, DEFLATE + "\r\n")
    cases["deflate that is none"] = Case(frame(FIN | RSV1 | TEXT, b"\xff\xff\xff") + end, DEFLATE + "\r\n")
    cases["a wrong version"] = Case(b"", "Sec-WebSocket-Version: 12\r\n")
    return cases


CASES = _cases()


def frames_in(data: bytes) -> list[Event]:
    """The frames of a server; what is left over comes last."""
    found = list[Event]()
    while len(data) >= 2:
        size, at = data[1] & 127, 2
        if size == 126:
            size, at = struct.unpack_from("!H", data, 2)[0], 4
        elif size == 127:
            size, at = struct.unpack_from("!Q", data, 2)[0], 10
        found.append((data[0], data[at : at + size]))
        data = data[at + size :]
    return [*found, ("left", data)]


class Server:
    """Echoes, and notes what it heard of each connection, by its path."""

    def __init__(self) -> None:
        self.heard: dict[str, asyncio.Future[Event]] = {}

    async def serve(self, socket: websockets.asyncio.server.ServerConnection) -> None:
        count, path = 0, socket.request.path if socket.request else ""
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                count += 1
                if message == "you close":
                    await socket.close(4321, "as you say")
                    break
                await socket.send(message)
        await socket.wait_closed()
        self.heard[path].set_result((count, socket.close_code, socket.close_reason, socket.subprotocol))


async def verdict_of(case: Case, path: str, port: int, server: Server) -> list[Event]:
    """What client and server saw: the head, each frame, how it ended, and what the server was told."""
    loop = asyncio.get_running_loop()
    heard = server.heard[path] = loop.create_future()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    key = "" if "Sec-WebSocket-Version" in case.fields else KEY
    fields = f"Host: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}{case.fields}"
    writer.write(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())
    reply = await reader.readuntil(b"\r\n\r\n")
    shown = {
        name.lower(): value for line in reply.split(b"\r\n")[1:] if line for name, _, value in [line.partition(b": ")]
    }
    told = [shown.get(f"sec-websocket-{name}".encode()) for name in ("accept", "protocol", "extensions")]
    found: list[Event] = [(reply.split(b" ")[1], *told)]
    if found[0][0] != b"101":
        writer.close()
        return found
    step = case.pieces or len(case.sent) or 1
    for at in range(0, len(case.sent), step):
        writer.write(case.sent[at : at + step])
        if case.pieces:
            await asyncio.sleep(0)
    if case.end == "gone":
        await writer.drain()
        writer.transport.abort()
        return [*found, await heard]
    if case.end == "ends":
        writer.write_eof()
    got, has_answered = b"", False
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(2**20):
            got += more
            if case.end == "answers" and not has_answered and any(event[0] == FIN | CLOSE for event in frames_in(got)):
                writer.write(close())
                has_answered = True
    found += frames_in(got)
    writer.close()
    return [*found, await heard]


def test_every_case_has_the_same_verdict_with_a_door_and_without() -> None:
    other, differ = Server(), dict[str, object]()

    async def story() -> None:
        server = websockets.asyncio.server.serve(
            other.serve,
            "127.0.0.1",
            0,
            max_size=LARGEST,
            subprotocols=[Subprotocol("chat")],
            ping_interval=None,
            close_timeout=1,
        )
        async with asyncio.timeout(120), server as serving, relayed(echo) as stage:
            stage.worker_port = next(iter(serving.sockets)).getsockname()[1]
            for number, (name, case) in enumerate(CASES.items()):
                direct = await verdict_of(case, f"/{number}/direct", stage.worker_port, other)
                through = await verdict_of(case, f"/{number}/door", stage.port, other)
                if direct != through:
                    differ[name] = direct, through

    asyncio.run(story())
    assert not differ
    assert len(CASES) > 100


@pytest.mark.parametrize("name", ["close 1000", "reserved bits 4 of kind 1", "no text 0", "text of 1048576"])
def test_the_verdicts_tell_good_from_bad(name: str) -> None:
    """Else equal verdicts would say nothing."""
    other = Server()

    async def verdict() -> list[Event]:
        server = websockets.asyncio.server.serve(other.serve, "127.0.0.1", 0, max_size=LARGEST, ping_interval=None)
        async with asyncio.timeout(20), server as serving:
            return await verdict_of(CASES[name], "/", next(iter(serving.sockets)).getsockname()[1], other)

    codes = {"close 1000": 1000, "text of 1048576": 1000, "no text 0": 1007, "reserved bits 4 of kind 1": 1002}
    found = asyncio.run(verdict())
    closes = [data for first, data in (event for event in found[1:-1] if len(event) == 2) if first == FIN | CLOSE]
    assert struct.unpack_from("!H", closes[0])[0] == codes[name]  # type: ignore[arg-type]
