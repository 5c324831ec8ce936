"""`orchestrator plan` against a running service: it shows what was recorded, sets what it proposes, and remembers."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.conftest import Start
from tests.integration.running import Running, a_service, orchestrator

MEMORY = ("--engine", "memory", "--min-idle", "1", "--max-machines", "30")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with a_service(tmp_path, *MEMORY) as running:
        running.await_idle(1)
        yield running


def command(service: Running, *words: str) -> subprocess.CompletedProcess[str]:
    done = orchestrator("--url", f"http://localhost:{service.ports.api}", "plan", *words, cwd=service.folder)
    assert done.returncode == 0, done.stderr
    return done


def planned(service: Running, *words: str) -> str:
    return command(service, *words).stdout


def test_what_was_recorded_is_shown_and_what_is_proposed_is_set(service: Running) -> None:
    assert "No assign of the pool default is on record in this time" in planned(service)
    for number in range(8):
        service.assign(f"project-{number}")
    shown = planned(service, "--days", "1")
    assert "8 assigns in" in shown
    assert "follows demand" in shown
    assert "hit ratio   o fixed size" in shown
    plan = json.loads(planned(service, "-o", "json"))
    assert (plan["arrivals"], plan["target"], plan["now"]) == (8, 0.99, {"idle": 1, "parked": 0})
    assert "That is too little to propose a size" in shown
    assert (plan["enough"], plan["proposed"]) == (False, None)
    assert "No size is proposed, so nothing is set." in command(service, "--apply", "--yes").stderr


def recorded(service: Running, bursts: int, size: int) -> None:
    """As if bursts of so many had come, one every half hour up to now. The service must not run."""
    last = int(time.time()) // 60
    offsets = b"".join(ms.to_bytes(2, "little") for ms in range(size))
    minutes = [("default", last - 30 * number, size, offsets) for number in range(bursts)]
    with closing(sqlite3.connect(service.state_dir / "orchestrator.db")) as db, db:
        db.executemany("INSERT OR REPLACE INTO arrival VALUES (?, ?, ?, ?)", minutes)


def test_what_is_proposed_of_a_record_is_set_whatever_the_pool_has(start: Start) -> None:
    """Bursts of six: one idle machine, and five parked ones."""
    service = start("--min-idle", "2", "--max-machines", "12")
    service.await_idle(2)
    service.end(signal.SIGTERM)
    recorded(service, bursts=8, size=6)
    service.start()
    plan = json.loads(planned(service, "-o", "json"))
    assert (plan["enough"], plan["proposed"]) == (True, {"idle": 1, "parked": 5})
    done = command(service, "-o", "json", "--apply", "--yes")
    assert "~ pool default: min_idle 2 -> 1, parked 0 -> 5\nApplied.\n" in done.stderr
    pool = json.loads(service.get("/v1/pools/default").text)
    assert (pool["min_idle"], pool["parked"]) == (1, 5)
    again = command(service, "-o", "json", "--apply", "--yes")
    assert json.loads(again.stdout)["proposed"] == plan["proposed"]
    assert "has this size already" in again.stderr


def test_the_record_survives_a_restart_and_a_kill(start: Start) -> None:
    """On Docker: what the demo records ends with it. A plan stores what is new before it reads."""
    service = start()
    service.await_idle(2)
    for project in ("a", "b", "c"):
        service.assign(project)
    for how in (signal.SIGTERM, signal.SIGKILL):
        assert json.loads(planned(service, "-o", "json"))["arrivals"] == 3
        service.end(how)
        service.start()
    assert json.loads(planned(service, "-o", "json"))["arrivals"] == 3
    assert service.rows("SELECT DISTINCT pool FROM arrival") == [("default",)]


def test_what_cannot_be_asked_for_is_refused_and_an_unknown_pool_is_named(service: Running) -> None:
    for query, status in (("target=1", 400), ("days=36", 400), ("day=1", 400), ("target=0.5&days=35", 200)):
        assert service.get(f"/v1/pools/default/plan?{query}").status == status
    assert service.get("/v1/pools/nobody/plan").status == 404
