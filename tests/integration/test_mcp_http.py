"""Agents by MCP over HTTP: /v1/mcp, asked by the official SDK's client in each protocol that it speaks, on Docker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.integration.calling import call
from tests.integration.conftest import Start
from tests.integration.docker_command import docker
from tests.integration.guarded import a_guarded_service
from tests.integration.running import Running
from tests.integration.test_mcp import PINNED, READERS, refused, run, said
from tests.integration.waiting import eventually

from worker_orchestrator import client as service_client

TOKEN: Final = "the-token-of-the-operator"
UNPINNED: Final = [*PINNED, "assign", "release", "list_machines"]
INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
ACCEPT: Final = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    flags = ("--mcp", "--mcp-max-machines", "2", "--min-idle", "2", "--max-machines", "8", "--assign-timeout", "20")
    with a_guarded_service(tmp_path_factory.mktemp("mcp"), TOKEN, *flags) as running:
        yield running


def operator(service: Running) -> service_client.Client:
    return service_client.Client(f"http://127.0.0.1:{service.ports.api}", token=TOKEN, retries=0)


@asynccontextmanager
async def agent(
    service: Running, token: str, query: str = "", mode: Any = "auto", **headers: str
) -> AsyncIterator[Client]:
    sent = {"Authorization": f"Bearer {token}", **headers}
    async with httpx2.AsyncClient(headers=sent, timeout=60) as http:
        address = f"http://127.0.0.1:{service.ports.api}/v1/mcp{query}"
        async with Client(
            streamable_http_client(address, http_client=http), mode=mode, read_timeout_seconds=60
        ) as client:
            yield client


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
def test_every_tool_is_listed_and_works(service: Running, mode: str) -> None:
    async def test() -> None:
        async with agent(service, TOKEN, mode=mode) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == UNPINNED
            assert all("project" in tool.input_schema["required"] for tool in tools[:-1])
            name = f"of-{mode}"
            assert "assigned" in await said(client, "assign", project=name)
            ran = await said(client, "run_command", project=name, command="cat; exit 3", stdin="in\n")
            assert ran == "Exit code 3.\n--- stdout ---\nin"
            await said(client, "write_file", project=name, path="/tmp/a", content="one\n")
            await said(client, "edit_file", project=name, path="/tmp/a", old_text="one", new_text="two")
            assert await said(client, "read_file", project=name, path="/tmp/a") == "two"
            assert "/tmp/a" in await said(client, "list_files", project=name, path="/tmp")
            assert (await said(client, "machine_url", project=name)).startswith("http://localhost:")
            assert name in await said(client, "list_machines")
            assert await refused(client, "read_file", project=name, path="/none") == "path_not_found"
            assert await refused(client, "run_command", command="true") == "no_project"
            await said(client, "release", project=name)

    run(test)


def test_each_key_has_its_own_machines_and_its_own_number_of_them(service: Running) -> None:
    async def test() -> None:
        with operator(service) as other:
            keys = {name: other.create_key(name).value for name in ("ann", "bob")}
            mute = other.create_key("mute", may=["read"]).value
        async with agent(service, keys["ann"], "?project=p") as ann, agent(service, keys["bob"]) as bob:
            assert [tool.name for tool in (await ann.list_tools()).tools] == PINNED
            mine = await said(ann, "run_command", command="hostname")
            assert "no machines" in await said(bob, "list_machines")
            assert await said(bob, "run_command", project="p", command="hostname") != mine
            tried = [said(bob, "assign", project="q"), refused(bob, "release", project="ann:p")]
            assert (await asyncio.gather(*tried))[1] == "project_has_no_machine"
            assert await refused(bob, "assign", project="r") == "too_many_machines"
            await said(bob, "release", project="q")
            await said(bob, "release", project="p")
        async with agent(service, keys["ann"], mode="legacy", **{"X-Orchestrator-Project": "p"}) as ann:
            assert await said(ann, "run_command", command="hostname") == mine, "nothing is kept but the machine"
        async with agent(service, keys["ann"], "?read_only=true&project=p") as ann:
            assert [tool.name for tool in (await ann.list_tools()).tools] == READERS
            assert await refused(ann, "read_file", path="/none") == "path_not_found"
        async with agent(service, mute) as reader:
            assert [tool.name for tool in (await reader.list_tools()).tools] == [*READERS, "list_machines"]
        with operator(service) as other:
            for name in ("ann", "bob", "mute"):
                other.revoke_key(name)
            other.release("ann:p")

    run(test)


def test_a_command_ends_with_its_client_and_with_its_key(service: Running) -> None:
    async def test() -> None:
        with operator(service) as other:
            value = other.create_key("eve").value
            async with agent(service, value, "?project=p") as client:
                await said(client, "run_command", command="true")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.call_tool("run_command", {"command": "exec sleep 4243"}), 2)
            async with agent(service, value, "?project=p") as client:
                running = asyncio.create_task(client.call_tool("run_command", {"command": "exec sleep 4244"}))
                machine = other.machine_of("eve:p").container_id or ""
                await asyncio.to_thread(eventually, lambda: "4244" in docker("top", machine).out, "it runs")
                other.revoke_key("eve")
                await asyncio.wait([running], timeout=10)
                assert running.done()
                assert running.exception() is not None or running.result().is_error
            await asyncio.to_thread(eventually, lambda: "sleep 424" not in docker("top", machine).out, "none is left")
            other.release("eve:p")

    run(test)


def test_who_may_call_is_judged_as_at_every_door(service: Running) -> None:
    right = {"authorization": f"Bearer {TOKEN}", **ACCEPT}
    for headers, status in (
        (right, 200),
        (ACCEPT, 401),
        ({**ACCEPT, "authorization": "Bearer wrong"}, 401),
        ({**right, "origin": "https://example.com"}, 403),
        ({**right, "origin": f"http://localhost:{service.ports.first}"}, 403),
        ({**right, "sec-fetch-site": "cross-site"}, 403),
    ):
        assert call(service.ports.api, "POST", "/v1/mcp", INITIALIZE, headers).status == status, headers
    for method in ("GET", "DELETE"):
        answer = call(service.ports.api, method, "/v1/mcp", None, right)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    for query in ("?project=a%20b", "?surprise=1", "?read_only=maybe"):
        answer = call(service.ports.api, "POST", f"/v1/mcp{query}", INITIALIZE, right)
        assert (answer.status, json.loads(answer.body)["status"]) == (400, 400)
    two = {**right, "x-orchestrator-project": "b"}
    assert call(service.ports.api, "POST", "/v1/mcp?project=a", INITIALIZE, two).status == 400
    assert call(service.ports.api, "POST", "/v1/mcp", b"{", {**right, "content-type": "application/json"}).status == 400


def test_an_open_service_lets_in_only_who_has_a_key_and_it_is_closed_by_itself(start: Start, tmp_path: Path) -> None:
    service = start("--engine", "memory", "--mcp")
    with service_client.Client(f"http://127.0.0.1:{service.ports.api}") as other:
        value = other.create_key("ann").value
    for sent, status in ((None, 401), ("anything", 401), (value, 200), (f"{value}x", 401)):
        headers = {**ACCEPT, "authorization": None if sent is None else f"Bearer {sent}"}
        assert call(service.ports.api, "POST", "/v1/mcp", INITIALIZE, headers).status == status
    foreign = {**ACCEPT, "authorization": f"Bearer {value}", "host": "rebound.example.com"}
    assert call(service.ports.api, "POST", "/v1/mcp", INITIALIZE, foreign).status == 403
    closed = start("--engine", "memory")
    assert call(closed.ports.api, "POST", "/v1/mcp", INITIALIZE, ACCEPT).status == 404
