"""`GET /metrics` of a running service, judged by Prometheus' own tool."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.conftest import Start
from tests.integration.docker_command import docker
from tests.integration.running import Running
from tests.integration.waiting import eventually

TOKEN = "a-token-that-nobody-guesses"
PASSWORD = "of-a-worker"
ENGINES = pytest.mark.parametrize("flags", [("--engine", "memory"), ()], ids=["memory", "docker"])


def shown(service: Running) -> dict[str, float]:
    """Each sample by its name and the values of its labels."""
    answer = service.get("/metrics")
    assert answer.status == 200
    families = text_string_to_metric_families(answer.text)
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def complaints(exposition: bytes) -> str:
    """What promtool has to say; empty if nothing."""
    if shutil.which("promtool") is None:
        pytest.fail("promtool is missing: install Debian's package prometheus.", pytrace=False)
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode() or ("" if done.returncode == 0 else f"exit code {done.returncode}")


def test_promtool_finds_what_is_wrong() -> None:
    assert "counter metrics should have" in complaints(b"# HELP a b\n# TYPE a counter\na 1\n")


@ENGINES
def test_promtool_has_nothing_to_say(start: Start, flags: tuple[str, ...]) -> None:
    service = start(*flags)
    answer = service.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert complaints(answer.body) == "", "right after the start"
    service.await_idle(2)
    for project in ("a", "a", "b", "c"):
        service.assign(project)
    service.release("a")
    assert complaints(service.get("/metrics").body) == ""


@ENGINES
def test_what_happened_is_shown(start: Start, flags: tuple[str, ...]) -> None:
    service = start(*flags)
    service.await_idle(2)
    service.assign("a")
    service.assign("a")
    service.await_idle(2)
    seen = shown(service)
    assert seen["orchestrator_assigns_total warm default"] == 1
    assert seen["orchestrator_assigns_total repeat default"] == 1
    assert seen["orchestrator_warm_hit_ratio"] == 1
    assert seen["orchestrator_machines default idle"] == 2
    assert seen["orchestrator_machines default assigned"] == 1
    assert seen["orchestrator_create_duration_seconds_count"] == 3
    assert seen["orchestrator_ready_duration_seconds_count default"] == 3
    assert seen["orchestrator_engine_up"] == 1
    assert seen["orchestrator_refill_lag_seconds default"] == 0
    assert 0 < seen["orchestrator_assign_duration_seconds_sum warm default"] < 1
    assert seen["process_resident_memory_bytes"] > 0


def test_workers_that_fail_are_counted_by_why(start: Start) -> None:
    service = start()
    first, second = service.await_idle(2)
    docker("kill", first)
    eventually(lambda: failures(service) == {"killed": 1}, "a killed machine")
    docker("rm", "-f", second)
    eventually(lambda: sum(failures(service).values()) == 2, "and one that is gone")
    # Docker 28 lists it as exited, then as dead without an exit code, and then no more; older ones as being removed.
    assert set(failures(service)) <= {"killed", "exited", "vanished"}, "it may be seen dead before it is gone"


def failures(service: Running) -> dict[str, float]:
    """How many machines failed, by why."""
    name = "orchestrator_machine_failures_total "
    return {key.removeprefix(name): value for key, value in shown(service).items() if key.startswith(name) and value}


def test_log_lines_name_the_request_and_tell_no_secret(start: Start, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    flags = ("--log-format", "json", "--token-file", str(tmp_path / "token"), "--env", f"PASSWORD={PASSWORD}")
    service = start(*flags, start=False).start(await_answer=False)
    mine = {"authorization": f"Bearer {TOKEN}", "x-request-id": "my-request/1"}
    eventually(lambda: answers(service), "the service answers")
    assert service.get("/p", mine).status == 200
    assert service.get("/q", {"authorization": f"Bearer {TOKEN}x"}).status == 401
    eventually(lambda: '"assigned"' in service.log, "it stands in the log")
    lines = [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]
    (assigned,) = (line for line in lines if line["event"] == "assigned")
    assert (assigned["project"], assigned["generation"], assigned["request"]) == ("p", 1, "my-request/1")
    assert assigned["machine"].startswith("worker-")
    assert assigned["why"] == "It was assigned to the project."
    assert TOKEN not in service.log
    assert PASSWORD not in service.log


def answers(service: Running) -> bool:
    try:
        return service.get("/").status == 401
    except OSError:
        return False
