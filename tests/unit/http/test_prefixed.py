"""Under a path of a proxy, which may pass it on or take it off: the service is asked for the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from tests.unit.http.test_handing_over import Doorman, Stage
from tests.unit.http.test_protocol import Echo

from worker_orchestrator.http.app import App
from worker_orchestrator.http.previews.hosts import PreviewHosts
from worker_orchestrator.http.server.listening import listen
from worker_orchestrator.http.server.uvicorn_server import Previews, Server

PATIENCE_S = 20.0


def lived(story: Callable[[Stage], Awaitable[None]], *, quick: bool = True, previews: bool = True) -> None:
    async def live() -> None:
        app, door, (listener,) = Echo((lambda answer: answer()) if quick else None), Doorman(), listen("127.0.0.1", 0)
        started, handed = asyncio.Event(), Previews(PreviewHosts("localhost"), door.hand_over) if previews else None
        server = Server(cast("App", app), 100, started.set, handed, "/pool")
        task = asyncio.create_task(server.serve([listener]))
        await started.wait()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await story(Stage(app, door, listener.getsockname()[1]))
        finally:
            server.should_exit = server.force_exit = True
            await task
            listener.close()

    asyncio.run(live())


def request(target: str, host: str = "localhost", method: str = "GET", *fields: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


async def asked(stage: Stage, *parts: bytes) -> bytes:
    """The head of the reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.001)
        return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


ways = pytest.mark.parametrize(("quick", "previews"), [(True, True), (False, True), (True, False), (False, False)])
PATHS = {
    "/pool/own": "/own",
    "/own": "/own",
    "/pool/own?pool=/pool": "/own",
    "/pool/": "/",
    "/pool/v1/health": "/v1/health",
    "/v1/health": "/v1/health",
    "/pool/pool": "/pool",
    "/pool/pool/pool": "/pool/pool",
    "/poolside": "/poolside",
    "/own/pool/x": "/own/pool/x",
}


@ways
def test_the_path_is_taken_off_once_where_it_is_there(*, quick: bool, previews: bool) -> None:
    async def story(stage: Stage) -> None:
        for target, path in PATHS.items():
            packet = request(target)
            for parts in ((packet,), (packet[:9], packet[9:])):
                stage.app.paths.clear()
                assert (await asked(stage, *parts)).startswith(b"HTTP/1.1 200 "), target
                assert stage.app.paths == [path], target
        stage.app.paths.clear()
        await stage.ask(b"".join(map(request, PATHS)))
        assert stage.app.paths == list(PATHS.values()), "also where they come in one packet"

    lived(story, quick=quick, previews=previews)


@ways
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_the_path_alone_leads_to_the_dashboard_and_is_no_project(method: str, *, quick: bool, previews: bool) -> None:
    """Else whoever leaves out the slash is given a machine."""

    async def story(stage: Stage) -> None:
        for query in ("", "?a=b"):
            reply = await asked(stage, request(f"/pool{query}", "localhost", method))
            assert reply.startswith(b"HTTP/1.1 308 ")
            assert f"location: /pool/{query}\r\n".encode() in reply.lower()
        assert stage.app.paths == []

    lived(story, quick=quick, previews=previews)


def test_what_a_path_decides_is_decided_below_it() -> None:
    """How long a body may be, and what may become a WebSocket."""

    async def story(stage: Stage) -> None:
        fields = ("Content-Type: application/x-tar", "Content-Length: 2000000")
        for target, status in (("/pool/v1/machines/m/files?path=/x", b"200"), ("/pool/v1/machines", b"413")):
            reply = await asked(stage, request(target, "localhost", "PUT", *fields))
            assert reply.startswith(b"HTTP/1.1 " + status), target
        upgrade = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + "a" * 22 + "==",
        )
        for target, status in (("/pool/v1/machines/m/terminal", b"101"), ("/pool/v1/machines/m", b"200")):
            reply = await asked(stage, request(target, "localhost", "GET", *upgrade))
            assert reply.startswith(b"HTTP/1.1 " + status), target

    lived(story)


@pytest.mark.parametrize("target", ["/pool", "/pool/x", "/x"])
def test_paths_of_previews_are_those_of_their_workers(target: str) -> None:
    async def story(stage: Stage) -> None:
        packet = request(target, "app.localhost")
        assert await stage.ask(packet) == b"taken(closed)"
        assert stage.door.taken == [packet]

    lived(story, quick=False)
