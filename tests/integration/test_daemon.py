"""A Docker daemon that stops, freezes and comes back under a running service. The tests are in `own_daemon.py`.

They start and stop a dockerd of their own. It must not meet the machine's: both would rewrite the same firewall rules,
and a second dockerd deletes docker0. So they run in namespaces of their own (network, mounts, processes), which end with
them and take along whatever a hard stop left.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.daemon import alone

TESTS = Path(__file__).with_name("own_daemon.py")


def test_a_service_lives_through_whatever_its_daemon_does(example_image: str) -> None:
    """Every test of `own_daemon.py`, as root."""
    run_alone(TESTS)


def run_alone(tests: Path) -> None:
    """Run the tests of this file in namespaces of their own. Fails with the calling test if one of them does."""
    words = alone(sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "--durations=0", "-q", str(tests))
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL, check=False)
    print(done.stdout, done.stderr)
    if done.returncode != 0:
        pytest.fail(f"exit code {done.returncode} (these tests need root, or sudo without a password)", pytrace=False)
