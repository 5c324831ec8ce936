"""How many visitors there is room for, and what the others hear."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from tests.unit.door.relayed import Relayed, lived, says
from tests.unit.door.test_channel import descriptors as open_descriptors
from tests.unit.door.test_relay import echo

from worker_orchestrator.door.process import PER_VISITOR, RESERVE, Config, room
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


@pytest.mark.parametrize("config", [Config("localhost", 5, 1000), Config("localhost", 1000, 5)])
def test_who_is_too_many_is_told_so_and_takes_no_descriptors_for_long(config: Config) -> None:
    async def story(stage: Relayed) -> None:
        ends = [await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n") for _ in range(5)]
        await asyncio.sleep(0.05)
        before = open_descriptors()
        refused = [await stage.open() for _ in range(40)]
        for reader, _ in refused:
            assert b" 503 " in await reader.read()
        if config.total == 5:
            assert open_descriptors() <= before + len(refused) + 5
        for _, writer in [*ends, *refused]:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    lived(echo, story, config)


def test_all_addresses_of_one_network_are_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made, numbers = Stream.connection_made, count(1)

    def from_elsewhere(stream: Stream, transport: asyncio.BaseTransport) -> None:
        made(stream, transport)
        stream.client = f"2001:db8::{next(numbers)}"

    monkeypatch.setattr(Stream, "connection_made", from_elsewhere)

    async def story(stage: Relayed) -> None:
        ends = [await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n") for _ in range(5)]
        await asyncio.sleep(0.05)
        assert b" 503 " in await stage.ask(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        for _, writer in ends:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    lived(says(b"HTTP/1.1 200 OK\r\n\r\n"), story, Config("localhost", 5, 1000))
