"""Previews of the real service, most on the memory engine: a project's address leads to its machine, and to no other one."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
import pytest
from tests.integration.calling import Answer, call
from tests.integration.docker_command import docker
from tests.integration.guarded import a_guarded_service
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually

MEMORY: Final = ("--engine", "memory", "--min-idle", "1")
TOKEN: Final = "tok-5ad0c1e7f2b94a6f"  # of this test


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("previews"), *MEMORY) as running:
        running.await_idle(1)
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_guarded_service(tmp_path_factory.mktemp("guarded"), TOKEN, *MEMORY) as running:
        yield running


def visit(service: Running, host: str, path: str = "/", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.get(path, {"host": f"{host}:{service.ports.api}", **named})


def door_of(service: Running) -> psutil.Process | None:
    children = psutil.Process(service.pid).children()
    return next((child for child in children if "worker_orchestrator.door.process" in child.cmdline()), None)


def test_the_address_of_a_project_leads_to_the_machine_that_it_has(service: Running) -> None:
    machine = service.assign("my-project")
    shown = service.get("/v1/projects/my-project/machine").json
    assert shown["preview_url"] == f"http://my-project.localhost:{service.ports.api}/"
    assert machine["containerId"] in visit(service, "my-project.localhost").text
    service.release("my-project")
    answer = visit(service, "my-project.localhost")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert service.machine_of("my-project") is None


@pytest.mark.promise("preview")
def test_it_leads_to_the_worker_of_a_project_for_as_long_as_that_has_it(tmp_path: Path, example_image: str) -> None:
    """On a real engine: to one that runs, that a visit woke, that was started again; and to nobody else's on its port."""

    def shown(project: str) -> str | int:
        answer = visit(running, f"{project}.localhost", "/files/whose")
        return answer.text.strip() if answer.status == 200 else answer.status

    def leave_name(project: str) -> str:
        machine_id = str(running.assign(project)["containerId"])
        docker("exec", machine_id, "sh", "-c", f"echo {project} >/srv/files/whose")
        return machine_id

    with a_service(tmp_path, "--min-idle", "0", "--max-machines", "1", "--stop-timeout", "1") as running:
        first = leave_name("first")
        assert (shown("first"), shown("second")) == ("first", 404)
        assert call(running.ports.api, "POST", "/v1/projects/first/machine/sleep").status == 200
        assert shown("first") in {"first", 503}, "a visit wakes it, and a program's waits for a while"
        eventually(lambda: shown("first") == "first", "it woke", within_s=30)
        docker("kill", first)
        eventually(lambda: shown("first") == "first", "it was started again", within_s=30)
        running.release("first")
        assert shown("first") == 404
        leave_name("second")
        assert (shown("first"), shown("second")) == (404, "second")


def test_a_visit_wakes_a_machine_and_a_foreign_page_does_not(service: Running) -> None:
    service.assign("sleeper")
    assert call(service.ports.api, "POST", "/v1/projects/sleeper/machine/sleep").status == 200
    foreign = visit(service, "sleeper.localhost", sec_fetch_site="cross-site", sec_fetch_mode="navigate")
    assert foreign.status == 503
    assert service.get("/v1/projects/sleeper/machine").json["state"] == "sleeping"
    eventually(lambda: visit(service, "sleeper.localhost").status == 200, "it is awake", within_s=20)


def test_a_program_waits_while_a_machine_wakes_and_a_page_looks_again(service: Running) -> None:
    service.assign("waited-for")
    for fields, statuses in (({}, {200}), ({"accept": "text/html"}, {503, 200})):
        assert call(service.ports.api, "POST", "/v1/projects/waited-for/machine/sleep").status == 200
        assert visit(service, "waited-for.localhost", **fields).status in statuses
        eventually(lambda: visit(service, "waited-for.localhost").status == 200, "it is awake", within_s=20)


def test_a_preview_commands_nothing(service: Running) -> None:
    """Neither by its host nor by its pages."""
    port = service.ports.api
    origin = {"origin": f"http://evil.localhost:{port}"}
    for method, path in (("GET", "/evil"), ("PUT", "/v1/projects/evil/machine"), ("POST", "/destroy")):
        assert call(port, method, path, {}, origin).status == 403
        assert call(port, method, path, {}, {"host": f"evil.localhost:{port}"}).status == 404
    assert service.machine_of("evil") is None


def test_the_door_is_a_process_that_may_die(service: Running) -> None:
    service.assign("kept")
    assert visit(service, "kept.localhost").status == 200
    door = door_of(service)
    assert door is not None
    assert "ORCHESTRATOR_TOKEN" not in door.environ()
    os.kill(door.pid, signal.SIGKILL)
    assert service.get("/health").status == 200

    def is_back() -> bool:
        try:
            return visit(service, "kept.localhost").status == 200
        except OSError:
            return False

    eventually(is_back, "another door is open", within_s=20)


def test_a_door_that_hangs_is_replaced(service: Running) -> None:
    service.assign("kept")
    assert visit(service, "kept.localhost").status == 200
    door = door_of(service)
    assert door is not None
    os.kill(door.pid, signal.SIGSTOP)

    def is_back() -> bool:
        try:
            return visit(service, "kept.localhost").status == 200
        except OSError:
            return False

    eventually(is_back, "another door is open", within_s=40)
    assert not door.is_running()


def test_after_a_reload_to_links_strangers_see_nothing_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.toml").write_text('preview_access = "public"\n')
    with a_service(tmp_path, *MEMORY) as running:
        running.assign("app")
        assert visit(running, "app.localhost").status == 200
        (tmp_path / "orchestrator.toml").write_text('preview_access = "link"\n')
        assert call(running.ports.api, "POST", "/v1/reload", {}).status == 200
        assert visit(running, "app.localhost").status == 403


def test_the_door_ends_with_the_service(tmp_path: Path) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with a_service(tmp_path / str(how), *MEMORY) as running:
            visit(running, "app.localhost")
            door = door_of(running)
            assert door is not None
            running.end(how)
            eventually(lambda door=door: not door.is_running(), "the door has ended", within_s=10)  # type: ignore[misc]


def test_without_previews_nothing_is_handed_over(tmp_path: Path) -> None:
    with a_service(tmp_path, *MEMORY, "--preview", "off") as running:
        assert visit(running, "app.localhost").status == 403
        assert door_of(running) is None
        assert running.get("/v1/projects/app/machine").status == 404


def test_with_a_token_a_link_shows_a_preview_for_a_while(guarded: Running) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    port = guarded.ports.api
    assert call(port, "PUT", "/v1/projects/app/machine", {}, bearer).status == 201
    assert visit(guarded, "app.localhost").status == 403
    made = orchestrator(
        "url", "app", "--for", "2h", "--url", f"http://localhost:{port}", "--token-file", "token", cwd=guarded.folder
    )
    link = urlsplit(made.stdout.strip())
    assert link.hostname == "app.localhost"
    entered = visit(guarded, "app.localhost", f"{link.path}?{link.query}")
    assert (entered.status, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"].partition(";")[0]
    assert visit(guarded, "app.localhost", cookie=cookie).status == 200
    assert call(port, "PUT", "/v1/projects/other/machine", {}, bearer).status == 201
    assert visit(guarded, "other.localhost", cookie=cookie).status == 403
    assert call(port, "DELETE", "/v1/projects/app/machine", None, bearer).status == 200
    assert visit(guarded, "app.localhost", cookie=cookie).status == 403


def test_a_link_survives_no_guess_and_no_missing_machine(guarded: Running) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert visit(guarded, "app.localhost", "/?orchestrator_link=9999999999." + "A" * 43).status == 403
    assert call(guarded.ports.api, "POST", "/v1/projects/nobody/links", {}, bearer).status == 404
    assert call(guarded.ports.api, "POST", "/v1/projects/nobody/links", {}).status == 401


def test_a_connection_for_a_preview_stays_out_of_the_service(service: Running) -> None:
    service.assign("same")
    with socket.create_connection(("127.0.0.1", service.ports.api), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: same.localhost\r\n\r\nGET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b""
        while more := client.recv(65536):
            said += more
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 421 " in said
    assert service.machine_of("evil") is None
