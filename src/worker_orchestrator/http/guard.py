"""Who may call. A GET creates containers here, so a page on the internet must not make a developer's browser send one.

* The Host must be a name that only a caller on this machine uses, or an allowed one: else a foreign name that resolves
  to 127.0.0.1 (DNS rebinding) would make the service same-origin with its page.
* An Origin must be ours, on loopback or allowed; without one, a request that the browser marks cross-site is refused.
* What a browser fetches on speculation takes no machine.

Sources: https://www.w3.org/TR/fetch-metadata/, https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from worker_orchestrator.http.reply import Header, Reply, failure

__all__ = ["Guard", "is_speculative"]

_LOCAL_NAMES = frozenset({"localhost", "host.docker.internal"})
_METHODS = b"GET, HEAD, POST, DELETE, OPTIONS"


class Guard:
    """Judges a request by its headers (names in lower case). `allow_hosts` are names, `allow_origins` whole origins."""

    def __init__(self, allow_hosts: Iterable[str] = (), allow_origins: Iterable[str] = ()) -> None:
        self._hosts = _LOCAL_NAMES | {name.lower().rstrip(".") for name in allow_hosts}
        self._origins = frozenset(origin.lower().rstrip("/") for origin in allow_origins)

    def refusal(self, headers: Mapping[bytes, bytes]) -> Reply | None:
        """Why this caller is turned away; None if it may call."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._knows_host(host):
            return failure(
                403,
                "Host not allowed",
                f"The host {host!r} is not allowed. Call localhost, or start the service with --allow-host NAME.",
            )
        origin = headers.get(b"origin")
        if origin is not None:
            return None if self._knows_origin(origin, host) else _cross_site(origin.decode("latin-1"))
        if headers.get(b"sec-fetch-site") == b"cross-site":
            return _cross_site("another site")
        return None

    def cors(self, headers: Mapping[bytes, bytes]) -> list[Header]:
        """The headers that let this caller's page read the reply; `refusal` has let it pass."""
        origin = headers.get(b"origin")
        if origin is None:
            return [(b"vary", b"Origin")]
        granted = [(b"vary", b"Origin"), (b"access-control-allow-origin", origin)]
        if b"access-control-request-method" in headers:
            granted += [
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-max-age", b"600"),
                (b"access-control-allow-headers", headers.get(b"access-control-request-headers", b"content-type")),
            ]
        if headers.get(b"access-control-request-private-network") == b"true":
            granted.append((b"access-control-allow-private-network", b"true"))
        return granted

    def _knows_host(self, host: str) -> bool:
        name = _hostname(f"//{host}")
        return name is not None and (name in self._hosts or _is_loopback(name))

    def _knows_origin(self, origin: bytes, host: str) -> bool:
        text = origin.decode("latin-1").lower()
        if text in self._origins:
            return True
        name = _hostname(text)
        if name is None or not text.startswith(("http://", "https://")):
            return False
        return name == "localhost" or _is_loopback(name) or text.partition("://")[2] == host.lower()


def is_speculative(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser asks for a page that nobody has opened yet."""
    purpose = headers.get(b"sec-purpose", b"") + headers.get(b"purpose", b"") + headers.get(b"x-moz", b"")
    return b"prefetch" in purpose.lower() or b"prerender" in purpose.lower()


def _cross_site(origin: str) -> Reply:
    return failure(
        403,
        "Cross-site request refused",
        f"Requests from {origin} are not allowed. If it is yours, start the service with --allow-origin ORIGIN.",
    )


def _hostname(url: str) -> str | None:
    """The host of a URL in lower case, without port, brackets and final dot; None for what is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path not in {"", "/"} or not parts.hostname:
        return None
    return parts.hostname.rstrip(".")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
