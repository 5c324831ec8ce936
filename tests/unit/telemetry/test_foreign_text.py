"""Words of others are repeated as one plain line of bounded length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.telemetry.foreign_text import plain, plain_lines


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no space left on device", "no space left on device"),
        ("two\r\n\tlines ", "two lines"),
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07text", "red text"),
        ("a\0b\x07c\u202ed\ud800", "a\ufffdb\ufffdc\ufffdd\ufffd"),
        ("größer 日本", "größer 日本"),
        (5, "5"),
        (None, "None"),
    ],
)
def test_what_a_terminal_would_take_for_a_command_is_left_out(said: object, told: str) -> None:
    assert plain(said) == told


def test_of_a_long_text_the_beginning_and_the_end_are_told() -> None:
    """Many a message tells its cause last."""
    told = plain(f"first {'x' * 10_000_000} last", 60)
    assert told.startswith("first x")
    assert told.endswith("x last")
    assert " … " in told
    assert len(told) <= 60


@given(st.text(), st.integers(20, 500))
def test_any_text_is_one_printable_line_of_at_most_so_many_characters(said: str, most: int) -> None:
    assert len(plain(said, most)) <= most
    assert plain(said, most).isprintable()


@given(st.text())
def test_lines_stay_lines(said: str) -> None:
    for line in plain_lines(said).split("\n"):
        assert line.isprintable()


def test_lines_of_a_worker_are_kept_as_they_are_but_for_its_colours() -> None:
    assert plain_lines("\x1b[32mINFO\x1b[0m up\r\n 10%\r 20%\n\tat x") == "INFO up\n 10%\n 20%\n at x"
