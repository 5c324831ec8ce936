"""Clock windows in a running service: pools grow and shrink on time, whatever becomes of the clock and of the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace
from tests.simulation.small import Small, lived
from tests.simulation.test_pools_as_seen import told

from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.core.machine import State
from worker_orchestrator.core.spec import PoolSpec
from worker_orchestrator.core.windows import Window

BERLIN = ZoneInfo("Europe/Berlin")
EVENING = Window("0 18 * * *", 3600, ZoneInfo("UTC"), min_idle=4)
BEGIN, OPENS, CLOSES = (datetime(2026, 3, 3, *time, tzinfo=UTC) for time in ((17, 50), (18, 0), (19, 0)))
SHRINK_AFTER_S = 300.0


def lived_at(
    begin: datetime, story: Callable[[Small], Coroutine[Any, Any, None]], *windows: Window, **options: Any
) -> None:
    """Live through a story that begins at this time, with a pool of two that has these windows."""

    async def then(small: Small) -> None:
        set_clock(small, begin)
        small.orchestrator.change_pool("default", {})  # it looks at the clock, as a service does at its start
        await small.await_idle(2)
        set_clock(small, begin)
        await story(small)

    lived(then, max_machines=20, windows=windows, shrinks=True, shrink_after_s=SHRINK_AFTER_S, **options)


def set_clock(small: Small, to: datetime) -> None:
    small.clock.ahead_ms += round(to.timestamp() * 1000) - small.clock.wall_ms()


def wanted(small: Small) -> int:
    return small.orchestrator.spec.pools["default"].min_idle


async def wants_from(small: Small, count: int, due: datetime) -> None:
    """It wants so many idle machines from this time on, and another number until then."""
    await asyncio.sleep(due.timestamp() - small.clock.wall_ms() / 1000 - 0.05)
    assert wanted(small) != count
    await asyncio.sleep(0.1)
    assert wanted(small) == count


def test_a_window_opens_and_closes_on_time_and_the_pool_follows() -> None:
    """It grows at once, and shrinks when it has been too large for `shrink_after`; projects keep their machines."""

    async def story(small: Small) -> None:
        await wants_from(small, 4, OPENS)
        await small.await_idle(4)
        held = [await small.assign(f"p{number}") for number in range(3)]
        await small.await_idle(4)
        await wants_from(small, 2, CLOSES)
        await asyncio.sleep(SHRINK_AFTER_S - 1)
        assert len(small.idle) == 4
        await asyncio.sleep(2)
        assert len(small.idle) == 2
        assert [small.fleet.machines[one.id].state for one in held] == [State.READY] * 3
        assert [(await small.assign(f"p{number}")).id for number in range(3)] == [one.id for one in held]

    lived_at(BEGIN, story, EVENING)


def test_a_window_of_one_pool_leaves_the_others_alone() -> None:
    async def story(small: Small) -> None:
        small.orchestrator.change_pool("node20", {"min_idle": 1})
        await wants_from(small, 4, OPENS)
        await small.await_idle(5)
        assert sum(machine.pool == "node20" for machine in small.idle) == 1

    lived_at(BEGIN, story, EVENING, beside={"node20": PoolSpec(None, min_idle=0, pending=True)})


@pytest.mark.parametrize("minutes", [11, 69])
def test_a_clock_that_is_set_is_noticed_within_half_a_minute(minutes: int) -> None:
    """Forward into the window, and back to before it; then it opens when it is due."""

    async def story(small: Small) -> None:
        set_clock(small, BEGIN + timedelta(minutes=minutes))
        await small.until(lambda: wanted(small) == 4, within_s=30.1)
        set_clock(small, BEGIN)
        await small.until(lambda: wanted(small) == 2, within_s=30.1)
        await wants_from(small, 4, OPENS)

    lived_at(BEGIN, story, EVENING)


def test_on_the_day_that_has_23_hours_a_window_whose_time_is_left_out_opens_with_the_change() -> None:
    """In Berlin, 2:30 does not exist on 29 March 2026: the clock goes from 2:00 to 3:00, at 1:00 UTC."""

    async def story(small: Small) -> None:
        await wants_from(small, 4, datetime(2026, 3, 29, 1, tzinfo=UTC))
        await small.await_idle(4)
        await wants_from(small, 2, datetime(2026, 3, 29, 2, tzinfo=UTC))
        set_clock(small, datetime(2026, 3, 30, 0, 28, tzinfo=UTC))
        await wants_from(small, 4, datetime(2026, 3, 30, 0, 30, tzinfo=UTC))

    lived_at(datetime(2026, 3, 29, 0, 55, tzinfo=UTC), story, Window("30 2 * * *", 3600, BERLIN, min_idle=4))


def test_on_the_day_that_has_25_hours_a_window_opens_once_and_stays_open_for_its_duration() -> None:
    """In Berlin, the clock shows 2:30 twice on 25 October 2026: at 0:30 UTC, and at 1:30 UTC."""

    async def story(small: Small) -> None:
        await wants_from(small, 4, datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
        await wants_from(small, 2, datetime(2026, 10, 25, 1, 15, tzinfo=UTC))
        await asyncio.sleep(16 * 60)
        assert wanted(small) == 2, "the clock shows 2:31 for the second time"
        set_clock(small, datetime(2026, 10, 26, 1, 28, tzinfo=UTC))
        await wants_from(small, 4, datetime(2026, 10, 26, 1, 30, tzinfo=UTC))

    lived_at(datetime(2026, 10, 25, 0, 25, tzinfo=UTC), story, Window("30 2 * * *", 45 * 60, BERLIN, min_idle=4))


def test_a_pool_says_that_a_window_asks_for_its_machines() -> None:
    """What was changed at run time takes the place of the pool's own sizes, and not of the window's."""

    async def story(small: Small) -> None:
        shown = await told(small, "/pools/default")
        assert (shown["min_idle"], shown["why"]) == (2, "min_idle is 2.")
        await wants_from(small, 4, OPENS)
        shown = await told(small, "/pools/default")
        assert (shown["min_idle"], shown["wanted_idle"], shown["configured"]["min_idle"]) == (4, 4, 2)
        assert shown["changed"] == {}
        assert shown["why"] == "The window `0 18 * * *` (UTC) is open, and its min_idle is 4."
        small.orchestrator.change_pool("default", {"min_idle": 6})
        assert (await told(small, "/pools/default"))["why"] == "min_idle is 6."
        small.orchestrator.change_pool("default", {"min_idle": 1})
        shown = await told(small, "/pools/default")
        assert (shown["min_idle"], shown["changed"]) == (4, {"min_idle": 1})
        await wants_from(small, 1, CLOSES)

    lived_at(BEGIN, story, EVENING)


def test_other_windows_are_in_force_from_the_reload_on() -> None:
    """One that is open opens at once, one that is gone closes at once, and a new one opens when it is due."""

    async def story(small: Small) -> None:
        reload(small, replace(EVENING, cron="45 17 * * *", min_idle=5))
        assert wanted(small) == 5
        await small.await_idle(5)
        reload(small)
        assert wanted(small) == 2
        reload(small, replace(EVENING, cron="55 17 * * *"))
        assert wanted(small) == 2
        await wants_from(small, 4, BEGIN + timedelta(minutes=5))
        reload(small, replace(EVENING, cron="55 17 * * *", duration_s=600))
        await wants_from(small, 2, BEGIN + timedelta(minutes=15))

    lived_at(BEGIN, story)


def reload(small: Small, *windows: Window) -> None:
    """As a file in which the pool has these windows and nothing else has changed."""
    pools = {name: replace(pool, min_idle=2, windows=windows) for name, pool in small.orchestrator.spec.pools.items()}
    small.orchestrator.reconfigure(replace(small.orchestrator.spec, pools=pools), Limits(), ())
