"""How much one request may be, and what is said to one that is more, or no HTTP at all."""

from __future__ import annotations

import re
from typing import Final

from worker_orchestrator.http.app import BODY_LIMIT_BYTES
from worker_orchestrator.http.reply import Header, Reply, failure, retry_after

__all__ = [
    "BODY_FIELDS",
    "FIELD_LIMIT",
    "FILE_LIMIT_BYTES",
    "HEAD_LIMIT_BYTES",
    "NO_HTTP",
    "NO_ROOM",
    "PIPELINE_LIMIT",
    "body_limit",
    "body_too_large",
    "head_refusal",
    "head_too_large",
    "late",
]

HEAD_LIMIT_BYTES: Final = 32 * 1024
FIELD_LIMIT: Final = 100
PIPELINE_LIMIT: Final = 100
FILE_LIMIT_BYTES: Final = 1024 * 1024 * 1024
BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})
_FIELD_OVERHEAD_BYTES: Final = 4  # colon, space and line end
_FILES: Final = re.compile(rb"/v1/machines/[^/?]+/files/?(?:\?|$)")

NO_HTTP: Final = failure(400, "Bad request", "This is no HTTP/1.1 request.")
NO_ROOM: Final = failure(
    503,
    "Too many connections",
    "This service has as many connections as it takes, and all of them are in use.",
    retry_after(1),
)


def body_limit(method: bytes, url: bytes) -> int:
    """The most bytes that a body of this request may have."""
    return FILE_LIMIT_BYTES if method == b"PUT" and _FILES.match(url) is not None else BODY_LIMIT_BYTES


def head_refusal(url: bytes, headers: list[Header], body_bytes: int, blank_bytes: int) -> Reply | None:
    """What is wrong with this head, to which a body of so many bytes may belong; None if nothing is.

    `blank_bytes` stood behind the values, and are no part of them.
    """
    head_bytes, hosts = len(url) + blank_bytes, 0
    for name, value in headers:
        head_bytes += len(name) + len(value) + _FIELD_OVERHEAD_BYTES
        if name == b"content-length" and int(value) > body_bytes:
            return body_too_large(body_bytes)
        hosts += name == b"host"
    if head_bytes > HEAD_LIMIT_BYTES or len(headers) > FIELD_LIMIT:
        return head_too_large()
    return failure(400, "Bad request", "A request names one Host.") if hosts > 1 else None


def head_too_large() -> Reply:
    text = f"A request line with its header fields has at most {HEAD_LIMIT_BYTES} bytes and {FIELD_LIMIT} fields."
    return failure(431, "Request head too large", text)


def body_too_large(limit: int) -> Reply:
    return failure(413, "Request body too large", f"At most {limit} bytes are read.")


def late(part: str, within_s: float) -> Reply:
    return failure(408, "Request timeout", f"The {part} of a request must be sent within {within_s:g} s.")
