"""Whether a worker serves: one question over the network, answered within a second.

A published Docker port accepts connections before the worker listens and after it died, because a proxy holds it. So a TCP
connect alone proves nothing: `http` asks for a response (any status will do), and `tcp` waits a moment for the proxy to
hang up.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import Final

from worker_orchestrator.errors import EngineUnavailable

__all__ = ["PROBE_TIMEOUT_S", "http_probe", "tcp_probe"]

PROBE_TIMEOUT_S: Final = 1.0
_PROXY_HANGS_UP_S: Final = 0.05
_OUR_OWN: Final = frozenset({
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENETUNREACH,
})  # fmt: skip
"""What this process or this computer lacks, or its own network: the worker was not even asked."""


async def http_probe(host: str, port: int, path: str = "/", timeout_s: float = PROBE_TIMEOUT_S) -> str | None:
    """None if anything that speaks HTTP answers a GET there, else what happened, in words."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: worker-orchestrator\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(timeout_s), _connection(host, port) as (reader, writer):
            writer.write(request.encode("ascii"))
            start = await reader.readexactly(5)
    except TimeoutError:
        return f"no answer on port {port} within {timeout_s:g} s"
    except asyncio.IncompleteReadError:
        return f"nothing answers behind port {port}"
    except OSError as error:
        return _refused(port, error)
    return None if start == b"HTTP/" else f"what answers on port {port} does not speak HTTP"


async def tcp_probe(host: str, port: int, timeout_s: float = PROBE_TIMEOUT_S) -> str | None:
    """None if something accepts a connection there and keeps it, else what happened, in words."""
    try:
        async with asyncio.timeout(timeout_s), _connection(host, port) as (reader, _):
            try:
                async with asyncio.timeout(_PROXY_HANGS_UP_S):
                    spoken = await reader.read(1)
            except TimeoutError:
                return None  # it is still there, and waits for us to speak first
    except TimeoutError:
        return f"no connection to port {port} within {timeout_s:g} s"
    except OSError as error:
        return _refused(port, error)
    return None if spoken else f"nothing answers behind port {port}"


def _refused(port: int, error: OSError) -> str:
    """What a connection that could not be made says of the worker. Raises EngineUnavailable where it says nothing of it."""
    why = error.strerror or str(error)
    if isinstance(error, socket.gaierror) or error.errno in _OUR_OWN:
        raise EngineUnavailable(f"port {port} cannot be asked from here ({why})") from error
    return f"nothing answers on port {port} ({why})"


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
