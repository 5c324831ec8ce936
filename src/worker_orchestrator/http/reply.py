"""A reply as a value: what a route returns and the application sends."""

from __future__ import annotations

import math
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from worker_orchestrator.wire.document import Failure

__all__ = [
    "EVERY",
    "JSON",
    "NO_CONTENT",
    "RETRY_S",
    "Header",
    "Reply",
    "allowed_methods",
    "encoded",
    "failure",
    "fields_of",
    "method_not_allowed",
    "retry_after",
]

encoded: Final = msgspec.json.Encoder().encode
Header = tuple[bytes, bytes]
NO_CONTENT: Final = 204
JSON: Final = b"application/json"
EVERY: Final[tuple[Header, ...]] = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""The headers of every reply."""
RETRY_S: Final = 3.0
"""When to ask again if nothing better is known."""


class Reply(msgspec.Struct, frozen=True):
    """Status, body (None: empty; bytes: sent as they are; anything else: sent as JSON) and further headers."""

    status: int
    body: Any = None
    headers: list[Header] = []
    content_type: bytes = JSON

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else encoded(self.body)

    def head(self, body: bytes, more: list[Header]) -> list[Header]:
        """All its headers, with these further ones."""
        headers = [*EVERY, *more, *self.headers]
        if self.status != NO_CONTENT:
            headers += [(b"content-type", self.content_type), (b"content-length", str(len(body)).encode())]
        return headers


def fields_of(headers: Iterable[Header]) -> str:
    """Headers as they stand in a message, in Latin-1."""
    return b"".join([b"%b: %b\r\n" % header for header in headers]).decode("latin-1")


def failure(status: int, error: str, message: str = "", headers: list[Header] | None = None) -> Reply:
    """An error in JSON: `{"error": …}`, with `message` if there is one."""
    return Reply(HTTPStatus(status), Failure(error, message), headers or [])


def method_not_allowed(allowed: str) -> Reply:
    """405. `allowed` are the methods of this path, separated by `, `."""
    return failure(405, "Method not allowed", f"Allowed here: {allowed}.", [(b"allow", allowed.encode())])


def allowed_methods(allowed: str) -> Reply:
    """The reply to OPTIONS. `allowed` are the other methods of this path, separated by `, `."""
    return Reply(NO_CONTENT, None, [(b"allow", f"{allowed}, OPTIONS".encode())])


def retry_after(seconds: float) -> list[Header]:
    """The header that asks a client to wait, in whole seconds, at least one."""
    return [(b"retry-after", str(max(1, math.ceil(seconds))).encode())]
