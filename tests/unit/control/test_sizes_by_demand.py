"""What is in force of what demand asks for: beside settings, windows and limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from worker_orchestrator.control.deciding.sizes import PoolSizes
from worker_orchestrator.control.reading.standing import follows
from worker_orchestrator.core.demand import Forecast
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.core.windows import Window
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.store.store import Store

ALWAYS = Window("* * * * *", 3600, ZoneInfo("UTC"), min_idle=4)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as opened:
        yield opened


def in_force(store: Store, forecast: Forecast, *, limit: int = 100, **pool: Any) -> PoolSpec:
    spec = Spec({"default": PoolSpec("t", **{"is_adaptive": True, "min_idle": 1, **pool})}, max_machines=limit)
    made = PoolSizes(spec, store, lambda: 1, MemoryEngine("owner", serve_http=False))
    made.forecasts = {"default": forecast}
    return made.applied(spec).pools["default"]


@pytest.mark.parametrize(
    ("pool", "idle", "parked"),
    [
        ({}, 6, 20),
        ({"min_idle": 8}, 8, 20),
        ({"max_idle": 3}, 3, 0),
        ({"max_idle": 8}, 6, 2),
        ({"max_idle": 8, "parked": 5}, 6, 5),
        ({"parked": 25}, 6, 25),
        ({"parked": 4}, 6, 20),
        ({"never_parks": True}, 6, 0),
        ({"max_machines": 10}, 6, 4),
        ({"limit": 5}, 5, 0),
        ({"windows": (ALWAYS,)}, 6, 20),
        ({"is_adaptive": False}, 1, 0),
    ],
)  # fmt: skip
def test_what_asks_for_most_counts_within_the_limits(
    store: Store, pool: dict[str, Any], idle: int, parked: int
) -> None:
    found = in_force(store, Forecast(6, 20), **pool)
    assert (found.min_idle, found.parked) == (idle, parked)
    assert found.follows_demand is (idle not in {1, 8})
    assert found.window is None
    assert (found.least_idle, found.least_parked) == (
        pool.get("min_idle", 1) if not found.windows else 4,
        pool.get("parked", 0),
    )


def test_a_pool_never_parks_whose_operator_says_none(store: Store) -> None:
    """In the settings, or at run time until that is given back."""
    engine = MemoryEngine("owner", serve_http=False)
    spec = Spec(
        {"default": PoolSpec("t", is_adaptive=True), "never": PoolSpec("t", is_adaptive=True, never_parks=True)}
    )

    def said(made: PoolSizes) -> list[tuple[bool, int, int | None]]:
        made.forecasts = dict.fromkeys(spec.pools, Forecast(6, 20))
        applied, configured = made.applied(spec).pools, made.configured
        return [(made.can_park(name), applied[name].parked, configured[name].parked) for name in spec.pools]

    made = PoolSizes(spec, store, lambda: 1, engine)
    assert said(made) == [(True, 20, None), (False, 0, 0)]
    made.change("default", {"parked": 0})
    made.change("never", {"parked": 3})
    for one in (made, PoolSizes(spec, store, lambda: 1, engine)):
        assert said(one) == [(False, 0, None), (True, 20, 0)]
        assert [pool.never_parks for pool in one.applied(spec).pools.values()] == [True, False]
    made.change("default", {"parked": None})
    made.change("never", {"parked": None})
    assert said(made) == [(True, 20, None), (False, 0, 0)]


def test_an_open_window_that_asks_for_more_is_what_is_told(store: Store) -> None:
    found = in_force(store, Forecast(3, 0), windows=(ALWAYS,))
    assert (found.min_idle, found.window, found.follows_demand) == (4, ALWAYS, False)


def test_of_an_engine_that_cannot_pause_nothing_can_be_parked(store: Store) -> None:
    spec = Spec({"default": PoolSpec("t")})
    assert PoolSizes(spec, store, lambda: 1, MemoryEngine("owner", serve_http=False)).can_park("default")
    assert not PoolSizes(spec, store, lambda: 1, cast(Engine, object())).can_park("default")


HOUR = "adaptive: 1.2 assigns per minute at this hour, 3.1 s to warm, so 2 idle"


@pytest.mark.parametrize(
    ("forecast", "said"),
    [
        (Forecast(0, 0), "adaptive: nobody has come for a machine of this pool yet"),
        (Forecast(2, 0, 2, 1.2, 3.1), HOUR),
        (Forecast(2, 0, 2, 1.2, 3.1, 2, 30), HOUR),
        (Forecast(2, 21, 2, 1.2, 3.1, 23, 30), f"{HOUR}; bursts of up to 30, so 21 parked"),
        (Forecast(23, 0, 2, 1.2, 3.1, 23, 30), f"{HOUR}; bursts of up to 30 about this time, so 23 idle"),
        (Forecast(23, 0, 2, 1.2, 3.1, 23, 30, always=True), f"{HOUR}; bursts of up to 30 at any time, so 23 idle"),
    ],
)
def test_a_size_is_explained_in_a_sentence(forecast: Forecast, said: str) -> None:
    assert follows(forecast) == said
