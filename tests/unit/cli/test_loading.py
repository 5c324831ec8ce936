"""A command loads what it needs and nothing else: that is what makes it fast on any computer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.integration.running import environment

HEAVY = (
    "aiodocker", "aiohttp", "apsw", "asyncio", "platformdirs", "prometheus_client", "rich",
    "starlette", "structlog", "uvicorn", "uvloop", "websockets", "worker_orchestrator.service.opening",
    "worker_orchestrator.settings.settings", "worker_orchestrator.store.store",
)  # fmt: skip
LOUD = (
    "import sys; from worker_orchestrator.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
)


def loaded_by(*words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOUD, *words], capture_output=True, text=True, env=environment(), timeout=60, check=False
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words",
    [("--help",), (), ("assign", "--help"), ("assign", "my-project", "--url", "http://127.0.0.1:1")],
    ids=" ".join,
)
def test_help_and_assign_load_no_server_no_engine_and_nothing_for_the_eye(words: tuple[str, ...]) -> None:
    assert loaded_by(*words) & set(HEAVY) == set()


def test_help_loads_no_command() -> None:
    """Nor the client, nor the package's metadata."""
    found = loaded_by("--help")
    assert "importlib.metadata" not in found
    ours = {name for name in found if name.startswith("worker_orchestrator")}
    assert ours == {
        "worker_orchestrator",
        "worker_orchestrator.cli",
        "worker_orchestrator.cli.commands",
        "worker_orchestrator.cli.exit_codes",
        "worker_orchestrator.cli.standard_output",
        "worker_orchestrator.errors",
        "worker_orchestrator.key_errors",
    }
