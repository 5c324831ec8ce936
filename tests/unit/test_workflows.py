"""The workflows of GitHub: what they run exists, and none has more rights than it needs. `make workflows` looks deeper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z -]*):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
NAMES = {name for line in TARGETS for name in line.split()}


def jobs(file: Path) -> Iterator[Any]:
    yield from yaml.safe_load(file.read_text())["jobs"].values()


def steps(file: Path) -> Iterator[Any]:
    for job in jobs(file):
        yield from job["steps"]


def test_there_are_workflows() -> None:
    assert {file.stem for file in FILES} == {"audit", "ci", "engines", "release", "site"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_workflow_runs_exists(file: Path) -> None:
    commands = [step["run"] for step in steps(file) if "run" in step]
    assert commands
    for command in commands:
        for script in re.findall(r"\.ci/\w+", command):
            assert (ROOT / script).is_file(), script
        if command.startswith("make "):
            assert set(command.split()[1:]) <= NAMES, command


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_has_no_right_that_its_jobs_do_not_name(file: Path) -> None:
    assert yaml.safe_load(file.read_text())["permissions"] == {}
    assert all(job["permissions"] and job["timeout-minutes"] for job in jobs(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_action_is_pinned_by_its_commit_and_keeps_no_credentials(file: Path) -> None:
    for step in steps(file):
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
            assert "checkout" not in step["uses"] or step["with"]["persist-credentials"] is False
