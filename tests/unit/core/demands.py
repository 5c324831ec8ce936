"""Arrivals that are made up, always the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import strategies as st

HOUR = 3600.0
DAY = 24 * HOUR
WEEK = 7 * DAY
START = 2_800 * WEEK
"""A Thursday, midnight UTC, in seconds since 1970."""


def independent(rate_per_minute: Callable[[float], float], days: float, seed: int, most: float) -> list[float]:
    """Arrivals at a rate that changes with the time since the start, by thinning those of the highest rate (`most`)."""
    drawn, at, found = random.Random(seed), START, list[float]()
    while (at := at + drawn.expovariate(most / 60)) < START + days * DAY:
        if drawn.random() * most < rate_per_minute(at - START):
            found.append(at)
    return found


def bursts(days: int, seed: int, *, size: int = 30, about_s: float = 600.0) -> list[float]:
    """One burst a day, within a second, at 14:00 or up to so long before or after it."""
    drawn, found = random.Random(seed), list[float]()
    for day in range(days):
        begin = START + day * DAY + 14 * HOUR + drawn.uniform(-about_s, about_s)
        found += [begin + drawn.random() for _ in range(size)]
    return found


def seconds(least: float, most: float) -> st.SearchStrategy[float]:
    """On the ticks of a clock, of which sums are exact."""
    return st.integers(round(least * 1024), round(most * 1024) - 1).map(lambda ticks: ticks / 1024)
