"""The Postman collections, run by newman as a client would, against the real service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.running import Running

ROOT = Path(__file__).parents[2]
V1 = "worker-orchestrator-v1"
COLLECTIONS = pytest.mark.parametrize("collection", [(), (V1,)], ids=["document", "v1"])


def newman(service: Running, report: Path, collection: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    url = f"http://localhost:{service.ports.api}"
    words = [*collection, url, "--reporters", "cli,json", "--reporter-json-export", str(report)]
    return subprocess.run(
        [f"{ROOT}/scripts/newman", *words],
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@COLLECTIONS
def test_a_collection_is_green_twice_in_a_row(shared: Running, tmp_path: Path, collection: tuple[str, ...]) -> None:
    """It can be run any number of times, and leaves no machine assigned and the pool as it was."""
    before = pool(shared)
    for run in ("first", "second"):
        done = newman(shared, tmp_path / run, collection)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / run).stat().st_size > 0
        assert not [machine for machine in shared.machines() if machine["isUsed"]]
        assert pool(shared) == before


@COLLECTIONS
def test_a_collection_is_green_while_others_use_the_service(
    shared: Running, tmp_path: Path, collection: tuple[str, ...]
) -> None:
    """It counts nothing that others change."""
    shared.assign("somebody-else")
    done = newman(shared, tmp_path / "report", collection)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shared.machine_of("somebody-else") is not None
    shared.release("somebody-else")


def test_the_collection_of_v1_is_what_openapi_yaml_makes_of_it(tmp_path: Path) -> None:
    """`make openapi` makes it."""
    made = tmp_path / "made"
    subprocess.run([sys.executable, ROOT / "scripts" / "postman-v1", made], check=True, timeout=60)
    kept = ROOT / "postman" / f"{V1}.postman_collection.json"
    assert kept.read_text(encoding="utf-8") == made.read_text(encoding="utf-8"), "run `make openapi`"


def pool(service: Running) -> dict[str, object]:
    """What an operator set; counts come and go."""
    said = service.get("/v1/pools/default").json
    return {key: said[key] for key in ("min_idle", "max_idle", "limit", "paused", "configured")}
