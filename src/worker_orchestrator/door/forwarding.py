"""What of a head goes on to the other side. Heads are written anew, from the fields that were read.

* What concerns one connection only stays here: Connection and what it names, Keep-Alive, Upgrade, the framing of the body.
* The worker hears from us who asked, and never from the client: `Forwarded` and `X-Forwarded-…` are written anew.
* What belongs to the service never reaches a worker: its token and its cookies.
* A worker sets cookies for its own host alone: `Domain` is dropped, or one project could set cookies for all others.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from worker_orchestrator.door.heads import CHUNKED, ReplyHead, RequestHead

__all__ = ["kept_cookies", "reply_to_client", "request_to_worker"]

_ONE_CONNECTION: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te", b"http2-settings"),
        *(b"transfer-encoding", b"content-length"),
    }
)
_NOT_TO_WORKER: Final = _ONE_CONNECTION | {
    *(b"host", b"forwarded", b"x-forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"),
    *(b"x-forwarded-port", b"x-forwarded-server", b"x-forwarded-prefix", b"x-forwarded-ssl", b"x-real-ip"),
    *(b"x-orchestrator-token", b"proxy-authorization", b"proxy"),
}
_NOT_TO_CLIENT: Final = _ONE_CONNECTION
_OWN_COOKIES: Final = (b"orchestrator_",)
_DOMAIN: Final = re.compile(rb"\s*domain\s*(?:=.*)?", re.IGNORECASE | re.DOTALL)


def request_to_worker(head: RequestHead, client: str, scheme: str = "http", *, authority: bytes = b"") -> bytes:
    """The head for the worker. `client` is the address of who asked, `scheme` that of the address of the preview.

    `authority` stands in the place of the Host.
    """
    lines = [b"%b %b HTTP/1.1" % (head.method, head.target), b"Host: %b" % (authority or head.host)]
    options = head.options
    for known, name, value in head.fields:
        if known in _NOT_TO_WORKER or known in options or (b"_" in known and _is_forged(known)):
            continue
        if known == b"cookie":
            kept = kept_cookies(value)
            if kept:
                lines.append(b"%b: %b" % (name, kept))
        elif known == b"origin" and authority and value.partition(b"://")[2] == head.host:
            lines.append(b"%b: %b://%b" % (name, value.partition(b"://")[0], authority))
        else:
            lines.append(b"%b: %b" % (name, value))
    if head.length is not None:
        lines += _framing(head.length)
    lines.append(_forwarded(head.host, client, scheme))
    if head.upgrade:
        lines += [b"Connection: Upgrade", b"Upgrade: %b" % head.upgrade]
    elif b"te" in head.options and b"trailers" in head.get(b"te").lower():
        lines += [b"Connection: TE", b"TE: trailers"]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def reply_to_client(reply: ReplyHead, request: RequestHead, length: int | None, *, keep_alive: bool) -> bytes:
    """The head for the client. `length` is how the body is framed for it; None: it goes on until the connection ends."""
    lines = [b"HTTP/1.1 %d %b" % (reply.status, reply.reason)]
    options = reply.options
    for known, name, value in reply.fields:
        if known == b"set-cookie":
            cookie = _without_domain(value)
            if cookie:
                lines.append(b"%b: %b" % (name, cookie))
        elif (known not in _NOT_TO_CLIENT and known not in options) or (known == b"upgrade" and reply.status == 426):
            lines.append(b"%b: %b" % (name, value))
    if reply.status == 101:
        lines += [b"Connection: Upgrade", b"Upgrade: %b" % request.upgrade]
    elif reply.status >= 200:
        lines += _framing_of_reply(reply, request, length)
        if not keep_alive:
            lines.append(b"Connection: close")
        elif request.is_old:
            lines.append(b"Connection: keep-alive")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _framing_of_reply(reply: ReplyHead, request: RequestHead, length: int | None) -> list[bytes]:
    if reply.status == 204:
        return []
    if reply.length == 0 and reply.declared:  # to a HEAD, or an empty body
        return [b"Content-Length: %b" % reply.declared]
    return [] if reply.status == 304 or request.method == b"HEAD" else _framing(length)


def _framing(length: int | None) -> list[bytes]:
    if length is None:
        return []
    return [b"Transfer-Encoding: chunked"] if length == CHUNKED else [b"Content-Length: %d" % length]


def _is_forged(name: bytes) -> bool:
    """Whether a program could take it for a field that only we write."""
    return name.replace(b"_", b"-") in _NOT_TO_WORKER


@lru_cache(maxsize=1024)
def _forwarded(host: bytes, client: str, scheme: str) -> bytes:
    """The lines that say who asked: the same ones for all requests of a client to a host."""
    address, told = client.encode("ascii", "replace"), scheme.encode()
    node = b'"[%b]"' % address if b":" in address else address or b"unknown"
    lines = (
        b"X-Forwarded-For: %b" % (address or b"unknown"),
        b"X-Forwarded-Host: %b" % host,
        b"X-Forwarded-Proto: %b" % told,
        b'Forwarded: for=%b;host="%b";proto=%b' % (node, host, told),
    )
    return b"\r\n".join(lines)


def kept_cookies(value: bytes) -> bytes:
    """The cookies of the page; those of the service are left out."""
    pairs = [pair.strip(b" \t") for pair in value.split(b";")]
    return b"; ".join([pair for pair in pairs if pair and not pair.startswith(_OWN_COOKIES)])


def _without_domain(cookie: bytes) -> bytes:
    """The cookie for this host alone; empty if it has a name of the service's."""
    first, *attributes = cookie.split(b";")
    if first.strip(b" \t").startswith(_OWN_COOKIES):
        return b""
    return b";".join([first, *(one for one in attributes if _DOMAIN.fullmatch(one) is None)])
