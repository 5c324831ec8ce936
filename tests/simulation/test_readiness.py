"""What the health says is what the next project meets: a machine, a wait that makes sense, or the reason why not."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.errors import CommitFailed, NoMachineAvailable
from worker_orchestrator.http.v1.pools import Health

PAUSED = "The pool default is paused, so no machine is started: run `orchestrator resume` when it may go on."


def health(small: Small) -> Health:
    return Health(small.orchestrator, "memory")


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
            await small.orchestrator.assign("p")
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
            await small.orchestrator.assign(project)
        assert health(small).obstacles() == [PAUSED]
        with pytest.raises(NoMachineAvailable, match="is paused"):
            await small.orchestrator.assign("r")
        small.orchestrator.change_pool("default", {"paused": False})
        assert health(small).problems() == []

    lived(story)


def test_a_pool_that_is_full_is_no_problem() -> None:
    """Who has a machine must reach it, and whoever waits gets the next that is released."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        for project in ("p", "q"):
            await small.orchestrator.assign(project)
        assert small.fleet.held == small.orchestrator.spec.max_machines
        assert (health(small).problems(), health(small).obstacles()) == ([], [])

    lived(story, max_machines=2)


def test_an_image_that_does_not_come_up_is_an_obstacle_once_nothing_is_idle() -> None:
    """The service is down then, though a project has its machine: it can hand out nothing."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        small.engine.faults.stillborn = 1.0
        await small.orchestrator.assign("p")
        await small.until(lambda: health(small).problems())
        assert (await status(small), health(small).obstacles()) == ("degraded", [])
        await small.orchestrator.assign("q")
        (obstacle,) = health(small).obstacles()
        assert obstacle.startswith("The image does not come up: ")
        assert await status(small) == "down"

    lived(story)
