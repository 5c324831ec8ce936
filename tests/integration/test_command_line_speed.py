"""How long a person waits for the shell: the help, and a warm machine, with the start of Python."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.integration.conftest import Start
from tests.integration.running import environment

HELP_S = 0.2
ASSIGN_S = 0.35
TRIES = 10
"""The quickest counts: what is slower was kept waiting by other processes."""


def quickest_s(limit_s: float, *words: str, env: dict[str, str]) -> float:
    """The quickest of some runs, each for another last word; no more of them than it takes to be below the limit."""
    best = float("inf")
    for number in range(TRIES):
        command = [sys.executable, "-m", "worker_orchestrator", *(word.format(number) for word in words)]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=env, timeout=60)
        best = min(best, time.perf_counter() - begun)
        if best < limit_s:
            break
    return best


def test_the_help_is_there_within_200_ms() -> None:
    assert quickest_s(HELP_S, "--help", env=environment()) < HELP_S


def test_a_warm_machine_is_assigned_from_the_shell_within_350_ms(start: Start) -> None:
    """Each time to another project, from a pool of idle machines that is not refilled: Docker has nothing else to do."""
    service = start("--min-idle", str(TRIES), "--max-machines", str(TRIES))
    service.await_idle(TRIES)
    env = environment({"ORCHESTRATOR_URL": f"http://127.0.0.1:{service.ports.api}"})
    assert quickest_s(ASSIGN_S, "assign", "project-{}", env=env) < ASSIGN_S
