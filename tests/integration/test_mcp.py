"""Agents by MCP: `orchestrator mcp` as its clients start it, asked by the official SDK's client, on Docker."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client, MCPError, StdioServerParameters
from tests.integration.docker_command import docker
from tests.integration.running import Running, environment
from tests.integration.waiting import eventually

READERS: Final = ["read_file", "list_files", "machine_url"]
PINNED: Final = ["run_command", "read_file", "write_file", "edit_file", "list_files", "machine_url"]


@asynccontextmanager
async def agent(service: Running, *flags: str, cwd: Path | None = None, url: str = "") -> AsyncIterator[Client]:
    """A client that has started the command, as Claude Code or Cursor do."""
    address = url or f"http://127.0.0.1:{service.ports.api}"
    words = ["-m", "worker_orchestrator", "mcp", "--url", address, *flags]
    server = StdioServerParameters(command=sys.executable, args=words, env=environment(), cwd=cwd)
    async with Client(server, read_timeout_seconds=60) as client:
        yield client


async def said(client: Client, tool: str, **arguments: Any) -> str:
    """What a call of a tool that must succeed told the model."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return "".join(part.text for part in result.content if part.type == "text")


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """The code of the error that a call ended with. It is in the text as well."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.content
    assert result.meta is not None
    code = result.meta["worker-orchestrator/code"]
    text = "".join(part.text for part in result.content if part.type == "text")
    assert text.startswith(f"{code}: ")
    assert "Traceback" not in text
    return str(code)


def machine_of(service: Running, project: str) -> Any | None:
    answer = service.get(f"/v1/projects/{project}/machine")
    return answer.json if answer.status == 200 else None


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 90))


@pytest.fixture
def project(shared: Running, request: pytest.FixtureRequest) -> Any:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)
    yield name
    if (found := machine_of(shared, name)) is not None:
        shared.destroy(found["id"])


def test_every_tool_is_listed_and_works(shared: Running, project: str) -> None:
    async def test() -> None:
        async with agent(shared, "--project", project) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == PINNED
            assert all("project" not in tool.input_schema["properties"] for tool in tools)
            assert [tool.name for tool in tools if tool.annotations and tool.annotations.read_only_hint] == READERS
            assert machine_of(shared, project) is None, "nothing is assigned before it is used"

            ran = await said(
                client, "run_command", command="echo out; echo err >&2; cat; pwd; exit 3", stdin="in\n", workdir="/tmp"
            )
            assert ran == "Exit code 3.\n--- stdout ---\nout\nin\n/tmp\n--- stderr ---\nerr"
            machine = machine_of(shared, project)
            assert machine is not None
            assert machine["metadata"] == {"assigned-by": "mcp"}
            assert (machine["lease"]["ttl"], machine["lease"]["idle_timeout"]) == (3600, 1800)

            assert await said(client, "write_file", path="/tmp/a/b/c.txt", content="one\ntwo\nthree\n")
            assert await said(client, "read_file", path="/tmp/a/b/c.txt", first_line=2, max_lines=1) == (
                "two\n[Lines 2 to 2 of 3. To go on, read from first_line 3.]"
            )
            await said(client, "run_command", command="chmod 751 /tmp/a/b/c.txt; ln -s c.txt /tmp/a/b/link")
            assert "1 time" in await said(client, "edit_file", path="/tmp/a/b/link", old_text="two", new_text="2")
            assert await said(client, "read_file", path="/tmp/a/b/c.txt") == "one\n2\nthree"
            assert "751" in await said(client, "run_command", command="stat -c %a /tmp/a/b/c.txt")
            listed = await said(client, "list_files", path="/tmp/a", depth=3)
            assert [line.split()[-1] for line in listed.splitlines()] == [
                "/tmp/a/b/",
                "/tmp/a/b/c.txt",
                "/tmp/a/b/link@",
            ]
            assert (await said(client, "machine_url")).startswith("http://localhost:")

    run(test)


def test_what_goes_wrong_is_told_with_a_code(shared: Running, project: str) -> None:
    async def test() -> None:
        async with agent(shared, "--project", project, "--longest-command", "5s") as client:
            await said(client, "write_file", path="/tmp/aa", content="a a")
            assert await refused(client, "read_file", path="/none") == "path_not_found"
            assert await refused(client, "read_file", path="/etc") == "is_a_folder"
            assert await refused(client, "read_file", path="relative") == "invalid_request"
            assert await refused(client, "read_file", path="/bin/sh") == "binary_file"
            assert await refused(client, "read_file", path="/etc/hostname", first_line=99) == "no_such_line"
            assert await refused(client, "list_files", path="/none") == "path_not_found"
            assert await refused(client, "list_files", path="/tmp/aa") == "no_folder"
            assert await refused(client, "edit_file", path="/tmp/aa", old_text="a", new_text="x") == "text_not_unique"
            assert (
                await refused(client, "edit_file", path="/tmp/aa", old_text="nobody?", new_text="") == "text_not_found"
            )
            assert await refused(client, "write_file", path="/tmp/aa/x", content="") == "invalid_request"
            assert await refused(client, "machine_url", port="hmr") == "no_such_port"
            assert await refused(client, "run_command", command="true", surprise=1) == "invalid_request"
            assert await refused(client, "run_command", command="true", timeout_seconds=6) == "too_long"
            assert await refused(client, "run_command", command="true", project="another") == "pinned"
            began = time.monotonic()
            assert await said(client, "run_command", command="sleep 77", timeout_seconds=0.5) == (
                "Killed after 0.5 s.\nIt wrote nothing."
            )
            assert time.monotonic() - began < 10
            with pytest.raises(MCPError, match="no tool 'release'"):
                await client.call_tool("release", {"project": project})
        async with agent(shared, "--project", project, url="http://127.0.0.1:1") as client:
            assert await refused(client, "run_command", command="true") == "service_unreachable"

    run(test)


def test_head_and_tail_of_a_long_output_are_told_and_a_long_file_is_read_in_parts(
    shared: Running, project: str
) -> None:
    async def test() -> None:
        async with agent(shared, "--project", project, "--output-limit", "2000") as client:
            ran = await said(client, "run_command", command="seq 1 1000000")
            assert ran.startswith("Exit code 0.\n--- stdout ---\n1\n2\n")
            assert ran.endswith("\n999999\n1000000")
            assert "[6886896 " in ran or "of 6888896 characters cut here." in ran
            assert len(ran) < 2500
            await said(client, "run_command", command="seq 1 100000 >/tmp/long; truncate -s 11M /tmp/huge")
            read = await said(client, "read_file", path="/tmp/long", first_line=50_000)
            assert read.startswith("50000\n")
            assert "of 100000. To go on, read from first_line" in read
            assert len(read) < 2100
            assert await refused(client, "read_file", path="/tmp/huge") == "file_too_long"

    run(test)


def test_two_folders_have_two_machines(shared: Running, tmp_path: Path) -> None:
    async def test() -> None:
        ids = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            async with agent(shared, cwd=tmp_path / name) as client:
                ids.append(await said(client, "run_command", command="hostname"))
        assert len(set(ids)) == 2

    try:
        run(test)
    finally:
        for machine in shared.get("/v1/machines?state=assigned").json["machines"]:
            if machine["project"].startswith("mcp-"):
                shared.destroy(machine["id"])


def test_a_folder_of_no_project_is_refused() -> None:
    words = [sys.executable, "-m", "worker_orchestrator", "mcp"]
    done = subprocess.run(
        words, cwd="/", env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "orchestrator mcp --project NAME" in done.stderr


def test_unpinned_it_gets_and_gives_back_machines_but_no_more_than_it_may(shared: Running, project: str) -> None:
    async def test() -> None:
        async with agent(shared, "--project", project, "--unpinned", "--max-machines", "1") as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert names == [*PINNED, "assign", "release", "list_machines"]
            assert "assigned" in await said(client, "assign", project=f"{project}-2")
            assert await refused(client, "run_command", command="true") == "too_many_machines"
            assert await said(client, "run_command", command="echo hi", project=f"{project}-2")
            assert f"{project}-2" in await said(client, "list_machines")
            await said(client, "release", project=f"{project}-2")
            assert await refused(client, "release", project=f"{project}-2") == "project_has_no_machine"
            shared.assign(f"{project}-3")
            assert await refused(client, "release", project=f"{project}-3") == "not_yours"
            assert (machine_of(shared, f"{project}-3") or {})["lease"] is None
            shared.release(f"{project}-3")

    run(test)


def test_read_only_it_assigns_nothing_and_changes_nothing(shared: Running, project: str) -> None:
    async def test() -> None:
        async with agent(shared, "--project", project, "--read-only") as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == READERS
            assert await refused(client, "list_files", path="/tmp") == "project_has_no_machine"
            shared.assign(project)
            assert "/etc/hosts\n" in await said(client, "list_files", path="/etc")
            assert "localhost" in await said(client, "read_file", path="/etc/hosts")

    run(test)


def test_a_machine_is_kept_while_it_is_used_and_a_new_one_is_told(shared: Running, project: str) -> None:
    async def test() -> None:
        async with agent(shared, "--project", project, "--ttl", "2s", "--idle-timeout", "0") as client:
            first = await said(client, "run_command", command="hostname; sleep 5; hostname")
            machine = machine_of(shared, project)
            assert machine is not None
            shared.destroy(machine["id"])
            second = await said(client, "run_command", command="hostname")
            assert second.startswith(f"Note: {project} has another machine than before.")
            assert first.splitlines()[-1] not in second

    run(test)


def test_a_client_that_goes_away_leaves_no_command_behind(shared: Running, project: str) -> None:
    async def test() -> None:
        async with agent(shared, "--project", project) as client:
            await said(client, "run_command", command="true")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.call_tool("run_command", {"command": "exec sleep 4242"}), 2)

    run(test)
    machine = machine_of(shared, project)
    assert machine is not None

    def is_gone() -> bool:
        return "sleep 4242" not in docker("top", machine["container_id"]).out

    eventually(is_gone, "the command is ended", within_s=10)
