"""What an open load tells of a computer that is too busy for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bench.book import Book
from bench.load import Load
from bench.questions import warm
from bench.run import Run

from bench import load

if TYPE_CHECKING:
    import pytest
    from bench.subjects import Subject


class Busy:
    """A service whose every assign is answered after its release was due, so that no release counts."""

    port = 0

    def cpu_s(self) -> float:
        return 1.0

    def memory_mib(self) -> float:
        return 40.0


def test_a_round_in_which_no_release_was_in_time_tells_of_the_assigns(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Load(3.0, {"assign": [20.0, 30.0, 90.0], "release": []})
    monkeypatch.setattr(load, "opened", lambda *_: found)
    run = Run(Book())
    warm._opened(run, "open.service", cast("Subject", Busy()), 3.0)
    assert run.book.median("open.service.p50") == 30.0
    assert "open.service.release.p50" not in run.book
