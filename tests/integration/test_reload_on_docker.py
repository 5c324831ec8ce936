"""Settings that change under load, and while the service is killed: no request fails, and one of two files is in force."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import pytest
from tests.integration.calling import call
from tests.integration.docker_command import docker
from tests.integration.running import Running, a_service
from tests.integration.test_command_line import document, out
from tests.integration.test_crashes import CRASHING
from tests.integration.waiting import eventually

NODE: Final = '[pools.node20]\nmin_idle = {min_idle}\nenv = {{ VERSION = "{version}" }}\n'
GOING: Final = "[pools.going]\nmin_idle = 1\n"
COMING: Final = '[pools.coming]\nmin_idle = 2\non_release = "recycle"\n'
FIRST: Final = NODE.format(min_idle=1, version=1) + GOING
RATE_PER_S: Final = 5


@pytest.fixture
def service(tmp_path: Path, example_image: str) -> Iterator[Running]:
    """Two idle machines of default, one of node20, one of going."""
    (tmp_path / "orchestrator.toml").write_text(FIRST)
    with a_service(tmp_path, "--max-machines", "14", "--refresh-interval", "1") as service:
        service.await_idle(4)
        yield service
        assert "Traceback" not in service.log


def reload(service: Running, text: str) -> list[str]:
    """The lines that say what changed. The last one says that it holds."""
    (service.folder / "orchestrator.toml").write_text(text)
    *lines, last = out(service, "reload").splitlines()
    assert last == "Applied."
    return lines


def pools_of(service: Running) -> dict[str, Any]:
    return {pool["name"]: pool for pool in call(service.ports.api, "GET", "/v1/pools").json["pools"]}


def machines_of(service: Running, pool: str) -> list[Any]:
    return list(call(service.ports.api, "GET", f"/v1/machines?pool={pool}&limit=1000").json["machines"])


@contextmanager
def projects_come_and_go(service: Running) -> Iterator[list[str]]:
    """Five assigns per second, in default and node20 in turn, each released a moment later. Yields what went wrong."""
    wrong, over = list[str](), threading.Event()

    def one(number: int) -> None:
        pool = ("default", "node20")[number % 2]
        path = f"/v1/projects/load-{number}/machine"
        answer = call(service.ports.api, "PUT", path, {"pool": pool, "wait_seconds": 20})
        if answer.status != 201 or answer.json["pool"] != pool:
            wrong.append(f"{pool}: {answer.text}")
            return
        worker = call(answer.json["port"], "GET", "/")
        if worker.status != 200:
            wrong.append(f"{pool}: the worker answered {worker.status}")
        time.sleep(0.3)  # it is used
        released = call(service.ports.api, "DELETE", path)
        if released.status != 200:
            wrong.append(f"{pool}: {released.text}")

    def load() -> None:
        with ThreadPoolExecutor(20) as clients:
            asked = list[Future[None]]()
            while not over.wait(1 / RATE_PER_S):
                asked.append(clients.submit(one, len(asked)))
        wrong.extend(str(error) for client in asked if (error := client.exception()) is not None)
        if len(asked) < 20:
            wrong.append(f"only {len(asked)} requests")

    loading = threading.Thread(target=load)
    loading.start()
    try:
        yield wrong
    finally:
        over.set()
        loading.join()


def test_reloads_under_load_fail_no_request_and_a_pool_that_is_gone_drains(service: Running) -> None:
    held = document(service, "assign", "my-project", "--pool", "going")
    with projects_come_and_go(service) as wrong:
        time.sleep(1)
        assert reload(service, "min_idle = 3\n" + FIRST) == ["~ pool default, min_idle: 2 -> 3"]
        time.sleep(1)
        second = NODE.format(min_idle=2, version=2)
        lines = reload(service, "min_idle = 3\n" + second + GOING)
        assert lines == ["~ pool node20, min_idle: 1 -> 2", "~ pool node20, env VERSION: (hidden) -> (hidden, changed)"]
        time.sleep(1)
        assert reload(service, "min_idle = 3\n" + second + GOING + COMING) == [
            f"+ pool coming: image {held_image(service)}, min_idle 2"
        ]
        time.sleep(1)
        assert reload(service, second + COMING) == ["- pool going", "~ pool default, min_idle: 3 -> 2"]
        time.sleep(1)
        assert reload(service, second.replace('"2"', '"3"') + COMING)[0].startswith("~ pool node20, env VERSION")
        time.sleep(2)
    assert wrong == []
    the_new_settings_are_in_force(service)
    the_pool_that_is_gone_drains(service, held)


def held_image(service: Running) -> str:
    return str(pools_of(service)["default"]["image"])


def the_new_settings_are_in_force(service: Running) -> None:
    """Every idle machine of node20 is of its last settings, and the new pool is full."""

    def versions() -> set[str]:
        idle = [one["id"] for one in machines_of(service, "node20") if one["state"] == "idle"]
        shown = [docker("inspect", "-f", "{{.Config.Env}}", one, check=False).out for one in idle]
        return {text.partition("VERSION=")[2][:1] for text in shown if text}

    eventually(lambda: versions() == {"3"}, "it has rolled out", within_s=30)
    eventually(lambda: pools_of(service)["coming"]["machines"]["idle"] == 2, "the new pool is full")


def the_pool_that_is_gone_drains(service: Running, held: Any) -> None:
    """Nobody gets a machine of it any more. The one that a project has can be used until it is released."""
    eventually(lambda: [one["id"] for one in machines_of(service, "going")] == [held["id"]], "its idle machine is gone")
    gone = pools_of(service)["going"]
    assert (gone["retired"], gone["machines"]["assigned"], gone["min_idle"]) == (True, 1, 0)
    refused = call(service.ports.api, "PUT", "/v1/projects/other/machine", {"pool": "going"})
    assert (refused.status, "There is no pool going." in refused.text) == (404, True)
    assert document(service, "assign", "my-project")["id"] == held["id"]
    assert call(held["port"], "GET", "/").status == 200
    assert out(service, "exec", "my-project", "--", "echo", "hello") == "hello\n"
    out(service, "release", "my-project")
    eventually(lambda: "going" not in pools_of(service), "nothing of it is left")
    eventually(lambda: held["id"] not in service.containers(), "its container is removed")


def test_what_was_scaled_survives_a_reload_and_a_restart(service: Running) -> None:
    out(service, "scale", "--pool", "node20", "--min-idle", "3", "--max-machines", "4")
    out(service, "scale", "--limit", "11")
    reload(service, NODE.format(min_idle=2, version=1) + GOING.replace("1", "0"))
    for _ in range(2):
        node, going = pools_of(service)["node20"], pools_of(service)["going"]
        assert (node["min_idle"], node["max_machines"], node["limit"]) == (3, 4, 11)
        assert node["configured"] == {
            "min_idle": 2,
            "max_idle": None,
            "limit": 14,
            "max_machines": None,
            "parked": None,
        }
        assert (going["min_idle"], going["configured"]["min_idle"]) == (0, 0)
        service.end()
        service.start()


@pytest.mark.parametrize(("change", "when"), [("retired", "before"), ("created", "after")])
def test_after_a_kill_during_a_reload_the_whole_file_is_in_force(service: Running, change: str, when: str) -> None:
    """One pool goes and another comes, and the service is killed at the first commit that follows from it."""
    held = {name: document(service, "assign", f"of-{name}", "--pool", name)["id"] for name in ("going", "node20")}
    eventually(lambda: len(service.idle()) == 4, "the pools are full")
    service.end()
    service.start(command=(sys.executable, str(CRASHING), change, when, "1"))
    (service.folder / "orchestrator.toml").write_text(NODE.format(min_idle=1, version=2) + COMING)
    with suppress(OSError, HTTPException):
        call(service.ports.api, "POST", "/v1/reload")
    assert service.wait() == -signal.SIGKILL
    service.start()
    file_is_in_force(service, held)


def file_is_in_force(service: Running, held: dict[str, str]) -> None:
    """The pools are as the second file says, and full; projects have what they had."""

    def idle() -> dict[str, int]:
        return {name: pool["machines"]["idle"] for name, pool in pools_of(service).items()}

    eventually(lambda: idle() == {"default": 2, "node20": 1, "coming": 2, "going": 0}, "full", within_s=30)
    assert pools_of(service)["going"]["retired"] is True
    for name, machine in held.items():
        assert document(service, "assign", f"of-{name}")["id"] == machine


def test_kills_at_any_moment_around_a_reload_leave_one_of_two_files_in_force(service: Running) -> None:
    chance = random.Random(1)
    files = [FIRST, NODE.format(min_idle=1, version=2) + COMING]
    held = document(service, "assign", "my-project", "--pool", "going")["id"]
    for number in range(1, 4):
        (service.folder / "orchestrator.toml").write_text(files[number % 2])
        killing = threading.Timer(chance.uniform(0, 0.05), service.process.kill)  # type: ignore[union-attr]
        killing.start()
        with suppress(OSError, HTTPException):
            call(service.ports.api, "POST", "/v1/reload")
        assert service.wait() == -signal.SIGKILL
        service.start()
        wanted = {"default", "node20", "coming" if number % 2 else "going"}
        assert {name for name, pool in pools_of(service).items() if not pool["retired"]} == wanted
        assert document(service, "assign", "my-project")["id"] == held
    file_is_in_force(service, {})
