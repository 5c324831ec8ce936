"""HTTP/1.1 over real sockets, to an application that says what it got. Time limits are shortened."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

import pytest

from worker_orchestrator.door.connections import Connections
from worker_orchestrator.http.app import App, Receive, Scope, Send
from worker_orchestrator.http.reply import Reply
from worker_orchestrator.http.server import limits
from worker_orchestrator.http.server.listening import listen
from worker_orchestrator.http.server.uvicorn_server import Server

HEAD: Final = b"Host: x\r\n\r\n"
LATE_S: Final = 0.2
PATIENCE_S: Final = 20.0

Ask = Callable[[bytes], Awaitable[bytes]]
Answered = Callable[[str, Reply], None]


class Echo:
    """Answers each request with its method, path and body, /big with 8 MB, /wait not before `go` is set.

    `quick`: what needs neither its body nor a wait is answered as `App.at_once` does, in this turn or a later one.
    """

    def __init__(self, quick: Callable[[Callable[[], None]], object] | None) -> None:
        self.quick = quick
        self.paths: list[str] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.hung_up: list[str] = []
        self.go = asyncio.Event()

    def at_once(self, method: str, name: str, _address: str, headers: dict[bytes, bytes], answered: Answered) -> bool:
        path = f"/{name}"
        if self.quick is None or path == "/wait":
            return False
        self.paths.append(path)
        self.headers = list(headers.items())
        said = b"x" * 8_000_000 if path == "/big" else json.dumps([method, path, ""]).encode()
        self.quick(partial(answered, "", Reply(200, said)))
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._echo(receive, send)
            return
        self.paths.append(scope["path"])
        self.headers = list(scope["headers"])
        if scope["path"] == "/wait" and not await self._go_or_gone(receive):
            self.hung_up.append(scope["path"])
            return
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.hung_up.append(scope["path"])
                return
            body, more = body + message["body"], message["more_body"]
        reply = json.dumps([scope["method"], scope["path"], body.decode()]).encode()
        if scope["path"] == "/big":
            reply = b"x" * 8_000_000
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(reply))]})
        await send({"type": "http.response.body", "body": reply})

    @staticmethod
    async def _echo(receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            is_first = message["type"] == "websocket.connect"
            await send(
                {"type": "websocket.accept"} if is_first else {"type": "websocket.send", "bytes": message["bytes"]}
            )

    async def _go_or_gone(self, receive: Receive) -> bool:
        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        ends = [asyncio.ensure_future(gone()), asyncio.ensure_future(self.go.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        return self.go.is_set()


def _soon(answer: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(answer)


def _now(answer: Callable[[], None]) -> None:
    answer()
    _soon(answer)  # a defect after the reply is one more answer: nobody may hear of it


WAYS: Final = {"as ASGI": None, "soon": _soon, "at once": _now}
"""All of it holds on each way to an answer."""


async def _listen(reader: asyncio.StreamReader, heard: list[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(65536):
            heard.append(more)


class Served:
    """The application and a way to talk to it."""

    def __init__(self, app: Echo, port: int, server: Server) -> None:
        self.app, self.port, self.server = app, port, server

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, *parts: bytes, pause_s: float = 0.01) -> bytes:
        """All that is answered to these packets until the service hangs up, or has nothing more to say for 0.5 s.

        It is read while they are sent: what was said before a connection is reset must not get lost with it.
        """
        reader, writer = await self.open()
        heard: list[bytes] = []
        listening = asyncio.create_task(_listen(reader, heard))
        try:
            with contextlib.suppress(ConnectionError):  # it may hang up before it has heard everything
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
            while not listening.done():
                count = len(heard)
                await asyncio.wait({listening}, timeout=0.5)
                if not listening.done() and len(heard) == count:
                    return b"".join(heard) + b"(open)"
            return b"".join(heard) + b"(closed)"
        finally:
            listening.cancel()
            writer.close()

    async def pour(self, head: bytes, part: bytes) -> int:
        """Send this part again and again until the service hangs up. Returns the bytes that were sent."""
        _, writer = await self.open()
        sent = len(head)
        with contextlib.suppress(OSError):
            writer.write(head)
            while not writer.is_closing():
                writer.write(part)
                sent += len(part)
                await writer.drain()
        writer.close()
        return sent

    @property
    def open_connections(self) -> Connections:
        return cast("Any", self.server.config.http).keywords["open_connections"]  # type: ignore[no-any-return]


@asynccontextmanager
async def served(way: str, per_client: int = 100) -> AsyncIterator[Served]:
    app, (listener,) = Echo(WAYS[way]), listen("127.0.0.1", 0)
    started = asyncio.Event()
    server = Server(cast("App", app), per_client, started.set)
    task = asyncio.create_task(server.serve([listener]))
    await started.wait()
    try:
        yield Served(app, listener.getsockname()[1], server)
    finally:
        server.should_exit = server.force_exit = True
        await task
        listener.close()


def run(test: Callable[[Served], Awaitable[None]], **options: int) -> None:
    """On a service for each way, side by side: most of the time is spent on waiting for what must not come."""

    async def try_out(way: str) -> None:
        async with served(way, **options) as service:
            try:
                await asyncio.wait_for(test(service), PATIENCE_S)
            except Exception as error:
                error.add_note(f"where it is answered {way}")
                raise

    async def main() -> None:
        await asyncio.gather(*map(try_out, WAYS))

    asyncio.run(main())


async def until(true: Callable[[], object]) -> None:
    while not true():  # noqa: ASYNC110 # whatever it is
        await asyncio.sleep(0.01)


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", said)]


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_S", "BODY_S", "UNREAD_S"):
        monkeypatch.setattr(limits, name, LATE_S)


@pytest.fixture
def long_limits(short_limits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For what comes in many parts and is no test of the limits: a busy computer takes its time in between."""
    for name in ("HEAD_S", "BODY_S", "UNREAD_S"):
        monkeypatch.setattr(limits, name, PATIENCE_S)


# good requests, however they come


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        ([b"GET /a HTTP/1.1\r\n" + HEAD], b'["GET", "/a", ""](open)'),
        ([b"GET /a HTTP/1.0\r\n" + HEAD], b'["GET", "/a", ""](closed)'),
        ([b"\r\n\r\nGET /a HTTP/1.1\r\n" + HEAD], b'["GET", "/a", ""](open)'),
        ([b"GET /a HTTP/1.1\r\nConnection: close\r\n" + HEAD], b'["GET", "/a", ""](closed)'),
        ([b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n" + HEAD + b"abc"], b'["POST", "/a", "abc"](open)'),
        ([b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n" + HEAD, b"a", b"bc"], b'["POST", "/a", "abc"](open)'),
        ([b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HEAD, b"1\r\na\r\n", b"2\r\nbc\r\n0\r\n\r\n"],
         b'["POST", "/a", "abc"](open)'),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("long_limits")
def test_a_good_request_is_answered(packets: list[bytes], expected: bytes) -> None:
    async def test(service: Served) -> None:
        said = await service.ask(*packets)
        assert statuses(said) == [200]
        assert said.endswith(expected)

    run(test)


@pytest.mark.usefixtures("long_limits")
def test_a_head_may_arrive_byte_by_byte() -> None:
    async def test(service: Served) -> None:
        said = await service.ask(*(b"%c" % byte for byte in b"GET /a HTTP/1.1\r\n" + HEAD), pause_s=0.001)
        assert statuses(said) == [200]

    run(test)


@pytest.mark.usefixtures("long_limits")
def test_requests_in_one_packet_are_answered_in_their_order() -> None:
    async def test(service: Served) -> None:
        said = await service.ask(b"".join(b"GET /%d HTTP/1.1\r\n" % n + HEAD for n in range(60)))
        assert re.findall(rb'"/(\d+)"', said) == [b"%d" % n for n in range(60)]
        assert said.endswith(b"(open)")

    run(test)


@pytest.mark.usefixtures("long_limits")
def test_whoever_expects_it_is_told_to_go_on() -> None:
    async def test(service: Served) -> None:
        said = await service.ask(b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n" + HEAD, b"a")
        assert statuses(said) == [100, 200]

    run(test)


@pytest.mark.parametrize("length", [b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Content-Length: 0"])
@pytest.mark.usefixtures("long_limits")
def test_a_request_that_asks_for_an_upgrade_is_answered_in_http_1(length: bytes) -> None:
    """Java's client asks for HTTP/2 in its first request, whatever that is."""
    body = {b"3": b"abc", b"0": b""}.get(length[-1:], b"3\r\nabc\r\n0\r\n\r\n")
    head = b"POST /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + length + b"\r\n" + HEAD

    async def test(service: Served) -> None:
        for packets in ([head + body], [head, body], [head + body + b"GET /b HTTP/1.1\r\n" + HEAD]):
            said = await service.ask(*packets)
            assert statuses(said) == [200]
            assert said.endswith(b'["POST", "/a", "%s"](closed)' % (b"" if length[-1:] == b"0" else b"abc"))
        plain = b"GET /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + HEAD
        assert statuses(await service.ask(plain + plain)) == [200, 200]

    run(test)


# too much


@pytest.mark.usefixtures("long_limits")
def test_a_head_may_have_32_kib_and_no_more() -> None:
    async def test(service: Served) -> None:
        fields = b"".join(b"a%03d: %s\r\n" % (n, b"x" * 1000) for n in range(32))
        assert statuses(await service.ask(b"GET / HTTP/1.1\r\n" + fields + HEAD)) == [200]
        for large in (fields + fields[:2020], b"a: " + b"x" * 32_768 + b"\r\n", b"a: x" + b" " * 32_768 + b"\r\n"):
            said = await service.ask(b"GET / HTTP/1.1\r\n" + large + HEAD)
            assert statuses(said) == [431]
            assert said.endswith(b"(closed)")
        assert statuses(await service.ask(b"GET / HTTP/1.1\r\na: ", b"x" * 33_000)) == [431]
        assert statuses(await service.ask(b"GET /" + b"x" * 33_000)) == [431]
        assert statuses(await service.ask(b"\r\n" * 17_000)) == [431]
        second = b"GET / HTTP/1.1\r\na: " + b"x" * 33_000 + b"\r\n" + HEAD
        assert statuses(await service.ask(b"GET / HTTP/1.1\r\n" + HEAD + second)) == [200, 431]

    run(test)


def test_a_head_may_have_100_fields_and_no_more() -> None:
    async def test(service: Served) -> None:
        assert statuses(await service.ask(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 99 + HEAD)) == [200]
        assert statuses(await service.ask(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100 + HEAD)) == [431]

    run(test)


@pytest.mark.usefixtures("long_limits")
def test_a_body_that_is_declared_too_large_is_refused_before_it_comes() -> None:
    async def test(service: Served) -> None:
        head = b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n" + HEAD
        assert statuses(await service.ask(head % (1024 * 1024 + 1))) == [413]
        assert statuses(await service.ask(head % 10**18)) == [413]
        assert statuses(await service.ask(head % 10**30)) == [400]
        assert statuses(await service.ask(head % (1024 * 1024), b"x" * 1024 * 1024)) == [100, 200]
        assert len(service.app.paths) == 1

    run(test)


@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_a_body_in_chunks_is_refused_when_it_has_grown_too_large(method: bytes) -> None:
    async def test(service: Served) -> None:
        head = method + b" /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HEAD
        for chunk in (
            b"10000\r\n" + b"x" * 0x10000 + b"\r\n",
            b"1\r\nx\r\n" * 10_000,
            b"1;" + b"x" * 60_000 + b"\r\nx\r\n",
        ):
            assert await service.pour(head, chunk) < 40_000_000

    run(test)


def test_trailers_are_bounded_like_the_body() -> None:
    async def test(service: Served) -> None:
        head = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HEAD + b"0\r\n"
        assert await service.pour(head, b"a: b\r\n" * 10_000) < 40_000_000

    run(test)


def test_what_trails_a_body_is_no_header() -> None:
    """Nor does it take memory: a trailing Host or Origin must not stand in for the one that was sent."""

    async def test(service: Served) -> None:
        head = b"GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HEAD
        trailers = b"Host: other\r\nAuthorization: Bearer x\r\n" + b"a: b\r\n" * 1000
        assert statuses(await service.ask(head + b"0\r\n" + trailers + b"\r\n")) == [200]
        assert service.app.headers == [(b"transfer-encoding", b"chunked"), (b"host", b"x")]

    run(test)


def test_a_request_names_one_host() -> None:
    async def test(service: Served) -> None:
        assert statuses(await service.ask(b"GET / HTTP/1.1\r\nHost: y\r\n" + HEAD)) == [400]

    run(test)


def test_of_endless_requests_a_hundred_wait_in_line_and_the_connection_ends_with_them() -> None:
    async def test(service: Served) -> None:
        for first in (b"/a", b"/wait"):
            service.app.paths.clear()
            packet = b"GET %s HTTP/1.1\r\n" % first + HEAD + (b"GET /a HTTP/1.1\r\n" + HEAD) * 5000
            asked = asyncio.create_task(service.ask(packet, b"GET /late HTTP/1.1\r\n" + HEAD, packet))
            await until(lambda: service.app.paths)
            service.app.go.set()
            said = await asked
            assert statuses(said) == [200] * 101
            assert said.count(b"connection: close") == 1
            assert said.endswith(b"(closed)")
            assert "/late" not in service.app.paths

    run(test)


# too late


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        ([], []),
        ([b"\r\n"], []),
        ([b"G"], [408]),
        ([b"GET / HTTP/1.1\r\nHost: x\r\n"], [408]),
        ([b"GET / HTTP/1.1\r\n" + HEAD + b"GET / HT"], [200, 408]),
        ([b"GET / HTTP/1.1\r\n" + HEAD, b"GET / HT"], [200, 408]),
        ([b"POST / HTTP/1.1\r\nContent-Length: 2\r\n" + HEAD + b"a"], [408]),
        ([b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HEAD + b"1\r\n"], [408]),
        ([b"GET / HTTP/1.1\r\n" + HEAD + b"POST / HTTP/1.1\r\nContent-Length: 2\r\n" + HEAD], [200, 408]),
        ([b"GET / HTTP/1.1\r\nContent-Length: 2\r\n" + HEAD], [200]),
    ],
)
def test_what_does_not_come_in_time_is_not_waited_for(packets: list[bytes], expected: list[int]) -> None:
    async def test(service: Served) -> None:
        reader, writer = await service.open()
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0.01)
        said = await reader.read()
        assert statuses(said) == expected
        writer.close()

    run(test)


def test_a_head_that_trickles_in_is_late_all_the_same() -> None:
    async def test(service: Served) -> None:
        said = await service.ask(*[b"x"] * 60, pause_s=0.02)
        assert statuses(said) in ([408], [400])
        reader, writer = await service.open()
        writer.write(b"GET /")
        begun = asyncio.get_running_loop().time()
        while not reader.at_eof() and asyncio.get_running_loop().time() < begun + 5:
            writer.write(b"x")
            await asyncio.sleep(0.02)
            if reader._buffer:  # type: ignore[attr-defined] # what has come so far
                break
        assert statuses(await reader.read()) == [408]
        writer.close()

    run(test)


def test_a_request_that_is_being_answered_is_never_late() -> None:
    async def test(service: Served) -> None:
        asked = asyncio.create_task(service.ask(b"GET /wait HTTP/1.1\r\n" + HEAD, pause_s=4 * LATE_S))
        await asyncio.sleep(3 * LATE_S)
        service.app.go.set()
        assert statuses(await asked) == [200]

    run(test)


def test_a_reply_that_nobody_reads_is_given_up() -> None:
    async def test(service: Served) -> None:
        for version in (b"1.1", b"1.0"):
            client = socket.create_connection(("127.0.0.1", service.port))
            client.sendall(b"GET /big HTTP/%s\r\n" % version + HEAD)
            await until(lambda: len(service.open_connections))
            await until(lambda: not len(service.open_connections))
            client.close()

    run(test)


def test_a_connection_that_ends_with_a_reply_waits_for_no_request_behind_it() -> None:
    """HTTP/1.0 ends with its reply, whatever was sent ahead; it has an end also while nobody reads."""

    async def test(service: Served) -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", service.port))
        old = b"GET /big HTTP/1.0\r\nConnection: keep-alive\r\n" + HEAD
        client.sendall(old + b"GET /behind HTTP/1.1\r\n" + HEAD)
        await until(lambda: service.app.paths)
        await until(lambda: not len(service.open_connections))
        assert service.app.paths == ["/big"]
        client.close()
        said = await service.ask(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n" + HEAD + b"garbage\r\n\r\n")
        assert statuses(said) == [200]
        assert said.endswith(b"(closed)")
        await until(lambda: not len(service.open_connections))

    run(test)


@pytest.mark.usefixtures("long_limits")
def test_who_does_not_read_is_answered_no_further() -> None:
    """Else each request that comes in would add a reply to those in memory."""

    async def test(service: Served) -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", service.port))
        for _ in range(5):
            client.sendall(b"GET /big HTTP/1.1\r\n" + HEAD)
            await asyncio.sleep(0.02)
        assert len(service.app.paths) <= 2
        client.close()

    run(test)


# what becomes a WebSocket

TERMINAL: Final = (
    b"GET /v1/machines/a/terminal HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + HEAD
)


def test_no_time_limit_of_the_requests_before_it_ends_a_terminal() -> None:
    """A proxy, and a client that keeps its connections, open it on one that has been used."""

    async def test(service: Served) -> None:
        service.server.config.timeout_keep_alive = LATE_S  # type: ignore[assignment] # so short
        for packets in ([b"GET /a HTTP/1.1\r\n" + HEAD], [b"GET /a HTTP/1.1\r\n", HEAD]):
            reader, writer = await service.open()
            for packet in packets:
                writer.write(packet)
                await asyncio.sleep(0.01)
            assert b"200 OK" in await reader.readuntil(b"]")
            writer.write(TERMINAL)
            assert b"101 Switching Protocols" in await reader.readuntil(b"\r\n\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(), 3 * LATE_S)
            writer.write(b"\x82\x83\0\0\0\0abc")
            assert await reader.readexactly(5) == b"\x82\x03abc"
            writer.close()
        await until(lambda: not len(service.open_connections))

    run(test)


def test_a_reply_that_is_read_late_does_not_end_the_terminal_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`unread_s`: long enough for 8 MB in small pieces on a busy computer, and then it passes without an end."""
    unread_s = 3.0
    monkeypatch.setattr(limits, "UNREAD_S", unread_s)

    async def test(service: Served) -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)  # noqa: FBT003 # as the library has it
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", service.port))
        await loop.sock_sendall(client, b"GET /big HTTP/1.1\r\n" + HEAD)
        await until(lambda: service.app.paths == ["/big"])
        await loop.sock_sendall(client, TERMINAL)
        reader, writer = await asyncio.open_connection(sock=client)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        assert await reader.readexactly(8_000_000)
        assert b"101 Switching Protocols" in await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 1.2 * unread_s)
        writer.close()

    run(test)


# broken


@pytest.mark.parametrize("data", [
    b"garbage\r\n\r\n", b"\0\0\0\0", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60),
    b"GET / HTTP/3.0\r\n" + HEAD, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n" + HEAD,
    b"GET /\xff HTTP/1.1\r\n" + HEAD, b"GET http://x HTTP/1.1\r\n" + HEAD, b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
])  # fmt: skip
def test_what_is_no_http_gets_one_error_in_json_and_no_line_in_the_log(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(service: Served) -> None:
        said = await service.ask(data)
        assert statuses(said) == [400]
        assert b"content-type: application/json" in said
        assert said.endswith(b"(closed)")

    run(test)
    assert not [record for record in caplog.records if record.levelname != "INFO"]


@pytest.mark.usefixtures("long_limits")
def test_the_date_of_a_reply_is_that_of_the_reply_and_not_of_the_request() -> None:
    """A request may wait for a machine for half a minute."""

    async def test(service: Served) -> None:
        asked = asyncio.create_task(service.ask(b"GET /wait HTTP/1.1\r\n" + HEAD, pause_s=3.0))
        await until(lambda: "/wait" in service.app.paths)
        headers = service.server.server_state.default_headers
        await until(lambda: dict(service.server.server_state.default_headers)[b"date"] != dict(headers)[b"date"])
        service.app.go.set()
        said = await asked
        assert b"\r\ndate: " in said
        assert dict(headers)[b"date"] not in said

    run(test)


def test_an_error_comes_after_the_replies_to_what_was_asked_before_it() -> None:
    async def test(service: Served) -> None:
        for wrong, status in ((b"garbage\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431)):
            service.app.go.clear()
            packet = b"GET /wait HTTP/1.1\r\n" + HEAD + b"GET /a HTTP/1.1\r\n" + HEAD + wrong
            asked = asyncio.create_task(service.ask(packet, pause_s=0.1))
            await until(lambda: "/wait" in service.app.paths)
            service.app.go.set()
            assert statuses(await asked) == [200, 200, status]

    run(test)


def test_whoever_hangs_up_is_noticed_also_behind_a_line_of_requests() -> None:
    async def test(service: Served) -> None:
        for packets in ([b""], [b"GET /a HTTP/1.1\r\n" + HEAD], [b"", b"GET /a HTTP/1.1\r\n" + HEAD]):
            service.app.hung_up.clear()
            _, writer = await service.open()
            for packet in [b"GET /wait HTTP/1.1\r\n" + HEAD + packets[0], *packets[1:]]:
                writer.write(packet)
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.close()
            await until(lambda: service.app.hung_up)
        assert not len(service.open_connections)

    run(test)


# how many


def test_an_idle_connection_gives_way_and_a_busy_one_does_not() -> None:
    async def test(service: Served) -> None:
        idle, writer = await service.open()
        waiting = [asyncio.create_task(service.ask(b"GET /wait HTTP/1.1\r\n" + HEAD, pause_s=0.0)) for _ in range(2)]
        await until(lambda: service.app.paths == ["/wait", "/wait"])
        assert await idle.read() == b""
        writer.close()
        said = await service.ask()
        assert statuses(said) == [503]
        assert b"retry-after: 1" in said
        assert said.endswith(b"(closed)")
        service.app.go.set()
        assert [statuses(await asked) for asked in waiting] == [[200], [200]]
        await until(lambda: not len(service.open_connections))
        assert statuses(await service.ask(b"GET /a HTTP/1.1\r\n" + HEAD)) == [200]

    run(test, per_client=2)
