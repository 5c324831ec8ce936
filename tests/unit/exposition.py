"""What `GET /metrics` shows, without a service: what is documented, alerted on and drawn is compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cache

from prometheus_client.parser import text_string_to_metric_families
from tests.simulation.small import Small, lived

__all__ = ["exposition", "values_of_labels"]


@cache
def exposition() -> str:
    """What is shown once everything has happened that makes a metric appear."""
    shown: list[bytes] = []

    async def story(small: Small) -> None:
        await small.await_idle(2)
        await small.assign("p")
        small.orchestrator.change_pool("default", {"max_machines": 5})
        small.orchestrator.fleet.keys["ci"] = None
        shown.append(small.metrics.exposition(small.orchestrator.gauges()))

    lived(story)
    return shown[0].decode()


@cache
def values_of_labels() -> Mapping[str, Mapping[str, AbstractSet[str]]]:
    """Of each series, as a query names it, the labels and the values that they have."""
    found = dict[str, dict[str, set[str]]]()
    for family in text_string_to_metric_families(exposition()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found
