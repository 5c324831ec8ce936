"""Which host port comes next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.core.host_ports import next_port


def none_taken(port: int) -> bool:
    return False


@pytest.mark.parametrize(
    ("last_given", "expected"),
    [
        pytest.param(None, 9093, id="the first one, when none was given yet"),
        pytest.param(9093, 9094, id="the one after the last one given"),
        pytest.param(9094, 9095, id="up to the last one, included"),
        pytest.param(9095, 9093, id="the first one again after the last one"),
        pytest.param(9092, 9093, id="the first one, when the range moved up"),
        pytest.param(9096, 9093, id="the first one, when the range moved down"),
    ],
)
def test_ports_are_given_in_a_circle(last_given: int | None, expected: int) -> None:
    """A freed port is given again last, so that a stale URL does not show the next tenant."""
    assert next_port(last_given, 9093, 9095, none_taken) == expected


def test_a_taken_port_is_passed_over() -> None:
    """Whoever holds a port keeps it."""
    assert next_port(9093, 9093, 9096, {9094, 9095}.__contains__) == 9096
    assert next_port(9094, 9093, 9096, {9095, 9096}.__contains__) == 9093


def test_the_last_one_given_is_given_again_when_it_is_the_only_free_one() -> None:
    """Last is not never."""
    assert next_port(9094, 9093, 9095, {9093, 9095}.__contains__) == 9094


def test_none_is_left_when_all_are_taken() -> None:
    """None says that the range is used up."""
    assert next_port(9093, 9093, 9095, {9093, 9094, 9095}.__contains__) is None


def test_a_range_of_one_port() -> None:
    """Both ends belong to the range."""
    assert next_port(None, 65535, 65535, none_taken) == 65535
    assert next_port(65535, 65535, 65535, none_taken) == 65535
    assert next_port(None, 1, 1, none_taken) == 1


@pytest.mark.parametrize(("first", "last"), [(0, 10), (-1, 10), (10, 9), (65535, 65536)])
def test_a_range_that_is_none_stops_the_process(first: int, last: int) -> None:
    """A port is 1 to 65535, and a range has one at least."""
    with pytest.raises(AssertionError, match=f"no port range: {first}..{last}"):
        next_port(None, first, last, none_taken)


@given(
    last_given=st.none() | st.integers(9080, 9110),
    size=st.integers(1, 12),
    taken=st.sets(st.integers(9090, 9105)),
)
def test_a_free_port_of_the_range_is_found_if_there_is_one(last_given: int | None, size: int, taken: set[int]) -> None:
    """It is free, of the range, and no other free one comes before it on the circle."""
    ports = range(9093, 9093 + size)
    port = next_port(last_given, ports[0], ports[-1], taken.__contains__)
    free = [p for p in ports if p not in taken]
    if last_given is not None and last_given in ports:
        free = [p for p in free if p > last_given] + [p for p in free if p <= last_given]
    assert port == (free[0] if free else None)
