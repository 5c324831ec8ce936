"""Which path leads where. Errors of the core become problems; what the router itself refuses becomes one as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.history import History
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.problems import code_of, of_error, problem
from worker_orchestrator.http.server.streamed_response import Closing
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.events import Events
from worker_orchestrator.http.v1.files import Inside
from worker_orchestrator.http.v1.history import Past
from worker_orchestrator.http.v1.machines import Machines
from worker_orchestrator.http.v1.pools import Health, Pools
from worker_orchestrator.http.v1.projects import Projects
from worker_orchestrator.http.v1.responses import Shapes
from worker_orchestrator.http.v1.terminal import TERMINAL_QUERY, TerminalSockets

__all__ = ["v1"]

Endpoint = Callable[[Request], Awaitable[Response]]
Call = Endpoint | tuple[Endpoint, *tuple[str, ...]]
"""What answers, with the names that its query may have."""


def v1(
    orchestrator: Orchestrator,
    health: Health,
    history: History,
    closing: Closing,
    *,
    advertise_host: str,
    image: str,
    pool: str,
) -> Starlette:
    """The application behind /v1. `closing` ends its streams; `pool` gives the machines."""
    shapes = Shapes(advertise_host)
    projects, machines = Projects(orchestrator, shapes, pool), Machines(orchestrator, shapes)
    inside, terminals = Inside(orchestrator, closing), TerminalSockets(orchestrator, closing)
    pools, events, past = Pools(orchestrator, image), Events(orchestrator, closing), Past(history)
    project, machine = "/v1/projects/{project}", "/v1/machines/{id}"
    routes = [
        _by_method(
            f"{project}/machine", PUT=projects.assign, GET=projects.show, DELETE=(projects.release, "generation")
        ),
        _by_method(f"{project}/why", GET=projects.why),
        _by_method("/v1/machines", GET=(machines.list, "state", "project", "pool", "limit", "after")),
        _by_method(machine, GET=machines.show, DELETE=(machines.destroy, "generation", "now")),
        _by_method(f"{machine}/restart", POST=(machines.restart, "generation")),
        _by_method(f"{machine}/logs", GET=(inside.logs, "tail", "follow", "timestamps")),
        _by_method(f"{machine}/stats", GET=inside.stats),
        _by_method(f"{machine}/environment", GET=inside.environment),
        _by_method(f"{machine}/exec", POST=(inside.exec, "generation")),
        WebSocketRoute(f"{machine}/terminal", terminals.open),
        _by_method(f"{machine}/terminal", GET=(terminals.no_socket, *TERMINAL_QUERY)),
        _by_method(f"{machine}/files", GET=(inside.read_file, "path"), PUT=(inside.write_file, "path", "generation")),
        _by_method("/v1/pools", GET=pools.list),
        _by_method("/v1/pools/{name}", GET=pools.show, PATCH=pools.change),
        _by_method("/v1/events", GET=(events.stream, "after", "follow", "project", "machine")),
        _by_method("/v1/history", GET=(past.show, "seconds")),
        _by_method("/v1/health", GET=health.show),
    ]
    handlers = {OrchestratorError: _refused, HTTPException: _not_routed, ClientDisconnect: _gone}
    app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type] # each handles its own class
    app.router.redirect_slashes = False
    return app


def _by_method(path: str, **calls: Call) -> Route:
    """One route for all methods of a path, so that `Allow` names all of them."""

    async def endpoint(request: Request) -> Response:
        call = calls["GET" if request.method == "HEAD" else request.method]
        answer, *names = call if isinstance(call, tuple) else (call,)
        parameters.only(request.query_params, names)
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


async def _gone(_request: Request, _error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody reads it
