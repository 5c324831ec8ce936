"""A replica that does not lead: what it answers itself, and how whole connections go on to the leader."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from worker_orchestrator.http.previews.hosts import PreviewHosts
from worker_orchestrator.http.server import limits
from worker_orchestrator.service.replicas import relaying, standing_by
from worker_orchestrator.service.replicas.answers import Wayside, asked, marked
from worker_orchestrator.service.replicas.standing_by import StandingBy

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOSTS = PreviewHosts("localhost")


@dataclass
class Bed:
    """A replica on this port, and who leads as it knows it. `own` is its own address."""

    port: int
    own: str
    standby: StandingBy
    leader: str = ""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    async def ask(self, text: str) -> bytes:
        """The reply to this request, up to the end of the connection."""
        reader, writer = await self.connect()
        writer.write(text.encode())
        reply = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return reply


@asynccontextmanager
async def standing(standby: str = "forward", root_path: str = "", per_client: int = 100) -> AsyncIterator[Bed]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        own = f"http://127.0.0.1:{port}"
        server = StandingBy(Wayside(standby, root_path, HOSTS), lambda: bed.leader, own, per_client)
        bed = Bed(port, own, server)
        await server.open([listener])
        looking = asyncio.create_task(server.run())
        try:
            yield bed
        finally:
            looking.cancel()
            await _closed(bed.writers)
            await server.aclose()


@dataclass
class Leader:
    """What the leader was sent; it serves as it is told to."""

    heard: list[bytes] = field(default_factory=list)
    address: str = ""


@asynccontextmanager
async def leading(serve: Serve | None = None) -> AsyncIterator[Leader]:
    """By default it answers each request of a connection with its number."""
    leader = Leader()

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                leader.heard.append(await reader.readuntil(b"\r\n\r\n"))
                number += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % number)
        writer.close()

    writers = list[asyncio.StreamWriter]()

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await (serve or count)(reader, writer)

    server = await asyncio.start_server(noted, "127.0.0.1", 0)
    leader.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield leader
    finally:
        server.close()
        await _closed(writers)


async def _closed(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ")[1])


def body_of(reply: bytes) -> dict[str, object]:
    told: dict[str, object] = json.loads(reply.partition(b"\r\n\r\n")[2])
    return told


def a_get(path: str, host: str = "pool") -> str:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"


@pytest.mark.parametrize(("standby", "ready"), [("forward", 200), ("redirect", 200), ("refuse", 503)])
def test_it_is_alive_and_ready_if_who_comes_gets_on(standby: str, ready: int) -> None:
    async def see() -> None:
        async with standing(standby, root_path="/pool") as bed:
            assert status_of(await bed.ask(a_get("/livez"))) == 200
            assert status_of(await bed.ask(a_get("/readyz"))) == 503, "nobody leads"
            bed.leader = "http://10.0.0.1:9092"
            assert status_of(await bed.ask(a_get("/readyz?a"))) == ready
            assert status_of(await bed.ask(a_get("/pool/livez"))) == 200
            head = await bed.ask("HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (status_of(head), head.partition(b"\r\n\r\n")[2]) == (200, b"")
            assert status_of(await bed.ask("POST /livez HTTP/1.1\r\nHost: a\r\n\r\n")) == 405
            metrics = await bed.ask(a_get("/metrics"))
            assert b"# This replica stands by" in metrics

    asyncio.run(see())


def test_a_whole_connection_goes_to_the_leader_and_says_once_that_it_was_relayed() -> None:
    async def see() -> None:
        async with standing() as bed, leading() as leader:
            bed.leader = leader.address
            reader, writer = await bed.connect()
            for number in (b"1", b"2", b"3"):
                writer.write(a_get("/v1/machines").encode())
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(1) == number
            writer.close()
            first, *others = leader.heard
            assert first == b"GET /v1/machines HTTP/1.1\r\nx-orchestrator-relayed: 1\r\nHost: pool\r\n\r\n"
            assert others == [b"GET /v1/machines HTTP/1.1\r\nHost: pool\r\n\r\n"] * 2

    asyncio.run(see())


def test_bytes_go_both_ways_as_they_come_and_the_end_as_well() -> None:
    """As with an upgrade, a body in chunks and a stream; more than any buffer holds."""
    much = b"x" * 3_000_000

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        left = len(much)
        while left:
            data = await reader.read(65536)
            left -= len(data)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def see() -> None:
        async with standing() as bed, leading(echo) as leader:
            bed.leader = leader.address
            reader, writer = await bed.connect()
            writer.write(a_get("/v1/machines/a/terminal").encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(much)
            assert await asyncio.wait_for(reader.read(), 20) == much
            writer.close()

    asyncio.run(see())


def test_what_comes_while_nobody_leads_is_held_and_goes_on_to_who_does_then() -> None:
    async def see() -> None:
        async with standing() as bed, leading() as leader:
            asking = asyncio.create_task(
                bed.ask(a_get("/a", "pool").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
            )
            await asyncio.sleep(0.15)
            bed.leader = "http://127.0.0.1:1"  # nobody listens there any more
            await asyncio.sleep(0.15)
            assert not asking.done()
            bed.leader = leader.address
            while not leader.heard:  # noqa: ASYNC110 # the leader has no events
                await asyncio.sleep(0.01)
            asking.cancel()

    asyncio.run(see())


def test_nothing_is_sent_of_who_hung_up_while_it_was_held() -> None:
    """A release that its client gave up on must not be carried out after a later assign."""

    async def see() -> None:
        async with standing() as bed, leading() as leader:
            _, writer = await bed.connect()
            writer.write(b"DELETE /v1/projects/a/machine HTTP/1.1\r\nHost: pool\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
            await asyncio.sleep(0.05)
            bed.leader = leader.address
            await asyncio.sleep(0.3)
            assert leader.heard == []

    asyncio.run(see())


def test_who_waits_for_a_leader_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "HELD_S", 0.2)

    async def see() -> None:
        async with standing() as bed:
            reply = await bed.ask(a_get("/my-project"))
            assert (status_of(reply), body_of(reply)["error"]) == (503, "Standing by")
            assert b"retry-after: 1" in reply
            problem = await bed.ask(a_get("/v1/machines"))
            assert b"application/problem+json" in problem
            assert body_of(problem)["detail"] == "No replica leads at the moment. Ask again in a second."

    asyncio.run(see())


def test_what_was_relayed_is_not_passed_on_again() -> None:
    """Else two replicas that take each other for the leader, for a moment, would pass it round and round."""

    async def see() -> None:
        async with standing() as bed, leading() as leader:
            bed.leader = leader.address
            relayed = marked(a_get("/a").encode()).decode()
            assert status_of(await bed.ask(relayed)) == 503
            assert leader.heard == []

    asyncio.run(see())


def test_a_leader_that_hangs_and_leads_no_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing_by, "LEFT_S", 0.1)
    monkeypatch.setattr(standing_by, "LOOKS_EVERY_S", 0.05)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 20)
        await reader.read()

    async def see() -> None:
        async with standing() as bed, leading(hang) as leader:
            bed.leader = leader.address
            asking = asyncio.create_task(bed.ask(a_get("/a")))
            await asyncio.sleep(0.3)
            assert not asking.done(), "it leads"
            bed.leader = "http://127.0.0.1:2"
            with suppress(ConnectionError):
                assert await asking == b""

    asyncio.run(see())


def test_callers_are_sent_to_the_leader_where_that_is_the_setting() -> None:
    async def see() -> None:
        async with standing("redirect") as bed:
            bed.leader = "http://10.0.0.1:9092"
            reply = await bed.ask(a_get("/v1/machines?pool=a"))
            assert status_of(reply) == 307
            assert b"location: http://10.0.0.1:9092/v1/machines?pool=a\r\n" in reply
            preview = await bed.ask(a_get("/", "my-project.localhost:9092"))
            assert status_of(preview) == 503, "its host would be lost"
            bed.leader = ""
            assert status_of(await bed.ask(a_get("/a"))) == 503

    asyncio.run(see())


def test_callers_are_told_where_the_leader_is_where_that_is_the_setting() -> None:
    async def see() -> None:
        async with standing("refuse") as bed:
            bed.leader = "http://10.0.0.1:9092"
            reply = await bed.ask("PUT /v1/projects/a/machine HTTP/1.1\r\nHost: pool\r\nContent-Length: 3\r\n\r\nabc")
            said = "This replica stands by. The one that leads is at http://10.0.0.1:9092: ask there."
            assert (status_of(reply), body_of(reply)["detail"]) == (503, said)
            assert b"retry-after: 1\r\n" in reply
            assert body_of(await bed.ask(a_get("/a")))["message"] == said

    asyncio.run(see())


@pytest.mark.parametrize(
    ("sent", "status"),
    [("hello\r\n\r\n", 400), ("GET http://a/ HTTP/1.1\r\n\r\n", 400), ("GET /" + "a" * limits.HEAD_LIMIT_BYTES, 431)],
)
def test_what_is_no_request_is_refused(sent: str, status: int) -> None:
    async def see() -> None:
        async with standing() as bed:
            bed.leader = "http://127.0.0.1:1"
            assert status_of(await bed.ask(sent)) == status

    asyncio.run(see())


def test_one_client_has_so_many_connections_and_idle_ones_make_room() -> None:
    async def see() -> None:
        async with standing(per_client=2) as bed, leading() as leader:
            bed.leader = leader.address
            idle, _ = await bed.connect()
            busy = [await bed.connect() for _ in range(2)]
            for reader, writer in busy:
                writer.write(a_get("/a").encode())
                await reader.readuntil(b"\r\n\r\n")
            with suppress(ConnectionError):
                assert await idle.read() == b"", "it made room"
            assert status_of(await bed.ask(a_get("/a"))) == 503
            for _, writer in busy:
                writer.close()

    asyncio.run(see())


def test_one_that_leads_takes_no_more_and_goes_on_with_what_was_asked() -> None:
    async def see() -> None:
        async with standing() as bed, leading() as leader:
            idle, _ = await bed.connect()
            reader, writer = await bed.connect()
            writer.write(a_get("/a").encode())
            await asyncio.sleep(0.05)
            bed.standby.close()
            assert await asyncio.wait_for(idle.read(), 5) == b""
            bed.leader = leader.address
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()

    asyncio.run(see())


def test_what_is_asked_is_read_from_the_head() -> None:
    found = asked(b"GET /a?b=c HTTP/1.1\r\nhOST:  a:1 \r\nHost: b\r\nX-Orchestrator-Relayed: 1")
    assert found is not None
    assert (found.method, found.target, found.path, found.host, found.is_relayed) == (
        "GET",
        "/a?b=c",
        "/a",
        "a:1",
        True,
    )
