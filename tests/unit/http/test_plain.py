"""Which requests go the short way, and how: a strict part of HTTP, so that httptools would read each of them the same."""

from __future__ import annotations

from http import HTTPStatus

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.http.plain import LONGEST_BYTES, Writer, plain_request
from worker_orchestrator.http.reply import Reply
from worker_orchestrator.project import CHARACTERS, LONGEST, RESERVED_PROJECTS, is_project_id

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
    assert plain_request(data) == ("GET", "my-project", headers)
    assert plain_request(b"DELETE /a~b:@+=,-_.1/ HTTP/1.1\r\nConnection: Keep-Alive\r\n" + HOST + b"\r\n") == (
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
    assert plain_request(line + b"\r\n" + HOST + b"\r\n") is None
    assert plain_request(line + b"\n" + HOST + b"\r\n") is None


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
    assert plain_request(b"GET /a HTTP/1.1\r\n" + rest) is None


def test_too_many_fields_are_left_to_who_counts_them() -> None:
    fields = b"".join(b"a%d:\r\n" % number for number in range(100))
    assert plain_request(b"GET /a HTTP/1.1\r\n" + fields + b"\r\n") is not None
    assert plain_request(b"GET /a HTTP/1.1\r\n" + fields + HOST + b"\r\n") is None


_LINE = st.one_of(
    st.sampled_from(
        [HOST, b"Connection: keep-alive\r\n", b"Connection: close\r\n", b"Content-Length: 3\r\n", b"A: b\n", b" a\r\n"]
    ),
    st.from_regex(rb"[A-Za-z0-9-]{1,9}:[\t\x20-\x7e]{0,9}\r\n", fullmatch=True),
    st.binary(max_size=12).map(lambda some: some + b"\r\n"),
)


@given(
    st.sampled_from([b"GET", b"DELETE"]),
    st.from_regex(rb"[A-Za-z0-9._~:@+=,-]{1,9}/?", fullmatch=True),
    st.lists(_LINE),
)
def test_what_goes_the_short_way_is_what_httptools_reads_as_well(
    method: bytes, path: bytes, lines: list[bytes]
) -> None:
    """One whole message without a body, after which the connection goes on: the same method, path and headers."""
    data = b"%b /%b HTTP/1.1\r\n%b\r\n" % (method, path, b"".join(lines))
    found = plain_request(data)
    if found is None:
        return
    read = Read(data)
    assert (read.method, read.url, read.messages, read.keeps_alive) == (method, b"/" + path, 1, True)
    assert found[0] == method.decode()
    assert found[1] == path.decode().removesuffix("/")
    assert list(found[2].items()) == [(name, value.strip(b" \t")) for name, value in read.headers]


@given(
    st.one_of(
        st.text(CHARACTERS, max_size=LONGEST + 2),
        st.text(st.characters(codec="latin-1"), max_size=9),
        st.sampled_from([*RESERVED_PROJECTS, ".well-known", "apple-touch-icon.png", "apple", ".", "a" * LONGEST]),
    )
)
def test_what_names_a_project_goes_the_short_way_and_nothing_else(text: str) -> None:
    found = plain_request(b"GET /%b HTTP/1.1\r\n%b\r\n" % (text.encode("latin-1"), HOST))
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
    said = Writer().written(reply, "vary: Origin\r\n", [(b"date", b"now")], keep_alive=keep_alive)
    head, _, content = said.partition(b"\r\n\r\n")
    assert content == body
    line, *fields = head.split(b"\r\n")
    assert line == b"HTTP/1.1 %d %b" % (reply.status, HTTPStatus(reply.status).phrase.encode())
    every = [b"date: now", b"vary: Origin", b"cache-control: no-store", b"x-content-type-options: nosniff"]
    assert sorted(fields) == sorted([*every, *own])


def test_a_reply_bears_the_headers_of_its_own_time() -> None:
    writer, now, later = Writer(), [(b"date", b"now")], [(b"date", b"later")]
    dates = [
        writer.written(Reply(status), "", always, keep_alive=True).split(b"\r\n")[:2]
        for always in (now, now, later, later, now)
        for status in (200, 503, 200)
    ]
    lines = {200: b"HTTP/1.1 200 OK", 503: b"HTTP/1.1 503 Service Unavailable"}
    assert dates == [
        [lines[status], b"date: " + when]
        for when in (b"now", b"now", b"later", b"later", b"now")
        for status in (200, 503, 200)
    ]
