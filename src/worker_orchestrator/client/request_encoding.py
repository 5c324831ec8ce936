"""A request as it is sent: its target, its headers and the pieces of its body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from worker_orchestrator.client.call_steps import Request, Upload

__all__ = ["PIECE_BYTES", "body_pieces", "headers_of", "request_target"]

PIECE_BYTES: Final = 64 * 1024


def request_target(url: str, request: Request) -> str:
    """Path and query, below the path that the service's address may have."""
    query = "&".join(f"{name}={quote(value, safe='', errors='surrogateescape')}" for name, value in request.query)
    return urlsplit(url).path + request.path + ("?" + query if query else "")


def headers_of(request: Request, common: Mapping[str, str]) -> dict[str, str]:
    """All headers, with the length of the body where it is known."""
    body = request.body
    size = body.size if isinstance(body, Upload) else None if body is None else len(body)
    length = {} if size is None else {"content-length": str(size)}
    return {**common, **request.headers, **length}


def body_pieces(body: bytes | Upload) -> Iterator[bytes]:
    """The body from its beginning, also where it was sent before.

    Of a file no more is sent than was announced, even if it has grown since: the service would take the rest for another
    request. Raises OSError if the file has become shorter.
    """
    if isinstance(body, bytes):
        yield from (body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES))
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
            raise OSError(f"the file became {left} bytes shorter while it was sent")
        left -= len(piece)
        yield piece
