"""What CI insists on, on a computer that others use as well."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest
from bench.claims import Claim

from bench import __main__ as bench

if TYPE_CHECKING:
    from pathlib import Path

    from bench.run import Run

Quick = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Quick:
    """Asks two questions quickly, with these rounds of the one; the exit code, and what was asked in which order."""

    def run(*ours_ms: float) -> tuple[int, list[str]]:
        asked: list[str] = []
        figures: Iterator[float] = chain(ours_ms, repeat(ours_ms[-1]))

        def noisy(run: Run) -> None:
            asked.append("noisy")
            run.book.add("ours", next(figures))
            run.book.add("theirs", 10.0)

        def calm(run: Run) -> None:
            asked.append("calm")
            run.book.add("calm", 1.0)

        limits = (
            Claim("ours, against theirs", 1.5, "", ("ours", "theirs"), lambda b: b.best("ours") / b.best("theirs")),
            Claim("calm", 1.0, "ms", ("calm",), lambda b: b.best("calm")),
        )
        monkeypatch.setattr(bench, "IN_QUICK", {"noisy": noisy, "calm": calm})
        monkeypatch.setattr(bench, "QUICK", limits)
        monkeypatch.setattr(bench, "QUICK_RESULTS", tmp_path / "quick.json")
        monkeypatch.setattr(sys, "argv", ["bench", "--quick"])
        return bench.main(), asked

    return run


def test_what_holds_is_asked_once(quick: Quick) -> None:
    assert quick(15.0) == (0, ["noisy", "calm"])


def test_what_misses_its_limit_is_asked_again_and_the_quickest_rounds_count(quick: Quick) -> None:
    """Only that, and only until it holds."""
    assert quick(40.0, 12.0) == (0, ["noisy", "calm", "noisy"])


def test_what_is_too_slow_every_time_fails(quick: Quick) -> None:
    assert quick(40.0, 30.0, 15.1) == (1, ["noisy", "calm", "noisy", "noisy"])
