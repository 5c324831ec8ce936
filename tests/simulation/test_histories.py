"""Whatever goes wrong, in whatever order: what clients were told holds, and the pool comes to rest when trouble ends.

`SEEDS=20000` lives through the first 20,000 histories, on all cores; `SEEDS=5000:6000` and `SEED=4711` name which ones.
A failure prints its seed and the last events; the same seed fails again, here and anywhere.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Final

import pytest
from tests.simulation.history import Outcome, simulate
from tests.simulation.seeds import insist_on

USUAL_SEEDS: Final = "80"
EVENTS_SHOWN: Final = 60


def report(outcome: Outcome) -> str:
    """What to print of a history in which something did not hold; empty for any other."""
    if not outcome.violated:
        return ""
    defect = "".join(traceback.format_exception(outcome.error)) if outcome.error is not None else ""
    return "\n".join(
        [
            f"seed {outcome.seed}:{outcome.violated.partition('VIOLATED')[2]}",
            *outcome.events[:1],
            *outcome.events[-EVENTS_SHOWN:],
            defect,
            f"SEED={outcome.seed} python -m pytest tests/simulation/test_histories.py lives through it again.",
        ]
    )


def report_of(seed: int) -> str:
    try:
        return report(simulate(seed))
    except BaseException:  # noqa: BLE001 # whatever it is, the seed must be told
        return f"seed {seed}: the simulation itself failed\n{traceback.format_exc()}"


def test_in_every_history_all_that_was_told_holds() -> None:
    insist_on(report_of, USUAL_SEEDS)


@functools.cache
def digest(seed: int) -> str:
    return hashlib.sha256("\n".join(simulate(seed).events).encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_one_seed_is_one_history_in_every_process(hash_seed: str) -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "from tests.simulation.test_histories import digest\nfor s in range(6): print(digest(s))",
        ],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert told.stdout.split() == [digest(seed) for seed in range(6)]


def test_a_seed_that_fails_is_told_with_its_events() -> None:
    outcome = Outcome(7, ["0 seed 7", "1 VIOLATED the sky is green"], "1 VIOLATED the sky is green", None)
    assert "the sky is green" in report(outcome)
    assert "SEED=7" in report(outcome)
