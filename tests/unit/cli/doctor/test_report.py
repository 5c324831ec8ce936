"""`doctor` where everything is broken: it says each thing that is wrong with what mends it, and changes nothing."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from worker_orchestrator.cli import main
from worker_orchestrator.store.lock import Lock


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What it finds, by check, in an empty folder, and its exit code. Nobody answers at its URL."""
    monkeypatch.chdir(tmp_path)
    for name in ("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_TOKEN_FILE", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)

    def command(*words: str, env: dict[str, str] | None = None) -> tuple[dict[str, dict[str, str]], int]:
        usual = ["--url", "http://127.0.0.1:1", "--state-dir", str(tmp_path / "state"), "--docker-host", "unix:///none"]
        done = CliRunner().invoke(main, ["doctor", "-o", "json", *usual, *words], env=env)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        found: dict[str, dict[str, str]] = {}
        for finding in json.loads(done.stdout):
            found.setdefault(finding["check"], finding)
        return found, done.exit_code

    return command


def test_no_engine_is_wrong_and_the_rest_is_looked_at_all_the_same(doctor: Any, tmp_path: Path) -> None:
    found, code = doctor()
    assert code == 1
    assert found["engine"]["verdict"] == "wrong"
    assert "unix:///none (--docker-host): no such socket" in found["engine"]["says"]
    assert "`" in found["engine"]["fix"]
    assert {"port", "workers' ports", "state directory", "clock", "limits", "service"} <= set(found)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_setting_is_a_finding_like_any_other(doctor: Any) -> None:
    found, code = doctor("--min-idle", "few")
    assert code == 1
    assert "--min-idle is 'few'" in found["settings"]["says"]
    assert "engine" in found


def test_a_port_that_something_else_has_is_wrong(doctor: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found, _ = doctor("--engine", "memory", "--port", str(port))
    assert found["port"]["verdict"] == "wrong"
    assert f"{port} is taken by something else" in found["port"]["says"]
    assert f"sport = :{port}" in found["port"]["fix"]
    assert doctor("--engine", "memory", "--port", str(port))[0]["port"]["verdict"] == "ok"


def test_a_range_with_too_few_ports_is_told_with_what_would_do(doctor: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("--first-port", str(port), "--last-port", str(port))
        found, code = doctor(*words)
    assert code == 1
    assert found["workers' ports"]["verdict"] == "wrong"
    assert "Only 0 from" in found["workers' ports"]["says"]


def test_a_state_directory_in_use_is_told_with_its_holder(doctor: Any, tmp_path: Path) -> None:
    lock = Lock(tmp_path / "state")
    try:
        found, _ = doctor()
    finally:
        lock.release()
    assert "is in use by the service with pid" in found["state directory"]["says"]


def test_a_damaged_database_is_wrong_and_left_as_it_is(doctor: Any, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "orchestrator.db"
    file.write_bytes(b"this is no database" * 100)
    found, code = doctor()
    assert (code, found["database"]["verdict"]) == (1, "wrong")
    assert file.read_bytes() == b"this is no database" * 100
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_where_nothing_is_wrong_the_exit_code_is_0(doctor: Any) -> None:
    """With the demo's engine there is no Docker to look for."""
    found, code = doctor("--engine", "memory", "--port", "29876")
    assert code == 0
    assert "engine" not in found
    assert found["service"]["verdict"] == "ok"
    assert "`orchestrator serve" in found["service"]["fix"]


def test_in_a_pipe_it_prints_ascii_a_line_for_each_check(tmp_path: Path) -> None:
    words = ["doctor", "--docker-host", "unix:///none", "--state-dir", str(tmp_path), "--url", "http://127.0.0.1:1"]
    done = CliRunner().invoke(main, words)
    assert done.stdout.isascii()
    assert done.stdout.startswith("FAIL engine: No Docker engine answers.")
    assert "\n      fix: " in done.stdout
    assert "wrong" in done.stderr


def test_its_help_names_every_flag_that_it_may_ask_for() -> None:
    shown = CliRunner().invoke(main, ["doctor", "--help"]).stdout
    assert [flag for flag in ("--token-file", "--url", "--state-dir", "--docker-host") if flag not in shown] == []


def test_urls_that_lead_where_no_worker_is_published_are_told(doctor: Any) -> None:
    found, _ = doctor("--advertise-host", "192.0.2.7")
    assert found["workers' URLs"] == {
        "check": "workers' URLs",
        "verdict": "warning",
        "says": "They are on 192.0.2.7, which is 192.0.2.7, but workers are published on localhost only.",
        "fix": "serve with --publish-address 0.0.0.0 as well, unless something forwards 192.0.2.7 to localhost",
    }
    for right in (("--advertise-host", "127.0.0.1"), ("--advertise-host", "192.0.2.7", "--publish-address", "0.0.0.0")):
        assert "workers' URLs" not in doctor(*right)[0]


def test_urls_on_this_host_that_lead_to_another_of_its_addresses_are_told(doctor: Any) -> None:
    """Each worker would be healthy, and none reached."""
    found, _ = doctor("--publish-address", "127.0.0.2")
    assert found["workers' URLs"]["verdict"] == "warning"
    assert "but workers are published on 127.0.0.2 only" in found["workers' URLs"]["says"]
    assert found["workers' URLs"]["fix"] == "serve with --advertise-host 127.0.0.2 as well"
    assert "workers' URLs" not in doctor("--publish-address", "127.0.0.2", "--advertise-host", "127.0.0.2")[0]
