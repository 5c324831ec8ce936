"""Clock windows of a running service: they open and close by the clock on the wall, also where that was set."""

from __future__ import annotations

import asyncio
from zoneinfo import ZoneInfo

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.control.deciding import sizes
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.core.windows import Window, sizes_at

HOURLY = Window("0 * * * *", 600, ZoneInfo("UTC"), min_idle=4)


def set_clock(small: Small, to_s: int) -> None:
    """It shows this now, and goes on from there."""
    small.clock.ahead_ms += to_s * 1000 - small.clock.wall_ms()


def min_idle(small: Small) -> int:
    return small.orchestrator.spec.pools[DEFAULT_POOL].min_idle


def test_a_window_opens_and_closes_to_the_second_and_costs_nothing_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some windows take a tenth of a second to work out, and no request is answered meanwhile."""
    asked: list[float] = []

    def counted(*args: object) -> object:
        asked.append(0)
        return sizes_at(*args)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(sizes, "sizes_at", counted)

    async def story(small: Small) -> None:
        set_clock(small, 3500)
        small.orchestrator.change_pool(DEFAULT_POOL, {})
        await asyncio.sleep(99)
        assert min_idle(small) == 2
        await asyncio.sleep(2)
        assert min_idle(small) == 4
        await small.await_idle(4)
        await asyncio.sleep(597)
        assert min_idle(small) == 4
        del asked[:]
        await asyncio.sleep(3500 - 600)
        assert min_idle(small) == 2
        assert len(asked) <= 3

    lived(story, windows=(HOURLY,), shrinks=True)


@pytest.mark.parametrize(
    ("at_s", "to_s", "before", "after"), [(3700, 3000, 4, 2), (3000, 3700, 2, 4), (3700, 3650, 4, 4)]
)
def test_a_clock_that_is_set_is_noticed_within_half_a_minute(at_s: int, to_s: int, before: int, after: int) -> None:
    async def story(small: Small) -> None:
        set_clock(small, at_s)
        small.orchestrator.change_pool(DEFAULT_POOL, {})
        await asyncio.sleep(61)
        assert min_idle(small) == before
        set_clock(small, to_s)
        await asyncio.sleep(31)
        assert min_idle(small) == after

    lived(story, windows=(HOURLY,), shrinks=True)
