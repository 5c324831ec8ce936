"""Which hosts and sites may call. A GET creates containers, so no page on the internet may make a browser send one.

* The Host must be a name that only a caller on this machine uses, or an allowed one: else a foreign name that resolves
  to 127.0.0.1 (DNS rebinding) would make the service same-origin with its page. If a token is required, any Host is allowed:
  no browser sends the token by itself, so such a page gets nothing, and a caller on another machine uses whatever name or
  address it knows for this one.
* An Origin must be ours, on loopback or allowed. Without an Origin, a request that the browser marks as cross-site is
  refused. An origin with a port of the workers is not taken for ours, since some project wrote the page of a worker. Pages
  on one host are same-site whatever their port, and an image or a link sends no Origin, so there the Referer must name the
  page.
* A host of a preview is none of ours, as a Host and as an Origin, whatever else is allowed: some project wrote its pages.
  Below their domain an origin counts only if it is allowed by name, and on a port on which there are no previews.
* Links of all sites may lead a person to the dashboard's page, in a tab of its own. It is the same for all, and commands
  nothing until somebody does.
* A browser's prefetch is given no machine. Neither is its request over plain HTTP to another name than loopback, if no token
  is required: there browsers do not say which site the request comes from.

Sources: https://www.w3.org/TR/fetch-metadata/, https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from typing import Final

from worker_orchestrator.http.access.authority import USUAL_PORTS, hostname, port_of
from worker_orchestrator.http.reply import Header, Reply, failure, retry_after

__all__ = ["Guard"]

_LOCAL_NAMES = frozenset({"localhost", "host.docker.internal"})
_BROWSER: Final = b"Mozilla/"
_FROM_BROWSERS: Final = frozenset(
    {b"access-control-request-method", b"origin", b"purpose", b"referer", b"sec-fetch-site", b"sec-purpose", b"x-moz"}
)
"""The headers that `refusal` and `assign_refusal` read beside the host and the user agent."""
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED = b"ETag, Retry-After, X-Request-Id"
_ORIGIN: Final = re.compile(r"(https?)://([^/]+)(?:/.*)?")
_PREVIEW: Final = (
    "This is the address of a preview. If it is a name of the service itself, start it with --allow-host NAME. With "
    "--preview off there are no previews at all."
)


class Guard:
    """Judges a request by its headers (names in lower case). `allow_hosts` are names, `allow_origins` whole origins.

    `worker_ports`: the ports of workers' pages. `any_host`: every Host is allowed, since a token is required. `previews` has
    the hosts of previews, with or without a port, and `preview_ports` those on which they are, beside that of each Host.
    """

    def __init__(
        self,
        allow_hosts: Iterable[str] = (),
        allow_origins: Iterable[str] = (),
        *,
        worker_ports: Container[int] = (),
        any_host: bool = False,
        previews: Container[str] = (),
        preview_ports: Container[int] = (),
    ) -> None:
        self._any_host, self._worker_ports = any_host, worker_ports
        self._previews, self._preview_ports = previews, preview_ports
        self._hosts = _LOCAL_NAMES | {name.lower().rstrip(".") for name in allow_hosts}
        self._origins = frozenset(origin.lower().rstrip("/") for origin in allow_origins)

    def lets_pass(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether this request may be made, also if it asks for a machine."""
        if self.is_no_browser(headers):
            return self._knows_host(headers.get(b"host", b"").decode("latin-1"))
        is_refused = self.refusal(headers) is not None or self.assign_refusal(headers) is not None
        return not is_refused and b"access-control-request-method" not in headers

    @staticmethod
    def is_no_browser(headers: Mapping[bytes, bytes]) -> bool:
        """Whether this request, now and later, can be refused for its host alone. Almost all requests are like this."""
        return _FROM_BROWSERS.isdisjoint(headers) and not headers.get(b"user-agent", b"").startswith(_BROWSER)

    def refusal(self, headers: Mapping[bytes, bytes]) -> Reply | None:
        """The reply to a caller that may not call; None if it may."""
        host = headers.get(b"host", b"").decode("latin-1")
        refusal = self._host_refusal(host)
        if refusal is not None:
            return refusal
        origin = headers.get(b"origin")
        if origin is not None:
            return None if self._knows_origin(origin, host) else self._cross_site(origin, host)
        site = headers.get(b"sec-fetch-site")
        if site == b"cross-site":
            return _cross_site("another site")
        if site == b"same-site" and not self._knows_origin(referer := headers.get(b"referer", b""), host):
            return self._cross_site(referer or b"a page that sends no Referer", host)
        return None

    def page_refusal(self, headers: Mapping[bytes, bytes]) -> Reply | None:
        """As `refusal`, for a page that is the same for all and commands nothing: any site may lead a person there.

        That is what a browser says of a link that fills a tab, and of no frame and no script that asks.
        """
        fills_a_tab = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
        if fills_a_tab and b"origin" not in headers:
            return self._host_refusal(headers.get(b"host", b"").decode("latin-1"))
        return self.refusal(headers)

    def assign_refusal(self, headers: Mapping[bytes, bytes]) -> Reply | None:
        """The reply to a request that `refusal` lets pass, but that may not be given a machine; None if it may."""
        purpose = headers.get(b"sec-purpose", b"") + headers.get(b"purpose", b"") + headers.get(b"x-moz", b"")
        if b"prefetch" in purpose.lower() or b"prerender" in purpose.lower():
            return failure(503, "Not fetched in advance", "A prefetch is given no machine.", retry_after(1))
        if self._any_host or b"origin" in headers or b"sec-fetch-site" in headers:
            return None
        host = headers.get(b"host", b"").decode("latin-1")
        if headers.get(b"user-agent", b"").startswith(_BROWSER) and not _is_loopback(host):
            return failure(
                403,
                "Browser request refused",
                f"Over plain HTTP to {host[:200]} a browser does not say which page sends the request. Call localhost, use "
                "HTTPS, or start the service with a token.",
            )
        return None

    def cors(self, headers: Mapping[bytes, bytes]) -> list[Header]:
        """The headers that let the page of this caller read the reply. Only for a caller that `refusal` lets pass."""
        origin = headers.get(b"origin")
        if origin is None:
            return [(b"vary", b"Origin")]
        granted = [
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
        ]
        if b"access-control-request-method" in headers:
            granted += [
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-max-age", b"600"),
                (
                    b"access-control-allow-headers",
                    headers.get(b"access-control-request-headers", b"authorization, content-type"),
                ),
            ]
        if headers.get(b"access-control-request-private-network") == b"true":
            granted.append((b"access-control-allow-private-network", b"true"))
        return granted

    def _host_refusal(self, host: str) -> Reply | None:
        if host in self._previews:
            return failure(403, "Host of a preview", _PREVIEW)
        if self._knows_host(host):
            return None
        return failure(
            403,
            "Host not allowed",
            f"The host {host!r} is not allowed. Call localhost, or start the service with --allow-host NAME.",
        )

    def _cross_site(self, origin: bytes, host: str) -> Reply:
        text = origin.decode("latin-1")
        match = _ORIGIN.fullmatch(text.lower())
        if (
            match is None
            or match[2] not in self._previews
            or not self._has_previews(port_of(match[2], USUAL_PORTS[match[1]]), host)
        ):
            return _cross_site(text)  # it can be allowed
        return failure(
            403, "Cross-site request refused", f"{text} is the preview of a project, whose pages may not call."
        )

    def _knows_host(self, host: str) -> bool:
        if host in self._previews:
            return False
        return self._any_host or hostname(host) in self._hosts or _is_loopback(host)

    def _knows_origin(self, origin: bytes, host: str) -> bool:
        """Whether pages of this origin, or of the origin of this URL, may call."""
        match = _ORIGIN.fullmatch(origin.decode("latin-1").lower())
        if match is None:
            return False
        scheme, authority = match.groups()
        is_allowed = f"{scheme}://{authority}" in self._origins
        if authority in self._previews:
            return is_allowed and not self._has_previews(port_of(authority, USUAL_PORTS[scheme]), host)
        if is_allowed or authority == host.lower():
            return True
        return _is_loopback(authority) and port_of(authority, USUAL_PORTS[scheme]) not in self._worker_ports

    def _has_previews(self, port: int, host: str) -> bool:
        """Whether there are previews on this port, where the service is called by this Host. They share its port."""
        return port in self._preview_ports or port in {port_of(host, usual) for usual in USUAL_PORTS.values()}


def _cross_site(origin: str) -> Reply:
    return failure(
        403,
        "Cross-site request refused",
        f"Requests from {origin} are not allowed. If that page is yours, start the service with --allow-origin "
        f"{_option_value(origin)}. (Ports from --first-port to --last-port belong to workers.)",
    )


def _option_value(origin: str) -> str:
    match = _ORIGIN.fullmatch(origin)
    return "ORIGIN" if match is None else f"{match[1]}://{match[2]}"


@lru_cache(maxsize=256)
def _is_loopback(authority: str) -> bool:
    name = hostname(authority)
    if name is None or name == "localhost":
        return name is not None
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
