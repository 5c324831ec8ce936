"""A service that is not on the network of Docker's host reaches no worker, and says that it is its own fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.conftest import Start
from tests.integration.docker_command import is_podman
from tests.integration.waiting import eventually

APART = (
    "unshare",
    "--net",
    "sh",
    "-c",
    'ip link set lo up; exec "$@"',
    "sh",
    sys.executable,
    "-m",
    "worker_orchestrator",
)
WHY = "this process runs in another network namespace than Docker. Run it in that of Docker's host"


@pytest.fixture(autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.fail("a network namespace needs root", pytrace=False)


@pytest.fixture
def bridges() -> None:
    """Podman's are there only while a container is on them, so from their absence nothing is concluded."""
    if is_podman():
        pytest.skip("Podman does not keep its bridges")


@pytest.mark.usefixtures("bridges")
def test_it_is_told_at_the_start_and_of_each_worker(start: Start) -> None:
    """Nothing is said of 0.0.0.0: the worker listens there."""
    service = start("--min-idle", "1", "--start-timeout", "4", start=False)
    service.start(command=APART, await_answer=False)
    eventually(lambda: "did not answer within 4 s" in service.log, "its worker fails", within_s=30)
    assert "no worker can be reached from here" in service.log
    (failed,) = [line for line in service.log.splitlines() if " failed " in line][:1]
    assert WHY in failed
    assert "0.0.0.0" not in service.log
    inside = ("nsenter", "--net", "--target", str(service.pid), *APART[6:])
    for words in (("health",), ("scale",), ("assign", "p")):
        command = [*inside, "--url", f"http://localhost:{service.ports.api}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout + done.stderr
        assert "The image does not come up" not in said, said
        assert WHY in said
        assert words == ("assign", "p") or f"No worker can be reached from here: {WHY}" in said


@pytest.mark.usefixtures("bridges")
def test_doctor_knows_it_beforehand(tmp_path: Path, example_image: str) -> None:
    words = ("doctor", "--image", example_image, "--state-dir", str(tmp_path), "--port", "1", "--last-port", "9200")
    done = subprocess.run([*APART, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "FAIL reach: Workers will be published on Docker's host and not be reached" in done.stdout
    done = subprocess.run([*APART[6:], *words], capture_output=True, text=True, timeout=60, check=False)
    assert " reach: " not in done.stdout


@pytest.mark.parametrize("elsewhere", [("--ready", "healthcheck"), ("--publish-address", "192.0.2.7")])
def test_doctor_says_nothing_of_it_where_workers_are_not_asked_on_loopback(
    tmp_path: Path, example_image: str, elsewhere: tuple[str, str]
) -> None:
    """Docker reports a health check itself, and another address may well be reached."""
    words = ("doctor", "--image", example_image, "--state-dir", str(tmp_path), "--port", "1", "--last-port", "9200")
    done = subprocess.run([*APART, *words, *elsewhere], capture_output=True, text=True, timeout=60, check=False)
    assert "ok   engine: " in done.stdout
    assert " reach: " not in done.stdout
