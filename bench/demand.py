"""Demand that is made up, always the same: arrivals in seconds since 1970, in order.

A day begins at midnight UTC, and a week on a Thursday.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["DAY_S", "START_S", "bursts", "day_with_burst", "weekly_wave"]

DAY_S: Final = 86_400.0
START_S: Final = 2_800 * 7 * DAY_S


def day_with_burst(days: int, seed: int, about_s: float = 600.0) -> list[float]:
    """One a minute, and 30 within a second once a day: at 14:00, or up to `about_s` before or after it."""
    every_minute = _independent(lambda _at_s: 1.0, days, seed, 1.0)
    return sorted([*every_minute, *bursts(days, seed, about_s)])


def weekly_wave(weeks: int, seed: int, peak: float = 60.0, night: float = 0.5) -> list[float]:
    """`night` a minute, and on working days from 6:00 to 20:00 a wave with its `peak` at 13:00, half as high on two days."""

    def rate(at_s: float) -> float:
        day, hour = int(at_s // DAY_S) % 7, at_s % DAY_S / 3600
        height = max(0.0, math.sin((hour - 6) / 14 * math.pi)) if 6 <= hour <= 20 else 0.0
        return night + (peak - night) * height * (0.5 if day in {2, 3} else 1.0)

    return list(_independent(rate, weeks * 7, seed, peak))


def bursts(days: int, seed: int, about_s: float, size: int = 30) -> Iterator[float]:
    drawn = random.Random(seed)  # no secret
    for day in range(days):
        begin_s = START_S + day * DAY_S + 14 * 3600 + drawn.uniform(-about_s, about_s)
        for _ in range(size):
            yield begin_s + drawn.random()


def _independent(rate_per_minute: Callable[[float], float], days: int, seed: int, most: float) -> Iterator[float]:
    """Those of the highest rate, thinned to the rate of their time."""
    drawn, at_s = random.Random(seed), START_S  # no secret
    while (at_s := at_s + drawn.expovariate(most / 60)) < START_S + days * DAY_S:
        if drawn.random() * most < rate_per_minute(at_s - START_S):
            yield at_s
