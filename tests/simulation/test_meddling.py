"""What people do to workers behind our back, and what their projects and others hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import EngineUnavailable, NoMachineAvailable


def test_a_worker_that_is_found_again_keeps_its_files_though_its_project_has_another() -> None:
    """The engine did not find it for a while. Nobody gave it up, so it is shown, and never removed."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        mine = await small.assign("p")
        small.engine.hidden.add(mine.id)
        await small.until(lambda: small.fleet.machines[mine.id].gone)
        other = await small.assign("p")
        assert other.id != mine.id
        small.engine.hidden.clear()
        await small.until(lambda: small.orchestrator.status().strays == 1)
        await asyncio.sleep(100.0)
        assert mine.id in small.engine.instances()
        assert small.orchestrator.status().strays == 1

    lived(story)


def test_a_renamed_worker_is_the_same_machine() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        mine = await small.assign("p")
        small.engine.rename(mine.id, "mine")
        await asyncio.sleep(30.0)
        assert await small.assign("p") == mine
        small.engine.rename(mine.id, mine.id)
        await asyncio.sleep(30.0)
        assert await small.assign("p") == mine

    lived(story)


@pytest.mark.parametrize("how", ["pause", "cut off"])
def test_an_idle_worker_that_cannot_serve_is_neither_given_nor_listed_and_is_replaced(how: str) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        first, second = small.idle
        if how == "pause":
            small.engine.kill(first.id, Status.PAUSED)
        else:
            small.engine.disconnect(first.id)
        await asyncio.sleep(0.2)
        assert [view.machine.id for view in await small.orchestrator.machines()] == [second.id]
        assert (await small.orchestrator.health()).idle == 1
        assert (await small.assign("p")).id == second.id
        await small.until(lambda: small.fleet.machines[first.id].gone)
        assert (await small.assign("q")).id not in {first.id, second.id}

    lived(story)


def test_a_worker_that_is_paused_for_a_moment_stays() -> None:
    """As `docker commit` does it."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        first = small.idle[0]
        small.engine.kill(first.id, Status.PAUSED)
        await asyncio.sleep(1.0)
        await small.engine.restore(first.id, first.port)
        await asyncio.sleep(60.0)
        assert small.fleet.machines[first.id].state is State.READY
        assert first.id in {view.machine.id for view in await small.orchestrator.machines()}

    lived(story)


@pytest.mark.parametrize("how", ["pause", "cut off"])
def test_a_project_is_told_why_its_worker_cannot_serve_and_keeps_it(how: str) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        mine = await small.assign("p")
        if how == "pause":
            small.engine.kill(mine.id, Status.PAUSED)
        else:
            small.engine.disconnect(mine.id)
        await small.until(lambda: small.fleet.ailing)
        with pytest.raises(NoMachineAvailable, match=rf"{mine.id} of this project cannot serve now\. The .*files"):
            await small.assign("p")
        (shown,) = [view for view in await small.orchestrator.records() if view.machine.id == mine.id]
        assert shown.reason == shown.trouble == small.fleet.ailing[mine.id]
        assert mine.id not in {view.machine.id for view in await small.orchestrator.machines()}
        await asyncio.sleep(1000.0)
        await small.engine.restore(mine.id, mine.port)
        await small.until(lambda: not small.fleet.ailing)
        assert await small.assign("p") == mine
        (shown,) = [view for view in await small.orchestrator.records() if view.machine.id == mine.id]
        assert shown.reason == "It was assigned to the project."

    lived(story)


def test_while_the_engine_tells_of_no_ends_nobody_is_given_what_has_just_died() -> None:
    """Its last answer is less than a second old, and no event says that it ended."""

    async def story(small: Small) -> None:
        async def silence() -> AsyncIterator[str | None]:
            raise EngineUnavailable("no events today")
            yield None

        small.engine.watch = silence  # type: ignore[method-assign] # this engine tells of nothing
        await small.await_idle(2)
        first, second = small.idle
        for machine in (first, second):
            small.orchestrator._parts.probers.report(await small.orchestrator._parts.probers.probe(machine, 1.0))
        small.engine.kill(first.id)
        assert (await small.assign("p")).id == second.id
        await asyncio.sleep(1.5)
        assert first.id not in {view.machine.id for view in await small.orchestrator.machines()}

    lived(story)
