"""A pool that has the default image, though the pool `default` has another one, is told of at the start and by `config`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from worker_orchestrator.cli import main
from worker_orchestrator.cli.serve import _images
from worker_orchestrator.settings.loading import load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orchestrator.toml").write_text('[pools.default]\nimage = "mine"\n[pools.web]\nmin_idle = 1\n')
    return tmp_path


def test_the_start_says_which_image_it_is_and_why(folder: Path) -> None:
    assert list(_images(load({}, {}, folder / "orchestrator.toml"))) == [
        (
            "The pool web uses the default image yashtech00/worker:v1: its table names no image, and no pool inherits the "
            "one in [pools.default]. Put `image` into [pools.web], or above all tables."
        )
    ]
    assert list(_images(load({"engine": "memory"}, {}))) == [], "it runs no image"


@pytest.mark.usefixtures("folder")
def test_config_says_so_also_where_it_shows_only_what_changed() -> None:
    said = CliRunner().invoke(main, ["config", "--changed", "--url", "http://127.0.0.1:1"]).stdout
    line = next(line for line in said.splitlines() if line.startswith("pools.web.image"))
    assert line.split(maxsplit=2)[1:] == [
        "yashtech00/worker:v1",
        "default, since no pool inherits the image in [pools.default]",
    ]
