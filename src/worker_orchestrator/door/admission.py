"""What a visitor shows to be let in, and how a link becomes a cookie. Whether it is good, the service says.

The parameter of a link is dropped by a redirect, so that it neither stays in the address nor reaches the worker, and no page
gets it as a referrer.
"""

from __future__ import annotations

from typing import Final

from worker_orchestrator.door.heads import RequestHead
from worker_orchestrator.door.messages import Shown

__all__ = ["COOKIE", "PARAMETER", "TOKEN", "passes_in", "redirect", "shown_by", "text_of", "without_link"]

COOKIE: Final = "orchestrator_preview"
PARAMETER: Final = "orchestrator_link"
_COOKIE: Final = COOKIE.encode()
_PARAMETER: Final = PARAMETER.encode()
TOKEN: Final = b"x-orchestrator-token"
_MOST_PASSES: Final = 5
_LONGEST: Final = 512


def shown_by(head: RequestHead, address: str) -> Shown:
    """What this request shows. `address` is that of the client."""
    token = text_of(head.get(TOKEN))
    return Shown(text_of(_link(head.target)), passes_in(head.get(b"cookie")), token, address if token else "")


def passes_in(cookie: bytes) -> tuple[str, ...]:
    """What came of links, of all that is in the header Cookie."""
    if _COOKIE not in cookie:
        return ()
    named = (pair.strip(b" \t").partition(b"=") for pair in cookie.split(b";"))
    passes = [value for name, _, value in named if name == _COOKIE and value]
    return tuple(dict.fromkeys(map(text_of, passes[:_MOST_PASSES])))


def without_link(target: bytes) -> bytes:
    """The target of a request without the parameter."""
    path, _, query = target.partition(b"?")
    kept = b"&".join(field for field in query.split(b"&") if not _is_link(field))
    return path + (b"?" + kept if kept else b"")


def redirect(head: RequestHead, cookie: str) -> bytes:
    """A whole reply that leads to the same page without the parameter, and sets this cookie unless it is empty."""
    # Two slashes at the front would be another host.
    place = b"/" + without_link(head.target).lstrip(b"/\\")
    lines = [
        b"HTTP/1.1 303 See Other",
        b"Location: %b" % place,
        b"Content-Length: 0",
        b"Cache-Control: no-store",
        b"Referrer-Policy: no-referrer",
        *([b"Set-Cookie: %b" % cookie.encode()] if cookie else ()),
        b"Connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _link(target: bytes) -> bytes:
    if _PARAMETER not in target:
        return b""
    fields = target.partition(b"?")[2].split(b"&")
    return next((field.partition(b"=")[2] for field in fields if _is_link(field)), b"")


def _is_link(field: bytes) -> bool:
    return field.partition(b"=")[0] == _PARAMETER


def text_of(value: bytes) -> str:
    """What is too long is nothing that the service gave."""
    return value.decode("latin-1") if len(value) <= _LONGEST else ""
