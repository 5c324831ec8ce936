"""What loses or changes something hits only the machine that the caller saw: not one that was given away meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.integration.calling import call
from tests.integration.conftest import Start
from tests.integration.running import Running, a_service, environment
from tests.integration.terminals import on_a_terminal
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

MODULE: Final = (sys.executable, "-m", "worker_orchestrator")


@pytest.mark.parametrize("was_used_before", [False, True])
def test_an_idle_machine_that_is_given_away_before_its_turn_is_not_destroyed(
    start: Start, *, was_used_before: bool
) -> None:
    """The command saw both; while it asks about the first, the second one gets a project."""
    service = start("--engine", "memory", "--min-idle", "1", "--max-machines", "2")
    service.await_idle(1)
    if was_used_before:
        for project in ("one", "two"):
            service.assign(project)
        for project in ("one", "two"):
            service.delete(project)
        service.await_idle(2)
    env = environment({"ORCHESTRATOR_URL": f"http://localhost:{service.ports.api}"})
    service.assign("mine")
    (free,) = service.await_idle(1)
    with on_a_terminal([*MODULE, "destroy", "mine", free], cwd=service.folder, env=env, columns=200) as screen:
        screen.await_text("Remove 1 assigned machine with all files? [y/N]")
        assert service.assign("other")["containerId"] == free
        screen.type("y\r")
        assert screen.wait() == 1
    assert "Nothing was changed." in screen.seen
    held = service.machine_of("other")
    assert held is not None
    assert held["id"] == free
    assert service.machine_of("mine") is None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("seen"), "--min-idle", "1", "--on-release", "reuse") as service:
        service.await_idle(1)
        yield service


def held(running: Running) -> Any:
    return call(running.ports.api, "PUT", "/v1/projects/p/machine").json


@pytest.mark.parametrize("by", ["query", "header"])
def test_a_command_and_a_file_for_an_old_generation_are_refused(running: Running, by: str) -> None:
    machine = held(running)

    def status(method: str, path: str, body: object, generation: int, query: str = "") -> int:
        headers = {"If-Match": f'"{generation}"'} if by == "header" else {}
        query += f"&generation={generation}" if by == "query" else ""
        given = call(
            running.ports.api, method, f"/v1/machines/{machine['id']}/{path}?{query.lstrip('&')}", body, headers
        )
        return given.status

    for generation, ran, written in ((machine["generation"], 200, 204), (machine["generation"] - 1, 412, 412)):
        assert status("POST", "exec", {"command": ["true"]}, generation) == ran
        assert status("PUT", "files", {"a": "note"}, generation, "path=/tmp/note") == written


def test_a_terminal_for_an_old_generation_is_refused(running: Running) -> None:
    machine = held(running)
    url = f"ws://localhost:{running.ports.api}/v1/machines/{machine['id']}/terminal?command=sh&generation="
    with connect(f"{url}{machine['generation']}", proxy=None):
        pass
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{url}{machine['generation'] - 1}", proxy=None)
    assert refused.value.response.status_code == 412


def test_what_is_copied_into_a_worker_goes_to_the_machine_that_was_seen(running: Running, tmp_path: Path) -> None:
    """Both commands name the generation; one that fits changes nothing for whoever uses them."""
    held(running)
    env = environment({"ORCHESTRATOR_URL": f"http://localhost:{running.ports.api}"})
    note = tmp_path / "note.txt"
    note.write_text("work")

    subprocess.run([*MODULE, "cp", str(note), "p:/tmp/"], env=env, check=True, timeout=60)
    done = subprocess.run(
        [*MODULE, "exec", "p", "--", "cat", "/tmp/note.txt"], env=env, check=True, timeout=60, capture_output=True
    )
    assert done.stdout == b"work"
