"""GET /v1/route: to which worker a proxy may send what a visitor of a preview asks for, so that no byte of it passes here.

A proxy asks for each request. It sends along what the visitor shows (Cookie, X-Orchestrator-Token), as the door does. Only a
worker that serves is an answer, and nothing is woken. What is refused here, the proxy leaves to the door, which has pages.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.door.admission import TOKEN, passes_in, text_of
from worker_orchestrator.door.forwarding import kept_cookies
from worker_orchestrator.door.messages import Kind, Question, Route, Shown
from worker_orchestrator.errors import InvalidInput, MachineFailed, NotRunning, NotSupported, ProjectHasNoMachine
from worker_orchestrator.http.problems import problem
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import json_response
from worker_orchestrator.wire import v1 as wire

__all__ = ["Find", "PreviewRoute", "shown_by_way", "shown_to_proxy"]

Find = Callable[[Question], Awaitable[Route]]
_LONGEST_HOST: Final = 260
_HOST: Final = re.compile(r"[!-~]+")
_FORWARDED: Final = "x-forwarded-for"


class PreviewRoute:
    """`find` says where a host leads, and wakes nothing; None: there are no previews."""

    def __init__(self, find: Find | None) -> None:
        self._find = find

    async def show(self, request: Request) -> Response:
        host = parameters.text(request.query_params, "host", _LONGEST_HOST)
        if not _HOST.fullmatch(host):
            raise InvalidInput(
                f"host is {host[:40]!r}, but must be the Host that the visitor asks for, such as my-project.localhost."
            )
        if self._find is None:
            raise NotSupported(
                "There are no previews here, so no host leads anywhere. Start the service with --preview on."
            )
        cookie = b"; ".join(value for name, value in request.scope["headers"] if name == b"cookie")
        route = await self._find(Question(0, host, visits=False, shown=shown_to_proxy(request, cookie)))
        if route.kind is Kind.WORKER:
            return _leads_to(route, host, cookie)
        return _refusal(route)


def shown_to_proxy(request: Request, cookie: bytes) -> Shown:
    """What the visitor shows, as a proxy passes it on.

    The address of the visitor is the last one that the proxy names: who may call the service is believed.
    """
    shown = shown_by_way(request, cookie)
    return structs.replace(shown, address=shown.way.rpartition(",")[2].strip() or shown.address, way="")


def shown_by_way(request: Request, cookie: bytes) -> Shown:
    """As `shown_to_proxy`, from a caller without the token: it may name whatever address it likes, and is counted itself."""
    token = text_of(request.headers.get(TOKEN.decode(), "").encode("latin-1"))
    if not token:
        return Shown(passes=passes_in(cookie))
    client = "" if request.client is None else request.client.host
    return Shown(passes=passes_in(cookie), token=token, address=client, way=request.headers.get(_FORWARDED, ""))


def _leads_to(route: Route, host: str, cookie: bytes) -> Response:
    address = f"[{route.host}]" if ":" in route.host else route.host
    known_as = f"localhost:{route.port}" if route.rewrites else host
    leads = wire.PreviewTarget(project=route.project, target=f"{address}:{route.port}", host=known_as)
    reply = json_response(leads)
    reply.headers["x-orchestrator-target"] = leads.target
    reply.headers["x-orchestrator-host"] = leads.host
    reply.headers["x-orchestrator-cookie"] = kept_cookies(cookie).decode("latin-1")
    return reply


def _refusal(route: Route) -> Response:
    match route.kind:
        case Kind.REFUSED:
            return problem(403, "forbidden", "Not shown", route.detail)
        case Kind.NONE:
            raise ProjectHasNoMachine(f"The project {route.project} has no machine. Assign one to it.")
        case Kind.FAILED:
            raise MachineFailed(route.detail)
        case Kind.COMING | Kind.ASLEEP:
            state = "sleeps" if route.kind is Kind.ASLEEP else "does not serve yet"
            raise NotRunning(
                f"The machine of {route.project} {state}. A visit of its preview by way of the service shows more."
            )
        case _:
            return problem(
                404, "not_found", "Nothing here", route.detail or "No project with a machine has this address."
            )
