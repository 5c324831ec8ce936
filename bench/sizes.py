"""What sizes that follow demand save, replayed: python -m bench.sizes

Nothing is timed, and all that is drawn has a seed: the figures are the same on every computer. `bench.document` puts them
into docs/benchmarks.md, and tests/bench/test_following_sizes.py insists on the limits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.demand import DAY_S, START_S, day_with_burst, weekly_wave
from worker_orchestrator.core.demand import Demand
from worker_orchestrator.core.replay import Adaptive, Replayed, Span, replay, replay_fixed

__all__ = ["CASES", "Case", "Measured", "measure", "table"]

TARGET: Final = 0.99


class Case(NamedTuple):
    """Arrivals of so many days, the first of which are only learned from; a new machine warms in `warm_s`.

    `is_foreseeable`: either bursts come at the same time of the day, or parked machines stand by for them.
    """

    name: str
    arrivals: Sequence[float]
    days: int
    learned_days: int
    warm_s: float
    can_park: bool = False
    is_foreseeable: bool = True


class Measured(NamedTuple):
    """What followed demand, and the smallest fixed size that reaches the target."""

    following: Replayed
    fixed: Replayed

    @property
    def share(self) -> float:
        """Of the idle machine-hours."""
        return self.following.idle_hours / self.fixed.idle_hours


def _cases() -> tuple[Case, ...]:
    day, fortnight, any_time = day_with_burst(2, 1), day_with_burst(14, 2), day_with_burst(14, 3, about_s=9.5 * 3600)
    wave, weeks = weekly_wave(2, 4), weekly_wave(3, 5)
    burst = "1/min, 30 at once each day"
    return (
        Case(f"{burst} about 14:00; the second day", day, 2, 1, 3.0),
        Case(f"{burst} about 14:00; 14 days, from nothing", fortnight, 14, 0, 3.0),
        Case(f"{burst} about 14:00; 14 days, from nothing; can park", fortnight, 14, 0, 3.0, can_park=True),
        Case(f"{burst} at any time; 14 days, from nothing", any_time, 14, 0, 3.0, is_foreseeable=False),
        Case(f"{burst} at any time; 14 days, from nothing; can park", any_time, 14, 0, 3.0, can_park=True),
        Case("weekly wave, 0.5 to 60/min; the second week", wave, 14, 7, 3.0),
        Case("weekly wave, 0.5 to 60/min, 20 s to warm; the second week", wave, 14, 7, 20.0),
        Case("weekly wave, 0.5 to 60/min; 3 weeks, from nothing", weeks, 21, 0, 3.0),
    )


CASES: Final = _cases()


_MEASURED: Final = dict[str, Measured]()


def measure(case: Case) -> Measured:
    """Replay it, once, against sizes that follow demand, and against fixed ones from the smallest up."""
    if case.name not in _MEASURED:
        _MEASURED[case.name] = _measured(case)
    return _MEASURED[case.name]


def _measured(case: Case) -> Measured:
    span = Span(START_S, START_S + case.learned_days * DAY_S, START_S + case.days * DAY_S)
    demand = Demand()
    demand.note_warm_up(case.warm_s)
    following = replay(case.arrivals, span, case.warm_s, Adaptive(demand, TARGET, case.can_park))
    size = 0
    while (fixed := replay_fixed(case.arrivals, span, case.warm_s, size)).hit_ratio < TARGET:
        size += 1
    return Measured(following, fixed)


def table() -> str:
    """As Markdown."""
    rows = [
        "| demand | hit ratio | idle hours | parked hours | smallest fixed size | its hit ratio | its idle hours | share |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in CASES:
        following, fixed = measured = measure(case)
        figures = (
            f"{following.hit_ratio:.4f}",
            f"{following.idle_hours:.0f}",
            f"{following.parked_hours:.0f}",
            f"{fixed.most_idle}",
            f"{fixed.hit_ratio:.4f}",
            f"{fixed.idle_hours:.0f}",
            f"{measured.share:.0%}",
        )
        rows.append(f"| {' | '.join((case.name, *figures))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
