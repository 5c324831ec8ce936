"""Large bodies over one connection: how long a download or an upload takes. Nothing of them is kept."""

from __future__ import annotations

import socket
import time
from typing import Final

__all__ = ["down", "up"]

_PIECE: Final = bytes(256 * 1024)
_STUCK_S: Final = 60.0
_END: Final = b"\r\n\r\n"


def down(port: int, host: str, count: int) -> float:
    """The seconds until all of `GET /large/…` is here."""
    with socket.create_connection(("127.0.0.1", port), _STUCK_S) as line:
        buffer = bytearray(len(_PIECE))
        begun = time.perf_counter()
        line.sendall(b"GET /large/%d HTTP/1.1\r\nHost: %s\r\n\r\n" % (count, host.encode()))
        left = count - len(_after_head(line))
        while left:
            left -= _some(line.recv_into(buffer))
        return time.perf_counter() - begun


def up(port: int, host: str, count: int) -> float:
    """The seconds until the reply to an upload is here."""
    with socket.create_connection(("127.0.0.1", port), _STUCK_S) as line:
        begun = time.perf_counter()
        line.sendall(b"PUT /up HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (host.encode(), count))
        for at in range(0, count, len(_PIECE)):
            line.sendall(_PIECE[: count - at])
        _after_head(line)
        return time.perf_counter() - begun


def _after_head(line: socket.socket) -> bytes:
    """Read the head of a reply. Returns what came of its body."""
    came = b""
    while _END not in came:
        data = line.recv(len(_PIECE))
        _some(len(data))
        came += data
    head, _, rest = came.partition(_END)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"no good reply: {head[:200]!r}")
    return rest


def _some(count: int) -> int:
    if not count:
        raise ConnectionError("the connection ended within a reply")
    return count
