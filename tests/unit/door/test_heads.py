"""Heads are read strictly: what two readers could understand differently reaches no worker.

The cases are those of published collections of request smuggling: two lengths, folded lines, blanks, duplicates, odd line
ends. https://portswigger.net/research/http-desync-attacks-request-smuggling-reborn, https://github.com/narfindustries/http-garden
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.door.relayed import Relayed, lived

from worker_orchestrator.door.bodies import Chunks
from worker_orchestrator.door.heads import CHUNKED, MalformedError, RequestHead, read_reply, read_request

GOOD = b"GET /a?b=c HTTP/1.1\r\nHost: app.localhost:9092\r\nAccept: */*\r\n\r\n"
POST = "POST / HTTP/1.1\r\nHost: app.localhost\r\n"
REFUSED = {
    "two lengths": POST + "Content-Length: 3\r\nContent-Length: 5",
    "the same length twice": POST + "Content-Length: 3\r\nContent-Length: 3",
    "two lengths in one": POST + "Content-Length: 3, 3",
    "a length and chunks": POST + "Content-Length: 3\r\nTransfer-Encoding: chunked",
    "chunks and a length": POST + "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "chunks twice": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "chunks and another coding": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "a coding before chunks": POST + "Transfer-Encoding: gzip, chunked",
    "a coding behind chunks": POST + "Transfer-Encoding: chunked, identity",
    "no coding that there is": POST + "Transfer-Encoding: xchunked",
    "a coding in quotes": POST + 'Transfer-Encoding: "chunked"',
    "an empty coding": POST + "Transfer-Encoding:",
    "a control character before the coding": POST + "Transfer-Encoding: \x0bchunked",
    "a null in the coding": POST + "Transfer-Encoding: chunked\x00",
    "a blank before the colon": POST + "Content-Length : 3",
    "a tab before the colon": POST + "Transfer-Encoding\t: chunked",
    "a blank before the name": POST + " Content-Length: 3",
    "a folded line": POST + "X: a\r\n Content-Length: 3",
    "a folded coding": POST + "Transfer-Encoding:\r\n chunked",
    "a first line that is folded": "POST / HTTP/1.1\r\n Host: app.localhost\r\nHost: app.localhost",
    "a line without a colon": POST + "Content-Length",
    "an empty name": POST + ": 3",
    "LF alone": POST + "X: a\nContent-Length: 3",
    "CR alone": POST + "X: a\rContent-Length: 3",
    "a length with a sign": POST + "Content-Length: +3",
    "a negative length": POST + "Content-Length: -3",
    "a length in hexadecimal": POST + "Content-Length: 0x3",
    "a length with an underscore": POST + "Content-Length: 1_0",
    "a length with a point": POST + "Content-Length: 3.0",
    "an empty length": POST + "Content-Length:",
    "a length in other digits": POST + "Content-Length: \u00b3",
    "an endless length": POST + "Content-Length: " + "9" * 30,
    "a length by another name": POST + "Content_Length: 3",
    "chunks by another name": POST + "Transfer_Encoding: chunked",
    "no host": "GET / HTTP/1.1\r\nA: b",
    "two hosts": "GET / HTTP/1.1\r\nHost: a.localhost\r\nHost: b.localhost",
    "the same host twice": "GET / HTTP/1.1\r\nHost: a.localhost\r\nhost: a.localhost",
    "a host with a user": "GET / HTTP/1.1\r\nHost: a@app.localhost",
    "a host with a path": "GET / HTTP/1.1\r\nHost: app.localhost/x",
    "two hosts in one": "GET / HTTP/1.1\r\nHost: app.localhost, b.localhost",
    "another URL in the line": "GET http://b.localhost/ HTTP/1.1\r\nHost: app.localhost",
    "no path": "GET HTTP/1.1\r\nHost: app.localhost",
    "two blanks": "GET  / HTTP/1.1\r\nHost: app.localhost",
    "a tab in the line": "GET\t/ HTTP/1.1\r\nHost: app.localhost",
    "a blank in the path": "GET /a b HTTP/1.1\r\nHost: app.localhost",
    "a blank behind the version": "GET / HTTP/1.1 \r\nHost: app.localhost",
    "another version": "GET / HTTP/1.2\r\nHost: app.localhost",
    "HTTP/2": "PRI * HTTP/2.0\r\nHost: app.localhost",
    "HTTP/0.9": "GET /\r\nHost: app.localhost",
    "a method with a colon": "GET: / HTTP/1.1\r\nHost: app.localhost",
    "bytes that are no ASCII": "GET /\u00e9 HTTP/1.1\r\nHost: app.localhost",
    "chunks of HTTP/1.0": "POST / HTTP/1.0\r\nHost: app.localhost\r\nTransfer-Encoding: chunked",
    "Connection that drops the length": POST + "Content-Length: 3\r\nConnection: Content-Length",
    "Connection that drops the host": POST + "Connection: close, Host",
    "too many fields": "GET / HTTP/1.1\r\nHost: app.localhost" + "\r\nA: b" * 100,
}


@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(head: str) -> None:
    with pytest.raises(MalformedError):
        read_request(head.encode("latin-1") + b"\r\n\r\n")


@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED)
def test_it_gets_400_and_the_connection_ends_and_no_worker_hears_of_it(head: str) -> None:
    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError(await reader.read(100))

    async def story(stage: Relayed) -> None:
        hidden = b"GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n"
        reply = await stage.ask(head.encode("latin-1") + b"\r\n\r\n" + hidden)
        assert reply.startswith(b"HTTP/1.1 400 "), reply
        assert reply.count(b"HTTP/1.1 400 ") == 1
        assert b"Connection: close" in reply
        assert stage.questions == []

    lived(worker, story)


def test_a_good_head_is_read() -> None:
    head = read_request(GOOD)
    assert (head.method, head.target, head.host) == (b"GET", b"/a?b=c", b"app.localhost:9092")
    assert (head.length, head.keep_alive, head.upgrade, head.is_old) == (None, True, b"", False)


@pytest.mark.parametrize(
    ("fields", "length"),
    [("Content-Length: 0", 0), ("content-length:\t7 ", 7), ("Transfer-Encoding: Chunked", CHUNKED), ("A: b", None)],
)
def test_a_body_has_one_length_or_comes_in_chunks(fields: str, length: int | None) -> None:
    assert read_request(f"{POST}{fields}\r\n\r\n".encode()).length == length


def test_a_reply_to_a_head_has_no_body_whatever_it_says() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
    assert read_reply(reply, b"HEAD").length == 0
    assert read_reply(reply, b"GET").length == 7


# other readers


class _Seen:
    """What httptools, which is the reader of Node, makes of a request."""

    def __init__(self) -> None:
        self.url, self.fields, self.is_complete = b"", list[tuple[bytes, bytes]](), False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def by_llhttp(data: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]] | None:
    seen = _Seen()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        if not seen.is_complete:
            return None
    return (parser.get_method(), seen.url, seen.fields) if seen.is_complete else None


def by_h11(data: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]] | None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        event: Any = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return (event.method, event.target, list(event.headers)) if isinstance(event, h11.Request) else None


def ours(head: RequestHead) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    return head.method, head.target, [(known, value) for known, _, value in head.fields]


METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS"])
NAMES = st.one_of(
    st.sampled_from(["Content-Length", "Transfer-Encoding", "Host", "Connection", "Upgrade", "Cookie", "TE", "Expect"]),
    st.text("aZ9-_!#$. \t:\x00", min_size=1, max_size=8),
)
VALUES = st.one_of(
    st.sampled_from(["0", "5", "chunked", "close", "keep-alive", "app.localhost", "upgrade", "websocket", "5, 5"]),
    st.text("a0 \t,;:=\x00\x7f\xe9\r\n", max_size=10),
)
LINES = st.lists(st.tuples(NAMES, st.sampled_from([": ", ":", " :", ":\t"]), VALUES), max_size=5)
ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"])


@given(METHODS, st.sampled_from(["/", "/a?b", "*", "/ x", "//", "/%00"]), LINES, ENDS, st.booleans())
def test_what_is_let_through_is_read_alike_by_other_readers(
    method: str, target: str, lines: list[tuple[str, str, str]], end: str, has_host: object
) -> None:
    fields = [("Host", ": ", "app.localhost"), *lines] if has_host else lines
    text = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}{colon}{value}{end}" for name, colon, value in fields)
    data = text.encode("latin-1") + b"\r\n"
    at = data.find(b"\r\n\r\n")
    if at < 0:
        return
    head_bytes = data[: at + 4]
    try:
        head = read_request(head_bytes)
    except MalformedError:
        return
    for other in (by_llhttp(head_bytes), by_h11(head_bytes)):
        assert other is None or other == ours(head)


# chunks


def content(*pieces: bytes) -> tuple[bytes, Chunks]:
    chunks = Chunks()
    return b"".join(chunks.feed(piece) for piece in pieces), chunks


CHUNKS = b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nX-A: b\r\n\r\nGET /next"


@given(st.lists(st.integers(0, len(CHUNKS)), max_size=8))
def test_chunks_are_read_alike_however_they_come(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(CHUNKS)]
    found, chunks = content(*(CHUNKS[a:b] for a, b in itertools.pairwise(places)))
    rest = chunks.rest if not cuts else b"GET /next"  # what comes in later pieces is not given to it in earnest
    assert (found, chunks.is_complete, rest) == (b"hello0123456789", True, b"GET /next")
    assert chunks.trailers == [(b"x-a", b"X-A", b"b")]


@pytest.mark.parametrize(
    "data",
    [
        b"5 \r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b"5\nhello\r\n",
        b"\r\nhello\r\n",
        b"5;\x00\r\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\n",
        b"5;" + b"a" * 2000,
        b"0\r\nX : b\r\n\r\n",
        b"0\r\n X: b\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 60 + b"\r\n",
        b"0\r\n" + b"A: " + b"b" * 900 + b"\r\n" + (b"A: " + b"b" * 900 + b"\r\n") * 9,
    ],
)
def test_chunks_that_could_be_read_in_two_ways_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        content(data)


def test_a_malformed_chunk_ends_the_request_for_the_worker() -> None:
    heard = asyncio.Event()

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen = await reader.read()
        except ConnectionResetError:
            seen = b""
        assert b"hidden" not in seen
        assert not seen.endswith(b"0\r\n\r\n")
        heard.set()

    async def story(stage: Relayed) -> None:
        head = b"POST / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = await stage.ask(head + b"5\r\nhelloGET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        assert b"200" not in reply
        await heard.wait()

    lived(worker, story)
