"""What the settings say of previews, and the parts that serve them.

Where they are off, nothing of this is in the way of any request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.door.messages import Config
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.reachable import Reachable
from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.e2b.names import Names, SandboxHosts
from worker_orchestrator.http.previews.admission import Admission
from worker_orchestrator.http.previews.finding import Finding, ToldRoutes
from worker_orchestrator.http.previews.hosts import NO_HOSTS, PreviewHosts
from worker_orchestrator.http.previews.links import Links
from worker_orchestrator.http.previews.urls import NAME, PreviewUrls, port_at
from worker_orchestrator.http.server.listening import is_beyond_loopback
from worker_orchestrator.http.server.uvicorn_server import MOST_CONNECTIONS, Previews
from worker_orchestrator.http.v1.links import PreviewLinks
from worker_orchestrator.http.v1.preview_route import PreviewRoute
from worker_orchestrator.http.v1.routes import PreviewCalls
from worker_orchestrator.http.v1.traefik_routes import TraefikRoutes
from worker_orchestrator.service.door import DoorProcess, can_run
from worker_orchestrator.service.reload import Configuration
from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.settings.settings import Settings

__all__ = ["PreviewParts", "previews_of"]


@dataclass(frozen=True, slots=True)
class PreviewParts:
    """`hosts`, on these `ports`, are never those of the service. There is no `door` if previews are off.

    `domain`: what their addresses end with, with a port unless it is the usual one.
    """

    hosts: Container[str]
    calls: PreviewCalls
    ports: frozenset[int] = frozenset()
    door: DoorProcess | None = None
    domain: str = ""

    @property
    def of_server(self) -> Previews | None:
        """What the server hands over, and to what."""
        return None if self.door is None else Previews(self.hosts, self.door.hand_over)


def previews_of(  # noqa: PLR0913 # each is a part of its own
    settings: Settings,
    callers: Callers,
    engine: Engine,
    orchestrator: Orchestrator,
    configuration: Configuration,
    told: ToldRoutes,
    key: bytes,
    *,
    names: Names | None,
) -> PreviewParts:
    """The parts for these settings. `told` hears commits, `key` is the secret of links, `names` that of sandboxes."""
    is_on = settings.preview == "on" and can_run()
    usual = f"http://{NAME}.{settings.preview_domain}:{settings.port}/" if is_on else ""
    template = settings.url_template or usual
    hosts = PreviewHosts(settings.preview_domain, settings.allow_host)
    urls, links = PreviewUrls(template), Links(key)
    is_guarded = callers.need_token or is_beyond_loopback(settings.host)
    admission = Admission(links, callers, time.time, is_guarded=is_guarded, is_secure=template.startswith("https:"))

    reachable = engine if isinstance(engine, Reachable) else None  # once, since it looks through the whole class

    def address_of(machine: Machine) -> str:
        return machine.host if reachable is None else reachable.address_of(machine.id)

    pools = _pools_in_force(configuration)
    finding = Finding(orchestrator, hosts, told, admission, pools=pools, address_of=address_of)
    if names is not None:
        finding.numbered = SandboxHosts(orchestrator, names, pools).find
    of_links = PreviewLinks(orchestrator, urls, links, finding.is_by_link, time.time)
    if not is_on:
        of_traefik = TraefikRoutes(hosts, links, finding.serving, None)
        return PreviewParts(NO_HOSTS, PreviewCalls(of_links, PreviewRoute(None), of_traefik))
    ports = frozenset(port_at(url) for url in (usual, template))
    find = finding.answer_for_proxy
    calls = PreviewCalls(of_links, PreviewRoute(find), TraefikRoutes(hosts, links, finding.serving, find))
    door = DoorProcess(_config(settings, template), finding, told)
    configuration.taken_over = door.tell_changed
    return PreviewParts(hosts, calls, ports, door, template.partition(f"{NAME}.")[2].rstrip("/"))


def _config(settings: Settings, template: str) -> Config:
    return Config(
        settings.preview_domain,
        settings.max_connections,
        MOST_CONNECTIONS,
        settings.log_format,
        template.partition(":")[0],
        settings.root_path,
    )


def _pools_in_force(configuration: Configuration) -> Callable[[], Mapping[str, PoolSettings]]:
    """The settings of the pools. A proxy asks where a host leads for each request, so they are put together once."""
    settings = configuration.settings
    pools = settings.pools

    def in_force() -> Mapping[str, PoolSettings]:
        nonlocal settings, pools
        if configuration.settings is not settings:
            settings = configuration.settings
            pools = settings.pools
        return pools

    return in_force
