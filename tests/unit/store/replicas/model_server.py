"""The model of the API server, behind HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from tests.simulation.cluster_api import ModelApi

from worker_orchestrator.store.cluster.calls import Call, Create, Delete, Kind, Patch, Read, ReadAll, Verdict

__all__ = ["Server"]


class Server:
    """The model of the API server, which takes requests. `sent`: what came, and in which type."""

    def __init__(self) -> None:
        self.api, self.sent = ModelApi(), list[tuple[str, str, str]]()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.sent.append((request.method, request.path, request.content_type))
        kind, _, name = request.path.partition("/namespaces/ns/")[2].partition("/")
        body = await request.json() if request.can_read_body else {}
        answer = self.api.carry_out(_call_of(request.method, Kind(kind), name, body))
        if answer.verdict is Verdict.DONE:
            items = {"items": list(answer.items), "metadata": {"resourceVersion": "1"}}
            return web.json_response(items if not name and request.method == "GET" else dict(answer.found))
        code, reason = {"taken": (409, "AlreadyExists"), "conflict": (409, "Conflict"), "missing": (404, "NotFound")}[
            answer.verdict
        ]
        return web.json_response({"kind": "Status", "code": code, "reason": reason}, status=code)


def _call_of(method: str, kind: Kind, name: str, body: Any) -> Call:
    match method:
        case "POST":
            return Create(kind, body["metadata"]["name"], body)
        case "PATCH":
            metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
            return Patch(kind, name, body["metadata"]["resourceVersion"], {**body, "metadata": metadata})
        case "DELETE":
            return Delete(kind, name, body["preconditions"]["uid"], body["preconditions"]["resourceVersion"])
    return Read(kind, name) if name else ReadAll(kind)
