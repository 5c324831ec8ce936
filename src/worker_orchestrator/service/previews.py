"""What the settings say of previews, and the parts that serve them.

Where they are off, or cannot be shown, nothing of this is in the way of any request.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.door.process import Config
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.reachable import Reachable
from worker_orchestrator.http.previews.finding import Finding, ToldRoutes
from worker_orchestrator.http.previews.hosts import NO_HOSTS, PreviewHosts
from worker_orchestrator.http.previews.urls import NAME, PreviewUrls
from worker_orchestrator.http.server.listening import is_beyond_loopback
from worker_orchestrator.http.server.uvicorn_server import MOST_CONNECTIONS, Previews
from worker_orchestrator.service.door import DoorProcess, can_run
from worker_orchestrator.service.reload import Configuration
from worker_orchestrator.settings.settings import Settings

__all__ = ["PreviewParts", "previews_of"]

_INSTEAD: Final = "Use the URL of the machine, or have a proxy that knows its visitors lead to it."
_GUARDED: Final = "Previews are not shown where a token is required, since a browser has none to show."
_BEYOND: Final = "Previews are not shown where other computers reach this service."


@dataclass(frozen=True, slots=True)
class PreviewParts:
    """`hosts` are never those of the service. `refusal` says why none of them is shown; then there is no `door`."""

    hosts: Container[str]
    urls: PreviewUrls
    refusal: str = ""
    door: DoorProcess | None = None

    @property
    def of_server(self) -> Previews | None:
        """What the server hands over, and to what."""
        return None if self.door is None else Previews(self.hosts, self.door.hand_over)


def previews_of(
    settings: Settings,
    token: str,
    engine: Engine,
    orchestrator: Orchestrator,
    configuration: Configuration,
    told: ToldRoutes,
) -> PreviewParts:
    """The parts for these settings. `told` hears what the orchestrator commits."""
    own_urls = PreviewUrls(settings.url_template)
    if settings.preview == "off" or not can_run():
        return PreviewParts(NO_HOSTS, own_urls)
    hosts = PreviewHosts(settings.preview_domain, settings.allow_host)
    refusal = _GUARDED if token else _BEYOND if is_beyond_loopback(settings.host) else ""
    if refusal:
        return PreviewParts(hosts, own_urls, f"{refusal} {_INSTEAD}")

    def address_of(machine: Machine) -> str:
        return engine.address_of(machine.id) if isinstance(engine, Reachable) else machine.host

    finding = Finding(orchestrator, hosts, told, pools=lambda: configuration.settings.pools, address_of=address_of)
    config = Config(settings.preview_domain, settings.max_connections, MOST_CONNECTIONS)
    urls = PreviewUrls(settings.url_template or f"http://{NAME}.{settings.preview_domain}:{settings.port}/")
    return PreviewParts(hosts, urls, "", DoorProcess(config, finding, told))
