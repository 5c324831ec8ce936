"""A Docker daemon that stops, freezes and comes back under a running service. The tests are in `own_daemon.py`.

They start and stop a dockerd of their own. It must not meet the machine's: both would rewrite the same firewall rules,
and a second dockerd deletes docker0. So they run in namespaces of their own (network, mounts, processes), which end with
them and take along whatever a hard stop left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n", "--preserve-env=PATH"]
ALONE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
TESTS = Path(__file__).with_name("own_daemon.py")


def test_a_service_lives_through_whatever_its_daemon_does(example_image: str) -> None:
    """Every test of `own_daemon.py`, as root."""
    for program in ("dockerd", "unshare", "ip"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not installed: these tests start a dockerd of their own.", pytrace=False)
    pytest_ = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "--durations=0", "-q", str(TESTS)]
    words = [*AS_ROOT, *ALONE, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *pytest_]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL, check=False)
    print(done.stdout, done.stderr)
    if done.returncode != 0:
        pytest.fail(f"exit code {done.returncode} (these tests need root, or sudo without a password)", pytrace=False)
