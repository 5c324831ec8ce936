"""The lock of a state directory: who holds it, and what is said where it cannot be had."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from worker_orchestrator.errors import StoreLocked, StoreRefused
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def test_a_second_process_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    first = Lock(tmp_path)
    holder = Lock.holder(tmp_path)
    with pytest.raises(StoreLocked, match=rf"\(pid {holder}\) uses the state directory"):
        Lock(tmp_path)
    first.release()
    assert Lock.holder(tmp_path) is None
    Lock(tmp_path).release()


def test_a_state_directory_that_cannot_be_made_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRefused, match="--state-dir"):
        Lock(tmp_path / "file" / "state")


def test_a_lock_that_the_file_system_does_not_know_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS without a lock daemon answers."""

    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_lock)
    for attempt in (Lock, Lock.holder):
        with pytest.raises(StoreRefused, match=r"No locks available.*--state-dir"):
            attempt(tmp_path)


def test_a_pid_file_that_cannot_be_written_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.pid").mkdir()
    with pytest.raises(StoreRefused, match="Is a directory"):
        Lock(tmp_path)
    (tmp_path / "orchestrator.pid").rmdir()
    Lock(tmp_path).release()


def test_what_is_stored_is_private_in_any_folder(tmp_path: Path) -> None:
    state_dir = tmp_path / "open to all"
    state_dir.mkdir()
    state_dir.chmod(0o755)
    (state_dir / "orchestrator.session").touch()
    (state_dir / "orchestrator.session").chmod(0o644)
    lock = Lock(state_dir)
    with Store(state_dir / "orchestrator.db") as store:
        store.commit([], {"a": "b"}, 0)
        modes = {path.name: path.stat().st_mode & 0o777 for path in state_dir.iterdir()}
    lock.release()
    assert set(modes.values()) == {0o600}, modes
    assert "orchestrator.db-wal" in modes
    assert state_dir.stat().st_mode & 0o777 == 0o755, "the folder may hold other things"
