"""What a type checker sees: the same operation, plain on one client and awaitable on the other. mypy runs over this."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, assert_type

import pytest

from worker_orchestrator.client import AsyncClient, Client
from worker_orchestrator.wire.v1 import (
    Destroyed,
    Event,
    ExecEnd,
    ExecOutput,
    ExecResult,
    Machine,
    Pool,
    Released,
    ServiceHealth,
    Usage,
    Why,
)

PUBLIC = sorted(name for name in vars(Client) | vars(AsyncClient) if not name.startswith("_"))
OPERATIONS = [name for name in dir(Client) if not name.startswith("_") and name not in {"close", "url"}]


def checked_plain(client: Client) -> None:
    assert_type(client.assign("p", wait_seconds=1, metadata={"a": "b"}, pool="node20", ttl=60, max_age=0), Machine)
    assert_type(client.machine_of("p"), Machine)
    client.keep("p", ttl=1.5, idle_timeout=2, confirm_within=3, generation=1)
    assert_type(client.release("p", generation=1), Released)
    assert_type(client.why("p"), Why)
    assert_type(client.machines(states=["idle"], pool="node20"), list[Machine])
    assert_type(client.machines(pool=["node20", "default"]), list[Machine])
    assert_type(client.get("m"), Machine)
    assert_type(client.destroy("m", generation=1), Destroyed)
    assert_type(client.restart("m", generation=1), Machine)
    assert_type(client.logs("m", tail=1, follow=True), Generator[bytes, None, None])
    assert_type(client.stats("m"), Usage)
    assert_type(client.exec("m", ["date"]), ExecResult)
    assert_type(client.exec_stream("m", ["date"]), Generator[ExecOutput | ExecEnd, None, None])
    assert_type(client.read_file("m", "/f"), bytes)
    assert_type(client.read_tar("m", "/f"), Generator[bytes, None, None])
    assert_type(client.pools(), list[Pool])
    assert_type(client.pool(), Pool)
    assert_type(client.scale(min_idle=None, max_machines=3), Pool)
    assert_type(client.pause(), Pool)
    assert_type(client.resume("default"), Pool)
    assert_type(client.events(after=1), Generator[Event, None, None])
    assert_type(client.health(), ServiceHealth)
    assert_type(client.machine("p", ttl=60), AbstractContextManager[Machine])
    with client.machine("p") as machine:
        assert_type(machine, Machine)
    client.assign(1)  # type: ignore[arg-type] # a project is a text
    client.assign("p", wait="1")  # type: ignore[call-arg] # no such argument
    client.assign()  # type: ignore[call-arg] # whose?


async def checked_awaitable(client: AsyncClient) -> None:
    awaitable = assert_type(client.assign("p", wait_seconds=1, metadata={"a": "b"}), Coroutine[Any, Any, Machine])
    assert_type(await awaitable, Machine)
    assert_type(await client.machine_of("p"), Machine)
    await client.keep("p", ttl=60)
    assert_type(await client.release("p", generation=1), Released)
    assert_type(await client.why("p"), Why)
    assert_type(await client.machines(pool=["node20", "default"]), list[Machine])
    assert_type(await client.exec("m", ["date"]), ExecResult)
    assert_type(client.exec_stream("m", ["date"]), AsyncGenerator[ExecOutput | ExecEnd, None])
    assert_type(await client.read_file("m", "/f"), bytes)
    assert_type(client.logs("m"), AsyncGenerator[bytes, None])
    assert_type(client.events(), AsyncGenerator[Event, None])
    async for event in client.events(follow=False):
        assert_type(event, Event)
    assert_type(client.machine("p", pool="node20"), AbstractAsyncContextManager[Machine])
    async with client.machine("p") as machine:
        assert_type(machine, Machine)
    await client.assign(1)  # type: ignore[arg-type] # a project is a text
    await client.assign("p", wait="1")  # type: ignore[call-arg] # no such argument


def test_the_clients_differ_in_how_they_are_closed_and_in_nothing_else() -> None:
    """One definition serves both."""
    assert PUBLIC == ["aclose", "close"]
    assert len(OPERATIONS) == 36
    assert all(getattr(Client, name) is getattr(AsyncClient, name) for name in OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_help_shows_what_an_operation_does(name: str) -> None:
    """On the class and on a client, with its arguments."""
    for found in (getattr(Client, name), getattr(Client("http://localhost:1"), name)):
        assert found.__name__ == name
        assert inspect.getdoc(found)
        assert "args" not in inspect.signature(found).parameters
