"""One minute of chaos as part of all tests; `make chaos` makes it ten. SEED, MINUTES and SECONDS choose."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos.faults import FAULTS
from tests.chaos.plan import plan
from tests.integration.daemon import alone

SEED = os.environ.get("SEED", "1")
SECONDS = float(os.environ.get("SECONDS", "0")) or float(os.environ.get("MINUTES", "1")) * 60
KEEP = Path(__file__).parents[2] / "build" / "chaos"


def test_a_seed_gives_the_same_faults_in_the_same_order() -> None:
    """Each begins once and ends once, and none has what another one holds."""
    steps = list(itertools.islice(plan(7), 2000))
    assert steps == list(itertools.islice(plan(7), 2000))
    assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)
    held: dict[str, int] = {}
    for step in steps:
        if step.ends:
            held = {thing: number for thing, number in held.items() if number != step.number}
        else:
            assert not held.keys() & (step.kind.holds | step.kind.needs), step
            held |= dict.fromkeys(step.kind.holds, step.number)
    assert {step.kind for step in steps} == set(FAULTS)


def test_what_clients_were_told_holds_whatever_happens(example_image: str) -> None:
    """Everything that can go wrong goes wrong, in the order of a seed, while eight clients work."""
    seed = random.randrange(10**6) if SEED == "random" else int(SEED)
    chaos = ("-m", "tests.chaos.chaos", "--seed", str(seed), "--seconds", f"{SECONDS:g}", "--keep", str(KEEP))
    words = alone(sys.executable, "-B", *chaos)
    root = Path(__file__).parents[2]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="")
    if process.returncode != 0:
        pytest.fail(
            f"exit code {process.returncode}; seed {seed} (this needs root, or sudo without a password)", pytrace=False
        )
