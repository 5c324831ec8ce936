"""What a project gives its machine is found nowhere but in its worker, during and after: a secret is planted and sought."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.integration.calling import call
from tests.integration.docker_command import docker
from tests.integration.inside import a_probe_image, inside
from tests.integration.late_service import DIRECTORY, FLAGS, a_tar, put
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually

READS = (
    "/v1/machines",
    "/v1/pools",
    "/v1/pools/default/plan",
    "/v1/projects/planted/machine",
    "/v1/projects/planted/why",
    "/v1/events?follow=false",
    "/v1/history",
    "/v1/health",
    "/metrics",
    "/machines/list",
    "/planted",
)
HOOKS = (
    "echo it is $(cat /run/project/secrets/TOKEN)",
    "cat /run/project/secrets/TOKEN >&2; exit 7",
    "sleep 60",
    "true",
)


@pytest.mark.promise("late")
def test_a_planted_secret_is_found_only_in_the_worker(tmp_path: Path, example_image: str) -> None:
    """In no reply, log, database, backup, metric, inspection, event, command line or environment."""
    mark = f"planted{uuid.uuid4().hex}"
    engine_events = tmp_path / "engine-events"
    with a_probe_image() as image, all_events_in(engine_events), processes_with(mark) as found:
        flags = ("--image", image, "--min-idle", "1", *FLAGS)
        with a_service(tmp_path / "service", *flags, start=False) as service:
            service.start(command=(sys.executable, "-X", "dev", "-m", "worker_orchestrator"))
            service.await_idle(1)
            replies = list(plant(service, mark))
            worker = service.assign("planted")
            assert inside(worker, f"cat {DIRECTORY}/secrets/TOKEN").out == mark, "else the rest proves nothing"
            replies += [service.get(path).body for path in READS]
            inspected = docker("inspect", worker["containerId"]).out + docker("inspect", image).out
            backup = tmp_path / "backup.db"
            done = orchestrator("backup", str(backup), *service.command_flags, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            kept = [backup, service.log_file, *service.state_dir.rglob("*")]
            places = {str(path): path.read_bytes() for path in kept if path.is_file()}
        ends = ('"destroy"', '"remove"')  # the latter is Podman's
        eventually(lambda: any(end in engine_events.read_text() for end in ends), "the engine has told of the end")
    sought = mark.encode()
    assert [reply for reply in replies if sought in reply] == []
    assert [path for path, content in places.items() if sought in content] == []
    assert mark not in inspected
    assert worker["containerId"] in engine_events.read_text()
    assert mark not in engine_events.read_text()
    assert found == [], "in a command line or an environment of the host"


def plant(service: Running, mark: str) -> Iterator[bytes]:
    """All replies to requests with the secret: hooks that show it, that fail, that hang; and what is refused."""
    files = a_tar({"conf": mark.encode() * 50})
    for hook, status in zip(HOOKS, (201, 424, 424, 200), strict=True):
        answer = put(service, "planted", {"HOOK": hook, "ENV_MARK": mark}, {"TOKEN": mark}, files)
        assert answer.status == status, f"{hook}: {answer.status}"
        yield answer.body
        if status == 201:
            service.release("planted")
    others = {"HOOK": "false", "ENV_MARK": mark}
    bad = ({"A": f"{mark}\0"}, {f"no-name-{mark[:1]}": mark}, {"A": mark * 4000})
    refused = [put(service, "planted", others), *(put(service, "planted", env) for env in bad)]
    refused += [put(service, "planted", secrets={"../x": mark}), put(service, "planted", files=mark.encode())]
    refused.append(call(service.ports.api, "PUT", "/v1/projects/planted/machine", {"secrets": {"A": [mark]}}))
    for answer in refused:
        assert 400 <= answer.status < 500, f"{answer.status} {answer.text}"
        yield answer.body


@contextmanager
def all_events_in(file: Path) -> Iterator[None]:
    """Everything that the engine tells, of whatever it is, while the block runs."""
    with (
        file.open("wb") as written,
        subprocess.Popen(["docker", "events", "--format", "{{json .}}"], stdout=written) as told,
    ):
        try:
            yield
        finally:
            told.kill()


@contextmanager
def processes_with(mark: str) -> Iterator[list[str]]:
    """Looks all the time, while the block runs, for processes that were started with this mark."""
    found: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            found.extend(str(pid) for pid in psutil.pids() if mark in started_with(pid))

    def started_with(pid: int) -> str:
        try:
            process = psutil.Process(pid)
            return f"{process.cmdline()} {process.environ()}"
        except (psutil.Error, OSError):
            return ""

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()
