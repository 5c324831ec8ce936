"""The heads of requests and replies, read strictly: whatever two readers could understand differently is refused.

Only the form that every client in use sends is read: lines that end with CR and LF, no folded lines, no space around a name,
one Host, at most one length, and that of a request in digits or as chunks alone. So a worker never sees a request that it
could take for two. What goes on is written anew (`forwarding`), and none of the bytes of a head are passed through.
https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = [
    "CHUNKED",
    "FIELD_LIMIT",
    "HEAD_LIMIT_BYTES",
    "REPLY_FIELD_LIMIT",
    "REPLY_HEAD_LIMIT_BYTES",
    "Fields",
    "MalformedError",
    "ReplyHead",
    "RequestHead",
    "read_fields",
    "read_reply",
    "read_request",
]

Fields = list[tuple[bytes, bytes, bytes]]
"""Each field of a head in order: its name in lower case, its name as it was sent, its value without blanks around it."""

CHUNKED: Final = -1
"""In the place of a length: the body comes in chunks."""
HEAD_LIMIT_BYTES: Final = 32 * 1024
FIELD_LIMIT: Final = 100
REPLY_HEAD_LIMIT_BYTES: Final = 128 * 1024
REPLY_FIELD_LIMIT: Final = 500
_REQUEST: Final = re.compile(rb"([A-Za-z][A-Za-z-]{0,31}) (/[!-~]*|\*) HTTP/1\.([01])")
_REPLY: Final = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):([\t\x20-\x7e\x80-\xff]*)")
_HOST: Final = re.compile(rb"[A-Za-z0-9.-]{1,255}(?::\d{1,5})?")
_LENGTH: Final = re.compile(rb"\d{1,18}")
_NOTHING: Final = frozenset[bytes]()
_FRAMING: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"host", b"connection", b"upgrade", b"te", b"trailer"}
)
_LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})
_NO_UPGRADE: Final = (b"h2c", b"http", b"tls")
"""Protocols that nobody relays: in them a worker would read requests that nobody has looked at."""


class MalformedError(Exception):
    """This is not HTTP/1.1, or could be read in two ways. The text says what is wrong, for people."""


# Heads are not frozen, which would make each cost three times as much. Nobody changes one.


@dataclass(slots=True)
class RequestHead:
    """`length` is None without a body. `upgrade` is the protocol that is asked for; empty if none is.

    `values` has the first value of each field by its name in lower case.
    """

    method: bytes
    target: bytes
    is_old: bool
    fields: Fields
    host: bytes
    length: int | None
    keep_alive: bool
    upgrade: bytes
    options: frozenset[bytes]
    values: dict[bytes, bytes]

    def get(self, name: bytes) -> bytes:
        """The value of a field (in lower case); empty if there is none, the first one if there are several."""
        return self.values.get(name, b"")


@dataclass(slots=True)
class ReplyHead:
    """`length` is None if the body goes on until the connection ends, and 0 if there can be none."""

    status: int
    reason: bytes
    fields: Fields
    length: int | None
    keep_alive: bool
    options: frozenset[bytes]
    declared: bytes
    """The Content-Length as it was sent, also where no body follows, as to a HEAD; empty if there is none."""


def read_request(head: bytes) -> RequestHead:
    """Read a head that ends with its empty line. Raises MalformedError."""
    lines = head[:-4].split(b"\r\n")
    first = _REQUEST.fullmatch(lines[0])
    if first is None:
        raise MalformedError("The request line is not `METHOD /path HTTP/1.1`.")
    method, target, minor = first.groups()
    fields, values, repeated = _read(lines, FIELD_LIMIT)
    is_old, options = minor == b"0", _options(fields, values, repeated)
    host = values.get(b"host", b"")
    if b"host" in repeated or _HOST.fullmatch(host) is None:
        raise MalformedError("There must be one Host field, with a host name.")
    length = _length(values, repeated)
    if is_old and length == CHUNKED:
        raise MalformedError("HTTP/1.0 knows no chunks.")
    may_upgrade = b"upgrade" in options and b"upgrade" not in repeated and not is_old and length is None
    upgrade = _upgrade(values.get(b"upgrade", b"")) if may_upgrade else b""
    keep_alive = b"close" not in options and (not is_old or b"keep-alive" in options)
    return RequestHead(method, target, is_old, fields, host, length, keep_alive, upgrade, options, values)


def read_reply(head: bytes, method: bytes) -> ReplyHead:
    """Read the head of a reply to a request with this method. Raises MalformedError."""
    lines = head[:-4].split(b"\r\n")
    first = _REPLY.fullmatch(lines[0])
    if first is None:
        raise MalformedError("Its status line is not `HTTP/1.1 200 OK`.")
    minor, code, reason = first.groups()
    fields, values, repeated = _read(lines, REPLY_FIELD_LIMIT)
    status, is_old, options = int(code), minor == b"0", _options(fields, values, repeated)
    length = _length(values, repeated)
    if is_old and length == CHUNKED:
        raise MalformedError("HTTP/1.0 knows no chunks.")
    has_body = method != b"HEAD" and status >= 200 and status not in {204, 304}
    keep_alive = b"close" not in options and not is_old
    declared = values.get(b"content-length", b"")
    return ReplyHead(status, reason or b"", fields, length if has_body else 0, keep_alive, options, declared)


def read_fields(lines: list[bytes], limit: int) -> Fields:
    """The fields in these lines. Raises MalformedError."""
    return _read([b"", *lines], limit)[0]


def _read(lines: list[bytes], limit: int) -> tuple[Fields, dict[bytes, bytes], set[bytes]]:
    """The fields in the lines behind the first one; the first value of each; which of them are there more than once."""
    if len(lines) - 1 > limit:
        raise MalformedError(f"There are more than {limit} fields.")
    fields, values, repeated = Fields(), dict[bytes, bytes](), set[bytes]()
    for number in range(1, len(lines)):
        found = _FIELD.fullmatch(lines[number])
        if found is None:
            raise MalformedError("A line of the head is no `Name: value`.")
        name, value = found.groups()
        known, value = name.lower(), value.strip(b" \t")
        if b"_" in known and known.replace(b"_", b"-") in _FRAMING:
            raise MalformedError("A field has `_` in a name that some programs read as `-`.")
        fields.append((known, name, value))
        if known in values:
            repeated.add(known)
        else:
            values[known] = value
    return fields, values, repeated


def _options(fields: Fields, values: dict[bytes, bytes], repeated: set[bytes]) -> frozenset[bytes]:
    """What Connection says, in lower case."""
    value = values.get(b"connection")
    if value is None:
        return _NOTHING
    if b"connection" in repeated:
        value = b",".join([value for known, _, value in fields if known == b"connection"])
    return _options_in(value)


@lru_cache(maxsize=64)
def _options_in(value: bytes) -> frozenset[bytes]:
    options = frozenset(one.strip(b" \t").lower() for one in value.split(b",")) - {b""}
    if not _FRAMING.isdisjoint(options - {b"upgrade", b"te"}):
        raise MalformedError("Connection names a field that says how long the message is.")
    return options


def _length(values: dict[bytes, bytes], repeated: set[bytes]) -> int | None:
    length, coding = values.get(b"content-length"), values.get(b"transfer-encoding")
    if length is None and coding is None:
        return None
    if None not in {length, coding} or not _LENGTHS.isdisjoint(repeated):
        raise MalformedError("There is more than one Content-Length or Transfer-Encoding.")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise MalformedError("The Transfer-Encoding is not `chunked`.")
        return CHUNKED
    if length is None or _LENGTH.fullmatch(length) is None:
        raise MalformedError("The Content-Length is no number.")
    return int(length)


def _upgrade(wanted: bytes) -> bytes:
    return b"" if b"," in wanted or wanted.lower().startswith(_NO_UPGRADE) else wanted
