"""What our cheap tallies show is what prometheus_client's own metrics would show."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, enable_created_metrics
from prometheus_client.exposition import generate_latest

from worker_orchestrator.telemetry.counters import Durations, Tallies

BOUNDS_S = (0.0002, 0.001, 0.5, 1.0, 60.0)


@pytest.fixture(autouse=True)
def _without_created() -> object:
    """The library's own would add when each was made."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # the library leaves it so
    yield
    enable_created_metrics()  # type: ignore[no-untyped-call]


def test_a_counter() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = Tallies("x_calls", "Calls.", ["call", "result"], {1: ["create", "done"], 2: ["list", "lost"]})
    ours.register(tallies)
    counter = Counter("x_calls", "Calls.", ["call", "result"], registry=theirs)
    counter.labels("create", "done").inc()
    counter.labels("list", "lost").inc(0)
    tallies.of[1] += 1
    assert generate_latest(ours) == generate_latest(theirs)


@pytest.mark.parametrize("labels", [[], ["outcome"]])
def test_a_histogram(labels: list[str]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations = Durations("x_seconds", "Time.", labels, {"warm": labels and ["warm"]}, BOUNDS_S)
    ours.register(durations)
    histogram = Histogram("x_seconds", "Time.", labels, buckets=BOUNDS_S, registry=theirs)
    child = histogram.labels("warm") if labels else histogram
    for took_s in (0.0, 0.0001, *BOUNDS_S, 0.75, 59.9, 61.0, 1e6):
        durations.of["warm"].observe(took_s)
        child.observe(took_s)
    assert generate_latest(ours) == generate_latest(theirs)
