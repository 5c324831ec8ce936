"""Projects that went away lose their machines, and whoever uses one in whatever way keeps it: on real Docker."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final

import pytest
from tests.integration.calling import call
from tests.integration.docker_command import docker
from tests.integration.running import Running, a_service
from tests.integration.test_command_line import a_terminal
from tests.integration.test_exec_stream import streaming
from tests.integration.waiting import eventually, holds_for

from worker_orchestrator.core.lease import SPARED_S

IDLE_S: Final = 8.0
LATE_S: Final = 4.0
"""Two seconds are promised. The rest is for a computer that runs many tests."""
BUSY: Final = "while :; do i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 0.1; done"

User = Callable[[Running, Any], AbstractContextManager[object]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """A service that is older than a minute, so that deadlines act."""
    folder, sizes = tmp_path_factory.mktemp("idle-timeout"), ("--min-idle", "1", "--max-machines", "8")
    deadlines = ("--idle-timeout", f"{IDLE_S:g}", "--idle-cpu", "0.05", "--stop-timeout", "1")
    begun = time.monotonic()
    with a_service(folder, *sizes, *deadlines) as service:
        service.assign("early")
        came_up_s = time.monotonic() - begun
        time.sleep(SPARED_S - 5 - came_up_s)
        assert not lost(service, ["early"]), "nothing expires in the first minute"
        eventually(lambda: lost(service, ["early"]), "it went back", within_s=came_up_s + 5 + LATE_S)
        yield service


@contextmanager
def one_who_asks_it(_service: Running, machine: Any) -> Iterator[None]:
    """Small requests to its own port, two seconds apart."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(2.0):
            assert call(machine["port"], "GET", "/").status == 200

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


@contextmanager
def one_who_is_connected(_service: Running, machine: Any) -> Iterator[None]:
    """A connection to its port on which nothing is said, as of a WebSocket."""
    with socket.create_connection(("127.0.0.1", machine["port"])):
        yield


@contextmanager
def one_who_runs_a_command(service: Running, machine: Any) -> Iterator[None]:
    with streaming(service, machine["id"], "sleep 600") as reply:
        assert reply.status == 200
        yield


@contextmanager
def one_at_a_terminal(service: Running, machine: Any) -> Iterator[None]:
    with a_terminal(service, machine["assignedProject"]) as screen:
        screen.type("echo r''eady\r")
        screen.await_text("ready")
        yield
        screen.type("exit\r")


@contextmanager
def one_whose_build_goes_on(_service: Running, machine: Any) -> Iterator[None]:
    """Work of its own that nobody watches: it says nothing, and nothing is open."""
    docker("exec", "-d", machine["id"], "sh", "-c", BUSY)
    yield
    docker("exec", machine["id"], "sh", "-c", "kill $(ps | grep '[w]hile :' | awk '{print $1}')")


USERS: Final[dict[str, User]] = {
    "http": one_who_asks_it,
    "connection": one_who_is_connected,
    "command": one_who_runs_a_command,
    "terminal": one_at_a_terminal,
    "build": one_whose_build_goes_on,
}


def assigned(service: Running, project: str) -> Any:
    """The machine of this project, as it is listed, with its port."""
    port = service.assign(project)["port"]
    machine = service.machine_of(project)
    assert machine is not None
    return {**machine, "port": port}


def lost(service: Running, projects: Iterable[str]) -> list[str]:
    """Those of these projects that have no machine any more."""
    having = {machine["assignedProject"] for machine in service.machines()}
    return [project for project in projects if project not in having]


@pytest.mark.promise("deadline")
def test_whoever_uses_a_machine_keeps_it_and_whoever_went_away_loses_it(served: Running) -> None:
    with ExitStack() as using:
        for project, user in USERS.items():
            using.enter_context(user(served, assigned(served, project)))
        served.assign("abandoned")
        begun = time.monotonic()
        eventually(lambda: lost(served, ["abandoned"]), "it went back", within_s=IDLE_S + LATE_S)
        assert time.monotonic() - begun >= IDLE_S - 0.5, "not before its time"
        holds_for(lambda: not lost(served, USERS), "all of them keep their machines", for_s=3 * IDLE_S)
    eventually(lambda: lost(served, USERS) == list(USERS), "all of them went back", within_s=2 * IDLE_S + LATE_S)


def test_few_machines_are_enough_for_many_projects_that_are_abandoned(served: Running) -> None:
    for count in range(20):
        served.assign(f"visitor-{count}")
