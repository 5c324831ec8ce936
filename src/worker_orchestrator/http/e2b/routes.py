"""Which path of E2B's clients leads where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.e2b.access import Access
from worker_orchestrator.http.e2b.connect import STREAM, stream_end
from worker_orchestrator.http.e2b.filesystem import Filesystem
from worker_orchestrator.http.e2b.names import Names
from worker_orchestrator.http.e2b.process_api import ProcessApi
from worker_orchestrator.http.e2b.processes import Processes
from worker_orchestrator.http.e2b.refusal import Refusal, of_error
from worker_orchestrator.http.e2b.sandboxes import Sandboxes
from worker_orchestrator.http.e2b.transfer import Transfer
from worker_orchestrator.http.e2b.users import Users
from worker_orchestrator.http.e2b.variables import Variables
from worker_orchestrator.http.e2b.watch_api import WatchApi
from worker_orchestrator.http.e2b.watches import Watches
from worker_orchestrator.http.problems import DEFECT
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.http.v1.engine_calls import EngineCalls
from worker_orchestrator.http.v1.responses import MachineShape

__all__ = ["e2b"]

Endpoint = Callable[[Request], Awaitable[Response]]
_MISSING: Final = {
    "pause": "pausing a sandbox with its memory",
    "resume": "resuming a paused sandbox",
    "snapshots": "snapshots",
    "fork": "forks of a sandbox",
    "network": "rules of the network for one sandbox",
    "logs": "logs of a sandbox in E2B's form (GET /v1/machines/{id}/logs has what its worker wrote)",
}
_ANY: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def e2b(  # noqa: PLR0913 # what is behind the door
    orchestrator: Orchestrator,
    processes: Processes,
    watches: Watches,
    shape: MachineShape,
    access: Access,
    service_end: ServiceEnd,
    *,
    names: Names,
    domain: str,
) -> Starlette:
    """The application behind /e2b. `domain`: below it are the addresses of previews; empty: there are none."""
    users, variables = Users(orchestrator), Variables(orchestrator)
    transfer = Transfer(orchestrator, EngineCalls(orchestrator), access, users, service_end)
    routes = [
        *_sandbox_routes(Sandboxes(orchestrator, shape, access, processes, variables, names, domain)),
        *_process_routes(ProcessApi(orchestrator, access, users, processes, variables, service_end)),
        *_filesystem_routes(Filesystem(orchestrator, access, users), WatchApi(access, users, watches, service_end)),
        Route("/e2b/files", transfer.read, methods=["GET"]),
        Route("/e2b/files", transfer.write, methods=["POST"]),
    ]
    handlers = {
        Refusal: _refused,
        OrchestratorError: _failed,
        HTTPException: _not_routed,
        ClientDisconnect: _gone,
        Exception: _broken,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


def _sandbox_routes(sandboxes: Sandboxes) -> list[Route]:
    routes = []
    for path in ("/e2b/sandboxes", "/e2b/v2/sandboxes"):
        one = f"{path}/{{sandbox}}"
        routes += [
            Route(path, sandboxes.create, methods=["POST"]),
            Route(path, sandboxes.list, methods=["GET"]),
            Route(one, sandboxes.show, methods=["GET"]),
            Route(one, sandboxes.end, methods=["DELETE"]),
            Route(f"{one}/metrics", sandboxes.metrics, methods=["GET"]),
            Route(f"{one}/connect", sandboxes.connect, methods=["POST"]),
            Route(f"{one}/timeout", sandboxes.set_timeout, methods=["POST"]),
            *(Route(f"{one}/{name}", _without(what), methods=_ANY) for name, what in _MISSING.items()),
        ]
    return routes


def _process_routes(api: ProcessApi) -> list[Route]:
    calls: dict[str, Endpoint] = {
        "Start": api.start,
        "Connect": api.connect,
        "List": api.list,
        "SendInput": api.send_input,
        "StreamInput": api.stream_input,
        "CloseStdin": api.close_input,
        "SendSignal": api.signal,
        "Update": api.update,
    }
    health = Route("/e2b/health", api.health, methods=["GET"])
    return [health, *(Route(f"/e2b/process.Process/{name}", call, methods=["POST"]) for name, call in calls.items())]


def _filesystem_routes(filesystem: Filesystem, watches: WatchApi) -> list[Route]:
    calls: dict[str, Endpoint] = {
        "Stat": filesystem.stat,
        "ListDir": filesystem.list,
        "MakeDir": filesystem.make,
        "Move": filesystem.move,
        "Remove": filesystem.remove,
        "WatchDir": watches.watch,
        "CreateWatcher": watches.create,
        "GetWatcherEvents": watches.events,
        "RemoveWatcher": watches.remove,
    }
    return [Route(f"/e2b/filesystem.Filesystem/{name}", call, methods=["POST"]) for name, call in calls.items()]


def _without(what: str) -> Endpoint:
    async def refuse(_: Request) -> Response:
        raise Refusal.missing(what)

    return refuse


def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal), "it handles this class"
    if request.headers.get("content-type", "").startswith(STREAM):
        return Response(stream_end(refusal), media_type=STREAM)
    return refusal.connect() if _is_of_agent(request) else refusal.rest()


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, OrchestratorError), "it handles this class"
    return _refused(request, of_error(error))


def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "it handles this class"
    return _refused(
        request, Refusal(error.status_code, "unimplemented", f"E2B's {request.url.path} is not offered here.")
    )


def _broken(request: Request, _error: Exception) -> Response:
    """Starlette raises the error again after this, and the edge logs it."""
    return _refused(request, Refusal(500, "internal", DEFECT))


def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)


def _is_of_agent(request: Request) -> bool:
    """Whether this is a call of the agent with Connect; its health and its files have errors as the API has."""
    return request.url.path.startswith(("/e2b/process.Process/", "/e2b/filesystem.Filesystem/"))
