"""GET /v1/routes/traefik: all previews, as Traefik reads them. GET /v1/routes/check: what it asks of each visitor.

Traefik cannot send the service's token with a check, so the address of a check has a proof instead: it is signed, and
good for one host under one assignment. Who has it learns no more than a visitor of that preview does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.door import pages
from worker_orchestrator.door.forwarding import kept_cookies
from worker_orchestrator.door.messages import Kind, Question, Route
from worker_orchestrator.door.pages import Said
from worker_orchestrator.errors import InvalidInput, NotSupported
from worker_orchestrator.http.previews.hosts import PreviewHosts
from worker_orchestrator.http.previews.links import Links
from worker_orchestrator.http.previews.traefik import CHECK, Serving, told_to_traefik
from worker_orchestrator.http.problems import problem
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.preview_route import Find, shown_by_way
from worker_orchestrator.http.v1.responses import json_response

__all__ = ["TraefikRoutes"]

_LONGEST: Final = 260
_CHANGED: Final = Said(503, "One moment", "Where this leads has just changed. Try again in some seconds.", "coming", 1)


class TraefikRoutes:
    """`serving`: all machines that serve a project now. `find`: as in `PreviewRoute`; None: there are no previews."""

    def __init__(
        self, hosts: PreviewHosts, links: Links, serving: Callable[[], Iterable[Serving]], find: Find | None
    ) -> None:
        self._hosts, self._links, self._serving, self._find = hosts, links, serving, find

    async def show(self, request: Request) -> Response:
        if self._find is None:
            raise NotSupported("There are no previews here. Start the service with --preview on.")
        reached_at = request.headers.get("host", "")
        if not reached_at:
            raise InvalidInput("Host is missing. Send the address at which Traefik reaches this service.")
        service = f"http://{reached_at}"

        def check(host: str, key: str) -> str:
            asked = {"host": host, "key": key, "proof": self._links.proof(host, key)}
            return f"{service}{CHECK}?{urlencode(asked)}"

        return json_response(told_to_traefik(self._serving(), self._hosts, service, check))

    async def check(self, request: Request) -> Response:
        """204 with what is left of the visitor's cookies, or what the visitor is to see instead."""
        host, key, proof = (parameters.text(request.query_params, name, _LONGEST) for name in ("host", "key", "proof"))
        if self._find is None or not self._links.is_proof(proof, host, key):
            return problem(403, "forbidden", "Not checked", "Ask as GET /v1/routes/traefik says; it may be old.")
        cookie = b"; ".join(value for name, value in request.scope["headers"] if name == b"cookie")
        route = await self._find(Question(0, host, visits=False, shown=shown_by_way(request, cookie)))
        if route.kind is not Kind.WORKER or route.key != key:
            return _instead(route, request.headers.get("accept", ""))
        kept = kept_cookies(cookie).decode("latin-1")
        return Response(status_code=204, headers={"cookie": kept} if kept else {})


def _instead(route: Route, accept: str) -> Response:
    """Soon Traefik knows what there is now, and leads to the door, which says more. Who may not see it hears only that."""
    said = pages.about(route, "") if route.kind is Kind.REFUSED else _CHANGED
    is_page = "text/html" in accept
    headers = {
        "cache-control": "no-store",
        "content-security-policy": pages.POLICY,
        "vary": "Accept",
        **({"retry-after": str(said.reload_s)} if said.reload_s else {}),
    }
    kind = "text/html; charset=utf-8" if is_page else "application/problem+json"
    return Response(pages.body(said, is_page=is_page), said.status, headers, media_type=kind)
