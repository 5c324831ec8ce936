"""Asks over the network whether a worker serves, and says in words what answers instead.

A published Docker port accepts connections before the worker listens and after it died, because a proxy holds it. So a TCP
connect alone proves nothing: `http` asks for a response (any status will do), and `tcp` waits a moment for the proxy to
hang up.

A server that speaks something else never becomes ready by waiting, so it is named if its first bytes show what it is. A
server that only hangs up at an HTTP request is told from a proxy with nothing behind it by a second connection on which
nothing is asked, and from one of TLS by a greeting. That costs connections, so it is only done with `closely`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import ssl
from typing import Final

from worker_orchestrator.errors import EngineUnavailable

__all__ = ["NOTHING", "PROBE_TIMEOUT_S", "REFUSED", "http_probe", "tcp_probe"]

PROBE_TIMEOUT_S: Final = 1.0
NOTHING: Final = "nothing answers"
"""Each result that leaves open whether anything is there begins with this."""
REFUSED: Final = f"{NOTHING} on port"
"""Those of them where not even a proxy took the connection."""
_PROXY_HANGS_UP_S: Final = 0.05
_OUR_OWN: Final = frozenset({
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENETUNREACH,
})  # fmt: skip
"""What this process, this computer or its network lacks: the worker was not even asked."""
_HTTP: Final = b"HTTP/"
_SHOWN_BYTES: Final = 40
_TLS: Final = re.compile(rb"[\x15\x16]\x03")
_PROTOCOLS: Final = (
    (_TLS, "only TLS, not plain HTTP"),
    (re.compile(rb"\0..[\x04\x07]", re.DOTALL), "only HTTP/2, not HTTP/1.1"),
    (re.compile(rb"SSH-"), "SSH"),
    (re.compile(rb"220[ -]"), "SMTP or FTP"),
    (re.compile(rb"-(?:ERR|DENIED|NOAUTH)|\+OK|\* OK"), "a protocol like that of Redis, POP3 or IMAP"),
    (re.compile(rb"...\0\x0a", re.DOTALL), "MySQL"),
)
_ADVICE: Final = "if that is intended, serve with --ready tcp"


async def http_probe(
    host: str, port: int, path: str = "/", *, limit_s: float = PROBE_TIMEOUT_S, closely: bool = False
) -> str | None:
    """None if anything that speaks HTTP answers a GET there within `limit_s`, else what happened, in words.

    `closely`: a server that hangs up without a word is examined on further connections, for a second at most.
    """
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: worker-orchestrator\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(limit_s), _connection(host, port) as (reader, writer):
            writer.write(request.encode("ascii"))
            first_bytes = await _first_bytes(reader)
    except TimeoutError:
        return f"no answer on port {port} within {limit_s:g} s"
    except OSError as error:
        return _refused(port, error)
    if first_bytes.startswith(_HTTP):
        return None
    if first_bytes and not _HTTP.startswith(first_bytes):
        return _other_protocol(port, first_bytes)
    return (await _hung_up(host, port) if closely else "") or f"{NOTHING} behind port {port}"


async def tcp_probe(host: str, port: int, limit_s: float = PROBE_TIMEOUT_S) -> str | None:
    """None if something accepts a connection there and keeps it, else what happened, in words."""
    try:
        async with asyncio.timeout(limit_s), _connection(host, port) as (reader, _):
            try:
                async with asyncio.timeout(_PROXY_HANGS_UP_S):
                    first_byte = await reader.read(1)
            except TimeoutError:
                return None  # it is still there, and waits for us to speak first
    except TimeoutError:
        return f"no connection to port {port} within {limit_s:g} s"
    except OSError as error:
        return _refused(port, error)
    return None if first_byte else f"{NOTHING} behind port {port}"


async def _first_bytes(reader: asyncio.StreamReader) -> bytes:
    """The beginning of the answer, long enough to show whether it is HTTP; shorter if the other side ends before."""
    first_bytes = b""
    while len(first_bytes) < len(_HTTP) and _HTTP.startswith(first_bytes):
        more = await reader.read(_SHOWN_BYTES)
        if not more:
            break
        first_bytes += more
    return first_bytes


def _other_protocol(port: int, first_bytes: bytes) -> str:
    name = next((name for pattern, name in _PROTOCOLS if pattern.match(first_bytes)), "")
    if name:
        return f"the server on port {port} speaks {name}: {_ADVICE}"
    line = first_bytes[:_SHOWN_BYTES].splitlines()[0] if first_bytes.splitlines() else b""
    shown = ascii(line.decode("latin-1"))
    return f"the server on port {port} does not speak HTTP (its reply begins with {shown}): {_ADVICE}"


async def _hung_up(host: str, port: int) -> str:
    """What it is that hangs up at an HTTP request without a word; empty if nothing is there."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            if await tcp_probe(host, port) is not None:
                return ""
            async with _connection(host, port) as (reader, writer):
                writer.write(_greeting())
                with contextlib.suppress(TimeoutError, OSError):
                    first_bytes = await reader.read(_SHOWN_BYTES)
                    if _TLS.match(first_bytes):
                        return _other_protocol(port, first_bytes)
    except (TimeoutError, OSError):
        return ""
    return f"the server on port {port} closes the connection at an HTTP request: {_ADVICE}"


def _greeting() -> bytes:
    """The first message of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    sent = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    return sent.read()


def _refused(port: int, error: OSError) -> str:
    """What it says of the worker that no connection could be made. Raises EngineUnavailable if it says nothing of it."""
    why = error.strerror or str(error)
    if isinstance(error, socket.gaierror) or error.errno in _OUR_OWN:
        raise EngineUnavailable(f"Port {port} cannot be reached from here ({why}).") from error
    return f"{REFUSED} {port} ({why})"


class _connection:  # noqa: N801 # reads as a verb
    """A TCP connection that is closed at the end without waiting for the other side."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return reader, self._writer

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
