"""Machines that sleep on Docker: stopped with their files, woken in place, over kills of the service and by hand."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.calling import Answer, call
from tests.integration.docker_command import docker
from tests.integration.running import Running, a_service
from tests.integration.test_command_line import out
from tests.integration.test_crashes import CRASHING, assert_nothing_leaks
from tests.integration.waiting import eventually, holds_for

FLAGS = ("--min-idle", "1", "--max-machines", "6", "--refresh-interval", "1", "--stop-timeout", "5")


@pytest.fixture
def service(tmp_path: Path, example_image: str) -> Iterator[Running]:
    """One machine is idle."""
    with a_service(tmp_path, *FLAGS) as service:
        service.await_idle(1)
        yield service
        assert "Traceback" not in service.log


def machine(service: Running, project: str = "p") -> Any:
    return call(service.ports.api, "GET", f"/v1/projects/{project}/machine").json


def ask(service: Running, what: str, project: str = "p", query: str = "", body: object = None) -> Answer:
    return call(service.ports.api, "POST", f"/v1/projects/{project}/machine/{what}{query}", body)


def is_running(machine_id: str) -> bool:
    return docker("inspect", "-f", "{{.State.Running}}", machine_id).out.strip() == "true"


def leave_file(machine_id: str) -> None:
    docker("exec", machine_id, "sh", "-c", "echo kept > /srv/files/note")


def has_file(machine_id: str) -> bool:
    return docker("exec", machine_id, "cat", "/srv/files/note").out.strip() == "kept"


def put_to_sleep(service: Running, project: str = "p") -> Any:
    answer = ask(service, "sleep", project)
    assert answer.status == 200, answer.text
    assert answer.json["state"] == "sleeping"
    return answer.json


@pytest.mark.promise("sleep")
def test_it_sleeps_with_its_files_and_wakes_in_place(service: Running) -> None:
    before = service.assign("p")
    leave_file(before["containerId"])
    generation = machine(service)["generation"]
    asleep = put_to_sleep(service)
    assert "its URL may be somebody else's until it wakes" in asleep["reason"]
    assert not is_running(before["containerId"])
    assert docker("inspect", "-f", "{{.State.ExitCode}}", asleep["id"]).out.strip() != "137", "it had time to end"
    assert before["containerId"] not in {one["id"] for one in service.machines()}, "it cannot serve"
    assert service.get("/health").json["machines"]["used"] == 0
    assert service.get("/v1/health").json["machines"]["sleeping"] == 1
    assert 'state="sleeping"' in service.get("/metrics").text
    holds_for(lambda: not is_running(asleep["id"]), "nobody restarts it", for_s=3)
    assert service.assign("p") == before
    assert has_file(asleep["id"])
    awake = machine(service)
    assert (awake["state"], awake["generation"], awake["port"]) == ("assigned", generation, asleep["port"])
    assert call(awake["port"], "GET", "/").status == 200
    causes = [
        json.loads(line)["cause"] for line in out(service, "events", "-o", "json").splitlines() if asleep["id"] in line
    ]
    assert causes[-4:] == ["slept", "asleep", "woken", "answered"]


def test_people_put_it_to_sleep_and_wake_it(service: Running) -> None:
    service.assign("p")
    machine_id = machine(service)["id"]
    assert out(service, "sleep", "p") == f"{machine_id} of p sleeps, with its files\n"
    assert out(service, "sleep", machine_id, "-o", "name").split() == [machine_id]
    assert "sleeping" in out(service, "list", "--state", "sleeping")
    assert "`orchestrator wake p` wakes it" in " ".join(out(service, "why", "p").split())
    assert "fail" not in out(service, "show", machine_id).lower()
    assert out(service, "wake", "p") == f"{machine_id} of p is awake: {machine(service)['url']}\n"
    assert json.loads(out(service, "wake", "p", "-o", "json"))["state"] == "assigned"


def test_the_fence_and_the_words_of_a_refusal(service: Running) -> None:
    service.assign("p")
    generation = machine(service)["generation"]
    for what in ("sleep", "wake"):
        assert ask(service, what, query=f"?generation={generation - 1}").status == 412
        assert ask(service, what, "nobody").status == 404
    assert ask(service, "sleep", query=f"?generation={generation}").status == 200
    assert ask(service, "wake", body={"wait_seconds": 20}).json["state"] == "assigned"
    assert ask(service, "wake", body={"wait_seconds": -1}).status == 400


@pytest.mark.promise("sleep")
def test_a_port_that_is_taken_is_told_and_the_files_are_kept(service: Running) -> None:
    service.assign("p")
    machine_id = machine(service)["id"]
    leave_file(machine_id)
    port = put_to_sleep(service)["port"]
    with closing(socket.create_server(("127.0.0.1", port))):
        for answer in (ask(service, "wake"), call(service.ports.api, "PUT", "/v1/projects/p/machine")):
            assert answer.status == 503, answer.text
            problem = json.loads(answer.body)
            assert problem["code"] == "port_taken"
            assert str(port) in problem["detail"]
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.took_s < 5
        document = service.get("/p")
        assert document.status == 503
        assert str(port) in document.text
        assert machine(service)["id"] == machine_id
    eventually(lambda: ask(service, "wake").status == 200, "it wakes")
    assert machine(service)["port"] == port
    assert has_file(machine_id)


@pytest.mark.promise("sleep")
def test_one_that_was_started_by_hand_is_awake(service: Running) -> None:
    service.assign("p")
    machine_id = put_to_sleep(service)["id"]
    docker("start", machine_id)
    eventually(lambda: machine(service)["state"] == "assigned", "it is awake")
    holds_for(lambda: is_running(machine_id), "it stays awake", for_s=2)


def test_also_where_the_service_did_not_see_it(service: Running) -> None:
    service.assign("p")
    machine_id = put_to_sleep(service)["id"]
    service.end(signal.SIGKILL)
    docker("start", machine_id)
    service.start()
    eventually(lambda: machine(service)["state"] == "assigned", "it is awake")
    assert is_running(machine_id)


@pytest.mark.promise("sleep")
def test_one_that_somebody_removed_is_told_and_the_next_assign_gets_another(service: Running) -> None:
    service.assign("p")
    machine_id = put_to_sleep(service)["id"]
    docker("rm", "-f", machine_id)
    eventually(lambda: machine(service)["state"] == "failed", "it is known to be gone")
    assert "Its files are gone too." in machine(service)["reason"]
    assert ask(service, "wake").status == 409
    assert service.assign("p")["containerId"] != machine_id


@pytest.mark.promise("sleep")
def test_a_release_and_a_destroy_remove_it(service: Running) -> None:
    for project in ("released", "destroyed"):
        service.assign(project)
        machine_id = put_to_sleep(service, project)["id"]
        if project == "released":
            service.release(project)
        else:
            service.destroy(machine_id)
        eventually(lambda machine_id=machine_id: machine_id not in service.containers(), "it is removed")  # type: ignore[misc]


@pytest.mark.promise("sleep")
@pytest.mark.parametrize(
    ("what", "when"),
    [
        ("slept", "before"),
        ("slept", "after"),
        ("stop", "before"),
        ("stop", "during"),
        ("stop", "after"),
        ("asleep", "after"),
    ],
)
def test_it_falls_asleep_over_a_kill_of_the_service(tmp_path: Path, example_image: str, what: str, when: str) -> None:
    """Before the decision is stored nothing has happened; after that it sleeps, whatever was done of it."""
    with a_service(tmp_path, *FLAGS, start=False) as service:
        service.start(command=(sys.executable, str(CRASHING), what, when, "1"))
        service.assign("p")
        machine_id = machine(service)["id"]
        leave_file(machine_id)
        with pytest.raises(OSError):  # noqa: PT011 # the connection ends in one way or another
            ask(service, "sleep")
        assert service.wait() == -signal.SIGKILL, f"the crash point was not reached:\n{service.log}"
        service.start()
        if (what, when) == ("slept", "before"):
            assert machine(service)["state"] == "assigned"
        else:
            eventually(lambda: "Its container is stopped" in machine(service)["reason"], "it sleeps")
            holds_for(lambda: not is_running(machine_id), "it is not restarted", for_s=2)
        assert machine(service)["id"] == machine_id
        assert call(service.ports.api, "GET", "/p").status == 200
        assert has_file(machine_id)
        assert_nothing_leaks(service)


@pytest.mark.promise("sleep")
@pytest.mark.parametrize(
    ("what", "when"), [("woken", "before"), ("woken", "after"), ("restart", "during"), ("restart", "after")]
)
def test_it_wakes_over_a_kill_of_the_service(tmp_path: Path, example_image: str, what: str, when: str) -> None:
    with a_service(tmp_path, *FLAGS, start=False) as service:
        service.start(command=(sys.executable, str(CRASHING), what, when, "1"))
        service.assign("p")
        before = put_to_sleep(service)
        with pytest.raises(OSError):  # noqa: PT011 # the connection ends in one way or another
            service.get("/p")
        assert service.wait() == -signal.SIGKILL, f"the crash point was not reached:\n{service.log}"
        service.start()
        service.assign("p")
        after = machine(service)
        assert (after["id"], after["generation"], after["port"]) == (before["id"], before["generation"], before["port"])
        assert_nothing_leaks(service)


def test_an_assign_that_meets_the_stop_starts_it_again(service: Running) -> None:
    service.assign("p")
    machine_id = machine(service)["id"]
    docker("exec", "-d", machine_id, "sh", "-c", "true")
    for _ in range(5):
        ask(service, "sleep")
        assert call(service.ports.api, "GET", "/p").status == 200
        assert call(machine(service)["port"], "GET", "/").status == 200
    assert machine(service)["id"] == machine_id


def test_a_deadline_puts_it_to_sleep(tmp_path: Path, example_image: str) -> None:
    with a_service(tmp_path, *FLAGS, "--ttl", "3", "--on-expiry", "sleep") as service:
        service.await_idle(1)
        machine_id = service.assign("p")["containerId"]
        eventually(lambda: machine(service)["state"] == "sleeping", "it sleeps", within_s=75)
        assert machine(service)["reason"].startswith("Its project had not asked for it for 3 s.")
        holds_for(lambda: machine(service)["state"] == "sleeping", "it sleeps on", for_s=5)
        assert service.assign("p")["containerId"] == machine_id


def test_a_limit_on_those_awake_lets_an_idle_machine_go_for_one_that_wakes(tmp_path: Path, example_image: str) -> None:
    with a_service(tmp_path, *FLAGS, "--max-awake", "2") as service:
        service.await_idle(1)
        for project in ("p1", "p2", "p3", "p4"):
            service.assign(project)
            put_to_sleep(service, project)
        service.await_idle(1)
        assert service.assign("p1")
        assert service.assign("p2"), "the idle one goes"
        answer = call(service.ports.api, "PUT", "/v1/projects/p3/machine", {"wait_seconds": 1})
        assert answer.status == 503
        assert "max_awake" in json.loads(answer.body)["detail"]
        put_to_sleep(service, "p1")
        assert service.assign("p3")
        assert service.get("/v1/health").json["machines"]["sleeping"] == 2
