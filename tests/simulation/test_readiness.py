"""What the health says is what the next project meets: a machine, a wait that makes sense, or the reason why not."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

import msgspec
import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.brake import RESTART_PAUSES_S
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import CommitFailed, MachineFailed, NoMachineAvailable
from worker_orchestrator.http.v1.health import Health
from worker_orchestrator.http.v1.pools import Pools
from worker_orchestrator.settings.settings import DEFAULT_POOL

PAUSED = "The pool default is paused, so no machine is started. Run `orchestrator resume` to go on."


def health(small: Small) -> Health:
    return Health(small.orchestrator, "memory", "orchestrator recover")


async def status(small: Small) -> str:
    shown = await health(small).show(cast("Any", None))
    return str(msgspec.json.decode(shown.body)["status"])


def let_store(small: Small, *, works: bool) -> None:
    small.store._db.execute(f"PRAGMA query_only = {int(not works)}")


def test_while_nothing_can_be_stored_not_even_an_idle_machine_can_be_given() -> None:
    """It is known from the first commit that fails to the first that succeeds, if nobody asks by an attempt."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        let_store(small, works=False)
        assert health(small).obstacles() == [], "nobody has tried"
        with pytest.raises(CommitFailed):
            await small.assign("p")
        (obstacle,) = health(small).obstacles()
        assert obstacle.startswith("Nothing can be stored (attempt to write")
        assert health(small).problems() == [obstacle]
        await asyncio.sleep(5)
        assert health(small).obstacles() == [obstacle]
        let_store(small, works=True)
        assert health(small).obstacles() == [obstacle], "a question tries nothing"
        await small.until(lambda: not health(small).obstacles(), within_s=1.1)
        assert health(small).problems() == []

    lived(story)


def test_a_paused_pool_is_a_problem_and_an_obstacle_once_nothing_is_idle() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        small.orchestrator.change_pool("default", {"paused": True})
        assert (health(small).problems(), health(small).obstacles()) == ([PAUSED], [])
        for project in ("p", "q"):
            await small.assign(project)
        assert health(small).obstacles() == [PAUSED]
        with pytest.raises(NoMachineAvailable, match="is paused"):
            await small.assign("r")
        small.orchestrator.change_pool("default", {"paused": False})
        assert health(small).problems() == []

    lived(story)


def test_that_projects_hold_all_machines_is_told_and_is_no_obstacle() -> None:
    """Who has a machine must reach it, and whoever waits gets the next that is released."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        for project in ("p", "q"):
            await small.assign(project)
        assert small.fleet.slots_held == small.orchestrator.spec.max_machines
        (problem,) = health(small).problems()
        assert problem.startswith(
            "All 2 machines (max_machines) are held by projects. Held longest: p and q. Release one,"
        )
        assert health(small).obstacles() == []

    lived(story, max_machines=2)


def test_an_image_that_does_not_come_up_is_an_obstacle_once_nothing_is_idle() -> None:
    """The service is down then, though a project has its machine: it can hand out nothing."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        small.engine.faults.stillborn = 1.0
        await small.assign("p")
        await small.until(lambda: health(small).problems())
        assert (await status(small), health(small).obstacles()) == ("degraded", [])
        await small.assign("q")
        (obstacle,) = health(small).obstacles()
        assert obstacle.startswith("The image does not come up. ")
        assert await status(small) == "down"

    lived(story)


def test_a_rebuilt_image_is_no_better_than_the_broken_one_until_a_machine_of_it_answers() -> None:
    """Readiness goes from no to yes once: neither with the rebuild, nor between two broken images."""

    async def story(small: Small) -> None:
        small.engine.faults.stillborn = 1.0
        await small.until(lambda: small.fleet.pool(DEFAULT_POOL).image_brake)
        for image in ("still broken", "mended"):
            small.engine.faults.stillborn = float(image != "mended")
            small.engine.image = image
            small.orchestrator._parts.templates.look_again()
            await small.until(partial(is_found, small, image))
            while not small.idle and small.fleet.image_brake(DEFAULT_POOL, image) is None:
                (obstacle,) = health(small).obstacles()
                assert obstacle.startswith("The image does not come up. ")
                assert obstacle.endswith(" The image was replaced since, and the new one is being tried.")
                assert await status(small) == "down"
                back_off = await pool_back_off(small)
                assert (back_off["trying_new_image"], back_off["retry_in_seconds"]) == (True, 0.0)
                assert small.orchestrator.gauges().pools[DEFAULT_POOL].image_fails
                await asyncio.sleep(0.01)
            assert bool(small.idle) is (image == "mended")
        assert (await status(small), health(small).obstacles(), await pool_back_off(small)) == ("ok", [], None)

    lived(story, slow_s=0.3)


def is_found(small: Small, image: str) -> bool:
    return small.orchestrator.spec.pools[DEFAULT_POOL].template == image


async def pool_back_off(small: Small) -> Any:
    shown = await Pools(small.orchestrator, lambda _: "image", small.history).list(cast("Any", None))
    return msgspec.json.decode(shown.body)["pools"][0]["back_off"]


async def assign_and_fail(small: Small, project: str) -> str:
    """The id of its machine, which exited until nobody restarts it any more."""
    name = (await small.assign(project)).id
    while small.fleet.machines[name].state is not State.FAILED:
        if small.fleet.machines[name].state is State.READY:
            small.engine.kill(name)
        await asyncio.sleep(0.1)
    return name


def test_projects_whose_machines_failed_for_good_are_named_while_they_are_few() -> None:
    async def story(small: Small) -> None:
        failed = [await assign_and_fail(small, project) for project in ("q", "p")]
        (problem,) = health(small).problems()
        assert problem == (
            "A machine that failed is kept with its files for p, q, which gets no other machine. Repair its files with "
            "`orchestrator cp` and restart it with `orchestrator restart`, or release or destroy it. "
            "Run `orchestrator list --state failed -o wide` to see why it failed."
        )
        assert (await status(small), health(small).obstacles()) == ("degraded", [])
        failed += [await assign_and_fail(small, project) for project in ("r", "s")]
        (problem,) = health(small).problems()
        assert problem.startswith("A machine that failed is kept with its files for each of 4 projects, ")
        for name in failed:
            await small.orchestrator.destroy(name)
        assert health(small).problems() == []

    lived(story, max_machines=8)


def test_one_that_is_gone_keeps_nobody_waiting_and_is_no_problem() -> None:
    """Its project is given another one."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        name = (await small.assign("p")).id
        small.engine.remove(name)
        await small.until(lambda: small.fleet.machines[name].gone)
        assert health(small).problems() == []
        assert (await small.assign("p")).id != name

    lived(story)


def test_whoever_waits_while_his_machine_fails_for_good_hears_that_waiting_is_no_use() -> None:
    async def story(small: Small) -> None:
        machine = await small.assign("p")
        name = machine.id
        small.engine.faults.rejected = 1.0
        small.engine.kill(name)
        await small.until(lambda: small.fleet.watches[name].tries == 2)
        small.fleet.watches[name].tries = len(RESTART_PAUSES_S)  # the next one is the last
        with pytest.raises(MachineFailed, match="release or destroy the machine"):
            await small.assign("p")
        assert small.fleet.machines[name].state is State.FAILED
        with pytest.raises(MachineFailed, match="release or destroy the machine"):
            await small.assign("p")
        assert small.shown()['orchestrator_assigns_total{outcome="unavailable",pool="default"}'] == 2

    lived(story)
