"""Docker behind a proxy that refuses, accepts and says nothing, or answers late: no machine fails, nobody waits for ever.

Workers are healthy all the time; only Docker, who would say so, cannot be heard.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from tests.contract.tcp_proxy import BesideTcpProxy, How, TcpProxy
from tests.integration.calling import Answer, call
from tests.integration.docker_command import a_name, engine_socket, is_podman, make_image, remove_image
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually, holds_for

FLAGS: Final = ("--ready", "healthcheck", "--min-idle", "2", "--max-machines", "5", "--refresh-interval", "0.5")
EXEC_S: Final = 2
SLACK_S: Final = 4.0
PATIENCE_S: Final = 3.0
GIVEN_UP: Final = 30
UPGRADE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
AWAY_S: Final = 6.0  # ten sweeps, of which three would do


@pytest.fixture(scope="module")
def image(example_image: str) -> Iterator[str]:
    if is_podman() and not Path("/run/systemd/system").exists():
        pytest.skip("Podman lets systemd run the health checks of containers")
    tag = f"{a_name('image')}:latest"
    make_image(tag, "HEALTHCHECK --interval=300ms CMD wget -q -O /dev/null http://127.0.0.1:9092/health")
    yield tag
    remove_image(tag)


@pytest.fixture
def behind(image: str, tmp_path: Path) -> Iterator[tuple[Running, BesideTcpProxy]]:
    with (
        BesideTcpProxy(TcpProxy(engine_socket())) as proxy,
        a_service(tmp_path, "--image", image, *FLAGS, docker_host=proxy.proxy.url) as service,
    ):
        service.await_idle(2)
        yield service, proxy
        proxy.behave(How.WELL)  # its containers are removed through it


def machine_id(service: Running, project: str) -> str:
    machine = service.machine_of(project)
    assert machine is not None
    return str(machine["id"])


def sockets(service: Running) -> int:
    """How many the service has open."""
    count = 0
    for opened in Path(f"/proc/{service.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed a moment ago
            count += str(opened.readlink()).startswith("socket:")
    return count


def questions(machine: str) -> list[tuple[str, str, object, float]]:
    """Each call that asks the engine about a machine, and the seconds that it may take."""
    inside = f"/v1/machines/{machine}"
    command = {"command": ["true"], "timeout_seconds": EXEC_S}
    return [
        ("GET", f"{inside}/stats", None, PATIENCE_S),
        ("GET", f"{inside}/environment", None, PATIENCE_S),
        ("GET", f"{inside}/logs", None, PATIENCE_S),
        ("GET", f"{inside}/files?path=/etc/hostname", None, PATIENCE_S),
        ("GET", f"{inside}/logs?follow=true", None, PATIENCE_S),
        ("PUT", f"{inside}/files?path=/tmp/sent", b"content", PATIENCE_S),
        ("POST", f"{inside}/exec", command, EXEC_S + 1.0),
        ("POST", f"{inside}/exec", {**command, "timeout_seconds": 600}, PATIENCE_S),
        ("GET", f"{inside}/terminal", None, PATIENCE_S),
    ]


def give_up(service: Running, method: str, path: str) -> None:
    """Ask, and be gone before there is an answer."""
    with socket.create_connection(("127.0.0.1", service.ports.api)) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost:{service.ports.api}\r\n\r\n".encode())
        time.sleep(0.05)  # for so long he waits


@pytest.mark.parametrize("how", [How.REFUSES, How.SILENT, How.LATE])
def test_an_engine_that_cannot_be_heard_costs_no_machine_no_socket_and_nobodys_time(
    behind: tuple[Running, BesideTcpProxy], how: How
) -> None:
    service, proxy = behind
    service.assign("mine")
    mine = machine_id(service, "mine")
    before = set(service.await_idle(2))
    at_rest = sockets(service)
    proxy.behave(how)
    away_until = time.monotonic() + AWAY_S
    asked = questions(mine)
    for method, path, _, _ in [question for question in asked if question[0] == "GET"] * (GIVEN_UP // 4):
        give_up(service, method, path)

    def ask(question: tuple[str, str, object, float]) -> tuple[Answer, float]:
        method, path, body, limit_s = question
        headers = UPGRADE if path.endswith("/terminal") else {}
        return call(service.ports.api, method, path, body, headers), limit_s

    with ThreadPoolExecutor(2 * len(asked)) as pool:
        for answer, limit_s in pool.map(ask, asked * 2):
            assert answer.status == 503, answer.text
            assert answer.took_s < limit_s + SLACK_S
    eventually(lambda: service.get("/v1/machines/none/stats").status == 404, "it serves on")
    again = call(service.ports.api, "GET", f"/v1/machines/{mine}/stats")
    assert (again.status, again.took_s < 1.0) == (503, True), "once that is known nobody waits"
    eventually(lambda: "it is not known whether a worker serves" in service.log, "workers are asked for")
    eventually(lambda: time.monotonic() > away_until, "the time of ten sweeps is over")
    assert service.get("/another").status == 503
    proxy.behave(How.WELL)
    eventually(lambda: service.get("/health").status == 200, "health says so", within_s=30)
    holds_for(lambda: before <= set(service.idle()), "the same machines are idle as before", for_s=2)
    assert machine_id(service, "mine") == mine
    assert service.rows("SELECT * FROM event WHERE cause = 'failed'") == []
    eventually(lambda: sockets(service) <= at_rest, "no socket is left", within_s=30)
    assert service.process is not None
    assert service.process.poll() is None
