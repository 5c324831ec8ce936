"""By no route of E2B's door a key reaches a sandbox of another, or hears whether there is one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import Mock

import pytest
from starlette.routing import Route
from tests.integration.calling import Answer, call
from tests.integration.guarded import a_guarded_service
from tests.integration.running import Running

from worker_orchestrator.client import Client
from worker_orchestrator.http.e2b.routes import e2b

TOKEN: Final = "the-token-of-the-operator"
NAMES: Final = ("secret-sandbox", "nobodys")
ROUTES: Final = [
    (method, route.path)
    for route in cast("list[Route]", e2b(*(Mock() for _ in range(6)), names=Mock(), domain="").routes)
    for method in sorted((route.methods or set()) - {"HEAD"})
]
OF_AGENT: Final = re.compile("/e2b/(?:health|files|process|filesystem)")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    flags = ("--engine", "memory", "--e2b", "--on-release", "recycle", "--max-machines", "20", "--ports", "web=9092")
    with a_guarded_service(tmp_path_factory.mktemp("e2b-keys"), TOKEN, *flags) as running:
        yield running


def operator(service: Running) -> Client:
    return Client(f"http://127.0.0.1:{service.ports.api}", token=TOKEN, retries=0)


@pytest.fixture(scope="module")
def values(service: Running) -> dict[str, str]:
    with operator(service) as client:
        return {name: client.create_key(name, max_machines=2).value for name in ("ann", "bob")}


def ask(service: Running, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items() if value}
    return call(service.ports.api, method, path, body, sent)


def created(service: Running, key: str, name: str) -> Any:
    answer = ask(service, "POST", "/e2b/sandboxes", {"metadata": {"externalId": name}}, x_api_key=key)
    assert answer.status == 201, answer.text
    assert answer.json["sandboxID"] == name
    return answer.json


def machines(service: Running) -> Any:
    with operator(service) as client:
        held = [one for one in client.machines() if one.project is not None]
        return sorted((one.project, one.id, one.generation, one.state, str(one.lease)) for one in held)


def test_there_are_routes() -> None:
    assert len(ROUTES) > 40
    assert sum(OF_AGENT.match(path) is not None for _, path in ROUTES) >= 15


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part)
def test_no_route_tells_or_changes_anything_of_another(
    service: Running, values: dict[str, str], method: str, path: str
) -> None:
    """The reply is the same as for what is not there at all, with the same words."""
    created(service, values["ann"], NAMES[0])
    own = created(service, values["bob"], "own")["envdAccessToken"]
    before = machines(service)
    credentials = [{"x_api_key": values["bob"]}, {"x_api_key": values["bob"], "x_access_token": own}]
    if OF_AGENT.match(path):
        credentials += [
            {"x_access_token": token} for token in ("", values["bob"], own[:-1], "x", ".", "ü".encode().hex())
        ]
    for sent in credentials:
        told: list[tuple[int, str]] = []
        for name in NAMES:
            url = path.replace("{sandbox}", name) + ("?path=/etc/passwd" if path == "/e2b/files" else "")
            has_body = method != "GET" and not path.endswith("sandboxes")
            body: dict[str, str] | None = {} if has_body else None
            answer = ask(service, method, url, body, e2b_sandbox_id=name, **sent)
            assert isinstance(json.loads(answer.body), dict | list), "errors are JSON"
            told.append((answer.status, re.sub(r"nobodys|secret-sandbox|sandbox-[0-9a-f]{20}", "NAME", answer.text)))
            if method == "POST" and answer.status == 201:  # a create, of no other's
                made = answer.json["sandboxID"]
                assert ask(service, "DELETE", f"/e2b/sandboxes/{made}", x_api_key=values["bob"]).status == 204
                told[-1] = (201, "")
        assert told[0] == told[1]
        assert "ann" not in told[0][1]
        assert machines(service) == before
        if OF_AGENT.match(path):
            assert told[0][0] in {401, 501}


def test_a_sandbox_is_its_keys_and_the_operators(service: Running, values: dict[str, str]) -> None:
    """Two keys may give theirs the same name, and the operator sees whose each is."""
    tokens = {name: created(service, value, "same")["envdAccessToken"] for name, value in values.items()}
    for name, value in values.items():
        listed = ask(service, "GET", "/e2b/v2/sandboxes", x_api_key=value).json
        assert "same" in {one["sandboxID"] for one in listed}
        assert not any(":" in one["sandboxID"] for one in listed)
        right, wrong = tokens[name], tokens["ann" if name == "bob" else "bob"]
        assert ask(service, "GET", "/e2b/health", e2b_sandbox_id="same", x_access_token=right).status == 204
        assert ask(service, "GET", "/e2b/health", x_access_token=right).status == 204
        assert ask(service, "GET", "/e2b/health", e2b_sandbox_id="own", x_access_token=right).status == 401
        assert ask(service, "GET", "/e2b/health", e2b_sandbox_id=f"{name}:same", x_access_token=wrong).status == 401
    seen = {one["sandboxID"] for one in ask(service, "GET", "/e2b/v2/sandboxes", x_api_key=TOKEN).json}
    assert {"ann:same", "bob:same"} <= seen
    full = ask(service, "GET", "/e2b/sandboxes/ann:same", x_api_key=TOKEN).json["envdAccessToken"]
    assert ask(service, "GET", "/e2b/health", e2b_sandbox_id="ann:same", x_access_token=full).status == 204
    assert full != tokens["ann"]
    for value in values.values():
        assert ask(service, "DELETE", "/e2b/sandboxes/same", x_api_key=value).status == 204
    ended = ask(service, "GET", "/e2b/health", e2b_sandbox_id="same", x_access_token=tokens["ann"])
    assert (ended.status, ended.json["code"]) == (502, 502), "whoever had it hears of its end"
    assert "The sandbox was not found: same." in ended.text


def test_limits_rights_pools_and_the_end_of_a_key(service: Running) -> None:
    with operator(service) as client:
        value = client.create_key("eve", pools=["default"], max_machines=1, may=["assign", "files"]).value
        token = created(service, value, "one")["envdAccessToken"]
        full = ask(service, "POST", "/e2b/sandboxes", {}, x_api_key=value)
        assert (full.status, full.json["code"]) == (429, 429)
        assert "The key eve may have 1 machine at once" in full.json["message"]
        headers = {name.lower(): text for name, text in full.headers.items()}
        assert headers["should-retry"] == "false"
        assert "retry-after" not in headers
        other = ask(service, "POST", "/e2b/sandboxes", {"templateID": "node"}, x_api_key=value)
        assert (other.status, "for the key eve" in other.json["message"]) == (404, True)
        assert ask(service, "GET", "/e2b/v2/sandboxes", x_api_key=value).status == 403, "it may not read"
        start = ask(service, "POST", "/e2b/process.Process/List", {}, x_access_token=token)
        assert (start.status, start.json["code"]) == (403, "permission_denied")
        assert "this call needs exec" in start.json["message"]
        assert ask(service, "GET", "/e2b/files?path=/a", x_access_token=token).status != 403
        in_hexadecimal = f"e2b_{value.encode().hex()}"
        assert ask(service, "GET", "/e2b/sandboxes/one", x_api_key=in_hexadecimal).status == 200
        wrong = ask(service, "GET", "/e2b/sandboxes/one", x_api_key=f"{in_hexadecimal[:-2]}00")
        assert (wrong.status, wrong.json["code"]) == (401, 401)
        client.revoke_key("eve")
        assert ask(service, "GET", "/e2b/health", x_access_token=token).status == 401
        client.release("eve:one")
        again = client.create_key("eve").value
        created(service, again, "one")
        assert ask(service, "GET", "/e2b/health", x_access_token=token).status == 401, "another key of this name"
        client.revoke_key("eve")
        client.release("eve:one")


def test_the_host_of_a_sandbox_is_its_keys_alone(service: Running, values: dict[str, str]) -> None:
    """`get_host` names no key, so an id that one was given is of use to no other, and one that it chose is not found."""

    def at(host: str, **headers: str) -> int:
        return ask(service, "GET", "/", host=f"{host}.localhost:{service.ports.api}", **headers).status

    token = {"x_orchestrator_token": TOKEN}
    made = ask(service, "POST", "/e2b/sandboxes", {}, x_api_key=values["ann"]).json
    name = made["sandboxID"]
    assert made["domain"] == f"localhost:{service.ports.api}"
    assert at(f"9092-{name}", **token) == 200
    assert at(f"9092-{name}") == at(f"9092-{name}", x_api_key=values["ann"]) == 403, "as each preview, without a link"
    assert (at(f"9093-{name}", **token), at("9092-nobody", **token)) == (404, 404)
    created(service, values["bob"], name)
    with operator(service) as client:
        machine = client.machine_of(f"ann:{name}").id
        seen = ask(service, "GET", "/", host=f"9092-{name}.localhost:{service.ports.api}", **token).text
        assert machine in seen
        client.release(f"ann:{name}")
        assert at(f"9092-{name}", **token) == 404, "bob has one of that id, but was not given it"
        client.release(f"bob:{name}")
    created(service, values["bob"], "chosen")
    assert at("9092-chosen", **token) == 404
    by_proxy = {"x_forwarded_host": "api.example.com", "x_api_key": TOKEN}
    assert (
        ask(service, "POST", "/e2b/sandboxes", {"metadata": {"externalId": "own"}}, **by_proxy).json["domain"] is None
    )
    assert at("9092-own", **token) == 200
    with operator(service) as client:
        client.release("bob:chosen")
        client.release("own")
        client.assign("9092-own")
        assert (
            client.machine_of("9092-own").id
            in ask(service, "GET", "/", host=f"9092-own.localhost:{service.ports.api}", **token).text
        ), "a project of that very name comes first"
        client.release("9092-own")


def test_a_closed_door_is_closed(tmp_path: Path) -> None:
    with a_guarded_service(tmp_path, TOKEN, "--engine", "memory") as running, operator(running) as client:
        value = client.create_key("ann").value
        for credentials in (value, TOKEN):
            for path in ("/e2b/sandboxes", "/e2b/health", "/e2b/files?path=/"):
                assert (
                    call(running.ports.api, "GET", path, None, {"Authorization": f"Bearer {credentials}"}).status == 404
                )
