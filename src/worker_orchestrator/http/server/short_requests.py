"""The short way of a request: one packet that holds a whole, plain one is read at a glance, and its reply is one write.

Nearly every assign and release comes like that. The glance knows a strict part of HTTP/1.1, so that nobody can read the
same bytes differently: whatever else a packet holds (a body, an upgrade, a second request, half a head, a field twice)
goes the long way, through httptools. Reading takes 1 µs so, and 12 by httptools' callbacks; while there is little to do,
and nothing of it is in the processor's caches, 16 µs instead of 27 by a pattern for the line.
https://www.rfc-editor.org/rfc/rfc9112#section-2.1
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from worker_orchestrator.core.project import CHARACTERS, LONGEST, RESERVED_PROJECTS, RESERVED_STARTS
from worker_orchestrator.http.reply import EVERY, JSON, NO_CONTENT, Header, Reply, fields_of
from worker_orchestrator.http.server.limits import FIELD_LIMIT

__all__ = ["AtOnce", "Exchange", "Writer", "plain_request"]

AtOnce = Callable[[str, str, str, dict[bytes, bytes], Callable[[str, Reply], None]], bool]
"""`App.at_once`: method, name, address, headers, and who gets the reply."""

LONGEST_BYTES: Final = 4096
_METHODS: Final = {b"GET": "GET", b"DELETE": "DELETE"}
_CHARACTERS: Final = CHARACTERS.encode()
_REST: Final = re.compile(rb"HTTP/1\.1\r\n(?:[A-Za-z0-9-]+:[\t\x20-\x7e]*\r\n)+\r\n")
_NOT_PLAIN: Final = frozenset(
    {b"content-length", b"expect", b"if-match", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)


def plain_request(data: bytes) -> tuple[str, str, dict[bytes, bytes]] | None:
    """Method, project id, headers by their names in lower case; None where this is no plain request for a project."""
    if len(data) > LONGEST_BYTES:
        return None
    verb, _, rest = data.partition(b" /")
    method = _METHODS.get(verb)
    if method is None:
        return None
    path, _, rest = rest.partition(b" ")
    path = path.removesuffix(b"/")
    headers = _headers(rest)
    if headers is None or path.translate(None, _CHARACTERS) or not 0 < len(path) <= LONGEST:
        return None
    name = path.decode()
    return None if name in RESERVED_PROJECTS or name.startswith(RESERVED_STARTS) else (method, name, headers)


@lru_cache(maxsize=256)
def _headers(rest: bytes) -> dict[bytes, bytes] | None:
    """Of what follows the path: a client sends the same again.

    None where they are not plain, or say that more comes, or ends, with this request.
    """
    if _REST.fullmatch(rest) is None:
        return None
    lines = rest.split(b"\r\n")[1:-2]
    fields = (line.partition(b":") for line in lines)
    headers = {name.lower(): value.strip(b" \t") for name, _, value in fields}
    is_plain = _NOT_PLAIN.isdisjoint(headers) and headers.get(b"connection", b"keep-alive").lower() == b"keep-alive"
    return headers if is_plain and len(headers) == len(lines) <= FIELD_LIMIT else None


class Writer:
    """Writes whole replies. What those of one second begin with is the same, down to the date, and is put together once."""

    def __init__(self) -> None:
        self._always: Iterable[Header] = ()
        self._heads: dict[int, str] = {}  # by status, of what is JSON

    def written(self, reply: Reply, more: str, always: Iterable[Header], *, keep_alive: bool) -> bytes:
        """A whole reply, with these fields and headers beside its own."""
        if always is not self._always:
            self._always, self._heads = always, {}
        body = reply.body if isinstance(reply.body, bytes) else reply.encoded()
        if reply.headers or not keep_alive or reply.content_type is not JSON or reply.status == NO_CONTENT:
            last = "" if keep_alive else "connection: close\r\n"
            return (
                f"{self._start(reply.status)}{more}{fields_of(reply.head(body, []))}{last}\r\n".encode("latin-1") + body
            )
        head = self._heads.get(reply.status) or self._json_head(reply.status)
        return f"{head}{more}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body

    def _json_head(self, status: int) -> str:
        head = self._heads[status] = f"{self._start(status)}{fields_of([*EVERY, (b'content-type', JSON)])}"
        return head

    def _start(self, status: int) -> str:
        return f"{STATUS_LINE[status].decode()}{fields_of(self._always)}"


class _Told:
    """An event that nobody waits for."""

    def set(self) -> None:
        pass


class Exchange:
    """What a connection must know of the request that is answered the short way: of uvicorn's cycle only that."""

    __slots__ = ("disconnected", "keep_alive", "more_body", "response_complete", "response_started")
    message_event = _Told()

    def __init__(self) -> None:
        self.keep_alive, self.more_body, self.disconnected = True, False, False
        self.response_started = self.response_complete = True

    def begin(self) -> None:
        self.response_started = self.response_complete = False

    def end(self) -> None:
        self.response_started = self.response_complete = True
