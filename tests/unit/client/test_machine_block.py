"""`with client.machine(...)`: what is assigned before the block is given back behind it."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted import ScriptedServer, answer, problem, scripted
from tests.unit.client.test_calls import MACHINE, RELEASED

from worker_orchestrator.client import AsyncClient
from worker_orchestrator.errors import EngineRejected, NoMachineAvailable

ASSIGNED = answer(201, MACHINE)


class Own(Exception):
    """Of the block."""


def targets(server: ScriptedServer) -> list[str]:
    return [f"{heard.method} {heard.target}" for heard in server.heard]


def test_it_is_released_with_its_generation(connect: Connect) -> None:
    """So that it never hits a later assignment."""
    with (
        scripted(ASSIGNED, answer(200, RELEASED)) as server,
        connect(server.url) as client,
        client.machine("p", metadata={"a": "b"}) as machine,
    ):
        assert machine.url == "http://localhost:20001"
    assert targets(server) == ["PUT /v1/projects/p/machine", "DELETE /v1/projects/p/machine?generation=3"]
    assert server.heard[0].json["metadata"] == {"a": "b"}


def test_it_is_released_after_an_error_too(connect: Connect) -> None:
    """The error goes on."""
    with (
        scripted(ASSIGNED, answer(200, RELEASED)) as server,
        connect(server.url) as client,
        pytest.raises(Own),
        client.machine("p"),
    ):
        raise Own
    assert len(server.heard) == 2


@pytest.mark.parametrize(
    ("status", "code"), [(404, "project_has_no_machine"), (404, "machine_not_found"), (412, "generation_mismatch")]
)
def test_what_is_gone_by_then_is_no_error(connect: Connect, status: int, code: str) -> None:
    """Released, destroyed or somebody else's: it is not ours any more, as it should be."""
    with scripted(ASSIGNED, problem(status, code)) as server, connect(server.url) as client, client.machine("p"):
        pass
    assert len(server.heard) == 2


def test_a_release_that_fails_does_not_hide_the_error_of_the_block(connect: Connect) -> None:
    """It is noted on it."""
    with (
        scripted(ASSIGNED, problem(502, "engine_rejected", "no such")) as server,
        connect(server.url) as client,
        pytest.raises(Own) as told,
        client.machine("p"),
    ):
        raise Own
    assert told.value.__notes__ == ["Its machine was not released: no such"]


def test_a_release_that_fails_is_an_error_by_itself(connect: Connect) -> None:
    """Where there is no other."""
    with (
        scripted(ASSIGNED, problem(502, "engine_rejected", "no such")) as server,
        connect(server.url) as client,
        pytest.raises(EngineRejected),
        client.machine("p"),
    ):
        pass


def test_without_a_machine_there_is_no_block(connect: Connect) -> None:
    """And nothing to release."""
    with (
        scripted(problem(503, "no_machine_available")) as server,
        connect(server.url) as client,
        pytest.raises(NoMachineAvailable),
        client.machine("p", wait_seconds=0),
    ):
        pytest.fail("there is no machine")
    assert len(server.heard) == 1


def test_a_cancelled_task_releases() -> None:
    """As any other end of the block."""

    async def main() -> None:
        inside = asyncio.Event()

        async def work() -> None:
            async with AsyncClient(server.url) as client, client.machine("p"):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with scripted(ASSIGNED, answer(200, RELEASED)) as server:
        asyncio.run(main())
    assert targets(server)[1] == "DELETE /v1/projects/p/machine?generation=3"
