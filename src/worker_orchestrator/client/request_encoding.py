"""What both drivers need to put a request on the wire and to say why that failed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from worker_orchestrator.client.call_steps import Request, Upload

__all__ = ["PIECE_BYTES", "headers_of", "pieces", "target", "why"]

PIECE_BYTES: Final = 64 * 1024
_CUT: Final = frozenset(
    {
        "ClientPayloadError",
        "IncompleteRead",
        "InvalidChunkLength",
        "ServerDisconnectedError",
    }
)
"""By name: neither library is loaded for the sake of the other."""


def target(url: str, request: Request) -> str:
    """Path and query, below the path that the service's address may have."""
    query = "&".join(f"{name}={quote(value, safe='', errors='surrogateescape')}" for name, value in request.query)
    return urlsplit(url).path + request.path + ("?" + query if query else "")


def headers_of(request: Request, common: Mapping[str, str]) -> dict[str, str]:
    """All headers, with the length of the body where it is known."""
    body = request.body
    size = body.size if isinstance(body, Upload) else None if body is None else len(body)
    length = {} if size is None else {"content-length": str(size)}
    return {**common, **request.headers, **length}


def pieces(body: bytes | Upload) -> Iterator[bytes]:
    """The body from its beginning, however often it was sent before.

    No more of a file than was announced, whatever was written to it since: the rest would be taken for another request.
    Raises OSError where it has become shorter.
    """
    if isinstance(body, bytes):
        yield from (body[place : place + PIECE_BYTES] for place in range(0, len(body), PIECE_BYTES))
        return
    if body.size is None:
        while piece := body.file.read(PIECE_BYTES):
            yield piece
        return
    body.file.seek(body.start)
    left = body.size
    while left:
        piece = body.file.read(min(PIECE_BYTES, left))
        if not piece:
            raise OSError(f"the file has become {left} bytes shorter while it was sent")
        left -= len(piece)
        yield piece


def why(error: BaseException) -> str:
    """The reason at the bottom of what a library raised, in a few words."""
    seen: list[BaseException] = []
    below: BaseException | None = error
    while below is not None and below not in seen:
        seen.append(below)
        below = below.__cause__ or below.__context__ or next((a for a in below.args if isinstance(a, Exception)), None)
    for found in reversed(seen):
        if broken := _broken_tls(found):
            return broken
        if isinstance(found, OSError) and found.errno and found.errno > 0:
            return os.strerror(found.errno).lower()
        if isinstance(found, OSError) and found.strerror:  # names that cannot be looked up have numbers of their own
            return found.strerror.lower()
    if any(isinstance(found, TimeoutError) or "Timeout" in type(found).__name__ for found in seen):
        return "no answer in time"
    if any(_is_cut(found) for found in seen):
        return "the connection was cut"
    return str(error) or type(error).__name__


def _broken_tls(error: BaseException) -> str:
    """Why TLS came to nothing; empty for any other error. TLS has error numbers of its own, which are not the system's."""
    import ssl  # noqa: PLC0415

    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        return f"its certificate is not trusted ({reason}; SSL_CERT_FILE names a file of authorities to trust)"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS, which https:// needs"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "the connection was cut"
    if isinstance(error, ssl.SSLError):
        return f"no TLS came about ({str(error.reason or error).replace('_', ' ').lower()})"
    return ""


def _is_cut(error: BaseException) -> bool:
    return isinstance(error, ConnectionError) or type(error).__name__ in _CUT or "ended prematurely" in str(error)
