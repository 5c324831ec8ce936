"""A running service whose pool follows demand: it grows and shrinks with it, remembers, and says which size is right."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.simulation.small import Small, lived
from tests.simulation.test_counting import outcomes

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.plans import PlanOfPool
from worker_orchestrator.control.telling.arrivals import ArrivalRecord
from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.core.demand import Demand
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.spec import PoolSpec

SHRINK_AFTER_S = 300.0
ADAPTIVE: dict[str, Any] = {
    "min_idle": 1,
    "is_adaptive": True,
    "target": 0.99,
    "shrinks": True,
    "shrink_after_s": SHRINK_AFTER_S,
    "max_machines": 40,
}


def wanted(small: Small) -> int:
    return small.orchestrator.spec.pools["default"].min_idle


async def come(small: Small, every_s: float, for_s: float, at_once: int = 1, prefix: str = "p") -> None:
    """So many projects come at once, again and again, and each keeps its machine for ten seconds."""
    for number in range(int(for_s / every_s)):
        names = [f"{prefix}{number}x{one}" for one in range(at_once)]
        await asyncio.gather(*(small.assign(name) for name in names))
        asyncio.get_running_loop().call_later(10, later, small, names)
        await asyncio.sleep(every_s)


TASKS: set[asyncio.Task[None]] = set()


def later(small: Small, names: list[str]) -> None:
    async def release() -> None:
        for name in names:
            machine = small.fleet.of_project(name)
            if machine is not None:
                await small.orchestrator.release(machine.id)

    task = asyncio.create_task(release())
    TASKS.add(task)
    task.add_done_callback(TASKS.discard)


def why(small: Small) -> str:
    machines = [one for one in small.fleet.machines.values() if one.pool == "default"]
    return small.orchestrator.standing("default", machines).why


def lived_adaptively(story: Callable[[Small], Coroutine[Any, Any, None]], **options: Any) -> None:
    lived(story, **{**ADAPTIVE, "slow_s": 2.0, **options})


def test_the_pool_grows_with_the_rate_and_shrinks_after_it() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        assert wanted(small) == 1
        assert (
            why(small)
            == "min_idle is 1, and demand asks for no more (adaptive: nobody has come for a machine of this pool yet)."
        )
        await come(small, 1.0, 600, at_once=2)
        grown = wanted(small)
        assert grown > 4
        await small.until(lambda: len(small.idle) >= grown)
        said = why(small)
        assert re.fullmatch(r"adaptive: \d+ assigns per minute at this hour, [\d.]+ s to warm, so \d+ idle\.", said), (
            said
        )
        await asyncio.sleep(3600)
        shrunk = wanted(small)
        assert shrunk < grown
        assert len(small.idle) == shrunk, "idle machines that are too many for long enough are removed"

    lived_adaptively(story, recycle=True)


def test_for_bursts_machines_are_parked_and_idle_ones_are_few() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await come(small, 60.0, 900)
        await come(small, 1.0, 1, at_once=12, prefix="burst")
        await asyncio.sleep(60)
        pool = small.orchestrator.spec.pools["default"]
        assert pool.min_idle <= 4 < pool.parked
        assert re.search(r"so \d idle; bursts of up to 1[0-9], so \d+ parked\.$", why(small)), why(small)
        await small.until(lambda: len(small.fleet.parked("default", "memory")) == pool.parked, within_s=120)
        found = await plan(small)
        assert found.question.can_park
        assert any(row.parked for row in found.plan.rows)
        await come(small, 1.0, 1, at_once=8, prefix="again")
        assert outcomes(small)["cold"] <= 14

    lived_adaptively(story, recycle=True)


def test_it_grows_no_further_than_its_limits_allow() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await come(small, 1.0, 300, at_once=4)
        assert wanted(small) == 3
        assert why(small).endswith("and its limits allow 3.")

    lived_adaptively(story, recycle=True, max_idle=3)


def test_a_fixed_pool_stays_as_it_is_and_is_learned_of_all_the_same() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await come(small, 5.0, 600)
        assert wanted(small) == 1
        found = await plan(small)
        assert (found.plan.proposed, found.plan.is_enough) == (None, False), "ten minutes say too little"
        assert found.plan.rows[0].outcome.arrivals == 120
        assert found.question.warm_s < 20
        await asyncio.sleep(3000)
        found = await plan(small)
        assert found.plan.rows[0].outcome.arrivals == 120
        assert found.plan.proposed is not None

    lived_adaptively(story, recycle=True, is_adaptive=False)


async def plan(small: Small, pool: str = "default") -> PlanOfPool:
    """Virtual time does not pass in a thread, so the event loop waits for it."""
    task = asyncio.create_task(small.orchestrator.plans.of(pool, None, 7))
    while not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return task.result()


def test_nothing_is_proposed_for_a_pool_that_nobody_came_to() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        found = await plan(small)
        assert (found.span, found.plan.proposed, found.plan.rows) == (None, None, ())

    lived_adaptively(story)


def test_what_was_learned_survives_a_restart_and_a_crash_costs_a_minute_at_most() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await come(small, 1.0, 900)
        forecasts = small.orchestrator._parts.forecasts
        before = forecasts.demands.of("default")
        again = Orchestrator(
            Fleet("owner"),
            small.orchestrator.spec,
            small.engine,
            small.store,
            small.clock,
            Limits(),
            "memory",
        )
        after = again._parts.forecasts.demands.of("default")
        counted = [sum(day.found[number] for day in one.days for number in day.found) for one in (before, after)]
        assert counted[0] - 70 <= counted[1] <= counted[0]
        forecasts.save(is_last=True)
        kept = again._parts.forecasts.demands.__class__(
            ArrivalRecord(small.store.arrivals, small.clock.wall_ms), small.clock.wall_ms
        ).of("default")
        assert kept == before

    lived_adaptively(story, recycle=True)


def test_what_another_version_learned_is_learned_anew_and_of_former_pools_nothing_is_kept() -> None:
    async def story(small: Small) -> None:
        small.store.arrivals.keep([], {"default": '{"rates": "many"}', "gone": "{}"})
        forecasts = small.orchestrator._parts.forecasts
        demands = forecasts.demands.__class__(forecasts.demands.record, small.clock.wall_ms)
        assert demands.of("default") == Demand()
        small.store._connection.execute("ALTER TABLE arrival RENAME TO away")
        assert demands.of("another") == Demand(), "and what cannot be read is learned from what comes"
        small.store._connection.execute("ALTER TABLE away RENAME TO arrival")
        await small.await_idle(1)
        await asyncio.sleep(61)
        assert set(small.store.arrivals.learned()) == {"default"}

    lived_adaptively(story)


@pytest.mark.parametrize("named", ["default", "node20"])
def test_no_name_of_a_project_is_stored_with_it(named: str) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await small.orchestrator.assign("secret-project", named)
        await asyncio.sleep(120)
        small.orchestrator._parts.forecasts.save(is_last=True)
        arrivals, learned = (small.store._connection.rows(f"SELECT * FROM {each}") for each in ("arrival", "demand"))
        assert {row[0] for row in arrivals} == {named}
        assert {row[0] for row in learned} == {"default", named}, (
            "of all pools, how long their machines take to warm up"
        )
        assert "secret" not in repr([*arrivals, *learned])

    lived_adaptively(story, beside={"node20": PoolSpec(None, min_idle=0, pending=True)})
