"""What the engine would run in each of several pools: found out beside each other, and anew when the pools change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from msgspec.structs import replace
from tests.simulation.small import Small
from tests.simulation.small import lived as small_lived
from tests.simulation.virtual import virtual_time

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.control.world.reports import EngineChanged, Report, TemplateFound
from worker_orchestrator.control.world.templates import LOOKS_AT_ONCE, Templates
from worker_orchestrator.core.spec import DEFAULT_POOL, PoolSpec
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import EngineObstructed, EngineRejected, EngineUnavailable
from worker_orchestrator.http.v1.health import Health

REFRESH_S = 10.0


class Images:
    """An engine that has an image for each pool, or has to fetch it, which takes so long."""

    def __init__(self) -> None:
        self.here: dict[str, str] = {}
        self.fetched_in_s: dict[str, float] = {}
        self.error: dict[str, Exception] = {}
        self.look_s = 0.0
        self.looking = self.most_looking = 0
        self.fetches: list[str] = []

    async def template(self, pool: str, *, fetch: bool = True) -> str:
        self.looking += not fetch
        self.most_looking = max(self.looking, self.most_looking)
        await asyncio.sleep(self.look_s)
        self.looking -= not fetch
        if pool in self.error:
            raise self.error[pool]
        if pool not in self.here and fetch:
            self.fetches.append(pool)
            await asyncio.sleep(self.fetched_in_s.get(pool, 0.0))
            self.here[pool] = f"{pool}, fetched"
        return self.here.get(pool, "")

    def progress(self, pool: str) -> str:
        return f"fetching for {pool}"


class Watched:
    """The templates of these pools, and what is told of them."""

    def __init__(self, *pools: str) -> None:
        self.images, self.told = Images(), list[tuple[str, str]]()
        self.defect = Defect()
        self.background = Background(self.defect)
        engine = cast("Engine", self.images)
        self.templates = Templates(engine, REFRESH_S, self.background, self._tell, Observer(), pools)

    def _tell(self, report: Report) -> None:
        assert isinstance(report, TemplateFound)
        assert bool(report.template) != bool(report.problem)
        self.told.append((report.pool, report.template or report.problem))

    def last_of(self, pool: str) -> str:
        return dict(self.told).get(pool, "")


def lived(story: Callable[[Watched], Coroutine[Any, Any, None]], *pools: str) -> None:
    async def told() -> None:
        watched = Watched(*pools)
        try:
            await story(watched)
            assert not watched.defect.is_found
        finally:
            await watched.background.aclose()

    with virtual_time() as loop:
        loop.run_until_complete(told())


def test_a_slow_fetch_of_one_image_delays_what_is_known_of_no_other() -> None:
    """However many of them are slow."""

    async def story(watched: Watched) -> None:
        slow = [f"slow {number}" for number in range(2 * LOOKS_AT_ONCE)]
        watched.templates.set_pools([*slow, "quick"])
        watched.images.fetched_in_s = dict.fromkeys(slow, 300.0)
        watched.images.here["quick"] = "one"
        watched.templates.start()
        await asyncio.sleep(0.1)
        assert watched.told == [("quick", "one")]
        watched.images.here["quick"] = "two"
        await asyncio.sleep(REFRESH_S + 1)
        assert watched.last_of("quick") == "two"
        await asyncio.sleep(300)
        assert {watched.last_of(pool) for pool in slow} == {f"{pool}, fetched" for pool in slow}
        assert sorted(watched.images.fetches) == slow

    lived(story)


def test_only_a_few_looks_are_under_way_at_once() -> None:
    async def story(watched: Watched) -> None:
        pools = [f"pool {number}" for number in range(20)]
        watched.images.here, watched.images.look_s = dict.fromkeys(pools, "x"), 0.1
        watched.templates.set_pools(pools)
        watched.templates.start()
        await asyncio.sleep(5)
        assert {pool for pool, _ in watched.told} == set(pools)
        assert watched.images.most_looking == LOOKS_AT_ONCE

    lived(story)


def test_each_pool_has_a_back_off_of_its_own() -> None:
    """An image that cannot be pulled is tried less and less often, one that something outside prevents each minute."""

    async def story(watched: Watched) -> None:
        watched.images.here["well"] = "well"
        watched.images.error = {
            "bad": EngineRejected("cannot be pulled"),
            "obstructed": EngineObstructed("disk is full"),
        }
        watched.templates.start()
        await asyncio.sleep(1000)
        counts = {pool: sum(name == pool for name, _ in watched.told) for pool in ("well", "bad", "obstructed")}
        assert counts["well"] >= 90
        assert 6 <= counts["bad"] <= 8, "after 10, 20, 40, 80, 160, 300 s"
        assert 17 <= counts["obstructed"] <= 20
        watched.images.error.clear()
        watched.images.here["bad"] = "mended"
        watched.templates.look_again()
        await asyncio.sleep(2)
        assert (watched.last_of("bad"), watched.last_of("obstructed")) == ("mended", "disk is full")

    lived(story, "well", "bad", "obstructed")


def test_while_the_engine_does_not_answer_nothing_is_told_of_any_pool() -> None:
    async def story(watched: Watched) -> None:
        watched.images.error = dict.fromkeys(("a", "b"), EngineUnavailable("It is away."))
        watched.templates.start()
        await asyncio.sleep(60)
        assert watched.told == []
        watched.images.here = {"a": "1", "b": "2"}
        watched.images.error.clear()
        await asyncio.sleep(REFRESH_S + 1)
        assert watched.told[:2] == [("a", "1"), ("b", "2")]

    lived(story, "a", "b")


def test_pools_come_and_go_while_it_runs() -> None:
    """A pool that is gone is told of no more, also if its image comes after that."""

    async def story(watched: Watched) -> None:
        watched.images.here["stays"] = "here"
        watched.images.fetched_in_s["goes"] = 30.0
        watched.templates.start()
        await asyncio.sleep(1)
        assert watched.templates.progress("goes") == "fetching for goes"
        watched.images.here["comes"] = "new"
        watched.templates.set_pools(["stays", "comes"])
        await asyncio.sleep(100)
        assert (watched.last_of("stays"), watched.last_of("comes"), watched.last_of("goes")) == ("here", "new", "")
        assert "goes" not in watched.images.here, "nobody waits for it any more"

    lived(story, "stays", "goes")


def test_a_pool_that_changed_is_asked_for_at_once_and_others_keep_their_pace() -> None:
    """What is being fetched for it is another image than it needs now; a fetch for another pool goes on."""

    async def story(watched: Watched) -> None:
        watched.images.fetched_in_s = {"changes": 1000.0, "slow": 60.0}
        watched.images.error["failed"] = EngineRejected("cannot be pulled")
        watched.templates.start()
        await asyncio.sleep(20)
        watched.images.fetched_in_s["changes"] = 1.0
        watched.images.error.clear()
        watched.templates.set_pools(["changes", "slow", "failed"], changed={"changes", "failed"})
        await asyncio.sleep(5)
        assert watched.last_of("changes") == "changes, fetched"
        assert watched.last_of("failed") == "failed, fetched", "it waits for no back-off of before"
        await asyncio.sleep(60)
        assert watched.last_of("slow") == "slow, fetched"
        assert watched.images.fetches.count("slow") == 1

    lived(story, "changes", "slow", "failed")


def test_each_pool_makes_machines_of_its_own_template_and_a_pool_that_is_gone_makes_none() -> None:
    async def story(small: Small) -> None:
        parts, state = small.orchestrator._parts, small.orchestrator._state
        await small.await_idle(1)
        state.spec = replace(state.spec, pools={**state.spec.pools, "two": PoolSpec(None, min_idle=1, pending=True)})
        small.engine.images["two"] = "other"
        parts.templates.set_pools(list(state.spec.pools))
        await small.until(lambda: len(small.idle) == 2)
        assert {machine.pool: machine.template for machine in small.idle} == {DEFAULT_POOL: "memory", "two": "other"}
        project = await small.orchestrator.assign("p", "two")
        assert (project.pool, project.template) == ("two", "other")
        state.spec = replace(state.spec, pools={DEFAULT_POOL: state.spec.pools[DEFAULT_POOL]})
        parts.templates.set_pools([DEFAULT_POOL])
        parts._reactions.react(TemplateFound("two", "late", ""))
        assert list(state.spec.pools) == [DEFAULT_POOL]
        await small.until(lambda: [machine.pool for machine in small.idle] == [DEFAULT_POOL])
        gauges = small.orchestrator.gauges().pools
        assert list(gauges) == [DEFAULT_POOL, "two"], "a project has a machine of it yet"
        assert (gauges["two"].machines["assigned"], gauges["two"].min_idle, gauges["two"].refill_lag_s) == (1, 0, 0.0)
        await small.orchestrator.release("p")
        await small.until(lambda: list(small.orchestrator.gauges().pools) == [DEFAULT_POOL])

    small_lived(story, min_idle=1)


def test_what_happens_to_instances_has_no_image_looked_at() -> None:
    """With a hundred pools and workers that are not used again, the engine would do little else."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        await asyncio.sleep(2)
        before, react = small.calls("template"), small.orchestrator._parts._reactions.react
        react(EngineChanged(templates=False))
        await asyncio.sleep(2)
        assert small.calls("template") == before
        react(EngineChanged())
        await asyncio.sleep(2)
        assert small.calls("template") == before + 1

    small_lived(story, min_idle=1)


def test_a_pool_whose_image_was_replaced_is_not_judged_by_the_one_of_before() -> None:
    """The new one may take minutes to come. Until then projects wait for it, and hear nothing of the old one."""

    async def story(small: Small) -> None:
        parts, state = small.orchestrator._parts, small.orchestrator._state
        await small.await_template()
        spec = replace(state.spec, pools={**state.spec.pools, "two": PoolSpec(None, min_idle=0, pending=True)})
        small.orchestrator.reconfigure(spec, Limits(), {"two"})
        problem = "The image x cannot be pulled."
        parts._reactions.react(TemplateFound("two", "", problem))
        small.orchestrator.reconfigure(spec, Limits(), set())
        assert (state.spec.pools["two"].pending, state.spec.pools["two"].problem) == (False, problem)
        small.orchestrator.reconfigure(spec, Limits(), {"two"})
        assert (state.spec.pools["two"].pending, state.spec.pools["two"].problem) == (True, "")
        assert (await small.orchestrator.assign("p", "two")).pool == "two"

    small_lived(story, min_idle=0)


def test_a_pool_without_a_template_is_a_problem_and_no_obstacle_as_long_as_another_can_serve() -> None:
    """A load balancer must not take the whole service away because one of its pools has no image."""

    async def story(small: Small) -> None:
        parts, state = small.orchestrator._parts, small.orchestrator._state
        health = Health(small.orchestrator, "memory", "recover")
        await small.await_template()
        state.spec = replace(state.spec, pools={**state.spec.pools, "two": PoolSpec(None, pending=True)})
        parts._reactions.react(TemplateFound("two", "", "It cannot be pulled."))
        assert not small.idle
        assert health.problems() == ["In pool two: It cannot be pulled."]
        assert health.obstacles() == []
        parts._reactions.react(TemplateFound(DEFAULT_POOL, "", "It is gone."))
        gone = "In pool default: It is gone."
        assert health.problems() == health.obstacles() == [gone, "In pool two: It cannot be pulled."]

    small_lived(story, min_idle=0)
