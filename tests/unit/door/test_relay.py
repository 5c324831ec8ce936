"""What the door carries, over real sockets: requests and replies of every framing, streams, upgrades, what breaks off."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.unit.door.relayed import Relayed, lived, says

from worker_orchestrator.door.messages import Kind, Question, Route


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A worker that answers each request with what came, as text, on one connection."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await reader.readexactly(int(fields.get(b"Content-Length", b"0")))
        if fields.get(b"Transfer-Encoding") == b"chunked":
            body = await reader.readuntil(b"0\r\n")
            body += await reader.readuntil(b"\r\n") if (await _peek(reader)).startswith(b"\r\n") else b""
        said = head + body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
        await writer.drain()


async def _peek(reader: asyncio.StreamReader) -> bytes:
    return bytes(reader._buffer)  # type: ignore[attr-defined] # the test's own reader


def body_of(reply: bytes) -> bytes:
    return reply.partition(b"\r\n\r\n")[2]


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


def test_a_request_reaches_the_worker_with_the_same_host_and_who_asked() -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.get("X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", path="/a?b")
        assert status_of(reply) == 200
        seen = body_of(reply).decode()
        assert seen.startswith("GET /a?b HTTP/1.1\r\nHost: app.localhost\r\n")
        assert "X-Forwarded-For: 127.0.0.1\r\n" in seen
        assert 'Forwarded: for=127.0.0.1;host="app.localhost";proto=http\r\n' in seen
        assert "6.6.6.6" not in seen
        assert "Connection" not in seen

    lived(echo, story)


def test_requests_on_one_connection_are_answered_in_order_and_the_host_is_asked_for_once() -> None:
    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open()
        for number in range(5):
            writer.write(b"GET /%d HTTP/1.1\r\nHost: app.localhost\r\n\r\n" % number)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert (await reader.readexactly(length)).startswith(b"GET /%d " % number)
        writer.close()
        assert len(stage.questions) == 1

    lived(echo, story)


def test_requests_sent_ahead_are_answered_in_order() -> None:
    async def story(stage: Relayed) -> None:
        one = b"GET /one HTTP/1.1\r\nHost: app.localhost\r\n\r\n"
        two = b"GET /two HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n"
        reply = await stage.ask(one + two)
        assert reply.index(b"GET /one") < reply.index(b"GET /two")

    lived(echo, story)


@pytest.mark.parametrize("length", [0, 1, 70_000, 3_000_000])
def test_a_body_of_known_length_arrives_whole(length: int) -> None:
    async def story(stage: Relayed) -> None:
        body = bytes(range(256)) * (length // 256 + 1)
        head = b"POST / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length
        reply = await stage.ask(head + body[:length])
        assert body_of(body_of(reply)) == body[:length]

    lived(echo, story)


def test_chunks_are_written_anew_and_trailers_follow() -> None:
    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        seen = await reader.readuntil(b"0\r\nX-Sum: 7\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n")
        writer.write(b"%x;a=b\r\n%b\r\n0\r\nX-End: yes\r\nSet-Cookie: no=1\r\n\r\n" % (len(seen), seen))

    async def story(stage: Relayed) -> None:
        head = b"POST / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = await stage.ask(head + b"3;x=y\r\nabc\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n")
        assert b"3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n" in reply
        assert reply.endswith(b"0\r\nX-End: yes\r\n\r\n")
        assert b"no=1" not in reply

    lived(worker, story)


def test_a_body_that_ends_with_the_connection_reaches_the_client_as_chunks() -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.get()
        assert b"Transfer-Encoding: chunked" in reply
        assert reply.endswith(b"5\r\nhello\r\n0\r\n\r\n")
        old = await stage.ask(b"GET / HTTP/1.0\r\nHost: app.localhost\r\n\r\n")
        assert old.endswith(b"\r\n\r\nhello")
        assert b"chunked" not in old

    lived(says(b"HTTP/1.1 200 OK\r\n\r\nhello"), story)


def test_the_reply_to_a_head_has_a_length_and_no_body() -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.ask(b"HEAD / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n")
        assert b"Content-Length: 5" in reply
        assert reply.endswith(b"\r\n\r\n")

    lived(says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), story)


@pytest.mark.parametrize("status", [204, 304])
def test_what_has_no_body_by_its_status_has_none(status: int) -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.get()
        assert status_of(reply) == status
        assert reply.endswith(b"\r\n\r\n")

    lived(says(b"HTTP/1.1 %d X\r\nETag: a\r\n\r\n" % status), story)


def test_a_range_goes_there_and_its_part_comes_back() -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.get("Range: bytes=2-4")
        assert status_of(reply) == 206
        assert b"Content-Range: bytes 2-4/10" in reply

    part = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\ncde"
    lived(says(part), story)


def test_events_arrive_one_by_one_while_the_reply_goes_on() -> None:
    go_on = asyncio.Event()

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        writer.write(b"data: 2\n\n")

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        await reader.readuntil(b"data: 1\n\n")
        go_on.set()
        await reader.readuntil(b"data: 2\n\n")
        writer.close()

    lived(worker, story)


def test_a_client_that_waits_for_100_gets_it_from_the_worker() -> None:
    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Expect: 100-continue" in head
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    async def story(stage: Relayed) -> None:
        head = b"POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        reader, writer = await stage.open(head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 Continue")
        writer.write(b"hello")
        await reader.readuntil(b"hello")
        writer.close()

    lived(worker, story)


def test_a_worker_may_answer_before_it_has_read_the_body() -> None:
    async def story(stage: Relayed) -> None:
        head = b"POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 500000\r\n\r\n"
        reply = await stage.ask(head + b"x" * 100_000)
        assert status_of(reply) == 413
        assert reply.endswith(b"no")

    lived(says(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"), story)


def test_an_upgrade_becomes_a_tunnel_in_which_each_side_may_end_first() -> None:
    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in head
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
        while data := await reader.read(1000):
            writer.write(data.upper())
        writer.write(b"bye")

    async def story(stage: Relayed) -> None:
        fields = b"Host: app.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
        reader, writer = await stage.open(b"GET / HTTP/1.1\r\n" + fields + b"\r\nearly")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.readuntil(b"EARLY") == b"helloEARLY"
        writer.write(b"more")
        assert await reader.readexactly(4) == b"MORE"
        writer.write_eof()
        assert await reader.read() == b"bye"
        writer.close()

    lived(worker, story)


@pytest.mark.parametrize("wanted", ["h2c", "HTTP/2.0", "TLS/1.0", "websocket, h2c"])
def test_no_protocol_in_which_requests_would_hide_is_offered_to_a_worker(wanted: str) -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.ask(
            f"GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade, close, HTTP2-Settings\r\n"
            f"HTTP2-Settings: AAA\r\nUpgrade: {wanted}\r\n\r\n".encode()
        )
        assert status_of(reply) == 200
        assert b"pgrade" not in body_of(reply)
        assert b"HTTP2" not in body_of(reply)

    lived(echo, story)


# secrets, cookies and the host


def test_what_belongs_to_the_service_does_not_reach_the_worker() -> None:
    async def story(stage: Relayed) -> None:
        cookies = "Cookie: a=1; orchestrator_session_x=secret; b=2"
        reply = await stage.get("X-Orchestrator-Token: secret", cookies, "Authorization: Basic of-the-page")
        seen = body_of(reply)
        assert b"secret" not in seen
        assert b"Cookie: a=1; b=2\r\n" in seen
        assert b"Authorization: Basic of-the-page" in seen

    lived(echo, story)


def test_cookies_of_a_worker_are_those_of_its_own_host() -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.get()
        assert b"Set-Cookie: a=1; Path=/\r\n" in reply
        assert b"Set-Cookie: b=2; Secure\r\n" in reply
        assert b"orchestrator_" not in reply
        assert b"omain" not in reply

    cookies = b"Set-Cookie: a=1;Domain=localhost; Path=/\r\nSet-Cookie: b=2; domain = .localhost ; Secure\r\n"
    own = b"Set-Cookie: orchestrator_session_x=1\r\n"
    lived(says(b"HTTP/1.1 200 OK\r\n" + cookies + own + b"Content-Length: 0\r\n\r\n"), story)


def test_a_worker_that_refuses_other_hosts_is_told_that_it_is_localhost() -> None:
    async def story(stage: Relayed) -> None:
        def rewritten(question: Question) -> Route:
            port = stage.worker_port
            return Route(question.id, Kind.WORKER, "app", host="127.0.0.1", port=port, key="m.1", rewrites=True)

        stage.answer = rewritten
        reply = await stage.get("Origin: http://app.localhost", "Referer: http://app.localhost/x")
        assert b"Host: localhost:%d\r\n" % stage.worker_port in body_of(reply)
        assert b"Origin: http://localhost:%d\r\n" % stage.worker_port in body_of(reply)
        assert b"X-Forwarded-Host: app.localhost\r\n" in body_of(reply)

    lived(echo, story)


# what goes wrong with a worker


GARBAGE = {
    "no HTTP": b"SSH-2.0-x\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nA: b\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "lines without CR": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an odd coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "a hundred thousand fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
    "one endless field": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1_000_000,
    "a change nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "interim replies only": b"HTTP/1.1 102 Processing\r\n\r\n" * 50,
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_in_the_place_of_a_reply_is_one_clear_502(garbage: bytes) -> None:
    async def story(stage: Relayed) -> None:
        reply = await stage.get()
        assert reply.count(b"HTTP/1.1 502 ") == 1, reply[:300]
        problem = json.loads(body_of(reply[reply.index(b"HTTP/1.1 502") :]))
        assert problem["code"] == "bad_reply"

    lived(says(garbage), story)


def test_a_worker_that_ends_at_any_byte_leaves_no_half_reply_that_looks_whole() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-A: b\r\n\r\n0123456789"

    for end in range(len(reply)):

        async def story(stage: Relayed) -> None:
            got = await stage.get()
            is_refused = got.startswith(b"HTTP/1.1 502 ")
            is_cut = b"Content-Length: 10\r\n" in got and len(body_of(got)) < 10
            assert is_refused or is_cut or got == b"(reset)" or not got, got

        if end % 5 == 0 or end < 3 or end > len(reply) - 3:
            lived(says(reply[:end]), story)


def test_chunks_that_break_off_or_lie_never_end_well_for_the_client() -> None:
    for body in (b"5\r\nhel", b"5\r\nhelloX\r\n0\r\n\r\n", b"zz\r\n", b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n"):

        async def story(stage: Relayed) -> None:
            got = await stage.get()
            assert not got.endswith(b"0\r\n\r\n")

        lived(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body), story)


def test_a_worker_that_is_not_there_has_a_page_that_looks_again() -> None:
    async def story(stage: Relayed) -> None:
        stage.worker_port = 1
        reply = await stage.get("Accept: text/html", "Sec-Fetch-Dest: document")
        assert status_of(reply) == 502
        assert b'http-equiv="refresh"' in reply
        stage.forget()
        reply = await stage.get("Accept: application/json")
        assert json.loads(body_of(reply))["code"] == "no_answer"

    lived(echo, story)


def test_a_client_that_goes_away_ends_the_request_of_the_worker() -> None:
    gone = asyncio.Event()

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        assert not await reader.read()
        gone.set()

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        await reader.readuntil(b"hello")
        writer.close()
        await gone.wait()

    lived(worker, story)


# routes


def test_when_a_route_is_gone_what_goes_on_under_it_ends_and_it_is_asked_for_again() -> None:
    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await reader.read()

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        await reader.readuntil(b"hello")
        stage.forget()
        try:
            rest = await reader.read()
        except ConnectionResetError:
            rest = b""
        assert not rest.endswith(b"0\r\n\r\n")
        writer.close()
        stage.answer = lambda question: Route(question.id, Kind.NONE, "app")
        assert status_of(await stage.get()) == 404
        assert len(stage.questions) == 2

    lived(worker, story)


def test_a_connection_that_rested_is_not_used_after_its_assignment_has_ended() -> None:
    connections = 0

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await echo(reader, writer)

    async def story(stage: Relayed) -> None:
        await stage.get()
        await stage.get()
        assert connections == 1
        stage.forget()
        stage.answer = lambda asked: Route(
            asked.id, Kind.WORKER, "app", host="127.0.0.1", port=stage.worker_port, key="m.2"
        )
        await stage.get()
        assert connections == 2

    lived(worker, story)


def test_what_a_worker_says_without_being_asked_is_no_reply_to_the_next_request() -> None:
    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await reader.read()

    async def story(stage: Relayed) -> None:
        for _ in range(3):
            assert body_of(await stage.get()) == b"ok"

    lived(worker, story)


def test_the_end_of_the_service_ends_the_door() -> None:
    async def story(stage: Relayed) -> None:
        stage.channel.close()

    lived(echo, story)


@pytest.mark.parametrize(
    "body", [b"2 \r\nab\r\n0\r\n\r\n", b"0x2\r\nab\r\n0\r\n\r\n", b"2\r\nabXX0\r\n\r\n", b"2;a\nb\r\nab\r\n"]
)
def test_a_request_whose_chunks_are_malformed_is_the_fault_of_who_sent_it(body: bytes) -> None:
    async def story(stage: Relayed) -> None:
        head = b"POST / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = await stage.ask(head + body)
        assert status_of(reply) == 400
        assert b"chunk" in body_of(reply)

    lived(waits, story)


async def waits(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """A worker that answers when it has all."""
    await reader.read(-1)


def test_a_door_that_is_late_hears_what_is_gone_before_it_asks_a_worker() -> None:
    seen = list[bytes]()

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(b"GET /first HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        loop, channel = asyncio.get_running_loop(), stage.door._channel
        loop.remove_reader(channel._socket)  # it has not come to that yet
        stage.forget()
        writer.write(b"GET /second HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        assert b" 502 " in await reader.readuntil(b"\r\n\r\n")
        assert [head.split()[1] for head in seen] == [b"/first"]
        loop.add_reader(channel._socket, channel._receive)
        writer.close()

    lived(worker, story)
