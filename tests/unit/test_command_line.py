"""A printed command leads to the same database and engine, wherever they were chosen, and can be pasted into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from worker_orchestrator.command_line import command_line
from worker_orchestrator.settings import load


def test_what_is_at_its_default_is_left_out() -> None:
    assert command_line(load({"port": "9192", "image": "a"}, {}), "down --all") == "orchestrator down --all"


def test_a_place_is_named_wherever_it_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "o.toml"
    config.write_text('state_dir = "my state"\n')
    chosen = load({"engine": "memory"}, {"ORCHESTRATOR_DOCKER_HOST": "tcp://other:2375"}, config)
    said = command_line(chosen, "recover --accept")
    places = ["--engine", "memory", "--state-dir", f"{tmp_path}/my state", "--docker-host", "tcp://other:2375"]
    assert shlex.split(said) == ["orchestrator", "recover", "--accept", *places]
