"""The units that `orchestrator init --systemd` writes, under a real systemd: how they start, reload, restart, die and stop.

`make systemd-check` runs these tests, as root. All that the service does here it does under the filters of its unit.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.integration.docker_command import docker, owned
from tests.integration.waiting import eventually
from tests.systemd.unit import FOLDER, NAME, STATE, Unit

STOP_S = 20.0
"""The service itself is gone after 14 s at most."""


@contextmanager
def a_slow_call(unit: Unit) -> Iterator[None]:
    """One whose body never comes, so that the service has something to wait for when it is to end."""
    with socket.create_connection(("127.0.0.1", unit.ports.api)) as slow:
        slow.sendall(
            f"POST /destroy HTTP/1.1\r\nhost: localhost:{unit.ports.api}\r\ncontent-length: 9\r\n\r\n".encode()
        )
        time.sleep(0.3)
        yield


@contextmanager
def callers(unit: Unit, *paths: str) -> Iterator[list[str]]:
    """Somebody asks for each of these paths all the time, one call after the other; what went wrong."""
    wrong: list[str] = []
    over = threading.Event()

    def ask(path: str) -> None:
        while not over.is_set():
            try:
                if (answer := unit.get(path)).status != 200:
                    wrong.append(f"{path}: {answer.status} {answer.text}")
            except OSError as error:
                wrong.append(f"{path}: {error!r}")

    threads = [threading.Thread(target=ask, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def mine(unit: Unit) -> Iterator[tuple[str, int]]:
    """A project of the test, `mine`, with a machine: its id and generation."""
    unit.await_active()
    unit.cli("assign", "mine", "--wait", "30")
    yield unit.machine("mine")
    unit.await_active()
    unit.cli("release", "mine")


def test_it_is_active_once_it_answers_and_runs_as_its_own_user(unit: Unit) -> None:
    """`systemctl enable --now` returned, so it had said that it answers: until then it is `activating`."""
    assert unit.shown("ActiveState") == "active"
    assert unit.shown("Type") == "notify"
    assert unit.computer.shell(f"ps -o user= -p {unit.pid}") in {"orchestrator", "orchest+"}
    assert unit.computer.shell(f"stat -c '%U %a' {STATE} {STATE}/orchestrator.db").splitlines() == [
        "orchestrator 700",
        "orchestrator 600",
    ]
    status = unit.computer.shell(f"cat /proc/{unit.pid}/status")
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE), "its calls of the kernel are filtered"


def test_what_it_may_do_is_little(unit: Unit) -> None:
    said = unit.computer.run("systemd-analyze", "security", "--no-pager", f"{NAME}.service").out
    (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    print(f"\nsystemd-analyze security: {level}")
    assert float(level) < 3


def test_a_call_starts_it(unit: Unit) -> None:
    """On both loopback addresses that the socket names."""
    for host in ("127.0.0.1", "::1"):
        if host == "::1" and unit.computer.run("grep", "-q", "::1", f"{FOLDER}/{NAME}.socket", check=False).code:
            continue
        unit.systemctl("stop")
        assert unit.shown("ActiveState") == "inactive"
        with socket.create_connection((host, unit.ports.api), timeout=30) as caller:
            caller.sendall(f"GET /v1/health HTTP/1.0\r\nhost: localhost:{unit.ports.api}\r\n\r\n".encode())
            assert b" 200 " in caller.recv(100)
        unit.await_active()


def test_a_reload_takes_the_changed_settings_over(unit: Unit, mine: tuple[str, int]) -> None:
    before = unit.pid
    unit.configure(f'[pools.other]\nimage = "{unit.probe}"\nmin_idle = 1\n')
    unit.systemctl("reload")
    eventually(lambda: "other" in unit.cli("pools"), "the new pool is there")
    unit.cli("assign", "another", "--pool", "other", "--wait", "30")
    unit.cli("release", "another")
    unit.configure("max_machines = -1\n")
    unit.systemctl("reload")
    eventually(lambda: "max_machines" in journal(unit), "it says what is wrong")
    unit.configure()
    unit.systemctl("reload")
    eventually(lambda: "other" not in unit.cli("pools"), "the pool is gone")
    assert (unit.pid, unit.machine("mine")) == (before, mine)


def journal(unit: Unit) -> str:
    return unit.computer.run("journalctl", "--no-pager", "--unit", NAME, "--lines=20").out


def test_a_restart_keeps_every_assignment_and_refuses_nobody(unit: Unit, mine: tuple[str, int]) -> None:
    before = unit.pid
    with callers(unit, "/mine", "/mine", "/v1/health", "/v1/health") as wrong:
        for _ in range(3):
            time.sleep(0.5)
            unit.systemctl("reset-failed")  # systemd refuses a sixth start within 10 s
            unit.systemctl("restart")
    assert unit.pid != before
    assert unit.machine("mine") == mine
    assert not wrong, "systemd listens meanwhile"


def await_restart(unit: Unit, times: int) -> None:
    """Until systemd has started it once more than so many times, and it is active."""
    eventually(lambda: int(unit.shown("NRestarts")) == times + 1, "it is started again", within_s=30)
    unit.await_active()


def test_it_is_started_again_after_a_kill_and_nothing_is_lost(unit: Unit, mine: tuple[str, int]) -> None:
    before, times = unit.pid, int(unit.shown("NRestarts"))
    unit.computer.run("kill", "-KILL", str(before))
    begun = time.monotonic()
    await_restart(unit, times)
    print(f"\nanswers again {time.monotonic() - begun:.1f} s after a kill")
    assert unit.machine("mine") == mine


def test_systemd_hears_that_it_ends_by_itself_and_starts_it_again(unit: Unit, mine: tuple[str, int]) -> None:
    before, times = unit.pid, int(unit.shown("NRestarts"))
    with a_slow_call(unit):
        unit.computer.run("kill", "-TERM", str(before))
        eventually(lambda: unit.shown("ActiveState") == "deactivating", "it has said STOPPING=1", within_s=4)
        assert unit.pid == before, "while it still runs"
    await_restart(unit, times)
    assert unit.machine("mine") == mine


def test_a_stop_ends_in_time_and_workers_run_on(unit: Unit, mine: tuple[str, int]) -> None:
    unit.systemctl("stop", f"{NAME}.socket")
    unit.systemctl("start")
    with a_slow_call(unit):
        begun = time.monotonic()
        unit.systemctl("stop")
        took_s = time.monotonic() - begun
    print(f"\na stop with an open call took {took_s:.1f} s")
    assert took_s < STOP_S
    unit.systemctl("stop", f"{NAME}.socket")
    assert (unit.shown("ActiveState"), unit.shown("Result")) == ("inactive", "success")
    assert mine[0] in " ".join(owned(unit.owner)), "its worker runs on"
    unit.systemctl("start")
    assert unit.machine("mine") == mine


def test_a_wrong_setting_is_not_tried_again(unit: Unit) -> None:
    """Nor does a caller wait for ever: the socket starts it some times, and gives up. After a repair, a start is enough."""
    unit.systemctl("stop")
    unit.configure("max_machines = -1\n")
    unit.computer.run("systemctl", "start", NAME, check=False)
    assert unit.shown("ExecMainStatus") == "2"
    time.sleep(6)  # RestartSec=5
    assert unit.shown("ActiveState") == "failed"
    with pytest.raises(OSError, match=r"reset|refused"):
        unit.get("/v1/health")
    unit.configure()
    time.sleep(10)  # DefaultStartLimitIntervalSec
    unit.systemctl("start")
    assert unit.get("/v1/health").status == 200


def test_it_waits_for_an_engine_that_comes_later_and_so_does_its_caller(unit: Unit) -> None:
    later = "/run/later.sock"
    unit.systemctl("stop")
    unit.configure(f'docker_host = "unix://{later}"\n')
    unit.computer.run("systemctl", "start", NAME, check=False)
    with socket.create_connection(("127.0.0.1", unit.ports.api), timeout=60) as caller:
        caller.sendall(f"GET /v1/health HTTP/1.0\r\nhost: localhost:{unit.ports.api}\r\n\r\n".encode())
        eventually(lambda: int(unit.shown("NRestarts")) >= 2, "it is tried again", within_s=60)
        unit.computer.run("ln", "-s", "docker.sock", later)
        assert b" 200 " in caller.recv(100)
    unit.await_active()
    unit.systemctl("stop")
    unit.configure()
    unit.systemctl("start")


def test_down_removes_all_that_it_made(unit: Unit) -> None:
    unit.cli("assign", "one", "--wait", "30")
    owner = unit.owner
    unit.computer.run("systemctl", "stop", f"{NAME}.socket", f"{NAME}.service")
    become = ("runuser", "-u", "orchestrator", "--")
    of_it = ("--config", f"{FOLDER}/orchestrator.toml", "--state-dir", STATE)
    unit.computer.run(*become, "orchestrator", "down", "--all", "--yes", *of_it)
    assert not owned(owner)
    assert not docker("network", "ls", "-q", "--filter", f"label=worker-orchestrator.owner={owner}").lines
    unit.systemctl("start")
