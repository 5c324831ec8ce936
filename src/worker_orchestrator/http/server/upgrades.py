"""Requests that ask for another protocol (`Upgrade`): a terminal becomes a WebSocket, all others are answered in HTTP/1.1.

httptools ends a message that asks for an upgrade at its head, whether or not a body follows. If we decline, a second parser
reads the body: Java's client asks for HTTP/2 in this way, whatever it sends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Final

import httptools

from worker_orchestrator.http.reply import Header
from worker_orchestrator.http.server.limits import BODY_FIELDS

__all__ = ["body_fields", "body_parser", "is_terminal"]

_TERMINAL: Final = re.compile(rb"/v1/machines/[^/?]+/terminal/?(?:\?|$)")


def is_terminal(url: bytes) -> bool:
    """Whether a WebSocket may be opened here."""
    return _TERMINAL.match(url) is not None


def body_fields(headers: Iterable[Header]) -> bytes:
    """The fields that say how long the body of a request is, as they stand in its head; empty: it has no body."""
    return b"".join(b"%s: %s\r\n" % field for field in headers if field[0] in BODY_FIELDS)


def body_parser(
    fields: bytes, on_body: Callable[[bytes], None], on_complete: Callable[[], None]
) -> httptools.HttpRequestParser:
    """A parser for the body of a request whose head has been read already; `fields` are its `body_fields`."""
    parser = httptools.HttpRequestParser(SimpleNamespace(on_body=on_body, on_message_complete=on_complete))
    parser.feed_data(b"POST / HTTP/1.1\r\n" + fields + b"\r\n")
    return parser
