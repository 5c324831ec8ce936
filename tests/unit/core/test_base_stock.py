"""How large a stock must be: compared with sums over the distribution, and with arrivals that are drawn."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.core.base_stock import base_stock

MEANS = st.floats(0, 200, allow_nan=False)
RATIOS = st.floats(1, 30, allow_nan=False)
SHARES = st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.995, 0.9999])


def poisson_below(stock: int, mean: float) -> float:
    return sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(stock))


@pytest.mark.parametrize(
    ("mean", "share", "stock"),
    [(0, 0.99, 1), (0.05, 0.9, 1), (0.05, 0.99, 2), (0.05, 0.9999, 3), (1, 0.99, 5), (10, 0.99, 19)],
)
def test_arrivals_that_come_one_by_one_follow_a_poisson_distribution(mean: float, share: float, stock: int) -> None:
    assert base_stock(mean, 1.0, share) == stock
    if mean:
        assert poisson_below(stock, mean) >= share > (poisson_below(stock - 1, mean) if stock > 1 else 0)


def test_groups_need_more_although_as_many_come() -> None:
    sizes = [base_stock(1.0, ratio, 0.99) for ratio in (1, 1.5, 2, 4, 8)]
    assert all(small < large for small, large in pairwise(sizes))
    assert base_stock(0, 4.0, 0.99) > 1, "somebody who comes brings others"


@given(MEANS, MEANS, RATIOS, SHARES)
def test_it_never_shrinks_with_demand_nor_with_the_share(
    first: float, second: float, ratio: float, share: float
) -> None:
    less, more = sorted((first, second))
    assert 1 <= base_stock(less, ratio, share) <= base_stock(more, ratio, share)
    assert base_stock(less, ratio, share) <= base_stock(less, ratio, 0.99999)


@pytest.mark.parametrize(
    ("mean", "reckoned"), [(1001, 1010), (1010.000004, 1010), (1010.1, 1020), (1011, 1020), (100.1, 101)]
)
def test_a_mean_counts_by_its_first_three_digits_rounded_up(mean: float, reckoned: float) -> None:
    """Else each mean would be worked out anew, though no size differs."""
    assert base_stock(mean, 1.0, 0.99) == base_stock(reckoned, 1.0, 0.99)
    assert base_stock(reckoned, 1.0, 0.99) < base_stock(reckoned * 1.01, 1.0, 0.99)


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_where_probabilities_are_too_small_for_numbers_a_normal_distribution_goes_on(ratio: float) -> None:
    below, above = base_stock(590, ratio, 0.99), base_stock(1300, ratio, 0.99)
    assert 590 < below < above
    assert above == pytest.approx(1300 + (ratio - 1) + 2.33 * math.sqrt(1300 * ratio), rel=0.02)


@pytest.mark.parametrize(("rate", "group", "share"), [(0.5, 1, 0.99), (4, 1, 0.95), (0.5, 4, 0.95), (1, 6, 0.99)])
def test_as_many_of_the_arrivals_that_are_drawn_find_a_machine(rate: float, group: int, share: float) -> None:
    """Groups come independently, each of a geometric size; the time to warm is 1."""
    drawn = random.Random(1)
    at, times = 0.0, list[float]()
    while len(times) < 50_000:
        at += drawn.expovariate(rate)
        times += [at] * (1 if group == 1 else math.ceil(math.log(1 - drawn.random()) / math.log(1 - 1 / group)))
    mean = len(times) / at
    second = sum(size * size * p for size, p in sizes_of(group)) / sum(size * p for size, p in sizes_of(group))
    stock = base_stock(mean, second, share)
    found = sum(1 for i, t in enumerate(times) if i < stock or t - times[i - stock] >= 1)
    assert found / len(times) >= share - 0.003


def sizes_of(group: int) -> list[tuple[int, float]]:
    """Each size of a group with its probability."""
    return [(size, (1 - 1 / group) ** (size - 1) / group) for size in range(1, 200)]
