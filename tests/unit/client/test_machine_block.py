"""`with client.machine(...)`: what is assigned before the block is given back behind it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from tests.integration.waiting import eventually, holds_for
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted import Act, ScriptedServer, answer, problem, reset, scripted, unheard
from tests.unit.client.test_calls import MACHINE, RELEASED

from worker_orchestrator.client import AsyncClient, Client
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


# a machine with a ttl is kept while the block runs


def leased(ttl: float) -> Act:
    lease = {"ttl": ttl, "expires_at": "2026-01-01T00:00:01Z", "expires_by": "ttl"}
    none = dict.fromkeys(("max_age", "idle_timeout", "confirm_within", "last_active_at"))
    return answer(201, {**MACHINE, "lease": {**lease, **none}})


async def stay(
    client: AsyncClient,
    server: ScriptedServer,
    count: int,
    ttl: float | None = None,
    until: Callable[[], object] = lambda: True,
) -> None:
    """In a block until the server has heard so many requests, and `until` holds as well: its end stops what is under way."""
    async with client.machine("p", ttl=ttl):
        async with asyncio.timeout(10):
            while len(server.heard) < count or not until():  # noqa: ASYNC110 # the server is on other threads
                await asyncio.sleep(0.01)


def in_a_block(
    kind: str,
    server: ScriptedServer,
    count: int,
    ttl: float | None = None,
    until: Callable[[], object] = lambda: True,
) -> None:
    """As `stay`, with this kind of client."""

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            await stay(client, server, count, ttl, until)

    if kind == "asyncio":
        asyncio.run(main())
        return
    with Client(server.url) as client, client.machine("p", ttl=ttl):
        eventually(lambda: len(server.heard) >= count and until(), f"{count} requests came", within_s=10)


KEPT = "POST /v1/projects/p/machine/keepalive"
kinds = pytest.mark.parametrize("kind", ["threads", "asyncio"])


@kinds
def test_a_machine_with_a_ttl_is_kept_with_its_generation_until_the_block_ends(kind: str) -> None:
    with scripted(leased(0.3), answer(204), answer(204), answer(204), answer(200, RELEASED)) as server:
        in_a_block(kind, server, 4, ttl=0.3)
        heard = list(server.heard)
        assert targets(server)[:4] == ["PUT /v1/projects/p/machine", KEPT, KEPT, KEPT]
        assert heard[-1].method == "DELETE"
        assert heard[0].json == {"ttl": 0.3}
        assert {(one.headers["if-match"], one.body) for one in heard[1:4]} == {('"3"', b"{}")}
        holds_for(lambda: len(server.heard) == len(heard), "nothing is kept behind the block", for_s=0.4)
    assert [thread for thread in threading.enumerate() if thread.name == "keepalive"] == []


@kinds
def test_keepalives_go_on_when_the_service_is_back(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It says once that it is away."""
    away = (reset, unheard, problem(503, "store_failed", "The disk is full."))
    with scripted(leased(0.3), *away, answer(204), answer(204), answer(200, RELEASED)) as server:
        in_a_block(kind, server, 6)
        assert targets(server)[1:6] == [KEPT] * 5
    (said,) = [record.getMessage() for record in caplog.records if record.name == "worker_orchestrator.client"]
    assert said.startswith("machine m-1 of project p cannot be kept now, and is tried again: ")


def said_by_client(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "worker_orchestrator.client"]


@kinds
@pytest.mark.parametrize(("status", "code"), [(404, "project_has_no_machine"), (412, "generation_mismatch")])
def test_what_is_lost_is_kept_no_longer_and_that_is_said(
    kind: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with scripted(leased(0.3), problem(status, code, "It is gone.")) as server:
        in_a_block(kind, server, 2, until=lambda: said_by_client(caplog))
        assert targets(server)[:2] == ["PUT /v1/projects/p/machine", KEPT]
        assert len([one for one in targets(server) if one == KEPT]) == 1
    assert said_by_client(caplog) == ["machine m-1 of project p is kept no longer: It is gone."]


def test_a_machine_without_a_ttl_needs_nothing(connect: Connect) -> None:
    with scripted(ASSIGNED, answer(200, RELEASED)) as server, connect(server.url) as client, client.machine("p"):
        assert [thread for thread in threading.enumerate() if thread.name == "keepalive"] == []
    assert len(server.heard) == 2


def test_a_service_that_hangs_does_not_hold_up_the_end_of_a_block() -> None:
    """A keepalive that is on its way is waited for a second, and no longer."""
    stuck = threading.Event()

    def hangs(_connection: object) -> bool:
        stuck.wait(20)
        return False

    with scripted(leased(3), hangs, answer(200, RELEASED)) as server:
        with Client(server.url) as client:
            with client.machine("p"):
                eventually(lambda: len(server.heard) == 2, "a keepalive is on its way", within_s=10)
                begun = time.monotonic()
            assert time.monotonic() - begun < 3
        assert targets(server)[-1] == "DELETE /v1/projects/p/machine?generation=3"
        stuck.set()
