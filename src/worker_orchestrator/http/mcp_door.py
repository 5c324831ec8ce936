"""Agents by MCP over HTTP, at /v1/mcp, where the settings open this door. It needs the token or a key, on loopback too.

Each request is answered by itself: which tools there are follows from its query and its caller. The tools are a client of
this service with the token or the key of that caller, so they can do no more than it can. Where no token is set only callers
with a key are let in: a model does what it reads, so nobody should be the operator here without having said so.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from worker_orchestrator.client import AsyncClient
from worker_orchestrator.control.caller import CALLER
from worker_orchestrator.core.key import SEPARATOR, Right
from worker_orchestrator.core.project import project_id
from worker_orchestrator.errors import InvalidInput, OrchestratorError, OutcomeUnknown
from worker_orchestrator.http import problems
from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.mcp.machines import Limits, Machines, Session
from worker_orchestrator.mcp.server import serve_http
from worker_orchestrator.mcp.tools import Tools

__all__ = ["McpDoor"]

PATH: Final = "/v1/mcp"
_HEADER: Final = "x-orchestrator-project"
_STOPPING: Final = "The service is stopping, and did not wait to see what came of this. Ask again when it runs."


class McpDoor:
    """In front of /v1. `url` is where this service is reached from its own computer."""

    def __init__(self, v1: ASGIApp, url: str, callers: Callers, max_machines: int, service_end: ServiceEnd) -> None:
        self._v1, self._url, self._callers, self._end = v1, url, callers, service_end
        self._max_machines = max_machines
        self._sessions: dict[bytes, Session] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != PATH or scope["type"] != "http":
            await self._v1(scope, receive, send)
            return
        proof = self._callers.proof(dict(scope["headers"]))
        try:
            refusal = _refusal(scope, has_proof=bool(proof))
            project, limits = ("", Limits()) if refusal is not None else self._asked(scope)
        except OrchestratorError as error:
            refusal, project, limits = problems.of_error(error), "", Limits()
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        key = CALLER.get()
        session = self._sessions.setdefault(b"" if key is None else key.digest, Session())
        async with AsyncClient(self._url, token=proof, retries=1) as client:
            tools = Tools(Machines(client, project, limits, session, self._is_own))
            await self._serve(tools, scope, receive, send)

    async def _serve(self, tools: Tools, scope: Scope, receive: Receive, send: Send) -> None:
        """Until it is answered, its key is revoked, or the service stops."""
        has_begun = False

        async def send_noted(message: MutableMapping[str, Any]) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        serving = asyncio.ensure_future(serve_http(tools, scope, receive, send_noted))
        ended = asyncio.ensure_future(self._end.wait(scope))
        try:
            await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_late = not serving.done()
            for each in (serving, ended):
                each.cancel()
            await asyncio.gather(serving, ended, return_exceptions=True)
        if not serving.cancelled():
            serving.result()
        if is_late and not has_begun:
            await problems.of_error(OutcomeUnknown(_STOPPING))(scope, receive, send)

    def _asked(self, scope: Scope) -> tuple[str, Limits]:
        """The project to which this request is pinned, empty for none, and its limits. Raises InvalidInput."""
        query = QueryParams(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        parameters.allow_only(query, ("project", "pool", "read_only"))
        named = {parameters.text(query, "project", 128), Headers(scope=scope).get(_HEADER, "")} - {""}
        if len(named) > 1:
            raise InvalidInput(f"The query and the header {_HEADER} name two projects. Name one.")
        project = project_id(named.pop()) if named else ""
        key = CALLER.get()
        may_assign = key is None or Right.ASSIGN in key.may
        limits = Limits(
            max_machines=self._max_machines,
            pool=parameters.text(query, "pool", 128) or None,
            is_read_only=parameters.flag(query, "read_only", default=False) or not may_assign,
            is_pinned=bool(project),
        )
        return project, limits

    def _is_own(self, project: str) -> bool:
        """Whether the caller is whose project it is: the operator sees those of all keys."""
        owner, separator, _ = project.partition(SEPARATOR)
        keys = self._callers.keys
        return CALLER.get() is not None or not separator or keys is None or keys.named(owner) is None


def _refusal(scope: Scope, *, has_proof: bool) -> Response | None:
    if not has_proof:
        told = (
            "Send the header `Authorization: Bearer` with the service's token or a key of it, on this computer as well."
        )
        how = " `orchestrator key create NAME` makes a key."
        return problems.problem(401, "unauthorized", "Token required", told + how, {"www-authenticate": "Bearer"})
    if scope["method"] != "POST":
        detail = "Allowed here: POST. This server has no stream of its own, and no sessions to end."
        return problems.problem(405, "method_not_allowed", "Method not allowed", detail, {"allow": "POST"})
    return None
