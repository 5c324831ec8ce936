"""Whether `serve` goes on with earlier records is looked up without ending it."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_orchestrator.cli.serve import _has_records
from worker_orchestrator.store.store import DATABASE


def test_earlier_records_are_found(tmp_path: Path) -> None:
    assert not _has_records(tmp_path)
    (tmp_path / DATABASE).touch()
    assert _has_records(tmp_path)


def test_a_folder_that_may_not_be_read_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening it says what is wrong. A test as root may read everything, so the refusal is made here."""

    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    assert not _has_records(tmp_path)
