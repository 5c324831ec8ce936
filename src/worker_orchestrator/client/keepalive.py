"""Socket options by which a vanished peer is noticed within a minute, also on a connection where neither side writes."""

from __future__ import annotations

import socket
from typing import Final

__all__ = ["socket_options"]

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""First question after 30 s of silence, then one every 10 s; the connection ends after three without a reply."""


def socket_options() -> list[tuple[int, int, int]]:
    """Level, option and value of each; without those that this system does not have."""
    keepalive = [(getattr(socket, name), value) for name, value in _KEEPALIVE if hasattr(socket, name)]
    return [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *((socket.IPPROTO_TCP, option, value) for option, value in keepalive),
    ]
