"""Where the service listens. Beyond this machine only with a token, since every caller can create containers."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Final

from worker_orchestrator.errors import InvalidSetting, PortInUse

__all__ = ["has_ipv6_loopback", "is_beyond_loopback", "listen", "own_url"]

_Endpoint = tuple[socket.AddressFamily, tuple[str, int]]
_LOOPBACK: Final = ("127.0.0.1", "::1")
_LOCAL: Final = frozenset({"localhost", "0.0.0.0", "::", *_LOOPBACK})  # noqa: S104 # all addresses


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def listen(host: str, port: int) -> list[socket.socket]:
    """Bound sockets; for localhost on 127.0.0.1 and, if this machine has it, ::1.

    Raises PortInUse if another process listens there, InvalidSetting if the address cannot be bound for another reason.
    """
    sockets = []
    for address in _addresses(host):
        try:
            family, endpoint = _resolve(address, port)
            listener = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(endpoint)
        except OSError as error:
            for opened in sockets:
                opened.close()
            failure = PortInUse if error.errno == errno.EADDRINUSE else InvalidSetting
            raise failure(
                f"Cannot listen on --port {port} of {address}: {error.strerror or error}. "
                "Stop the process that uses it, or choose another with --port or --host.",
            ) from None
    return sockets


def own_url(host: str, port: int) -> str:
    """The URL by which this computer reaches what listens on this host and port."""
    host = "localhost" if host in _LOCAL else host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_beyond_loopback(host: str) -> bool:
    """Whether other machines can reach what listens on this name or address (0.0.0.0 and :: are all addresses)."""
    try:
        hosts = [_resolve(address, 0)[1][0] for address in _addresses(host)]
    except OSError:
        return True  # `listen` raises the error
    return not all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in hosts)


def _addresses(host: str) -> tuple[str, ...]:
    if host != "localhost":
        return (host,)
    return _LOOPBACK if has_ipv6_loopback() else _LOOPBACK[:1]


def _resolve(address: str, port: int) -> _Endpoint:
    family, *_, endpoint = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return family, endpoint  # type: ignore[return-value] # of AF_INET and AF_INET6
