"""Workers of projects get a signal and have time to end: on real Docker, with kills of the service in between."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.docker_command import docker_json
from tests.integration.inside import a_probe_image
from tests.integration.running import Running, orchestrator
from tests.integration.waiting import eventually

Start = Callable[..., Running]
_SERVES = "httpd -f -p 9092 -h /srv & while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def stubborn(example_image: str) -> Iterator[str]:
    with a_probe_image(f"""ENTRYPOINT ["sh", "-c", "trap '' TERM; {_SERVES}"]""") as tag:
        yield tag


def is_stopping(service: Running, machine_id: str) -> bool:
    rows = service.rows(f"SELECT state FROM machine WHERE id = '{machine_id}'")
    return rows == [("stopping",)]


def test_an_operator_need_not_wait_for_a_worker_that_does_not_end(start: Start, stubborn: str, tmp_path: Path) -> None:
    service = start("--image", stubborn, "--min-idle", "0", "--stop-timeout", "600")
    worker = service.assign("p1")["containerId"]
    answers: list[int] = []
    asks = threading.Thread(target=lambda: answers.append(service.post_destroy(worker).status))
    asks.start()
    eventually(lambda: is_stopping(service, worker), "it is on record as stopping")
    assert docker_json("inspect", worker)["State"]["Status"] in {"running", "stopping"}
    other = service.assign("p2")["containerId"]  # nobody else waits
    url = f"http://localhost:{service.ports.api}"
    for name in (worker, "p2"):
        begun_at = time.monotonic()
        done = orchestrator("destroy", name, "--now", "--yes", "--url", url, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - begun_at < 30
    asks.join(30)
    assert answers == [200], "and whoever waited hears that it is gone"
    assert not {worker, other} & set(service.containers())


def test_a_worker_that_is_ending_is_removed_by_the_next_run(start: Start, stubborn: str) -> None:
    service = start("--image", stubborn, "--min-idle", "0", "--stop-timeout", "600", "--on-release", "recycle")
    killed, stopped = (service.assign(project)["containerId"] for project in ("p1", "p2"))
    service.release("p1")
    eventually(lambda: is_stopping(service, killed), "it is on record as stopping")
    service.end(signal.SIGKILL)
    service.start()
    service.release("p2")
    eventually(lambda: is_stopping(service, stopped), "it is on record as stopping")
    begun_at = time.monotonic()
    assert service.end() == 0
    assert time.monotonic() - begun_at < 10, "an orderly stop waits for no worker"
    service.flags = tuple("1" if flag == "600" else flag for flag in service.flags)
    service.start()
    eventually(lambda: not {killed, stopped} & set(service.containers()), "both are removed")
