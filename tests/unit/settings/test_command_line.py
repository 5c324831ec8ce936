"""A printed command leads to the same database and engine, wherever they were chosen, and can be pasted into a shell."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from worker_orchestrator.settings.command_line import command_line, program
from worker_orchestrator.settings.loading import load


def test_what_is_at_its_default_is_left_out() -> None:
    assert command_line(load({"port": "9192", "image": "a"}, {}), "down --all") == "orchestrator down --all"


def test_the_program_is_named_by_its_path_where_a_shell_does_not_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `make run`, whose program is in .venv/bin; or where the PATH leads to another one."""
    for folder in ("here there", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "orchestrator").touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["here there/orchestrator", "serve"])
    for path in ("none", "elsewhere"):
        monkeypatch.setenv("PATH", str(tmp_path / path))
        assert shlex.split(program()) == [f"{tmp_path}/here there/orchestrator"]
        assert command_line(load({}, {}), "down") == f"{program()} down"
    monkeypatch.setenv("PATH", str(tmp_path / "here there"))
    assert program() == "orchestrator"


def test_a_place_is_named_wherever_it_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "o.toml"
    config.write_text('state_dir = "my state"\n')
    chosen = load({"engine": "memory"}, {"ORCHESTRATOR_DOCKER_HOST": "tcp://other:2375"}, config)
    said = command_line(chosen, "recover --accept")
    places = ["--engine", "memory", "--state-dir", f"{tmp_path}/my state", "--docker-host", "tcp://other:2375"]
    assert shlex.split(said) == ["orchestrator", "recover", "--accept", *places]
