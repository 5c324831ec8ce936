"""A worker that died is handed out at most 0.1 s after its death, and listed at most as long.

The tests have the computer to themselves (ALONE in the Makefile), because they measure that.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.integration.docker_command import docker, docker_json
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

LIMIT_S: Final = 0.1
PAUSED_LIMIT_S: Final = 0.4
"""Only an event tells of a pause, and Podman's events are late."""
DEATHS: Final = 5
MACHINES: Final = 3
LOOKED_FOR_S: Final = 0.6
"""So long a listing of Docker's may show as running what has died."""
PAUSE_S: Final = 0.005


@pytest.fixture
def service(tmp_path: Path, example_image: str) -> Iterator[Running]:
    """One that retires no machine: while projects have some, more are made."""
    with a_service(tmp_path, "--min-idle", str(MACHINES), "--max-idle", "40") as running:
        yield running


def idle_machines(service: Running) -> list[str]:
    return eventually(lambda: idle if len(idle := service.idle()) >= MACHINES else [], "so many are idle")


def killed_from_the_host(machine_id: str) -> float:
    """Kill the main process of this worker, as the kernel does when memory runs out. Returns the time of its death."""
    if os.geteuid() != 0:
        pytest.fail("to kill a process of a worker takes root", pytrace=False)
    pid = docker_json("inspect", machine_id)["State"]["Pid"]
    descriptor = os.pidfd_open(pid)
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    return _death_of(descriptor)


def ended_by(command: str) -> Callable[[str], float]:
    """A `docker` command that ends a worker."""

    def end(machine_id: str) -> float:
        descriptor = os.pidfd_open(docker_json("inspect", machine_id)["State"]["Pid"])
        with subprocess.Popen(["docker", command, machine_id], stdout=subprocess.DEVNULL):
            return _death_of(descriptor)

    return end


def _death_of(descriptor: int) -> float:
    select.select([descriptor], [], [])
    died_at = time.monotonic()
    os.close(descriptor)
    return died_at


def seen_after(service: Running, machine_id: str, died_at: float) -> tuple[float, float]:
    """How many seconds after its death this machine was listed, and handed out, for the last time; 0 if it was not.

    What counts is when the request was sent. All machines are handed out in turn, each to a project of its own.
    """
    listed_s = given_s = 0.0
    number = 0
    while (asked_s := time.monotonic() - died_at) < LOOKED_FOR_S:
        if machine_id in service.idle():
            listed_s = asked_s
        project, number = f"{machine_id[-9:]}-{number}", number + 1
        asked_s = time.monotonic() - died_at
        if service.assign(project)["containerId"] == machine_id:
            given_s = asked_s
        service.release(project)
        time.sleep(PAUSE_S)
    return listed_s, given_s


def until_replaced(service: Running, machine_id: str) -> None:
    eventually(lambda: machine_id not in service.containers(), "it was replaced")


@pytest.mark.parametrize(
    "end", [killed_from_the_host, ended_by("kill"), ended_by("stop")], ids=["from the host", "kill", "stop"]
)
def test_a_worker_that_died_is_neither_listed_nor_given_any_more(service: Running, end: Callable[[str], float]) -> None:
    for number in range(DEATHS):
        machine_id = idle_machines(service)[number % MACHINES]
        listed_s, given_s = seen_after(service, machine_id, end(machine_id))
        assert listed_s <= LIMIT_S, "it was listed"
        assert given_s <= LIMIT_S, "it was handed out"
        until_replaced(service, machine_id)


def test_a_worker_that_was_paused_is_neither_listed_nor_given_any_more(service: Running) -> None:
    for number in range(2):
        machine_id = idle_machines(service)[number]
        docker("pause", machine_id)
        listed_s, given_s = seen_after(service, machine_id, time.monotonic())
        docker("rm", "-f", machine_id, check=False)  # the service may be removing it
        until_replaced(service, machine_id)
        assert max(listed_s, given_s) <= PAUSED_LIMIT_S


def test_signals_that_end_nothing_take_no_worker_from_the_pool(service: Running) -> None:
    """Podman does not say which signal it was, so there is a doubt, which ends soon."""
    machine_id = idle_machines(service)[0]
    for name in ("CONT", "URG", "WINCH"):
        docker("kill", "--signal", name, machine_id)
        eventually(lambda: machine_id in service.idle(), "it is idle", within_s=3)
