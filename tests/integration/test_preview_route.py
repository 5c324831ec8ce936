"""GET /v1/route of the real service, on the memory engine: to which worker a proxy may send what a visitor asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from tests.integration.calling import Answer, call
from tests.integration.guarded import a_guarded_service
from tests.integration.running import Running, a_service

MEMORY: Final = ("--engine", "memory", "--min-idle", "1")
TOKEN: Final = "tok-6be1d0f7c2b94a6f"  # of this test
BEARER: Final = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("route"), *MEMORY) as running:
        running.await_idle(1)
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_guarded_service(tmp_path_factory.mktemp("guarded"), TOKEN, *MEMORY) as running:
        yield running


def route(service: Running, host: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(service.ports.api, "GET", f"/v1/route?host={quote(host)}", None, named)


def problem(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["code"]


def test_a_host_leads_to_the_machine_of_its_project(service: Running) -> None:
    port = urlsplit(service.assign("app")["url"]).port if "url" in service.assign("app") else None
    machine = service.get("/v1/projects/app/machine").json
    target = f"127.0.0.1:{port or machine['port']}"
    for host in ("app.localhost", f"app.localhost:{service.ports.api}", "App.localhost."):
        answer = route(service, host, cookie="a=1; orchestrator_preview=x; orchestrator_other=y; b=2")
        assert answer.json == {"project": "app", "target": target, "host": host}
        assert answer.headers["x-orchestrator-target"] == target
        assert answer.headers["x-orchestrator-host"] == host
        assert answer.headers["x-orchestrator-cookie"] == "a=1; b=2"
    service.release("app")
    assert problem(route(service, "app.localhost")) == (404, "project_has_no_machine")
    assert service.machine_of("app") is None, "nobody gets a machine by being asked for"


def test_a_machine_that_sleeps_is_not_woken(service: Running) -> None:
    service.assign("sleeper")
    assert call(service.ports.api, "POST", "/v1/projects/sleeper/machine/sleep").status == 200
    assert problem(route(service, "sleeper.localhost")) == (409, "not_running")
    assert service.get("/v1/projects/sleeper/machine").json["state"] == "sleeping"
    service.release("sleeper")


@pytest.mark.parametrize("host", ["localhost", "evil.example", "a.b.localhost", "api--app.localhost"])
def test_a_host_that_is_no_preview_leads_nowhere(service: Running, host: str) -> None:
    assert problem(route(service, host))[0] == 404


@pytest.mark.parametrize("host", ["", "a b.localhost", "\u212aapp.localhost", "a\r\nb", "x" * 300])
def test_what_is_no_host_is_refused(service: Running, host: str) -> None:
    assert problem(route(service, host)) == (400, "invalid_request")


def test_pages_of_other_sites_do_not_ask(service: Running) -> None:
    for headers in ({"origin": "http://evil.localhost:9092"}, {"sec_fetch_site": "cross-site"}):
        assert problem(route(service, "app.localhost", **headers)) == (403, "forbidden")


def test_with_a_token_the_proxy_has_it_and_the_visitor_a_pass(guarded: Running) -> None:
    port = guarded.ports.api
    assert call(port, "PUT", "/v1/projects/app/machine", {}, BEARER).status == 201
    assert problem(route(guarded, "app.localhost")) == (401, "unauthorized")
    hidden = [route(guarded, host, **BEARER) for host in ("app.localhost", "nobody.localhost", "a.b.localhost")]
    assert {problem(answer) for answer in hidden} == {(403, "forbidden")}
    assert len({json.loads(answer.body)["detail"] for answer in hidden}) == 1, "not even whether there is anything"
    link = json.loads(call(port, "POST", "/v1/projects/app/links", {}, BEARER).body)["url"]
    (text,) = parse_qs(urlsplit(link).query)["orchestrator_link"]
    assert route(guarded, "app.localhost", cookie=f"orchestrator_preview={text}", **BEARER).status == 200
    assert route(guarded, "nobody.localhost", cookie=f"orchestrator_preview={text}", **BEARER).status == 403
    assert route(guarded, "app.localhost", x_orchestrator_token=TOKEN, **BEARER).status == 200
    assert problem(route(guarded, "nobody.localhost", x_orchestrator_token=TOKEN, **BEARER)) == (
        404,
        "project_has_no_machine",
    )


def test_wrong_tokens_of_one_visitor_lock_out_neither_the_proxy_nor_other_visitors(guarded: Running) -> None:
    for number in range(20):
        wrong = {"x_orchestrator_token": f"guess-{number}", "x_forwarded_for": "1.1.1.1, 9.9.9.9"}
        assert route(guarded, "app.localhost", **wrong, **BEARER).status == 403
    locked = {"x_orchestrator_token": TOKEN, "x_forwarded_for": "9.9.9.9"}
    assert route(guarded, "app.localhost", **locked, **BEARER).status == 403
    other = {"x_orchestrator_token": TOKEN, "x_forwarded_for": "9.9.9.9, 8.8.8.8"}
    assert route(guarded, "app.localhost", **other, **BEARER).status == 200


def test_traefik_has_the_token_and_what_it_asks_of_a_visitor_has_a_proof(guarded: Running) -> None:
    port = guarded.ports.api
    assert call(port, "PUT", "/v1/projects/app/machine", {}, BEARER).status in {200, 201}
    assert problem(call(port, "GET", "/v1/routes/traefik")) == (401, "unauthorized")
    told = call(port, "GET", "/v1/routes/traefik", None, BEARER).json["http"]
    assert told["services"]["orchestrator"]["loadBalancer"]["servers"][0]["url"].endswith(f":{port}")
    check = told["middlewares"]["preview-app-check"]["forwardAuth"]["address"].partition(f":{port}")[2]
    assert problem(call(port, "GET", check)) == (403, "preview_refused")
    link = json.loads(call(port, "POST", "/v1/projects/app/links", {}, BEARER).body)["url"]
    (text,) = parse_qs(urlsplit(link).query)["orchestrator_link"]
    passed = call(port, "GET", check, None, {"cookie": f"a=1; orchestrator_preview={text}"})
    assert (passed.status, passed.headers["cookie"]) == (204, "a=1")
    assert problem(call(port, "GET", check[:-1], None, BEARER)) == (403, "forbidden"), "no token stands for it"
    assert problem(call(port, "GET", check.replace("/check", "/check/"))) == (401, "unauthorized")
    assert call(port, "POST", check).status == 405
    assert problem(call(port, "GET", check, None, {"origin": "http://app.localhost:9092"})) == (403, "forbidden")


def test_without_previews_no_host_leads_anywhere(tmp_path: Path) -> None:
    with a_service(tmp_path, *MEMORY, "--preview", "off") as running:
        assert problem(route(running, "app.localhost")) == (501, "not_supported")
