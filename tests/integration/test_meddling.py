"""What people do to workers with the `docker` command, and what the service says and does about it."""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.calling import Answer
from tests.integration.docker_command import LABEL, a_name, docker, docker_json, engine_command, is_podman, remove_image
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually, holds_for


@pytest.fixture
def service(tmp_path: Path, example_image: str) -> Iterator[Running]:
    with a_service(tmp_path, "--refresh-interval", "1") as running:
        running.await_idle(2)
        yield running


def test_a_renamed_worker_keeps_its_project_and_its_files(service: Running) -> None:
    """However often it is renamed, and whatever the service is told to do meanwhile."""
    mine = service.assign("p")["containerId"]
    docker("exec", mine, "sh", "-c", "echo kept >/tmp/file")
    native = docker_json("inspect", mine)["Id"]
    name = a_name("renamed")
    docker("rename", mine, name)
    holds_for(lambda: service.assign("p")["containerId"] == mine, "its project has it", for_s=3)
    docker("rename", name, mine)
    holds_for(lambda: service.assign("p")["containerId"] == mine, "its project has it", for_s=3)
    docker("rename", mine, name)
    service.end()
    service.start()
    assert service.assign("p")["containerId"] == mine
    assert docker("exec", native, "cat", "/tmp/file").out == "kept"
    service.destroy(mine)
    assert docker("container", "inspect", native, check=False).failed


def test_an_idle_worker_that_is_paused_is_neither_given_nor_listed_and_is_replaced(service: Running) -> None:
    first, second = service.await_idle(2)
    docker("pause", first)
    eventually(lambda: service.idle() == [second], "the paused one is not listed", within_s=5)
    assert service.assign("p")["containerId"] == second
    eventually(lambda: first not in service.containers(), "the paused one was replaced", within_s=15)
    assert first not in service.await_idle(2)


def refused(answer: Answer) -> str:
    """What a 503 says; empty for any other."""
    return str(answer.json["message"]) if answer.status == 503 else ""


@pytest.mark.parametrize("how", ["pause", "cut off"])
def test_a_project_is_told_everywhere_what_is_wrong_with_its_worker_and_what_to_do(service: Running, how: str) -> None:
    """And what to do helps."""
    mine = service.assign("p")["containerId"]
    if how == "pause":
        docker("pause", mine)
    else:
        network = mine if is_podman() else f"{LABEL}-{service.owner}"  # there each worker has a network
        docker("network", "disconnect", "-f", network, mine)
    said = eventually(lambda: refused(service.get("/p")), "the project is refused", within_s=10)
    assert "cannot serve now. The container" in said
    url = ("--url", f"http://127.0.0.1:{service.ports.api}")
    help_found = re.search(rf"`{engine_command()} ([^`]+)`", said)
    assert help_found is not None
    for command in ("show", "why"):
        told = orchestrator(command, "p", *url, cwd=service.folder)
        assert help_found[0] in told.stdout, told
    assert help_found[0] in orchestrator("list", "-o", "wide", *url, cwd=service.folder).stdout
    assert help_found[0] in service.get("/v1/machines/" + mine).json["reason"]
    assert "cannot serve its project: p" in str(service.get("/v1/health").json["problems"])
    assert service.machine_of("p") is None, "it is not listed as serving"
    docker(*shlex.split(help_found[1]))
    eventually(lambda: service.get("/p").status == 200, "it serves again", within_s=10)
    assert service.assign("p")["containerId"] == mine


def test_a_copy_of_a_worker_is_its_makers(service: Running) -> None:
    """It neither worries the service, nor is it removed with what it was copied from."""
    mine = service.assign("p")["containerId"]
    tag = f"{a_name('copy')}:latest"
    docker("commit", mine, tag)
    try:
        copy = docker("run", "-d", "--network", "none", tag).out
        holds_for(lambda: service.get("/v1/health").json["problems"] == [], "nothing is wrong", for_s=2.5)
        service.destroy(mine)
        service.await_idle(2)
        holds_for(lambda: docker_json("inspect", copy)["State"]["Running"], "the copy runs", for_s=2.5)
        done = orchestrator("down", "--all", "--yes", *service.command_flags, cwd=service.folder)
        assert done.returncode == 0, done.stderr
        service.wait()
        assert docker_json("inspect", copy)["State"]["Running"]
    finally:
        docker("rm", "-f", "-v", *docker("ps", "-aq", "--filter", f"ancestor={tag}").lines, check=False)
        remove_image(tag)


def test_down_leaves_what_a_project_had_when_it_turns_up_again(service: Running) -> None:
    """The record says that it vanished; a service that was away cannot know better."""
    mine = service.assign("p")["containerId"]
    service.end()
    with closing(sqlite3.connect(service.state_dir / "orchestrator.db")) as db, db:
        db.execute("UPDATE machine SET state = 'failed', gone = 1 WHERE id = ?", (mine,))
    done = orchestrator("down", *service.command_flags, cwd=service.folder)
    assert done.returncode == 0, done.stderr
    assert f"{mine} keeps running for p" in done.stdout
    assert service.containers() == [mine]
