"""What Traefik is told of the previews, for its HTTP provider: it looks at intervals, and sends bytes to the workers itself.

What it was told may be seconds old. So for each request it asks the service whether the visitor may see this, and whether
that assignment holds (`forwardAuth`). It does not ask where everybody may see the preview and a machine never changes hands:
there what is old leads nowhere, since a host port that a project had is given to nobody for a minute (`core/host_ports`).
Behind all of that stands the service's own door, with links, pages and wakes.

Source: https://doc.traefik.io/traefik/reference/routing-configuration/other-providers/file/ (the same keys, in JSON)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker_orchestrator.core.preview_names import label_of
from worker_orchestrator.door.admission import COOKIE, PARAMETER
from worker_orchestrator.http.previews.hosts import PreviewHosts

__all__ = ["CHECK", "Serving", "told_to_traefik"]

CHECK: Final = "/v1/routes/check"
"""The path of the check, for which a proof stands in the place of the token."""
_DOOR: Final = "orchestrator"
_BARE: Final = "orchestrator-bare"
_FIRST: Final = 20
_LAST: Final = 10
"""Priorities. Traefik's own are the lengths of rules, which are greater: what an operator adds goes before all of these."""
_TOKEN: Final = "X-Orchestrator-Token"  # noqa: S105 # the name of a header
_SHOWS_A_PASS: Final = rf"HeaderRegexp(`Cookie`, `(^|;\s*){COOKIE}=`) || HeaderRegexp(`{_TOKEN}`, `.`)"
_LINKS: Final = f"QueryRegexp(`{PARAMETER}`, `.*`)"
_REMOVED: Final = {"Forwarded": "", _TOKEN: ""}
_SHOWN: Final = ("Accept", "Cookie", _TOKEN)
_REPLACED: Final = ("Cookie", _TOKEN)


@dataclass(frozen=True, slots=True)
class Serving:
    """A machine that serves its project: its ports by name (empty: the first one) on `address`, as they are published.

    `key` stands for this assignment. `is_by_link`: not everybody may see it. `may_be_reused`: another project may be at the
    same address a moment later. `rewrites`: its worker is told that it is called `localhost`.
    """

    project: str
    key: str
    address: str
    ports: Mapping[str, int]
    is_by_link: bool = False
    may_be_reused: bool = False
    rewrites: bool = False


def told_to_traefik(
    serving: Iterable[Serving], hosts: PreviewHosts, service: str, check: Callable[[str, str], str]
) -> dict[str, Any]:
    """The dynamic configuration, always in the same order, as Traefik takes one with another hash for a change.

    `service` is the URL at which Traefik reaches the service. `check` makes the URL that is asked of a host and a key.
    """
    ways = sorted((way for one in serving for way in _ways(one, hosts.domain)), key=lambda way: way.label)
    routers, services, middlewares = _of_door(hosts), {_DOOR: _leading_to(service)}, _shared()
    for way in ways:
        name, one = f"preview-{way.label}", way.serving
        services[name] = _leading_to(f"http://{way.target}")
        chain = [_BARE]
        if one.rewrites:
            middlewares[f"{name}-host"] = _request_headers({"Host": f"localhost:{way.port}"})
            chain.append(f"{name}-host")
        if one.is_by_link or one.may_be_reused:
            middlewares[f"{name}-check"] = _checking(check(way.host, one.key))
            chain = [f"{name}-check", *chain]
        rule = f"Host(`{way.host}`) && !{_LINKS}" + (f" && ({_SHOWS_A_PASS})" if one.is_by_link else "")
        routers[name] = {"rule": rule, "priority": _FIRST, "service": name, "middlewares": chain}
    return {"http": {"routers": routers, "services": services, "middlewares": middlewares}}


@dataclass(frozen=True, slots=True)
class _Way:
    label: str
    host: str
    port: int
    serving: Serving

    @property
    def target(self) -> str:
        address = self.serving.address
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"


def _ways(one: Serving, domain: str) -> Iterable[_Way]:
    for name, port in one.ports.items():
        label = label_of(one.project, name)
        if label is not None:
            yield _Way(label, f"{label}.{domain}", port, one)


def _of_door(hosts: PreviewHosts) -> dict[str, Any]:
    """Whatever has no way of its own. The names of the service itself are not shown by that."""
    domain = hosts.domain.replace(".", r"\.")
    own = "".join(f" && !Host(`{name}`)" for name in sorted(hosts.own))
    rule = rf"HostRegexp(`^[a-z0-9-]+\.{domain}$`){own}"
    return {_DOOR: {"rule": rule, "priority": _LAST, "service": _DOOR}}


def _shared() -> dict[str, Any]:
    return {_BARE: _request_headers(_REMOVED)}


def _checking(url: str) -> dict[str, Any]:
    """Of what is shown nothing is among the headers by which the service judges its own callers, such as Origin."""
    check = {
        "address": url,
        "trustForwardHeader": False,
        "authRequestHeaders": list(_SHOWN),
        "authResponseHeaders": list(_REPLACED),
    }
    return {"forwardAuth": check}


def _request_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """An empty one is removed."""
    return {"headers": {"customRequestHeaders": dict(headers)}}


def _leading_to(url: str) -> dict[str, Any]:
    return {"loadBalancer": {"servers": [{"url": url}]}}
