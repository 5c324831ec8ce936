"""How answers look: columns that are never cut, times and sizes as people say them, nothing that steers a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker_orchestrator.cli.text_formats import (
    age,
    columns,
    counted,
    json_document,
    milliseconds,
    output_line,
    printable,
    quantity,
    state_word,
    table,
    utc_time,
)
from worker_orchestrator.wire.v1 import Counted, Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_columns_are_as_wide_as_their_widest_cell_and_end_without_blanks() -> None:
    assert columns([("A", "B"), ("long one", "x")]) == ["A         B", "long one  x"]
    assert table(("ID", "STATE"), []) == "ID  STATE"


def test_what_a_worker_wrote_steers_no_terminal() -> None:
    said = printable("red\x1b[31m\r\nnext\tcell\x07\x9b2J")
    assert said == "red\N{REPLACEMENT CHARACTER}[31m next cell\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}2J"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172_800, "2d"), (1e6, "11d")],
)
def test_an_age_is_told_in_one_unit(seconds: float, said: str) -> None:
    """In the largest of which there are two; a clock that is ahead makes nothing younger than now."""
    assert age(NOW - timedelta(seconds=seconds), NOW) == said


def test_a_time_is_told_in_utc() -> None:
    assert utc_time(datetime.fromisoformat("2026-01-01T02:00:00.9+02:00")) == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("value", "said"), [(0.04, "0.0 ms"), (9.96, "10.0 ms"), (10, "10 ms"), (9999, "9999 ms"), (12_345, "12.3 s")]
)
def test_milliseconds_are_told_as_exactly_as_they_matter(value: float, said: str) -> None:
    assert milliseconds(value) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**3, "5.0 GiB"), (2**60, "1048576.0 TiB")],
)
def test_bytes_are_told_in_the_unit_that_fits(count: int, said: str) -> None:
    assert quantity(count) == said


def test_json_is_for_people_as_well() -> None:
    assert json_document([{"at": NOW}]) == '[\n  {\n    "at": "2026-01-01T00:00:00Z"\n  }\n]'


@pytest.mark.parametrize(
    ("cause", "project", "state", "word"),
    [
        ("answered", None, "ready", "idle"),
        ("answered", "p", "ready", "assigned"),
        ("assigned", "p", "ready", "assigned"),
        ("released", "p", "ready", "idle"),
        ("withdrawn", "p", "ready", "idle"),
        ("expired", "p", "stopping", "stopping"),
        ("expired", "p", "ready", "idle"),
        ("released", "p", "starting", "starting"),
        ("created", None, "starting", "starting"),
        ("restarted", "p", "starting", "restarting"),
        ("destroyed", "p", "stopping", "stopping"),
        ("failed", "p", "failed", "failed"),
        ("forgotten", None, None, "gone"),
    ],
)
def test_the_state_after_an_event_has_the_word_of_the_list(
    cause: str, project: str | None, state: str | None, word: str
) -> None:
    """An event that ends an assignment names the project that had the machine."""
    event = Event(
        id=1, at=NOW, machine="w1", pool="default", project=project, generation=1, cause=cause, state=state, reason=""
    )
    assert state_word(event) == word


def test_a_line_of_output_keeps_its_indentation_and_no_control_characters() -> None:
    """A compiler points at a column with a caret."""
    assert output_line("\t   ^ here\x1b[31m \n") == "           ^ here\N{REPLACEMENT CHARACTER}[31m"


@pytest.mark.parametrize(
    ("machines", "said"),
    [
        (Counted(), "none"),
        (Counted(idle=2, failed=1), "2 idle, 1 failed"),
        (Counted(idle=2, failed=1, past_failures=1), "2 idle, 1 past failure"),
        (Counted(assigned=1, failed=3, past_failures=2), "1 assigned, 1 failed, 2 past failures"),
    ],
)
def test_what_is_left_of_failures_is_not_counted_as_failed_now(machines: Counted, said: str) -> None:
    assert counted(machines) == said
