"""No block of a document stands there untried: its language says which test runs or reads it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml
from tests.recipes.commands import DOCUMENTS, FOLLOWED, Block, blocks
from tests.recipes.page import ROOT

from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.settings.loading import load
from worker_orchestrator.wire.v1 import Setup
from worker_orchestrator.wire.webhook import WebhookMessage

ELSEWHERE: Final = {
    ("python", "docs/api.md"): "tests/integration/test_client.py",
    ("python", "docs/client.md"): "tests/integration/test_client.py",
    ("python", "docs/configuration.md"): "tests/recipes/test_commands.py",
    ("python", "docs/deadlines.md"): "tests/integration/test_client.py",
    ("python", "docs/e2b.md"): "tests/integration/test_e2b.py",
    ("promql", "docs/metrics.md"): "tests/unit/control/test_prometheus_docs.py",
    ("ts", "clients/typescript/README.md"): "tests/integration/test_typescript_client.py",
}
"""By language and page, which test runs all such blocks of it. Those of `console` are run by test_commands.py."""
HERE: Final = {"json", "sh", "toml", "yaml"}
BLOCKS: Final = [block for page in DOCUMENTS if page not in FOLLOWED for block in blocks(page)]
DRAWINGS: Final = "docs/design.md"


def of(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == language], ids=str)


def test_each_block_has_a_test() -> None:
    untried = [
        str(block)
        for block in BLOCKS
        if block.language not in HERE | {"console"}
        and (block.language, block.page) not in ELSEWHERE
        and not (block.page == DRAWINGS and not block.language)
    ]
    assert untried == []


def test_the_tests_elsewhere_read_these_pages() -> None:
    known = {(block.language, block.page) for block in BLOCKS}
    for place, file in ELSEWHERE.items():
        assert place in known
        assert Path(place[1]).name in (ROOT / file).read_text(encoding="utf-8"), place


def test_every_fence_is_one_of_a_block() -> None:
    """One that is indented, or is never closed, would be seen by no test."""
    for page in DOCUMENTS:
        fences = re.findall(r"^\s*(?:```|~~~)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(list(blocks(page))), page


@of("toml")
def test_settings_of_the_documents_are_allowed(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + "A" * 43 + "=")
    file = tmp_path / "orchestrator.toml"
    file.write_text(block.text.replace("/etc/worker-orchestrator/webhook-secret", str(secret)), encoding="utf-8")
    load({"engine": "kubernetes"} if block.page == "docs/pods.md" else {}, {}, file)


@of("yaml")
def test_files_of_other_programs_are_understood(block: Block, tmp_path: Path) -> None:
    """Prometheus reads its own; what kustomize is told is in the repository; Grafana is told where its dashboards are."""
    told = yaml.safe_load(block.text)
    if "scrape_configs" in told:
        file = tmp_path / "prometheus.yml"
        file.write_text(block.text)
        subprocess.run(["promtool", "check", "config", "--syntax-only", str(file)], check=True, capture_output=True)
    elif "resources" in told:
        for path in (*told["resources"], *told["components"]):
            assert (ROOT / path.removeprefix("../worker-orchestrator/") / "kustomization.yaml").is_file(), path
    else:
        assert told["providers"][0].keys() == {"name", "options"}
        assert told["providers"][0]["options"].keys() == {"path"}


@of("json")
def test_messages_of_the_documents_have_the_shape_that_they_have(block: Block) -> None:
    told: dict[str, Any] = json.loads(block.text)
    if "mcpServers" in told and "url" in told["mcpServers"]["worker"]:
        assert told["mcpServers"]["worker"].keys() == {"type", "url", "headers"}
    elif "mcpServers" in told:
        assert told == {"mcpServers": {"worker": {"command": "orchestrator", "args": ["mcp"]}}}, (
            "as `mcp install` writes it"
        )
    elif "setup" in told:
        assert told["setup"].keys() == msgspec.to_builtins(Setup(**told["setup"])).keys()
    elif "secrets" in told:
        assert told.keys() == {"project", "generation", *LateValues.__annotations__}
    else:
        message = msgspec.convert(told, WebhookMessage, strict=True)
        assert msgspec.to_builtins(message) == told


@of("sh")
def test_a_worker_that_waits_for_its_values_gets_them(block: Block, tmp_path: Path) -> None:
    """The lines run in a folder of their own, with a server that shows what it was given."""
    project, server = tmp_path / "project", tmp_path / "server"
    (project / "secrets").mkdir(parents=True)
    (project / "secrets" / "API_KEY").write_text("key-0123")
    (project / "env").write_text("REGION='eu'\n")
    server.write_text('#!/bin/sh\necho "$REGION $(cat "$2")"\n')
    server.chmod(0o755)
    lines = block.text.replace("/run/project", str(project)).replace("/app/server", str(server))
    with subprocess.Popen(["sh", "-c", lines], stdout=subprocess.PIPE, text=True) as process:
        (project / "ready").touch()
        assert process.communicate(timeout=10)[0] == "eu key-0123\n"


def test_targets_that_contributors_are_told_of_are_all_there_are() -> None:
    """Most run for minutes, some for an hour, and `make test` is made of them."""
    (told,) = (block.text for block in blocks("CONTRIBUTING.md") if "$ make test " in block.text)
    made = set(re.findall(r"^([a-z][\w -]*):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    targets = {target for targets in made for target in targets.split()}
    assert set(re.findall(r"^\$ make ([\w-]+)", told, re.MULTILINE)) ^ targets == {"help"}
