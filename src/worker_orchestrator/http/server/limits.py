"""All limits of one request and one connection, in bytes, fields and seconds, and the replies to what exceeds them.

Two limits are elsewhere: how many connections there may be follows from the file descriptors (`uvicorn_server`), and how
many requests a client may send in a second is a setting (`access/callers`).
"""

from __future__ import annotations

import re
from typing import Final

from worker_orchestrator.http.reply import Header, Reply, failure, retry_after

__all__ = [
    "ASSIGN_LIMIT_BYTES",
    "BODY_FIELDS",
    "BODY_LIMIT_BYTES",
    "BODY_S",
    "FIELD_LIMIT",
    "FILE_LIMIT_BYTES",
    "HEAD_LIMIT_BYTES",
    "HEAD_S",
    "IDLE_S",
    "LINGER_BYTES",
    "LINGER_S",
    "LOGIN_BODY_LIMIT_BYTES",
    "NOT_HTTP",
    "NO_ROOM",
    "PIPELINE_LIMIT",
    "STOP_S",
    "UNREAD_S",
    "body_limit",
    "body_too_large",
    "head_refusal",
    "head_too_large",
    "late",
]

HEAD_LIMIT_BYTES: Final = 32 * 1024
FIELD_LIMIT: Final = 100
BODY_LIMIT_BYTES: Final = 1024 * 1024
LOGIN_BODY_LIMIT_BYTES: Final = 4096
ASSIGN_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""An assign with values for the worker: 1 MiB of files as base64, and all else."""
FILE_LIMIT_BYTES: Final = 1024 * 1024 * 1024
"""A file, or an archive of files, that is written into a worker."""
PIPELINE_LIMIT: Final = 100
"""Requests of one connection that wait for the replies before theirs."""

HEAD_S: Final = 10.0
"""From the first byte of a head to its last."""
BODY_S: Final = 30.0
"""For a whole body; for a file, from one part of it to the next."""
UNREAD_S: Final = 30.0
"""So long a client may leave unread what was sent to it."""
IDLE_S: Final = 5
"""So long a connection is kept after a reply."""
STOP_S: Final = 5
"""So long requests that are being answered may go on when the service stops."""
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 16 * 1024 * 1024
"""So long, and up to so many bytes, a connection is still read after an error, and the bytes are dropped: a client that
writes everything before it reads would lose the reply if the connection was closed at once."""

BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})
"""The header fields that say how long a body is."""
_FIELD_OVERHEAD_BYTES: Final = 4  # colon, space and line end
_FILES: Final = re.compile(rb"/v1/machines/[^/?]+/files/?(?:\?|$)")
_E2B_FILES: Final = re.compile(rb"/e2b/files/?(?:\?|$)")
_ASSIGN: Final = re.compile(rb"/v1/projects/[^/?]+/machine/?(?:\?|$)")

NOT_HTTP: Final = failure(400, "Bad request", "This is not a valid HTTP/1.1 request.")
NO_ROOM: Final = failure(
    503,
    "Too many connections",
    "This service has as many connections as it allows, and all of them are in use. Try again in a second.",
    retry_after(1),
)


def body_limit(method: bytes, url: bytes) -> int:
    """The most bytes that a body of this request may have."""
    if method == b"POST" and _E2B_FILES.match(url) is not None:
        return FILE_LIMIT_BYTES
    if method != b"PUT":
        return BODY_LIMIT_BYTES
    if _FILES.match(url) is not None:
        return FILE_LIMIT_BYTES
    return ASSIGN_LIMIT_BYTES if _ASSIGN.match(url) is not None else BODY_LIMIT_BYTES


def head_refusal(url: bytes, headers: list[Header], body_bytes: int, blank_bytes: int) -> Reply | None:
    """The reply to a head that breaks a limit; None if it breaks none. A body of at most `body_bytes` may follow it.

    `blank_bytes` were sent behind the values of the fields, and are not in `headers`.
    """
    head_bytes, hosts = len(url) + blank_bytes, 0
    for name, value in headers:
        head_bytes += len(name) + len(value) + _FIELD_OVERHEAD_BYTES
        if name == b"content-length" and int(value) > body_bytes:
            return body_too_large(body_bytes)
        hosts += name == b"host"
    if head_bytes > HEAD_LIMIT_BYTES or len(headers) > FIELD_LIMIT:
        return head_too_large()
    return failure(400, "Bad request", "Send the header Host only once.") if hosts > 1 else None


def head_too_large() -> Reply:
    text = f"The request line and the header fields may have at most {HEAD_LIMIT_BYTES} bytes and {FIELD_LIMIT} fields."
    return failure(431, "Request head too large", text)


def body_too_large(limit_bytes: int) -> Reply:
    instead = (
        " Assign with fewer files, and write the others afterwards with PUT /v1/machines/{id}/files."
        if limit_bytes == ASSIGN_LIMIT_BYTES
        else ""
    )
    return failure(413, "Request body too large", f"The body may have at most {limit_bytes} bytes.{instead}")


def late(part: str, within_s: float) -> Reply:
    """The reply to a request of which this part ("head" or "body") did not come in time."""
    return failure(408, "Request timeout", f"The {part} of a request must be sent within {within_s:g} s.")
