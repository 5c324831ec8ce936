"""How many visitors there is room for, and what the others hear."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle

import pytest
from tests.unit.door.relayed import Relayed, lived, until
from tests.unit.door.test_channel import descriptors as open_descriptors
from tests.unit.door.test_relay import echo

from worker_orchestrator.door import process, visitor
from worker_orchestrator.door.clients import client_of
from worker_orchestrator.door.messages import Config
from worker_orchestrator.door.process import PER_VISITOR, RESERVE, room
from worker_orchestrator.door.stream import Stream


@contextmanager
def descriptors(most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("most", [200, 1000])
def test_where_descriptors_are_few_there_are_no_more_visitors_than_they_are_enough_for(most: int) -> None:
    with descriptors(most):
        assert room(65_536) == (most - RESERVE) // PER_VISITOR
        assert room(5) == 5


def test_somebody_may_always_come() -> None:
    with descriptors(RESERVE):
        assert room(65_536) == 1


def test_where_there_is_no_limit_there_may_be_as_many_as_the_service_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert room(65_536) == 65_536


REQUEST = b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: app.localhost\r\n"
End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def come_from(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Visitors come from these addresses, in turn."""
    turns = cycle(addresses)
    monkeypatch.setattr(process, "client_of", lambda _: client_of(next(turns)))


async def thinks(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """A worker that never answers."""
    await reader.read(-1)


async def end_all(ends: Iterable[End]) -> None:
    for _, writer in ends:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def in_use(stage: Relayed, count: int) -> list[End]:
    """So many visitors whose requests are being answered."""
    ends = [await stage.open(REQUEST) for _ in range(count)]
    await until(lambda: sum(map(len, stage.door._routes._in_use.values())) == count)
    return ends


async def has_ended(end: End) -> bool:
    with contextlib.suppress(ConnectionError):
        return await end[0].read() == b""
    return True


@pytest.mark.parametrize("config", [Config("localhost", 5, 1000), Config("localhost", 1000, 5)])
def test_who_is_too_many_is_told_so_and_takes_no_descriptors_for_long(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    come_from(monkeypatch, "192.0.2.7")

    async def story(stage: Relayed) -> None:
        ends = await in_use(stage, 5)
        before = open_descriptors()
        refused = [await stage.open() for _ in range(40)]
        for reader, _ in refused:
            assert b" 503 " in await reader.read()
        if config.total == 5:
            assert open_descriptors() <= before + len(refused) + 5
        await end_all([*ends, *refused])

    lived(thinks, story, config)


def test_all_addresses_of_one_network_are_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    come_from(monkeypatch, *(f"2001:db8::{number}" for number in range(1, 100)))

    async def story(stage: Relayed) -> None:
        ends = await in_use(stage, 5)
        assert b" 503 " in await stage.ask(REQUEST)
        await end_all(ends)

    lived(thinks, story, Config("localhost", 5, 1000))


@pytest.mark.parametrize("sent", [b"", HALF, b"\r\n"], ids=["nothing", "half a head", "a blank line"])
@pytest.mark.parametrize("config", [Config("localhost", 3, 1000), Config("localhost", 1000, 3)])
def test_who_says_nothing_makes_room_the_longest_idle_one_first(
    config: Config, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    come_from(monkeypatch, "192.0.2.7")

    async def story(stage: Relayed) -> None:
        ends = []
        for _ in range(3):
            ends.append(await stage.open(sent))
            await until(lambda: len(stage.door._connections) == len(ends))
        assert b" 200 " in await stage.get()
        assert await has_ended(ends[0])
        assert not ends[1][0].at_eof()
        await end_all(ends)

    lived(echo, story, config)


def test_one_that_was_answered_makes_room_before_one_that_is_being_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    come_from(monkeypatch, "192.0.2.7")

    async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"GET / " in await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read(-1)

    async def story(stage: Relayed) -> None:
        busy = await stage.open(REQUEST.replace(b"/ ", b"/busy "))
        await asyncio.sleep(0.05)
        rested = await stage.open(REQUEST)
        await rested[0].readuntil(b"ok")
        assert b" 200 " in await stage.get()
        assert await has_ended(rested)
        assert not busy[0].at_eof()
        await end_all([busy, rested])

    lived(worker, story, Config("localhost", 2, 1000))


def test_all_who_come_by_a_proxy_on_this_computer_share_the_whole_limit() -> None:
    async def story(stage: Relayed) -> None:
        ends = await in_use(stage, 8)
        assert b" 503 " in await stage.ask(REQUEST)
        await end_all(ends)

    lived(thinks, story, Config("localhost", 2, 8))


def test_a_connection_that_rests_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor, "REST_S", 0.2)

    async def story(stage: Relayed) -> None:
        rested = await stage.open(REQUEST)
        await rested[0].readuntil(b"\r\n\r\nGET ")
        while not rested[0].at_eof():
            await rested[0].read(1000)
        await end_all([rested])

    lived(echo, story)


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="only the kernel of Linux has these times")
def test_a_visitor_that_vanished_is_noticed_after_minutes() -> None:
    async def story(stage: Relayed) -> None:
        seen = list[tuple[int, ...]]()

        class Seen(Stream):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                own = transport.get_extra_info("socket")
                options = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT
                seen.append(tuple(own.getsockopt(socket.IPPROTO_TCP, option) for option in options))

        transport, _ = await asyncio.get_running_loop().create_connection(Seen, "127.0.0.1", stage.port)
        transport.close()
        assert seen == [(60, 15, 4)]

    lived(echo, story)
