"""Several pools in one fleet that is too small for them: nobody is passed, nobody starves, and no limit is passed.

Which histories: see `seeds`. A failure prints its seed and the last events; the same seed fails again, here and anywhere.
"""

from __future__ import annotations

from typing import Final

from tests.simulation import seeds
from tests.simulation.pools import Violated, live

USUAL_SEEDS: Final = "200"


def report_of(seed: int) -> str:
    return seeds.report_of(seed, live, Violated, "test_pool_histories.py")


def test_in_every_history_pools_share_the_fleet_fairly() -> None:
    seeds.insist_on(report_of, USUAL_SEEDS)


def test_one_seed_is_one_history() -> None:
    assert live(1) == live(1)
