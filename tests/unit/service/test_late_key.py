"""The key under which configurations are remembered: made once, for its owner only, and never half."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog.testing

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.service.late_key import FILE, derived, read_or_make
from worker_orchestrator.service.opening import _late_key as keys_of
from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.settings.settings import Settings


def test_it_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    key = read_or_make(tmp_path / "state")
    file = tmp_path / "state" / FILE
    assert len(key) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_or_make(tmp_path / "state") == key == file.read_bytes()
    assert read_or_make(tmp_path / "another") != key


def test_who_only_looks_makes_none(tmp_path: Path) -> None:
    assert read_or_make(tmp_path, makes=False) != read_or_make(tmp_path, makes=False)
    assert not list(tmp_path.iterdir())
    key = read_or_make(tmp_path)
    assert read_or_make(tmp_path, makes=False) == key


def test_a_crash_while_it_is_made_leaves_none(tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.new").write_bytes(b"half")
    assert len(read_or_make(tmp_path)) == 32
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"half")
    with pytest.raises(InvalidSetting, match=r"late-key must hold 32 bytes, and holds 4: put it back, or remove it\."):
        read_or_make(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(InvalidSetting, match=r"^The key file .*late-key cannot be read or written: Is a directory\."):
        read_or_make(tmp_path)


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b"half"), Path.mkdir], ids=["cut", "folder"])
def test_a_key_of_no_use_stops_only_a_service_that_needs_it(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    damage(tmp_path / FILE)
    with structlog.testing.capture_logs() as logs:
        assert len(keys_of(Settings(state_dir=tmp_path), makes=True)) == 32
    assert [log["log_level"] for log in logs] == ["warning"]
    assert "late-key" in logs[0]["reason"]
    for pool in (PoolSettings(late_dir="/run/project"), PoolSettings(late_post="/configure", on_release="recycle")):
        with pytest.raises(InvalidSetting, match="late-key"):
            keys_of(Settings(state_dir=tmp_path, other_pools={"b": pool}), makes=True)


def test_it_is_on_the_disk_with_its_name_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash workers would live on that were made with another key."""
    synced: list[tuple[bool, bool]] = []

    def noted(file: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(file).st_mode), (tmp_path / FILE).exists()))

    monkeypatch.setattr(os, "fsync", noted)
    read_or_make(tmp_path)
    assert synced == [(False, False), (True, True)]


def test_a_warning_names_a_key_that_others_can_read(tmp_path: Path) -> None:
    read_or_make(tmp_path)
    (tmp_path / FILE).chmod(0o640)
    with structlog.testing.capture_logs() as logs:
        read_or_make(tmp_path)
    assert [(log["log_level"], log["mode"]) for log in logs] == [("warning", "0640")]


def test_each_purpose_has_a_key_of_its_own(tmp_path: Path) -> None:
    key = read_or_make(tmp_path)
    assert derived(key, "values") == derived(key, "values")
    assert len({key, derived(key, "values"), derived(key, "token")}) == 3
