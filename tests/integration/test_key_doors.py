"""One key never reaches another's machine by a door that is no call of openapi.yaml, or that goes on.

The calls of openapi.yaml are tried in `test_keys`, those of /e2b in `test_e2b_keys`, one by one.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from mcp import Client as AgentClient
from tests.integration.calling import call
from tests.integration.guarded import a_guarded_service
from tests.integration.running import Running
from tests.integration.test_mcp import run
from tests.integration.test_mcp_http import agent
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from worker_orchestrator.client import Client

TOKEN: Final = "the-token-of-the-operator"
GIVEN: Final = {
    "command": "hostname",
    "path": "/etc/passwd",
    "content": "x",
    "old_text": "x",
    "new_text": "y",
    "depth": 1,
    "port": "web",
    "pool": "default",
}
"""For the tools of MCP, each of which takes some of it."""
UNKNOWN: Final = "worker-1700000000000-abcdefghi"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    doors = ("--mcp", "--e2b", "--on-release", "recycle", "--ports", "web=9092", "--max-machines", "20")
    with a_guarded_service(tmp_path_factory.mktemp("doors"), TOKEN, "--engine", "memory", *doors) as running:
        yield running


@pytest.fixture(scope="module")
def values(service: Running) -> dict[str, str]:
    with client(service, TOKEN) as operator:
        return {name: operator.create_key(name, max_machines=6).value for name in ("ann", "bob")}


def client(service: Running, token: str) -> Client:
    return Client(f"http://127.0.0.1:{service.ports.api}", token=token, retries=0)


def of_ann(service: Running) -> Any:
    """All that the operator sees of ann's machines and their assignments."""
    with client(service, TOKEN) as operator:
        held = [one for one in operator.machines() if one.project is not None and one.project.startswith("ann:")]
        return sorted((one.id, one.project, one.generation, one.state, str(one.lease)) for one in held)


def test_no_tool_of_mcp_tells_or_changes_anything_of_another(service: Running, values: dict[str, str]) -> None:
    """Whatever it is called with: a project of the same id is another one, and so is one that begins with a key's name."""
    with client(service, values["ann"]) as ann:
        machine = ann.assign("secret-project", metadata={"secret": "words"})
    before = of_ann(service)

    async def call_all(bob: AgentClient, project: str) -> None:
        tools = {tool.name: tool.input_schema for tool in (await bob.list_tools()).tools}
        for name, schema in tools.items():
            asked = {key: value for key, value in {**GIVEN, "project": project}.items() if key in schema["properties"]}
            result = await bob.call_tool(name, asked)
            text = json.dumps([part.model_dump() for part in result.content]).replace(project, "NAME")
            assert not re.search(f"words|{machine.id}", text), (name, project, text)
            assert of_ann(service) == before, (name, project)

    async def test() -> None:
        for project in ("secret-project", "ann:secret-project", machine.id):
            for query in ("", f"?project={project}", f"?project={project}&read_only=true"):
                async with agent(service, values["bob"], query) as bob:
                    await call_all(bob, project)

    run(test)
    assert of_ann(service) == before
    with client(service, values["bob"]) as bob:
        for one in bob.machines():
            bob.release(str(one.project))


def test_events_that_are_followed_are_of_its_own_projects(service: Running, values: dict[str, str]) -> None:
    """Also those that happen later. The last one is its own, so all before it would have come."""
    connection = http.client.HTTPConnection("127.0.0.1", service.ports.api, timeout=20)
    try:
        sent = {"Authorization": f"Bearer {values['bob']}", "Accept": "text/event-stream"}
        connection.request("GET", "/v1/events?follow=true", headers=sent)
        stream = connection.getresponse()
        assert stream.status == 200
        with client(service, values["ann"]) as ann, client(service, values["bob"]) as bob:
            machine = ann.assign("of-ann")
            ann.release("of-ann")
            bob.assign("of-bob")
            bob.release("of-bob")
        heard = b""
        while b"of-bob" not in heard:
            heard += stream.readline()
        assert machine.id.encode() not in heard
        assert b"of-ann" not in heard
    finally:
        connection.close()


@pytest.mark.parametrize("way", ["header", "protocol", "query"])
def test_no_terminal_opens_in_a_machine_of_another(service: Running, values: dict[str, str], way: str) -> None:
    with client(service, values["ann"]) as ann:
        machine = ann.assign("with-terminal")
    told = []
    for name in (machine.id, UNKNOWN):
        address = f"ws://127.0.0.1:{service.ports.api}/v1/machines/{name}/terminal"
        sent: dict[str, Any] = {"additional_headers": {"Authorization": f"Bearer {values['bob']}"}}
        if way == "protocol":
            sent["subprotocols"] = ["bearer", values["ann"][:-1]]
        if way == "query":
            address += "?token=" + values["ann"][:-1]
        with pytest.raises(InvalidStatus) as refusal, connect(address, **sent):
            pass
        body = (refusal.value.response.body or b"").decode().replace(name, "NAME")
        told.append((refusal.value.response.status_code, re.sub(r'"request_id":"[^"]*"', "", body)))
    assert told[0] == told[1]
    assert told[0][0] in {400, 404}


def linked(service: Running, key: str, project: str) -> tuple[str, str]:
    """The host of this project's preview, and the mark that opens it."""
    headers = {"authorization": f"Bearer {key}"}
    link = call(service.ports.api, "POST", f"/v1/projects/{project}/links", {}, headers)
    assert link.status == 201, link.text
    found = re.match(r"http://([^:/]+)\.localhost:\d+/\?orchestrator_link=(.+)", link.json["url"])
    assert found is not None, link.json["url"]
    return found[1], found[2]


def test_no_key_opens_a_preview_or_hears_where_it_leads(service: Running, values: dict[str, str]) -> None:
    """Neither a sandbox or a project of another, nor the operator's: it is as who shows nothing."""
    made = call(service.ports.api, "POST", "/e2b/sandboxes", {}, {"x-api-key": values["ann"]}).json
    with (
        client(service, TOKEN) as operator,
        client(service, values["ann"]) as ann,
        client(service, values["bob"]) as bob,
    ):
        operator.assign("of-the-operator")
        ann.assign("with-link")
        bob.assign("with-link")
        theirs = [operator.machine_of(f"ann:{name}").id for name in ("with-link", made["sandboxID"])]
        theirs.append(operator.machine_of("of-the-operator").id)
    before, (host, mark) = of_ann(service), linked(service, values["bob"], "with-link")
    opened = call(service.ports.api, "GET", f"/?orchestrator_link={mark}", None, {"host": f"{host}.localhost:1"})
    assert "set-cookie" in {name.lower() for name in opened.headers}, "where it belongs"
    cookie = opened.headers["set-cookie"].partition(";")[0]
    shown: list[dict[str, str]] = [{}, {"cookie": cookie}]
    for value in (values["bob"], made["envdAccessToken"]):
        shown += [{name: value} for name in ("x-orchestrator-token", "x-api-key", "x-access-token")]
        shown += [{"authorization": f"Bearer {value}"}, {"cookie": f"{cookie.partition('=')[0]}={value}"}]
    of_another, _ = linked(service, values["ann"], "with-link")
    for name in (f"9092-{made['sandboxID']}", of_another, "of-the-operator"):
        told = {"host": f"{name}.localhost:{service.ports.api}"}
        for headers in shown:
            answer = call(service.ports.api, "GET", "/", None, headers | told)
            assert (answer.status, [one for one in theirs if one in answer.text]) == (403, []), headers
            routed = call(service.ports.api, "GET", f"/v1/route?host={name}.localhost", None, headers)
            assert routed.status in {401, 403}, headers
            assert "x-orchestrator-target" not in {field.lower() for field in routed.headers}
        answer = call(service.ports.api, "GET", f"/?orchestrator_link={mark}", None, told)
        assert (answer.status, "set-cookie" in {field.lower() for field in answer.headers}) == (403, False)
    assert of_ann(service) == before


def test_the_door_itself_is_no_project(service: Running) -> None:
    """However it is asked for: the short way, on which a slash at the end means nothing, would assign one."""
    for method in ("GET", "DELETE"):
        for more in ({}, {"expect": "x"}):
            answer = call(service.ports.api, method, "/e2b/", None, {"authorization": f"Bearer {TOKEN}", **more})
            assert answer.status == 404, (method, more)
    with client(service, TOKEN) as operator:
        assert "e2b" not in {one.project for one in operator.machines()}
        assert call(service.ports.api, "GET", "/e2b", None, {"authorization": f"Bearer {TOKEN}"}).status == 200
        operator.release("e2b")
