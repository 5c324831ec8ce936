"""The test of `test_daemon_speed.py`, which runs it in namespaces of its own and alone, since it measures time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.daemon import Daemon, a_daemon
from tests.integration.running import a_service
from tests.integration.waiting import holds_for


@pytest.fixture
def daemon(example_image: str) -> Iterator[Daemon]:
    with a_daemon() as daemon:
        yield daemon


def test_warm_machines_change_hands_as_fast_as_ever_while_the_daemon_hangs(daemon: Daemon, tmp_path: Path) -> None:
    """Assigns stay quick, health says what is the matter, and what is missing is there soon after it answers again."""
    flags = ("--min-idle", "4", "--max-machines", "12", "--assign-timeout", "10")
    with a_service(tmp_path, *flags, docker_host=daemon.host) as service:
        service.await_idle(4)
        daemon.send(signal.SIGSTOP)
        try:
            took_s = []
            for number in range(300):
                answer = service.get(f"/quick-{number % 7}")
                assert answer.status == 200, answer.text
                took_s.append(answer.took_s)
                service.release(f"quick-{number % 7}")
            p99_s = sorted(took_s)[296]
            health = service.get("/health")
            assert (health.status, health.took_s < 2.5) == (503, True)
            for number in range(4):
                service.assign(f"kept-{number}")
            holds_for(lambda: not service.idle(), "nothing new comes", for_s=8)
        finally:
            daemon.send(signal.SIGCONT)
        begun_at = time.monotonic()
        service.await_idle(4)
        right_s = time.monotonic() - begun_at
        print(f"\nfrozen: assign p99 {p99_s * 1000:.1f} ms, health {health.took_s:.2f} s, right after {right_s:.2f} s")
        assert p99_s < 0.05
        assert right_s < 3
        assert {f"kept-{number}" for number in range(4)} <= {m["assignedProject"] for m in service.machines()}
