"""The model of the API server as a whole service needs it: with a watch, and a node on which every pod runs at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web
from tests.unit.store.replicas.model_server import Server

from worker_orchestrator.store.cluster.calls import Kind

__all__ = ["Cluster", "hello"]


class Cluster(Server):
    """One namespace. Each pod has an address of the loopback network."""

    def __init__(self) -> None:
        super().__init__()
        self._addresses = 1

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/version" or request.path.endswith("/namespaces/ns"):
            return web.json_response({"metadata": {"uid": "uid-of-the-namespace"}})
        if "/configmaps" in request.path:
            return web.json_response({"metadata": {}}, status=201 if request.method == "POST" else 404)
        if "dryRun" in request.query:
            return web.json_response(await request.json(), status=201)
        if "watch" in request.query:
            return await self._watch(request)
        reply = await super().answer(request)
        self._start()
        return reply

    def _start(self) -> None:
        for name, pod in self.api.of(Kind.POD).items():
            if "status" not in pod:
                self._addresses += 1
                state = {"name": "worker", "state": {"running": {}}}
                address = f"127.0.1.{self._addresses}"
                status = {"phase": "Running", "containerStatuses": [state], "podIP": address}
                self.api.change(Kind.POD, name, {"status": status})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """What differs from one look to the next."""
        response = web.StreamResponse()
        await response.prepare(request)
        known = self.api.of(Kind.POD)
        while True:
            now = self.api.of(Kind.POD)
            told = [
                ("MODIFIED" if name in known else "ADDED", pod) for name, pod in now.items() if known.get(name) != pod
            ]
            told += [("DELETED", pod) for name, pod in known.items() if name not in now]
            known = now
            for kind, pod in told:
                event: dict[str, Any] = {"type": kind, "object": pod}
                await response.write(json.dumps(event).encode() + b"\n")
            await asyncio.sleep(0.01)


async def hello(_: web.BaseRequest) -> web.StreamResponse:
    """What every worker answers."""
    return web.json_response({"status": "ok"})
