"""A service that is not on the network of Docker's host reaches no worker, and says that it is its own fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.conftest import Start
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


def test_it_is_told_at_the_start_and_of_each_worker(start: Start) -> None:
    """Nothing is said of 0.0.0.0: the worker listens there."""
    service = start("--min-idle", "1", "--start-timeout", "4", start=False)
    service.start(command=APART, await_answer=False)
    eventually(lambda: "did not answer within 4 s" in service.log, "its worker fails", within_s=30)
    assert "no worker can be reached from here" in service.log
    (failed,) = [line for line in service.log.splitlines() if " failed " in line][:1]
    assert WHY in failed
    assert "0.0.0.0" not in service.log


def test_doctor_knows_it_beforehand(tmp_path: Path, example_image: str) -> None:
    words = ("doctor", "--image", example_image, "--state-dir", str(tmp_path), "--port", "1", "--last-port", "9200")
    done = subprocess.run([*APART, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "FAIL reach: Workers will be published on Docker's host and not be reached" in done.stdout
    done = subprocess.run([*APART[6:], *words], capture_output=True, text=True, timeout=60, check=False)
    assert " reach: " not in done.stdout
