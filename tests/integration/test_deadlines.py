"""Deadlines on the real service and real Docker: what puts them off, what happens then, and what everybody is told.

Nothing expires in the first minute of a service, so all tests share one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from tests.integration.calling import Answer, call
from tests.integration.docker_command import docker
from tests.integration.running import Running, a_service, environment, orchestrator
from tests.integration.traces import FormerUrl, found_in, leave
from tests.integration.waiting import eventually, holds_for

from worker_orchestrator.client import Client

GRACE_S: Final = 60.0
LATE_S: Final = 2.0
UNHEARD_S: Final = 1.5
HOST_PORTS: Final = 20
"""More than six machines and those that end within a minute, and few enough to go once round in the first minute."""
BUSY_S: Final = 1.5
"""What a test allows besides on a busy computer."""


@pytest.fixture(scope="module")
def in_grace(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[tuple[Running, float]]:
    """A service that has just begun, with a project whose time is over soon; and when it began, at the latest."""
    flags = ("--min-idle", "2", "--max-machines", "6", "--on-release", "reuse", "--stop-timeout", "1")
    with a_service(tmp_path_factory.mktemp("deadlines"), *flags, start=False) as service:
        service.flags += ("--last-port", str(service.ports.first + HOST_PORTS - 1))
        service.start()
        begun = time.monotonic()
        service.await_idle(2)
        leave(assign(service, "early", ttl=1)["id"])
        yield service, begun


@pytest.fixture(scope="module")
def former_url(in_grace: tuple[Running, float]) -> Iterator[FormerUrl]:
    """The URL of that project. Its port is the next one in the circle of host ports when it is over."""
    service, _ = in_grace
    machine = ask(service, "GET", "/v1/projects/early/machine").json
    last_port = service.ports.first + HOST_PORTS - 1
    while not service.rows(f"SELECT id FROM machine WHERE port = {last_port}"):  # a number
        service.destroy(service.await_idle(2)[0])
    url = FormerUrl(service, machine["id"], machine["port"])
    url.start()
    yield url
    url.leave()


@pytest.fixture(scope="module")
def service(in_grace: tuple[Running, float], former_url: FormerUrl) -> Running:
    """That service, once its first minute is over."""
    found, _ = in_grace
    assert former_url.is_alive()
    eventually(lambda: found.machine_of("early") is None, "its first minute is over", within_s=GRACE_S + 10)
    return found


@pytest.fixture(autouse=True)
def _released(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "service" in request.fixturenames:
        found: Running = request.getfixturevalue("service")
        for machine in found.machines():
            if machine["isUsed"]:
                found.delete(machine["assignedProject"])  # it may just expire


def ask(service: Running, method: str, path: str, body: object = None) -> Answer:
    return call(service.ports.api, method, path, body)


def assign(service: Running, project: str, **terms: float) -> Any:
    answer = ask(service, "PUT", f"/v1/projects/{project}/machine", {"wait_seconds": 20, **terms})
    assert answer.status in {200, 201}, answer.text
    return answer.json


def keep(service: Running, project: str, query: str = "", **terms: float) -> Answer:
    return ask(service, "POST", f"/v1/projects/{project}/machine/keepalive{query}", terms or None)


def keep_for(service: Running, project: str, seconds: float) -> list[int]:
    """Ten keepalives a second, and what each was answered with."""
    answers, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        answers.append(keep(service, project).status)
        time.sleep(0.1)  # the client's own rhythm
    return answers


def problem(answer: Answer) -> Any:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return json.loads(answer.text)


def has_machine(service: Running, project: str) -> bool:
    return ask(service, "GET", f"/v1/projects/{project}/machine").status == 200


def await_end(service: Running, project: str, begun: float, limit_s: float) -> None:
    """It loses its machine when its time is over: neither before, nor more than two seconds later."""
    eventually(lambda: not has_machine(service, project), f"{project} loses its machine", within_s=limit_s + 10)
    took_s = time.monotonic() - begun
    assert limit_s <= took_s < limit_s + LATE_S + BUSY_S, took_s


def test_nothing_expires_in_the_first_minute(in_grace: tuple[Running, float], former_url: FormerUrl) -> None:
    service, begun = in_grace
    assert former_url.is_alive(), "it waits for the end"
    if time.monotonic() - begun < GRACE_S - 5:  # else another test of this file has waited for it
        lease = ask(service, "GET", "/v1/projects/early/machine").json["lease"]
        assert (lease["ttl"], lease["expires_by"]) == (1, "ttl")
        holds_for(lambda: has_machine(service, "early"), "its client has time to keep it", for_s=4)
    eventually(lambda: not has_machine(service, "early"), "then it is over", within_s=GRACE_S + 10)
    assert time.monotonic() - begun < GRACE_S + LATE_S + BUSY_S + 3


def test_a_project_loses_its_machine_with_all_that_was_in_it_and_gets_another(service: Running) -> None:
    """It is removed, though machines are used again here when they are released: its client may still have the URL."""
    machine = assign(service, "shop", ttl=2)
    begun = time.monotonic()
    docker("exec", machine["id"], "sh", "-c", "echo secret >/tmp/work; setsid sleep 1000 >/dev/null 2>&1 &")
    await_end(service, "shop", begun - 0.2, 2)
    late = keep(service, "shop")
    assert (late.status, problem(late)["code"]) == (404, "project_has_no_machine")
    eventually(lambda: docker("inspect", machine["id"], check=False).failed, "its container is removed")
    second = assign(service, "shop")
    assert second["id"] != machine["id"]
    assert second["generation"] > machine["generation"]
    assert docker("exec", second["id"], "ls", "/tmp/work", check=False).failed
    old = keep(service, "shop", f"?generation={machine['generation']}")
    assert (old.status, problem(old)["code"]) == (412, "generation_mismatch")
    for name in service.containers():
        assert docker("exec", name, "ls", "/tmp/work", check=False).failed
        assert "sleep 1000" not in docker("top", name).out


def test_a_keepalive_puts_it_off_for_as_long_as_it_comes(service: Running) -> None:
    machine = assign(service, "shop", ttl=2)
    for _ in range(8):
        time.sleep(0.7)  # the client's own rhythm
        answer = keep(service, "shop", f"?generation={machine['generation']}")
        assert (answer.status, answer.text) == (204, "")
    begun = time.monotonic()
    assert assign(service, "shop")["id"] == machine["id"], "to ask for it is to keep it, too"
    await_end(service, "shop", begun - 0.2, 2)


def test_to_ask_for_it_in_the_documents_way_keeps_it_as_well(service: Running) -> None:
    machine = assign(service, "shop", ttl=2)
    for _ in range(5):
        time.sleep(0.7)
        assert service.assign("shop")["containerId"] == machine["id"]


def test_max_age_is_not_put_off(service: Running) -> None:
    begun = time.monotonic()
    assign(service, "shop", max_age=3)
    with ThreadPoolExecutor(1) as beside:
        keeping = beside.submit(keep_for, service, "shop", 4.0)
        await_end(service, "shop", begun, 3)
        assert set(keeping.result()) == {204, 404}


def test_other_deadlines_take_the_place_of_the_first_ones(service: Running) -> None:
    machine = assign(service, "shop", ttl=2)
    assert keep(service, "shop", ttl=3600).status == 204
    lease = ask(service, "GET", f"/v1/machines/{machine['id']}").json["lease"]
    assert (lease["ttl"], lease["expires_by"]) == (3600, "ttl")
    holds_for(lambda: has_machine(service, "shop"), "it has another ttl", for_s=4)
    assert keep(service, "shop", ttl=0).status == 204
    assert ask(service, "GET", f"/v1/machines/{machine['id']}").json["lease"] is None


def test_everybody_is_told_which_deadline_it_was(service: Running) -> None:
    machine = assign(service, "told", ttl=1)
    eventually(lambda: not has_machine(service, "told"), "it is over")
    reason = "Its project had not asked for it for 1 s."
    events = [
        json.loads(line.removeprefix("data: "))
        for line in service.get(f"/v1/events?follow=false&machine={machine['id']}").text.splitlines()
        if line.startswith("data: ")
    ]
    expired = next(event for event in events if event["cause"] == "expired")
    assert (expired["project"], expired["generation"], expired["reason"]) == ("told", machine["generation"], reason)
    first, *_ = service.get("/v1/pools/default").json["expiries"]
    assert first == {"at": expired["at"], "project": "told", "machine": machine["id"], "by": "ttl", "reason": reason}
    why = service.get("/v1/projects/told/why")
    assert why.status == 404
    assert f"It lost {machine['id']} at " in problem(why)["detail"]
    assert reason in problem(why)["detail"]
    assert 'orchestrator_expired_total{by="ttl",pool="default"}' in service.get("/metrics").text
    assert " kept " not in service.log


def test_the_clients_block_keeps_its_machine_and_no_longer(service: Running) -> None:
    with Client(f"http://localhost:{service.ports.api}") as client:
        with client.machine("block", ttl=2) as machine:
            holds_for(lambda: has_machine(service, "block"), "the block keeps it", for_s=5)
        assert not has_machine(service, "block")
        assert client.get(machine.id).project is None
        client.assign("block", ttl=2)
        eventually(lambda: not has_machine(service, "block"), "nobody keeps this one")


def cli(service: Running, *words: str, code: int = 0) -> str:
    env = {"ORCHESTRATOR_URL": f"http://localhost:{service.ports.api}"}
    done = orchestrator(*words, cwd=service.folder, env=environment(env))
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_nobody_has_used_what_only_the_service_has_asked(service: Running) -> None:
    """An idle machine that was not heard for a while is asked whether it serves before its project is told of it."""
    service.await_idle(2)
    time.sleep(UNHEARD_S)
    begun = time.monotonic()
    assign(service, "opened-by-mistake", confirm_within=4)
    await_end(service, "opened-by-mistake", begun, 4)


def test_the_command_line_sets_keeps_and_shows_them(service: Running) -> None:
    machine = json.loads(cli(service, "assign", "shop", "--ttl", "1h", "--idle-timeout", "2h", "-o", "json"))
    lease = machine["lease"]
    assert [lease[name] for name in ("ttl", "idle_timeout", "max_age", "confirm_within")] == [3600, 7200, None, None]
    assert " (in 60m, by ttl)" in cli(service, "keep", "shop").replace("59m", "60m")
    assert " (in 2h, by " in cli(service, "keep", "shop", "--ttl", "3h").replace("119m", "2h").replace("1h", "2h")
    assert json.loads(cli(service, "keep", "shop", "--ttl", "30m", "-o", "json"))["lease"]["ttl"] == 1800
    assert "generation" in cli(service, "keep", "shop", "--generation", str(machine["generation"] + 1), code=1)
    assert "has no machine" in cli(service, "keep", "nobody", code=3)
    listed = cli(service, "list", "--project", "shop")
    assert "EXPIRES" in listed.splitlines()[0]
    assert "m (ttl)" in listed
    assert "EXPIRES" not in cli(service, "list", "--state", "idle")
    shown = cli(service, "show", "shop")
    assert "ttl 30m, idle_timeout 2h" in shown
    assert "Last active:" in shown
    assert "by ttl)" in shown
    assert "It has it until " in cli(service, "why", "shop")
    assert "must be a duration" in cli(service, "keep", "shop", "--ttl", "soon", code=2)
    assert "no deadline ends that" in cli(service, "keep", "shop", "--ttl", "0", "--idle-timeout", "0")


def test_the_command_line_lists_the_last_expiries(service: Running) -> None:
    listed = cli(service, "pools", "--expiries").splitlines()
    assert listed[0].split() == ["TIME", "POOL", "PROJECT", "MACHINE", "BY", "REASON"]
    assert any("early" in line and "Its project had not asked for it for 1 s." in line for line in listed[1:])
    by = {one["by"] for one in json.loads(cli(service, "pools", "-o", "json"))[0]["expiries"]}
    assert by <= {"ttl", "max_age", "confirm_within"}


def test_nothing_of_an_expired_project_is_in_a_machine_that_is_handed_out(service: Running) -> None:
    """No file, no process, no socket, nothing in the environment: all of it was there before, as `leave` has seen."""
    handed_out = [assign(service, f"next-{number}")["id"] for number in range(3)]
    for name in {*handed_out, *service.idle()}:
        assert found_in(name) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"ttl": 0.5}, "ttl is 0.5, but must be from 1 to 31536000 seconds, or 0 for no such deadline."),
        ({"max_age": 31536001}, "max_age is 31536001, but must be from 1 to 31536000 seconds, or 0 for no such deadline."),
        ({"idle_timeout": -1}, "idle_timeout is -1, but must be from 1 to 31536000 seconds, or 0 for no such deadline."),
        ({"ttl": "1h"}, "Expected `float | null`, got `str` - at `$.ttl`"),
        ({"ttl_seconds": 1}, "contains unknown field `ttl_seconds`"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_can(in_grace: tuple[Running, float], body: object, said: str) -> None:
    service, _ = in_grace
    for method, path in (("PUT", "machine"), ("POST", "machine/keepalive")):
        answer = ask(service, method, f"/v1/projects/refused/{path}", body)
        assert (answer.status, problem(answer)["code"]) == (400, "invalid_request")
        assert said in problem(answer)["detail"]
    assert service.machine_of("refused") is None


def test_no_project_has_a_machine_for_longer_than_the_pool_lets_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    flags = ("--engine", "memory", "--max-age", "365d", "--ttl", "1h")
    with a_service(tmp_path_factory.mktemp("limited"), *flags) as service:
        assert [assign(service, "p")["lease"][name] for name in ("ttl", "max_age")] == [3600, 31_536_000]
        for asked in (0, 31_536_000 - 1):
            answer = ask(service, "PUT", "/v1/projects/q/machine", {"max_age": asked})
            assert answer.status == (201 if asked else 400), answer.text
        refused = keep(service, "p", max_age=0)
        assert refused.status == 400
        assert problem(refused)["detail"] == (
            "max_age is 0, which is no limit, "
            "but the pool default lets nobody have a machine for more than 31536000 seconds."
        )


def test_its_url_shows_nobody_elses_page_for_as_long_as_these_tests_take(
    service: Running, former_url: FormerUrl
) -> None:
    """A minute at most. Not even where its port would have been the next one: those who came meanwhile got others."""
    assert service.machine_of("early") is None
    former_url.leave()
    assert former_url.looks > 20
    assert former_url.strangers == []
