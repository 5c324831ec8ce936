"""Requests for previews leave the service with their connection and all that was read of it; no other request does."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from tests.unit.http.test_protocol import Echo

from worker_orchestrator.http.app import App
from worker_orchestrator.http.previews.hosts import PreviewHosts
from worker_orchestrator.http.server.listening import listen
from worker_orchestrator.http.server.uvicorn_server import Previews, Server

PATIENCE_S = 20.0
OWN = b"GET /own HTTP/1.1\r\nHost: localhost\r\n\r\n"
GUEST = b"GET /guest/page HTTP/1.1\r\nHost: app.localhost:9092\r\n\r\n"


class Doorman:
    """Takes what is handed over, and says so on the connection."""

    def __init__(self) -> None:
        self.taken = list[bytes]()
        self.is_open = True

    def hand_over(self, descriptor: int, read: bytes) -> bool:
        if self.is_open:
            self.taken.append(read)
            with socket.socket(fileno=os.dup(descriptor)) as own:
                own.sendall(b"taken")
        return self.is_open


class Stage:
    def __init__(self, app: Echo, door: Doorman, port: int) -> None:
        self.app, self.door, self.port = app, door, port

    async def ask(self, *parts: bytes, pause_s: float = 0.02) -> bytes:
        """All that comes for these packets until nothing has come for a while."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        heard = b""
        try:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(pause_s)
            while True:
                async with asyncio.timeout(0.3 if heard else PATIENCE_S):
                    more = await reader.read(65536)
                if not more:
                    return heard + b"(closed)"
                heard += more
        except TimeoutError:
            return heard + b"(open)"
        finally:
            writer.close()


def lived(story: Callable[[Stage], Awaitable[None]], *, own: tuple[str, ...] = (), quick: bool = True) -> None:
    async def live() -> None:
        answer = (lambda answer: answer()) if quick else None
        app, door, (listener,) = Echo(answer), Doorman(), listen("127.0.0.1", 0)
        started = asyncio.Event()
        server = Server(cast("App", app), 100, started.set, Previews(PreviewHosts("localhost", own), door.hand_over))
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


@pytest.mark.parametrize(
    "host", ["app.localhost", "APP.LocalHost:1", "app.localhost.", "a.b.localhost", "api--app.localhost"]
)
def test_what_is_for_a_preview_is_handed_over_with_its_bytes(host: str) -> None:
    request = f"POST /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 900000000\r\n\r\nsome of it".encode()

    async def story(stage: Stage) -> None:
        assert await stage.ask(request) == b"taken(closed)"
        assert stage.door.taken == [request]
        assert stage.app.paths == []

    lived(story)


def test_a_head_that_comes_in_pieces_is_handed_over_whole() -> None:
    async def story(stage: Stage) -> None:
        await stage.ask(*(GUEST[at : at + 7] for at in range(0, len(GUEST), 7)), pause_s=0.005)
        (read,) = stage.door.taken
        assert GUEST.startswith(read) or read == GUEST
        assert read.endswith(b"\r\n\r\n")

    lived(story)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_so_is_what_asks_for_another_protocol(upgrade: str) -> None:
    request = f"GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\nmore".encode()

    async def story(stage: Stage) -> None:
        await stage.ask(request)
        assert stage.door.taken == [request]

    lived(story)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9092", "[::1]", "localhost.evil.example", "pool.localhost"])
def test_what_is_for_the_service_is_answered_here(host: str) -> None:
    async def story(stage: Stage) -> None:
        for path in ("own", "own?x"):
            reply = await stage.ask(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert reply.startswith(b"HTTP/1.1 200 ")
        assert stage.door.taken == []

    lived(story, own=("Pool.localhost",))


def test_a_connection_that_rests_may_change_sides() -> None:
    async def story(stage: Stage) -> None:
        reply = await stage.ask(OWN, OWN.replace(b"GET", b"OPTIONS"), GUEST)
        assert reply.count(b"HTTP/1.1 200") == 2
        assert reply.endswith(b"taken(closed)")
        assert stage.door.taken == [GUEST]

    lived(story)


@pytest.mark.parametrize("quick", [True, False])
def test_a_preview_behind_another_request_is_refused_after_its_reply(*, quick: bool) -> None:
    async def story(stage: Stage) -> None:
        for parts in ((OWN + GUEST,), (OWN + GUEST[:20], GUEST[20:])):
            reply = await stage.ask(*parts)
            assert reply.index(b"HTTP/1.1 200") < reply.index(b"HTTP/1.1 421")
            assert reply.endswith(b"(closed)")
        assert stage.door.taken == []

    lived(story, quick=quick)


def test_two_hosts_of_which_one_is_a_previews_never_reach_the_service() -> None:
    """The door refuses them."""
    both = GUEST[:-2] + b"Host: localhost\r\n\r\n"

    async def story(stage: Stage) -> None:
        await stage.ask(both)
        assert stage.door.taken == [both]
        assert stage.app.paths == []

    lived(story)


def test_without_a_door_a_preview_is_refused_for_a_while() -> None:
    async def story(stage: Stage) -> None:
        stage.door.is_open = False
        reply = await stage.ask(GUEST)
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in reply
        assert reply.endswith(b"(closed)")

    lived(story)


def test_what_was_handed_over_counts_no_more_among_the_connections() -> None:
    async def story(stage: Stage) -> None:
        for _ in range(150):  # of 100
            assert await stage.ask(GUEST, pause_s=0) == b"taken(closed)"

    lived(story)
