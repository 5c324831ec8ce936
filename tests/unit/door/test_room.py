"""How many visitors there is room for."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from worker_orchestrator.door.process import PER_VISITOR, RESERVE, room


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("count", [200, 1000])
def test_where_descriptors_are_few_there_are_no_more_visitors_than_they_are_enough_for(count: int) -> None:
    with descriptors(count):
        assert room(65_536) == (count - RESERVE) // PER_VISITOR
        assert room(5) == 5


def test_somebody_may_always_come() -> None:
    with descriptors(RESERVE):
        assert room(65_536) == 1


def test_where_there_is_no_limit_there_may_be_as_many_as_the_service_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert room(65_536) == 65_536
