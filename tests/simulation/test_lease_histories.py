"""Deadlines of assignments: nothing expires too early, too late, or right after a start, whatever else happens.

Which histories: see `seeds`. A failure prints its seed and the last events; the same seed fails again, here and anywhere.
"""

from __future__ import annotations

from typing import Final

from tests.simulation import seeds
from tests.simulation.leases import live
from tests.simulation.pools import Violated

USUAL_SEEDS: Final = "150"


def report_of(seed: int) -> str:
    return seeds.report_of(seed, live, Violated, "test_lease_histories.py")


def test_no_history_ends_an_assignment_too_early_or_too_late() -> None:
    seeds.insist_on(report_of, USUAL_SEEDS)


def test_in_most_histories_something_expires() -> None:
    """Else the test above would show nothing."""
    assert sum("expired:" in "\n".join(live(seed)) for seed in range(20)) >= 5
