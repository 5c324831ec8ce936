"""What the service does, done by a service that its unit filters: no call of the kernel and no folder that it needs is shut.

The hooks, proxies and doors that it starts are under the same filters.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.inside import a_fetch, inside
from tests.integration.terminals import on_a_terminal
from tests.integration.test_egress import an_index
from tests.integration.waiting import eventually
from tests.systemd.unit import NAME, STATE, Unit

PROJECT = "my-project"


@pytest.fixture(scope="module")
def worker(unit: Unit) -> Iterator[dict[str, object]]:
    """The reply to an assign of the project."""
    unit.configure()
    unit.systemctl("restart")
    reply = unit.get(f"/{PROJECT}").json
    yield reply
    unit.cli("release", PROJECT)


def test_exec_with_and_without_a_terminal(unit: Unit, worker: dict[str, object], tmp_path: Path) -> None:
    assert unit.cli("exec", PROJECT, "--", "echo", "hello") == "hello\n"
    assert unit.cli("exec", "-i", PROJECT, "sort", given="b\na\n") == "a\nb\n"
    unit.cli("exec", PROJECT, "--", "sh", "-c", "exit 7", code=7)
    url = f"ORCHESTRATOR_URL=http://localhost:{unit.ports.api}"
    words = unit.computer.words("env", url, "orchestrator", "exec", "-it", PROJECT, "sh")
    with on_a_terminal(words, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}) as screen:
        screen.type("test -t 0 && echo on-a-ter''minal; exit 3\n")
        screen.await_text("on-a-terminal")
        assert screen.wait() == 3


def test_logs_events_usage_and_reasons(unit: Unit, worker: dict[str, object]) -> None:
    unit.cli("logs", PROJECT, "--tail", "5")
    assert '"cpu' in unit.cli("show", PROJECT, "--usage", "-o", "json")
    assert "assigned" in unit.cli("list")
    assert unit.cli("why", PROJECT)
    assert unit.cli("health")
    assert "orchestrator_" in unit.get("/metrics").text


def test_files_go_in_and_come_out(unit: Unit, worker: dict[str, object]) -> None:
    unit.computer.shell("mkdir -p /root/there/deeper; head -c 3000000 /dev/urandom >/root/there/deeper/data")
    unit.cli("cp", "/root/there", f"{PROJECT}:/srv")
    unit.cli("cp", f"{PROJECT}:/srv/there/deeper/data", "/root/back")
    unit.computer.run("cmp", "/root/there/deeper/data", "/root/back")
    assert len(unit.cli("exec", PROJECT, "--", "md5sum", "/srv/there/deeper/data").split()[0]) == 32


def test_a_machine_sleeps_wakes_and_restarts(unit: Unit, worker: dict[str, object]) -> None:
    unit.cli("exec", PROJECT, "--", "sh", "-c", "echo kept >/srv/kept")
    before = unit.machine(PROJECT)
    unit.cli("sleep", PROJECT)
    assert "sleeping" in unit.cli("list", "--project", PROJECT)
    unit.cli("wake", PROJECT)
    unit.cli("restart", PROJECT)
    unit.cli("assign", PROJECT)
    assert unit.cli("exec", PROJECT, "--", "cat", "/srv/kept") == "kept\n"
    assert unit.machine(PROJECT) == before


def test_a_preview_is_shown_by_the_door(unit: Unit, worker: dict[str, object]) -> None:
    unit.cli("exec", PROJECT, "--", "sh", "-c", "echo mine >/srv/mine.txt")
    assert unit.get("/mine.txt", f"{PROJECT}.localhost").text == "mine\n"
    processes = unit.computer.shell(f"ps -o args= --ppid {unit.pid}")
    assert "worker_orchestrator.door.process" in processes


def test_values_reach_a_worker_and_its_hook(unit: Unit) -> None:
    unit.computer.shell("mkdir -p /root/site; echo hi >/root/site/greeting; echo secret >/root/key")
    values = ("--env", "REGION=eu", "--secret-file", "API_KEY=/root/key", "--files", "/root/site")
    unit.cli("assign", "configured", "--wait", "30", *values)
    assert unit.cli("exec", "configured", "--", "cat", "/run/project/secrets/API_KEY") == "secret\n"
    unit.cli("release", "configured")


def test_keys_sizes_a_backup_and_the_doctor(unit: Unit) -> None:
    """A backup is written by its own user, into the one folder that the service has."""
    assert unit.cli("key", "list") is not None
    unit.cli("scale", "--min-idle", "2")
    unit.cli("scale", "--min-idle", "default")
    become = ("runuser", "-u", "orchestrator", "--", "orchestrator")
    of_it = ("--config", f"/etc/{NAME}/orchestrator.toml", "--state-dir", STATE)
    unit.computer.run(*become, "backup", f"{STATE}/copy.db", *of_it)
    said = unit.computer.run(*become, "doctor", *of_it, check=False)
    assert "FAIL" not in said.out, said.out
    unit.computer.run("rm", f"{STATE}/copy.db")


def test_egress_by_name_goes_by_squid(unit: Unit) -> None:
    with an_index() as port:
        unit.configure(f'[pools.fenced]\nmin_idle = 1\nlate = {{}}\noutbound = ["a.example.com:{port}=127.0.0.1"]\n')
        unit.systemctl("reload")
        eventually(lambda: "fenced" in unit.cli("pools"), "its pool is there")
        unit.cli("assign", "fenced", "--pool", "fenced", "--wait", "30")
        shown = unit.get("/v1/projects/fenced/machine").json
        eventually(lambda: "index of" in inside(shown, a_fetch(f"http://a.example.com:{port}/")).out, "it is led")
        assert "403" in inside(shown, f"{a_fetch('http://b.example.com/')} 2>&1").out
        assert "b.example.com" in unit.cli("why", "fenced")
        assert "squid" in unit.computer.shell(f"ps -o comm= --ppid {unit.pid}").split()
        unit.cli("release", "fenced")
        unit.systemctl("stop")
        assert not unit.computer.shell("pgrep -x squid || true"), "it ends with the service"
        assert not unit.computer.shell("ls /dev/shm"), "nor does it leave memory"
        unit.configure()
        unit.systemctl("start")


def test_nothing_was_refused_by_the_filters(unit: Unit) -> None:
    """Last: what the service had to say since it was first started."""
    said = unit.computer.run("journalctl", "--no-pager", "--unit", NAME).out
    wrong = [line for line in said.splitlines() if "Operation not permitted" in line or "Traceback" in line]
    assert not wrong
