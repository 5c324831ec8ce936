"""The short way of a request: one packet that holds a whole, plain one is read by two patterns, and its reply is one write.

Nearly every assign and release comes like that. They know a strict part of HTTP/1.1, so that nobody can read the same
bytes differently: whatever else a packet holds (a body, an upgrade, a second request, half a head, a field twice) goes
the long way, through httptools. Reading takes 1 µs so, and 12 by httptools' callbacks.
https://www.rfc-editor.org/rfc/rfc9112#section-2.1
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from worker_orchestrator.http.limits import FIELD_LIMIT
from worker_orchestrator.http.reply import Header, Reply, fields_of
from worker_orchestrator.project import PROJECT, is_reserved

__all__ = ["AtOnce", "Exchange", "Writer", "plain_request"]

AtOnce = Callable[[str, str, str, dict[bytes, bytes], Callable[[bytes, Reply], None]], bool]
"""`App.at_once`: method, name, address, headers, and who gets the reply."""

LONGEST_BYTES: Final = 4096
_EVERY: Final = b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
_CONTENT: Final = b"content-type: %b\r\ncontent-length: %d\r\n"
_LINE: Final = re.compile(rf"(GET|DELETE) /({PROJECT})/? HTTP/1\.1".encode())
_FIELDS: Final = re.compile(rb"(?:[A-Za-z0-9-]+:[\t\x20-\x7e]*\r\n)+\r\n")
_NOT_PLAIN: Final = frozenset({b"content-length", b"expect", b"transfer-encoding", b"upgrade"})


def plain_request(data: bytes) -> tuple[str, str, dict[bytes, bytes]] | None:
    """Method, project id, headers by their names in lower case; None where this is no plain request for a project."""
    if len(data) > LONGEST_BYTES:
        return None
    line, _, block = data.partition(b"\r\n")
    found = _LINE.fullmatch(line)
    headers = None if found is None else _headers(block)
    if found is None or headers is None or is_reserved(name := found[2].decode()):
        return None
    return found[1].decode(), name, headers


@lru_cache(maxsize=256)
def _headers(block: bytes) -> dict[bytes, bytes] | None:
    """None where they are not plain, or say that more comes, or ends, with this request. A client sends the same again."""
    if _FIELDS.fullmatch(block) is None:
        return None
    lines = block.split(b"\r\n")[:-2]
    fields = (line.partition(b":") for line in lines)
    headers = {name.lower(): value.strip(b" \t") for name, _, value in fields}
    is_plain = _NOT_PLAIN.isdisjoint(headers) and headers.get(b"connection", b"keep-alive").lower() == b"keep-alive"
    return headers if is_plain and len(headers) == len(lines) <= FIELD_LIMIT else None


class Writer:
    """Writes whole replies. What those of one second begin with is the same, down to the date, and is put together once."""

    def __init__(self) -> None:
        self._always: Iterable[Header] = ()
        self._heads: dict[int, bytes] = {}

    def written(self, reply: Reply, more: bytes, always: Iterable[Header], *, keep_alive: bool) -> bytes:
        """A whole reply, with these fields and headers beside its own."""
        if always is not self._always:
            self._always, self._heads = always, {}
        head = self._heads.get(reply.status)
        if head is None:
            head = self._heads[reply.status] = b"%b%b%b" % (STATUS_LINE[reply.status], fields_of(always), _EVERY)
        body = reply.encoded()
        content = b"" if reply.status == HTTPStatus.NO_CONTENT else _CONTENT % (reply.content_type, len(body))
        last = b"" if keep_alive else b"connection: close\r\n"
        own = fields_of(reply.headers) if reply.headers else b""
        return b"%b%b%b%b%b\r\n%b" % (head, more, own, content, last, body)


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
