"""What a service consists of once its fleet is open: the orchestrator over it, and the application in front of that."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.keys import Keys
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.history import History
from worker_orchestrator.control.reading.prometheus import CONTENT_TYPE, Metrics
from worker_orchestrator.control.telling.observer import Observers
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.engines.extras import Activity
from worker_orchestrator.engines.pausable import Pausable
from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.access.guard import Guard
from worker_orchestrator.http.app import App
from worker_orchestrator.http.document import Document
from worker_orchestrator.http.monitoring import Monitoring
from worker_orchestrator.http.previews.finding import ToldRoutes
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.http.v1 import v1
from worker_orchestrator.http.v1.health import Health
from worker_orchestrator.http.v1.keys import KeyRoutes
from worker_orchestrator.service.agents import with_agents
from worker_orchestrator.service.egress.keeper import Egress
from worker_orchestrator.service.opening import Opened
from worker_orchestrator.service.previews import PreviewParts, previews_of
from worker_orchestrator.service.reload import Configuration, limits_of
from worker_orchestrator.service.sandboxes import SandboxParts, names_of, sandboxes_of
from worker_orchestrator.service.specification import spec_of
from worker_orchestrator.service.tracing import Tracing, webhook_calls
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.replicas import KUBERNETES
from worker_orchestrator.settings.settings import Settings

if TYPE_CHECKING:
    from worker_orchestrator.control.telling.webhook import Webhook

__all__ = ["Parts", "app_of", "assemble"]


@dataclass(frozen=True, slots=True)
class _WorkerPorts:
    """Host ports that belong or may belong to a worker: those of the range, and those assigned under an earlier range."""

    first: int
    last: int
    fleet: Fleet

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and (self.first <= port <= self.last or ("", port) in self.fleet.ports)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service consists of once its fleet is open. `service_end` ends the streams; `webhook` may be None."""

    settings: Settings
    opened: Opened
    orchestrator: Orchestrator
    configuration: Configuration
    metrics: Metrics
    history: History
    service_end: ServiceEnd
    webhook: Webhook | None
    callers: Callers
    previews: PreviewParts
    egress: Egress
    sandboxes: SandboxParts | None = None


def _webhook(  # what it says, where to, and who hears of it
    settings: Settings, key: bytes, opened: Opened, metrics: Metrics, clock: Clock, tracing: Tracing | None
) -> Webhook | None:
    if not settings.webhook:
        return None
    from worker_orchestrator.control.telling.webhook import Webhook  # noqa: PLC0415 # it imports aiohttp, which is slow

    return Webhook(opened.store.outbox, webhook_calls(settings.webhook, key, tracing), metrics, clock.wall_ms)


def assemble(  # all that it consists of
    settings: Settings,
    read_again: Callable[[], Settings],
    opened: Opened,
    webhook_key: bytes,
    token: str,
    tracing: Tracing | None,
) -> Parts:
    clock, metrics, told = Clock(), Metrics(), ToldRoutes()
    history = History(opened.store, clock.wall_ms)
    webhook = _webhook(settings, webhook_key, opened, metrics, clock, tracing)
    more = [*([] if webhook is None else [webhook]), *([] if tracing is None else [tracing.spans])]
    orchestrator = Orchestrator(
        opened.fleet,
        spec_of(
            settings,
            plans_ports=opened.engine.plans_ports,
            restarts_in_place=opened.engine.restarts_in_place,
            pauses=isinstance(opened.engine, Pausable),
            sees_use=isinstance(opened.engine, Activity),
        ),
        opened.engine,
        opened.store,
        clock,
        limits_of(settings),
        opened.identity.id,
        observer=Observers(metrics, history, told, *more),
        late_key=opened.values_key,
    )
    configuration = Configuration(settings, read_again, opened.engine, orchestrator)
    keys = Keys(opened.store.keys, opened.fleet, clock.wall_ms)
    callers = Callers(token, settings.rate_limit, time.monotonic, opened.fleet.owner, keys)
    asked = (settings, callers, opened.engine, orchestrator, configuration, told, opened.links_key)
    previews = previews_of(*asked, names=names_of(opened.values_key, keys) if settings.e2b else None)
    door = (orchestrator, settings.advertise_host, opened.values_key, keys, end := ServiceEnd(), previews.domain)
    sandboxes = sandboxes_of(*door) if settings.e2b else None
    egress = Egress(opened.engine, lambda: configuration.settings.pools, orchestrator, metrics)
    of_history = (metrics, history, end, webhook, callers, previews, egress, sandboxes)
    return Parts(settings, opened, orchestrator, configuration, *of_history)


def app_of(parts: Parts, token: str) -> App:
    settings, fleet, orchestrator = parts.settings, parts.opened.fleet, parts.orchestrator
    health = Health(orchestrator, settings.engine, _recover(settings), parts.webhook)
    routes = v1(
        orchestrator,
        health,
        parts.history,
        parts.service_end,
        advertise_host=settings.advertise_host,
        configuration=parts.configuration,
        previews=parts.previews.calls,
        keys=None if parts.callers.keys is None else KeyRoutes(orchestrator, parts.callers.keys, is_open=not token),
    )
    guard = Guard(
        settings.allow_host,
        settings.allow_origin,
        worker_ports=_WorkerPorts(settings.first_port, settings.last_port, fleet),
        any_host=bool(token),
        previews=parts.previews.hosts,
        preview_ports=parts.previews.ports,
    )
    return App(
        Document(orchestrator, settings.advertise_host),
        with_agents(routes, settings, parts.callers, parts.service_end),
        Monitoring(health.obstacles, lambda: (parts.metrics.exposition(orchestrator.gauges()), CONTENT_TYPE)),
        guard,
        parts.callers,
        orchestrator.defect.report,
        settings.root_path,
        e2b=None if parts.sandboxes is None else parts.sandboxes.app,
    )


def _recover(settings: Settings) -> str:
    """The command that shows machines which nobody has on record."""
    if settings.store == KUBERNETES:
        where = f" --namespace {settings.namespace}" if settings.namespace else ""
        return f"kubectl{where} get pods --selector worker-orchestrator/machine"
    return command_line(settings, "recover")
