"""Which path leads where. Errors of the core become problems (RFC 9457), and so do the errors of the router itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.history import History
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.previews.traefik import CHECK
from worker_orchestrator.http.previews.urls import NO_URLS
from worker_orchestrator.http.problems import DEFECT, code_of, of_error, problem
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.engine_calls import EngineCalls
from worker_orchestrator.http.v1.events import Events
from worker_orchestrator.http.v1.exec import WorkerExec
from worker_orchestrator.http.v1.files import WorkerFiles
from worker_orchestrator.http.v1.health import Health
from worker_orchestrator.http.v1.history import HistoryRoute
from worker_orchestrator.http.v1.inspection import WorkerInspection
from worker_orchestrator.http.v1.keys import KeyRoutes
from worker_orchestrator.http.v1.links import PreviewLinks
from worker_orchestrator.http.v1.logs import WorkerLogs
from worker_orchestrator.http.v1.machines import Machines
from worker_orchestrator.http.v1.plans import PoolPlans
from worker_orchestrator.http.v1.pools import Pools
from worker_orchestrator.http.v1.preview_route import PreviewRoute
from worker_orchestrator.http.v1.projects import Projects
from worker_orchestrator.http.v1.reload import Configuration, Reload
from worker_orchestrator.http.v1.responses import MachineShape
from worker_orchestrator.http.v1.terminal import TERMINAL_QUERY, TerminalSockets
from worker_orchestrator.http.v1.traefik_routes import TraefikRoutes

__all__ = ["PreviewCalls", "v1"]

Endpoint = Callable[[Request], Awaitable[Response]]
Call = Endpoint | tuple[Endpoint, *tuple[str, ...]]
"""The endpoint, with the names of the query parameters that it takes."""


@dataclass(frozen=True, slots=True)
class PreviewCalls:
    """Links to previews, and where their hosts lead: one of them, or all for Traefik."""

    links: PreviewLinks
    route: PreviewRoute
    traefik: TraefikRoutes


def v1(  # noqa: PLR0913 # what is behind /v1
    orchestrator: Orchestrator,
    health: Health,
    history: History,
    service_end: ServiceEnd,
    *,
    advertise_host: str,
    configuration: Configuration,
    previews: PreviewCalls | None = None,
    keys: KeyRoutes | None = None,
) -> Starlette:
    """The application behind /v1. `service_end` ends its streams.

    `configuration` has the settings in force, and reads them again. `previews`, `keys`: None for no calls about them.
    """
    shape = MachineShape(advertise_host, NO_URLS if previews is None else previews.links.urls)
    routes = [
        *_project_routes(Projects(orchestrator, shape, health.obstacles_of)),
        *([] if previews is None else _preview_routes(previews)),
        *_machine_routes(Machines(orchestrator, shape)),
        *_worker_routes(orchestrator, service_end),
        *_pool_routes(
            Pools(orchestrator, configuration.image_of, history),
            PoolPlans(orchestrator),
            Events(orchestrator, service_end),
            HistoryRoute(history),
            health,
        ),
        *([] if keys is None else _key_routes(keys)),
        _by_method("/v1/reload", POST=(Reload(configuration).run, "dry_run", "digest")),
    ]
    handlers = {OrchestratorError: _refused, HTTPException: _not_routed, ClientDisconnect: _gone, Exception: _broken}
    app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type] # each handles its own class
    app.router.redirect_slashes = False
    return app


def _preview_routes(previews: PreviewCalls) -> list[Route]:
    return [
        _by_method("/v1/projects/{project}/links", POST=(previews.links.make, "generation")),
        _by_method("/v1/route", GET=(previews.route.show, "host")),
        _by_method("/v1/routes/traefik", GET=previews.traefik.show),
        _by_method(CHECK, GET=(previews.traefik.check, "host", "key", "proof")),
    ]


def _key_routes(keys: KeyRoutes) -> list[Route]:
    return [
        _by_method("/v1/keys", GET=keys.list, POST=keys.create),
        _by_method("/v1/keys/{name}", DELETE=keys.revoke),
    ]


def _project_routes(projects: Projects) -> list[Route]:
    path = "/v1/projects/{project}"
    machine = _by_method(
        f"{path}/machine", PUT=projects.assign, GET=projects.show, DELETE=(projects.release, "generation")
    )
    keep_alive = _by_method(f"{path}/machine/keepalive", POST=(projects.keep_alive, "generation"))
    sleep = _by_method(f"{path}/machine/sleep", POST=(projects.sleep, "generation"))
    wake = _by_method(f"{path}/machine/wake", POST=(projects.wake, "generation"))
    return [machine, keep_alive, sleep, wake, _by_method(f"{path}/why", GET=projects.why)]


def _machine_routes(machines: Machines) -> list[Route]:
    path = "/v1/machines/{id}"
    return [
        _by_method("/v1/machines", GET=(machines.list, "state", "project", "pool", "limit", "after")),
        _by_method(path, GET=machines.show, DELETE=(machines.destroy, "generation", "now")),
        _by_method(f"{path}/restart", POST=(machines.restart, "generation")),
    ]


def _worker_routes(orchestrator: Orchestrator, service_end: ServiceEnd) -> list[BaseRoute]:
    """What is in a worker."""
    path, calls = "/v1/machines/{id}", EngineCalls(orchestrator)
    logs, files = WorkerLogs(orchestrator, calls, service_end), WorkerFiles(orchestrator, calls, service_end)
    inspection, terminals = WorkerInspection(orchestrator, calls), TerminalSockets(orchestrator, service_end)
    return [
        _by_method(f"{path}/logs", GET=(logs.read, "tail", "follow", "timestamps")),
        _by_method(f"{path}/stats", GET=(inspection.stats, "past_seconds")),
        _by_method(f"{path}/environment", GET=inspection.environment),
        _by_method(f"{path}/exec", POST=(WorkerExec(orchestrator, calls, service_end).run, "generation")),
        WebSocketRoute(f"{path}/terminal", terminals.open),
        _by_method(f"{path}/terminal", GET=(terminals.refuse_http, *TERMINAL_QUERY)),
        _by_method(f"{path}/files", GET=(files.read, "path"), PUT=(files.write, "path", "generation")),
    ]


def _pool_routes(pools: Pools, plans: PoolPlans, events: Events, history: HistoryRoute, health: Health) -> list[Route]:
    return [
        _by_method("/v1/pools", GET=pools.list),
        _by_method("/v1/pools/{name}", GET=pools.show, PATCH=pools.change),
        _by_method("/v1/pools/{name}/plan", GET=(plans.show, "target", "days")),
        _by_method("/v1/events", GET=(events.stream, "after", "follow", "project", "machine")),
        _by_method("/v1/history", GET=(history.show, "seconds")),
        _by_method("/v1/health", GET=health.show),
    ]


def _by_method(path: str, **calls: Call) -> Route:
    """One route for all methods of a path, so that `Allow` names all of them."""

    async def endpoint(request: Request) -> Response:
        call = calls["GET" if request.method == "HEAD" else request.method]
        answer, *names = call if isinstance(call, tuple) else (call,)
        parameters.allow_only(request.query_params, names)
        return await answer(request)

    return Route(path, endpoint, methods=list(calls))


async def _refused(_request: Request, error: OrchestratorError) -> Response:
    return of_error(error)


async def _not_routed(request: Request, error: HTTPException) -> Response:
    code = code_of(error.status_code)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        return problem(405, code, "Method not allowed", f"Allowed here: {allowed}.", {"allow": allowed})
    return problem(error.status_code, code, "Not found", f"There is nothing at {request.url.path[:200]}. See /docs.")


async def _broken(_request: Request, _error: Exception) -> Response:
    """Starlette raises the error again after this, and the edge logs it."""
    return problem(500, code_of(500), "Internal server error", DEFECT)


async def _gone(_request: Request, _error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # the client has gone
