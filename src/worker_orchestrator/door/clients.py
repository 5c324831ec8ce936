"""Which addresses are one client. The service and the door count their connections by it."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

__all__ = ["client_of", "is_on_loopback"]


@lru_cache(maxsize=1024)
def client_of(address: str) -> str:
    """The client that an address stands for: the address itself, and in IPv6 its /64, since one host may use all of that."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""  # a local socket: all its callers are one client
    if isinstance(ip, ipaddress.IPv4Address) or ip.is_loopback:
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def is_on_loopback(client: str) -> bool:
    """Whether a client, as `client_of` names it, calls from this machine."""
    return client.startswith("127.") or client in {"::1", ""}
