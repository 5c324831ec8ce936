"""Which requests go the short way, and how: a strict part of HTTP, so that httptools would read each of them the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from worker_orchestrator.core.project import CHARACTERS, LONGEST, RESERVED_PROJECTS, is_project_id
from worker_orchestrator.door.connections import Connections
from worker_orchestrator.http.reply import Reply
from worker_orchestrator.http.server.protocol import BoundedProtocol
from worker_orchestrator.http.server.reply_writer import ReplyWriter
from worker_orchestrator.http.server.short_requests import LONGEST_BYTES, read_short_request

HOST = b"Host: localhost\r\n"


class Read:
    """What httptools makes of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.url, self.headers, self.messages, self.keeps_alive = b"", [(b"", b"")][:0], 0, False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(data)
        self.method = self._parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        self.messages += 1
        self.keeps_alive = self._parser.should_keep_alive()


def test_a_plain_request_is_read() -> None:
    data = b"GET /my-project HTTP/1.1\r\n" + HOST + b"User-Agent: curl/7.88.1 \r\nAccept:\t*/*\r\nX: \r\n\r\n"
    headers = {b"host": b"localhost", b"user-agent": b"curl/7.88.1", b"accept": b"*/*", b"x": b""}
    assert read_short_request(data) == ("GET", "my-project", headers)
    assert read_short_request(b"DELETE /a~b:@+=,-_.1/ HTTP/1.1\r\nConnection: Keep-Alive\r\n" + HOST + b"\r\n") == (
        "DELETE",
        "a~b:@+=,-_.1",
        {b"connection": b"Keep-Alive", b"host": b"localhost"},
    )


@pytest.mark.parametrize("line", [
    b"GET /a HTTP/1.0", b"GET  /a HTTP/1.1", b"get /a HTTP/1.1", b"POST /a HTTP/1.1", b"HEAD /a HTTP/1.1", b"GET / HTTP/1.1",
    b"GET /a/b HTTP/1.1", b"GET /a?b HTTP/1.1", b"GET /a%20b HTTP/1.1", b"GET /a// HTTP/1.1", b"GET http://x/a HTTP/1.1",
    b"GET /" + b"a" * 129 + b" HTTP/1.1", b"\r\nGET /a HTTP/1.1", b"GET /a HTTP/1.1 ", b"GET /a",
    b"GET //a HTTP/1.1", b"GET /.a HTTP/1.1", b"GET /health HTTP/1.1", b"GET /apple-touch-icon-120x120.png HTTP/1.1",
])  # fmt: skip
def test_another_line_goes_the_long_way(line: bytes) -> None:
    assert read_short_request(line + b"\r\n" + HOST + b"\r\n") is None
    assert read_short_request(line + b"\n" + HOST + b"\r\n") is None


@pytest.mark.parametrize("rest", [
    b"", b"\r\n", HOST, HOST + b"\r\n\r\n", b"Host: a\n\r\n", b"Host : a\r\n\r\n", b"Host: a\r\n b\r\n\r\n",
    b"Host: \xe4\r\n\r\n", b": a\r\n\r\n", b"Host: \0\r\n\r\n", b"Host a\r\n\r\n", b"Host: a\rb\r\n\r\n",
    HOST * 2 + b"\r\n", HOST + b"hOST: b\r\n\r\n", HOST + b"Content-Length: 0\r\n\r\n",
    HOST + b"Expect: 100-continue\r\n\r\n", HOST + b"Transfer-Encoding: chunked\r\n\r\n", HOST + b"Upgrade: h2c\r\n\r\n",
    HOST + b"Proxy-Connection: close\r\n\r\n", HOST + b"Connection: close\r\n\r\n",
    HOST + b"Connection: keep-alive, close\r\n\r\n",
    HOST + b"\r\nGET /b HTTP/1.1\r\n" + HOST + b"\r\n", HOST + b"X: " + b"x" * LONGEST_BYTES + b"\r\n\r\n",
])  # fmt: skip
def test_whatever_else_a_packet_holds_goes_the_long_way(rest: bytes) -> None:
    assert read_short_request(b"GET /a HTTP/1.1\r\n" + rest) is None


def test_too_many_fields_are_left_to_who_counts_them() -> None:
    fields = b"".join(b"a%d:\r\n" % number for number in range(100))
    assert read_short_request(b"GET /a HTTP/1.1\r\n" + fields + b"\r\n") is not None
    assert read_short_request(b"GET /a HTTP/1.1\r\n" + fields + HOST + b"\r\n") is None


class Wire(asyncio.Transport):
    """The other end of a connection in memory: what is written is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = True
        self.said = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        self.said += bytes(data)

    def is_closing(self) -> bool:
        return not self.is_open

    def close(self) -> None:
        self.is_open = False

    abort = close

    def write_eof(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


Asked = tuple[str, str, list[tuple[bytes, bytes]]]
"""Method, path and the fields in their order."""


class Reading:
    """What the application is asked by way of one reader or the other, for the bytes of one connection."""

    def __init__(self, *, short: bool) -> None:
        self._short = short
        self.asked: list[Asked] = []
        self.shortly: list[Asked] = []

    def _at_once(
        self, method: str, name: str, _address: str, headers: dict[bytes, bytes], answered: Callable[[str, Reply], None]
    ) -> bool:
        if self._short:
            self.shortly.append((method, f"/{name}", list(headers.items())))
            answered("", Reply(204))
        return self._short

    async def _app(self, scope: Any, _receive: Any, send: Any) -> None:
        self.asked.append((scope["method"], scope["path"].removesuffix("/"), list(scope["headers"])))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def read(self, packets: list[bytes]) -> tuple[list[Asked], list[bytes], bool]:
        """What was asked, the statuses that were answered, and whether the connection goes on."""
        config = Config(
            cast("Any", self._app), interface="asgi3", ws="none", lifespan="off", proxy_headers=False, access_log=False
        )
        config.load()
        protocol = BoundedProtocol(config, ServerState(), {}, open_connections=Connections(1, 1), at_once=self._at_once)
        wire = Wire()
        protocol.connection_made(wire)
        for packet in packets:
            protocol.data_received(packet)
            while protocol.tasks:
                await asyncio.gather(*protocol.tasks)
        goes_on = wire.is_open
        protocol.connection_lost(None)
        return self.shortly + self.asked, re.findall(rb"HTTP/1\.1 (\d+) ", wire.said), goes_on


Made = tuple[list[Asked], list[bytes], bool]


def both_readers(packets: list[bytes]) -> tuple[Made, Made, bool]:
    """What the short way and the long way make of the same bytes, and whether the short one took any."""

    async def read() -> tuple[Made, Made, bool]:
        short, long = Reading(short=True), Reading(short=False)
        return await short.read(packets), await long.read(packets), bool(short.shortly)

    return asyncio.run(read())


@pytest.mark.parametrize(
    "value", [b"localhost", b"localhost ", b"localhost\t", b" \t localhost \t ", b"", b" ", b"\t \t"]
)
@pytest.mark.parametrize("name", [b"Host", b"X-Forwarded-For", b"Origin", b"AUTHORIZATION"])
def test_blanks_around_a_value_are_no_part_of_it_for_any_reader(name: bytes, value: bytes) -> None:
    data = b"GET /a HTTP/1.1\r\n%b:%b\r\n\r\n" % (name, value)
    expected = ([("GET", "/a", [(name.lower(), value.strip(b" \t"))])], [b"204"], True)
    assert both_readers([data]) == (expected, expected, True)
    for at in range(1, len(data)):  # what comes in parts goes the long way
        assert both_readers([data[:at], data[at:]]) == (expected, expected, False)


def test_a_field_that_goes_on_in_the_next_line_is_refused_by_every_reader() -> None:
    """https://www.rfc-editor.org/rfc/rfc9112#section-5.2"""
    for folded in (b"A: b\r\n c\r\n", b"A:\r\n\tb\r\n", b"A: b \r\n \r\n"):
        refused: Made = ([], [b"400"], True)
        assert both_readers([b"GET /a HTTP/1.1\r\n" + HOST + folded + b"\r\n"]) == (refused, refused, False)


_BLANKS = st.text("\t ", max_size=3).map(str.encode)
_NAMES = st.sampled_from([
    b"Host", b"hOST", b"Origin", b"Cookie", b"Authorization", b"Connection", b"Expect", b"Upgrade", b"If-Match", b"A", b"a",
    b"Content-Length", b"Transfer-Encoding", b"Proxy-Connection", b"X-Request-Id",
])  # fmt: skip
_VALUES = st.sampled_from([
    b"", b"localhost", b"keep-alive", b"Keep-Alive", b"close", b"Keep-Alive, close", b"upgrade", b"h2c", b"0", b"1", b"*",
    b'"1"', b"chunked", b"100-continue", b"a b", b"a\tb", b"a:b", b"\xa0", b"\x85a", b"a\x0b", b"a\0",
])  # fmt: skip
_LINE = st.one_of(
    st.sampled_from(
        [HOST, b"Connection: keep-alive\r\n", b"Connection: close\r\n", b"Content-Length: 3\r\n", b"A: b\n", b" a\r\n"]
    ),
    st.builds(lambda *parts: b"%b:%b%b%b\r\n" % parts, _NAMES, _BLANKS, _VALUES, _BLANKS),
    st.builds(lambda *parts: b"%b:%b%b%b\r\n%b%b\r\n" % parts, _NAMES, _BLANKS, _VALUES, _BLANKS, _BLANKS, _VALUES),
    st.from_regex(rb"[A-Za-z0-9-]{1,9}:[\t\x20-\x7e]{0,9}\r\n", fullmatch=True),
    st.binary(max_size=12).map(lambda some: some + b"\r\n"),
)
_HEADS = (
    st.sampled_from([b"GET", b"DELETE"]),
    st.from_regex(rb"[A-Za-z0-9._~:@+=,-]{1,9}/?", fullmatch=True),
    st.lists(_LINE),
)


@given(*_HEADS)
def test_what_goes_the_short_way_is_what_httptools_reads_as_well(
    method: bytes, path: bytes, lines: list[bytes]
) -> None:
    """One whole message without a body, after which the connection goes on: the same method, path and headers."""
    data = b"%b /%b HTTP/1.1\r\n%b\r\n" % (method, path, b"".join(lines))
    found = read_short_request(data)
    if found is None:
        return
    read = Read(data)
    assert (read.method, read.url, read.messages, read.keeps_alive) == (method, b"/" + path, 1, True)
    assert found[0] == method.decode()
    assert found[1] == path.decode().removesuffix("/")
    assert list(found[2].items()) == [(name, value.strip(b" \t")) for name, value in read.headers]


@settings(deadline=None)
@given(*_HEADS)
def test_the_application_is_asked_the_same_whichever_way_a_request_comes(
    method: bytes, path: bytes, lines: list[bytes]
) -> None:
    """Whatever stands in its fields: so nobody passes one reader with what the other refuses."""
    short, long, _ = both_readers([b"%b /%b HTTP/1.1\r\n%b\r\n" % (method, path, b"".join(lines))])
    assert short == long
    assert all(value == value.strip(b" \t") for _, _, fields in long[0] for _, value in fields)


@given(
    st.one_of(
        st.text(CHARACTERS, max_size=LONGEST + 2),
        st.text(st.characters(codec="latin-1"), max_size=9),
        st.sampled_from([*RESERVED_PROJECTS, ".well-known", "apple-touch-icon.png", "apple", ".", "a" * LONGEST]),
    )
)
def test_what_names_a_project_goes_the_short_way_and_nothing_else(text: str) -> None:
    found = read_short_request(b"GET /%b HTTP/1.1\r\n%b\r\n" % (text.encode("latin-1"), HOST))
    assert (found is not None) == (is_project_id(text) and not text.startswith("apple-touch-icon"))
    assert found is None or found[1] == text


@pytest.mark.parametrize(
    ("reply", "keep_alive", "own", "body"),
    [
        (Reply(200, {"a": 1}), True, [b"content-type: application/json", b"content-length: 7"], b'{"a":1}'),
        (Reply(503, b"{}"), True, [b"content-type: application/json", b"content-length: 2"], b"{}"),
        (
            Reply(200, {"a": 1}, [(b"etag", b"\xe4")]),
            True,
            [b"etag: \xe4", b"content-type: application/json", b"content-length: 7"],
            b'{"a":1}',
        ),
        (
            Reply(200, b"a", content_type=b"text/plain"),
            True,
            [b"content-type: text/plain", b"content-length: 1"],
            b"a",
        ),
        (
            Reply(200),
            False,
            [b"content-type: application/json", b"content-length: 0", b"connection: close"],
            b"",
        ),
        (Reply(204), True, [], b""),
    ],
)
def test_a_reply_is_written_whole(reply: Reply, own: list[bytes], body: bytes, *, keep_alive: bool) -> None:
    said = ReplyWriter().encode_reply(reply, "vary: Origin\r\n", [(b"date", b"now")], keep_alive=keep_alive)
    head, _, content = said.partition(b"\r\n\r\n")
    assert content == body
    line, *fields = head.split(b"\r\n")
    assert line == b"HTTP/1.1 %d %b" % (reply.status, HTTPStatus(reply.status).phrase.encode())
    every = [b"date: now", b"vary: Origin", b"cache-control: no-store", b"x-content-type-options: nosniff"]
    assert sorted(fields) == sorted([*every, *own])


def test_a_reply_bears_the_headers_of_its_own_time() -> None:
    writer, now, later = ReplyWriter(), [(b"date", b"now")], [(b"date", b"later")]
    dates = [
        writer.encode_reply(Reply(status), "", always, keep_alive=True).split(b"\r\n")[:2]
        for always in (now, now, later, later, now)
        for status in (200, 503, 200)
    ]
    lines = {200: b"HTTP/1.1 200 OK", 503: b"HTTP/1.1 503 Service Unavailable"}
    assert dates == [
        [lines[status], b"date: " + when]
        for when in (b"now", b"now", b"later", b"later", b"now")
        for status in (200, 503, 200)
    ]
