"""What `serve` reads when it is told to read its settings again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from worker_orchestrator.cli import serve as serving
from worker_orchestrator.cli.service_commands import serve
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.settings import Settings


def test_a_file_that_is_gone_meanwhile_is_an_error_and_no_file_without_pools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor may be about to put another one in its place. Its pools must not be retired for that."""
    again: list[Callable[[], Settings]] = []

    def run(_settings: Settings, _token: Any, read_again: Callable[[], Settings]) -> None:
        again.append(read_again)

    monkeypatch.setattr(serving, "run", run)
    monkeypatch.chdir(tmp_path)
    Path("orchestrator.toml").write_text('cap_drop = ["ALL"]\n[pools.python]\nimage = "p"\n')
    assert CliRunner().invoke(serve, []).exit_code == 0
    assert again[0]().pools["python"].cap_drop == ("ALL",)
    Path("orchestrator.toml").rename("orchestrator.toml~")
    with pytest.raises(InvalidSetting, match=r"orchestrator\.toml cannot be read: No such file"):
        again[0]()


def test_a_file_that_was_not_there_at_the_start_is_read_once_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[Callable[[], Settings]] = []
    monkeypatch.setattr(serving, "run", lambda _settings, _token, read_again: again.append(read_again))
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(serve, []).exit_code == 0
    assert list(again[0]().pools) == ["default"]
    Path("orchestrator.toml").write_text("[pools.python]")
    assert list(again[0]().pools) == ["default", "python"]


def test_a_pipe_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as `--config <(sops --decrypt …)`: it would be empty, and all pools would be retired."""
    again: list[Callable[[], Settings]] = []
    monkeypatch.setattr(serving, "run", lambda _settings, _token, read_again: again.append(read_again))
    reading, writing = os.pipe()
    os.write(writing, b"[pools.python]")
    os.close(writing)
    try:
        assert CliRunner().invoke(serve, ["--config", f"/dev/fd/{reading}"]).exit_code == 0
        with pytest.raises(InvalidSetting, match="is a pipe or a device, which cannot be read again"):
            again[0]()
    finally:
        os.close(reading)
