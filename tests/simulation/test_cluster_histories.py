"""Several replicas on one cluster: one machine per project, and nothing acknowledged is lost, whatever goes wrong.

Which histories: see `seeds`. A failure prints its seed and the last events; the same seed fails again, here and anywhere.
"""

from __future__ import annotations

from typing import Final

from tests.simulation import seeds
from tests.simulation.cluster import Violated, live

USUAL_SEEDS: Final = "100"


def report_of(seed: int) -> str:
    return seeds.report_of(seed, live, Violated, "test_cluster_histories.py")


def test_no_history_of_replicas_loses_or_doubles_anything() -> None:
    seeds.insist_on(report_of, USUAL_SEEDS)


def test_in_most_histories_leaders_follow_each_other_and_projects_are_served() -> None:
    """Else the test above would show nothing."""
    worlds = [live(seed) for seed in range(10)]
    assert sum(world.terms >= 4 for world in worlds) >= 8
    assert sum(world.done.get("release", 0) >= 5 for world in worlds) >= 8
