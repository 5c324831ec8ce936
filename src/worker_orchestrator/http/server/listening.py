"""Where the service listens. Beyond this machine only with a token, since whoever reaches it can create containers."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from worker_orchestrator.errors import InvalidSetting

__all__ = ["has_ipv6_loopback", "is_beyond_loopback", "listen"]

_Where = tuple[socket.AddressFamily, tuple[str, int]]
_LOOPBACK: Final = ("127.0.0.1", "::1")


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def listen(host: str, port: int) -> list[socket.socket]:
    """Bound sockets: for localhost on 127.0.0.1 and, where there is one, ::1.

    Raises InvalidSetting where the address cannot be had.
    """
    sockets = []
    for address in _addresses(host):
        try:
            family, where = _resolve(address, port)
            listener = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(where)
        except OSError as error:
            for opened in sockets:
                opened.close()
            raise InvalidSetting(
                f"--port {port} on {address} cannot be listened on: {error.strerror or error}. "
                "Stop what uses it, or choose another with --port or --host.",
            ) from None
    return sockets


def is_beyond_loopback(host: str) -> bool:
    """Whether others than this machine can reach what listens on this name or address (0.0.0.0 and :: are all of them)."""
    try:
        found = [_resolve(address, 0)[1][0] for address in _addresses(host)]
    except OSError:
        return True  # `listen` says more
    return not all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


def _addresses(host: str) -> tuple[str, ...]:
    if host != "localhost":
        return (host,)
    return _LOOPBACK if has_ipv6_loopback() else _LOOPBACK[:1]


def _resolve(address: str, port: int) -> _Where:
    family, *_, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return family, where  # type: ignore[return-value] # of AF_INET and AF_INET6
