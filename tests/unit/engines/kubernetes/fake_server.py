"""An API server that says what a test tells it to, for what no real one does when it is asked to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.credentials import Credentials, Unchanging
from worker_orchestrator.engines.kubernetes.kubeconfig import Access

__all__ = ["Answer", "a_pod", "events", "pods", "served", "status"]

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(answer: Answer, credentials: Credentials | None = None) -> AsyncIterator[Client]:
    """A client of a server that answers each request so."""
    server = web.Server(answer)  # type: ignore[arg-type] # its requests are of this kind
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr] # it was started
    client = Client(Access(f"http://127.0.0.1:{port}", "ns", credentials or Unchanging(), None))
    try:
        yield client
    finally:
        await client.aclose()
        await runner.cleanup()


def status(code: int, message: str = "", **headers: str) -> web.Response:
    body = {"kind": "Status", "code": code, "message": message}
    return web.json_response(
        body, status=code, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


def a_pod(name: str, version: str = "1", phase: str = "Running") -> dict[str, Any]:
    known = {"owner": "me", "machine": name, "pool": "default", "template": "t"}
    states = [{"name": "worker", "state": {"running": {}}}]
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": version,
            "labels": {f"worker-orchestrator/{key}": value for key, value in known.items()},
        },
        "spec": {"containers": [{"name": "worker", "ports": [{"containerPort": 80}]}]},
        "status": {"phase": phase, "containerStatuses": states if phase == "Running" else [], "podIP": "10.0.0.1"},
    }


def pods(*items: dict[str, Any], version: str = "10", more: str = "") -> web.Response:
    return web.json_response({"metadata": {"resourceVersion": version, "continue": more}, "items": items})


async def events(request: web.Request, *told: tuple[str, Any], then: asyncio.Event | None = None) -> web.StreamResponse:
    """A watch that tells this, and ends; with `then` only when that is set."""
    response = web.StreamResponse()
    await response.prepare(request)
    for kind, thing in told:
        await response.write(json.dumps({"type": kind, "object": thing}).encode() + b"\n")
    if then is not None:
        await then.wait()
    return response
