"""Lines that are read beside each other: stages of an assign, events, and the sizes of a pool that follow demand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tests.unit.cli.test_pools_table import POOL

from worker_orchestrator.cli.events import _line
from worker_orchestrator.cli.pool_commands import _print
from worker_orchestrator.cli.why import _stage_rows
from worker_orchestrator.wire.v1 import Event, Stages

STAGES: dict[str, Any] = {
    "line_ms": None,
    "create_ms": 900.0,
    "ready_ms": 100.0,
    "probe_ms": None,
    "commit_ms": 1.0,
    "total_ms": 2.0,
}


def test_stages_are_those_of_the_request_and_those_before_it() -> None:
    """A warm machine took its time before anybody asked: these do not add up to the total."""
    titles = [stage for stage, _ in _stage_rows(Stages(**STAGES), is_cold=False)]
    assert titles == ["in this request", "  commit", "  total", "beforehand", "  create", "  until ready"]
    assert "meanwhile, this machine" in [stage for stage, _ in _stage_rows(Stages(**STAGES), is_cold=True)]
    unknown = Stages(**dict.fromkeys(STAGES, None) | {"line_ms": 5.0})
    assert [stage for stage, _ in _stage_rows(unknown, is_cold=True)] == ["in this request", "  in line"]


def test_columns_of_events_stay_where_they_are_whatever_the_id() -> None:
    def line(number: int) -> str:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        kept: dict[str, Any] = {
            "state": "starting",
            "reason": "new",
            "machine": "w",
            "pool": "default",
            "project": None,
            "generation": 0,
        }
        return _line(Event(id=number, at=at, cause="created", **kept))

    assert {line(number).index("created") for number in (9, 10, 99_999)} == {line(1).index("created")}


def test_scale_says_that_sizes_follow_demand_before_anybody_came(capsys: pytest.CaptureFixture[str]) -> None:
    _print(msgspec.structs.replace(POOL, sizing="adaptive", target=0.95), "text")
    assert "\n  sizing    adaptive: they follow demand for a hit ratio of 0.95\n" in capsys.readouterr().out
    _print(POOL, "text")
    assert "sizing" not in capsys.readouterr().out
