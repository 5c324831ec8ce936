"""How many machines must be there so that an arrival finds one: the base-stock policy of inventory theory.

A pool orders one new machine for each one that is taken, so what is there and what is on its way are always the same number
together, the base stock S (an order-up-to policy, reviewed continuously: Hadley and Whitin, "Analysis of Inventory Systems",
1963; Zipkin, "Foundations of Inventory Management", 2000). An arrival finds a machine unless S others came within the time
to warm before it. So the hit ratio is P(N < S), N being how many came in that time, as an arrival sees it.

If arrivals come independently, N has a Poisson distribution (Palm's theorem; arrivals see time averages). Arrivals that come
in groups have a variance above their mean. Then the number that come in a time has a negative binomial distribution, and
what an arrival sees is the same with one more success: large groups have more arrivals that see them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Final

__all__ = ["base_stock"]

_SMALLEST_LOG: Final = -600.0
"""Below it, the probability of none is no number any more, and the normal distribution is as good."""
_NEARLY_ONE: Final = 1.001
_NOTHING: Final = 1e-9


def base_stock(mean: float, ratio: float, share: float) -> int:
    """The smallest stock of which this share of the arrivals finds something; 1 at least.

    `mean`: how many arrive in the time to warm, on average. `ratio`: of the variance of that number to its mean; 1 if
    arrivals are independent of each other, and never less. `share`: below 1.
    """
    return _base_stock(_rounded_up(mean), max(1.0, _rounded_up(ratio)), share)


def _rounded_up(value: float) -> float:
    """To three digits: sizes are whole numbers, so a finer one would be worked out again and again for nothing."""
    if value < _NOTHING:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return math.ceil(round(value / step, 6)) * step


@lru_cache(maxsize=4096)
def _base_stock(mean: float, ratio: float, share: float) -> int:
    is_poisson = ratio < _NEARLY_ONE
    successes = 0.0 if is_poisson else mean / (ratio - 1) + 1
    log_of_none = -mean if is_poisson else -successes * math.log(ratio)
    seen = mean if is_poisson else successes * (ratio - 1)
    if log_of_none < _SMALLEST_LOG:
        spread = math.sqrt(seen * (1.0 if is_poisson else ratio))
        return math.ceil(seen + NormalDist().inv_cdf(share) * spread) + 1
    growth = 0.0 if is_poisson else (ratio - 1) / ratio
    probability = within = math.exp(log_of_none)
    stock = 1
    while within < share:
        probability *= mean / stock if is_poisson else growth * (successes + stock - 1) / stock
        within += probability
        stock += 1
    return stock
