"""What Docker measured of a container, with each figure that nobody can know left open."""

from __future__ import annotations

from typing import Any

import pytest

from worker_orchestrator.engines.docker.stats import _sample, _usage
from worker_orchestrator.engines.samples import Sample

READ: dict[str, Any] = {"read": "2026-01-01T00:00:00Z", "cpu_stats": {"cpu_usage": {"total_usage": 1_000_000_000}}}


def memory_of(**memory: Any) -> int | None:
    sample = _sample(READ, "cpu_stats", "read")
    assert sample is not None
    return _usage({**READ, "memory_stats": memory}, sample, None).memory_bytes


def test_memory_is_told_without_the_file_cache() -> None:
    assert memory_of(usage=10_000, stats={"total_inactive_file": 4_000}) == 6_000
    assert memory_of(usage=10_000, stats={"inactive_file": 1_000}) == 9_000
    assert memory_of(usage=10_000, stats={"inactive_file": 20_000}) == 10_000


@pytest.mark.parametrize("memory", [{}, {"usage": 0}, {"usage": None, "limit": 1}])
def test_without_a_memory_controller_memory_is_unknown(memory: dict[str, Any]) -> None:
    """Docker leaves it out, or says 0. A container that runs uses some."""
    assert memory_of(**memory) is None


def test_without_a_processor_controller_what_it_computed_is_unknown() -> None:
    """Docker 28 says 0 then, on cgroups version 2. A container that runs has computed something."""
    before, now = Sample(taken_s=1000.0, cpu_s=0.0), Sample(taken_s=1005.0, cpu_s=0.0)
    usage = _usage(READ, now, before)
    assert (usage.cpu_seconds, usage.cpu_percent) == (None, None)


def test_whoever_computed_nothing_since_is_told_so() -> None:
    before, now = Sample(taken_s=1000.0, cpu_s=2.0), Sample(taken_s=1005.0, cpu_s=2.0)
    usage = _usage(READ, now, before)
    assert (usage.cpu_seconds, usage.cpu_percent) == (2.0, 0.0)
