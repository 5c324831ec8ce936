"""The edge with a span for each request that is about projects, machines or pools. Only loaded with `--traces`.

Probes, metrics, pages and what dashboards ask for every few seconds have none. The name of a span is the method and the
route, never the path: that has names of projects, and a query may have secrets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from worker_orchestrator.control.telling.spans import CURRENT, RequestSpan, Spans
from worker_orchestrator.core.project import is_reserved
from worker_orchestrator.http.app import App, Receive, Scope, Send
from worker_orchestrator.http.e2b.access import PREFIX as E2B
from worker_orchestrator.http.previews.traefik import CHECK
from worker_orchestrator.http.reply import Reply
from worker_orchestrator.telemetry.request_id import fit, new_id

__all__ = ["TracedApp"]

_PROJECT: Final = "/{project}"
_FIXED: Final = frozenset({"/destroy", "/machines/list"})
_POLLED: Final = frozenset({"/v1/health", "/v1/history", "/v1/routes/traefik", CHECK})
_ID: Final = b"x-request-id"


class TracedApp:
    """The application as the server calls it."""

    def __init__(self, app: App, spans: Spans) -> None:
        self._app, self._spans = app, spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = _route(scope["path"]) if scope["type"] == "http" else ""
        if not route:
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = fit(headers.get(_ID, b"").decode("latin-1")) or new_id()
        scope["headers"] = [*scope["headers"], (_ID, request_id.encode())]  # the last one counts
        request = self._begin(scope["method"], route, headers, time.time_ns())
        status = 0

        async def send_noted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        CURRENT.set(request)
        self._spans.opened(request_id, request)
        try:
            await self._app(scope, receive, send_noted)
        finally:
            self._spans.closed(request_id, request)
            self._end(request, scope, route, status)

    def at_once(
        self,
        method: str,
        name: str,
        address: str,
        headers: dict[bytes, bytes],
        answered: Callable[[str, Reply], None],
    ) -> bool:
        """As `App.at_once`. The request has no span before it is answered: it may turn out that it must go the long way."""
        begun_ns = time.time_ns()

        def answered_traced(more: str, reply: Reply) -> None:
            request = self._begin(method, _PROJECT, headers, begun_ns, project=name)
            CURRENT.set(request)  # what the short way tells right after this reply belongs to it
            answered(more, reply)
            request.end(int(reply.status))
            first, _, _ = more.partition("\r\n")
            self._spans.closed(first.partition(": ")[2], request)

        token = CURRENT.set(None)
        try:
            return self._app.at_once(method, name, address, headers, answered_traced)
        finally:
            CURRENT.reset(token)

    def _begin(
        self, method: str, route: str, headers: Mapping[bytes, bytes], begun_ns: int, project: str = ""
    ) -> RequestSpan:
        attributes = {"http.request.method": method, "http.route": route, "url.scheme": "http"}
        if project:
            attributes["orchestrator.project"] = project
        return self._spans.begin(f"{method} {route}", headers, begun_ns, attributes)

    @staticmethod
    def _end(request: RequestSpan, scope: Scope, route: str, status: int) -> None:
        """By now it is known which route of /v1 it was, and for which project."""
        found: dict[str, Any] = dict(scope.get("path_params") or {})
        more: dict[str, str] = {}
        if route == _PROJECT:
            found = {"project": scope["path"].strip("/")}
        elif "endpoint" in scope:
            more["http.route"] = _named(scope["path"], found)
            request.span.update_name(f"{scope['method']} {more['http.route']}")
        if "project" in found:
            more["orchestrator.project"] = str(found["project"])
        request.end(status, **more)


def _route(path: str) -> str:
    """The route of this path as far as it is known beforehand; empty if its requests have no span."""
    path = path.removesuffix("/")
    if path in _FIXED:
        return path
    if path in _POLLED:
        return ""
    if path.startswith("/v1/"):
        return "/v1"
    if path.startswith(E2B):
        return E2B.removesuffix("/")
    name = path.removeprefix("/")
    return _PROJECT if name and "/" not in name and not is_reserved(name) else ""


def _named(path: str, found: Mapping[str, Any]) -> str:
    """/v1/projects/a/machine as /v1/projects/{project}/machine. What is found stands behind the two first parts."""
    head, parts = path.split("/")[:3], path.removesuffix("/").split("/")[3:]
    for name, value in found.items():
        if str(value) in parts:
            parts[parts.index(str(value))] = f"{{{name}}}"
    return "/".join([*head, *parts])
