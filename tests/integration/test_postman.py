"""The Postman collection, run by newman as a client would, against the real service."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.integration.running import Running

ROOT = Path(__file__).parents[2]


def newman(service: Running, report: Path) -> subprocess.CompletedProcess[str]:
    url = f"http://localhost:{service.ports.api}"
    words = [f"{ROOT}/scripts/newman", url, "--reporters", "cli,json", "--reporter-json-export", str(report)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False)


def test_the_collection_is_green_twice_in_a_row(shared: Running, tmp_path: Path) -> None:
    """It can be run any number of times, and leaves no machine assigned."""
    for run in ("first", "second"):
        done = newman(shared, tmp_path / run)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / run).stat().st_size > 0
        assert not [machine for machine in shared.machines() if machine["isUsed"]]


def test_the_collection_is_green_while_others_use_the_service(shared: Running, tmp_path: Path) -> None:
    """It counts nothing that others change."""
    shared.assign("somebody-else")
    done = newman(shared, tmp_path / "report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert shared.machine_of("somebody-else") is not None
    shared.release("somebody-else")
