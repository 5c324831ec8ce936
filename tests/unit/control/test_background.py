"""Tasks in the background end with the service, and nobody waits for long for one that does not."""

from __future__ import annotations

import asyncio

from tests.simulation.virtual import virtual_time

from worker_orchestrator.control.background import END_LIMIT_S, Background
from worker_orchestrator.control.defect import Defect


async def ends_after(seconds: float) -> None:
    """It is ended by something outside, which takes so long."""
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(seconds)


def closed_after_s(*seconds: float) -> float:
    """How long it takes to close what has a task for each of these."""

    async def told() -> float:
        background = Background(Defect())
        tasks = [background.spawn(ends_after(each), f"takes {each:g} s") for each in seconds]
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        await background.aclose()
        took_s = loop.time() - begun_at
        await asyncio.gather(*tasks, return_exceptions=True)
        return took_s

    with virtual_time() as loop:
        return loop.run_until_complete(told())


def test_each_has_time_to_end() -> None:
    assert closed_after_s() == 0
    assert closed_after_s(1.0, END_LIMIT_S - 1) == END_LIMIT_S - 1


def test_one_that_does_not_end_is_not_waited_for() -> None:
    assert closed_after_s(1.0, 26.0) == END_LIMIT_S


def test_what_begins_afterwards_is_cancelled() -> None:
    async def told() -> bool:
        background = Background(Defect())
        await background.aclose()
        task = background.spawn(ends_after(0), "late")
        await asyncio.wait({task})
        return task.cancelled()

    with virtual_time() as loop:
        assert loop.run_until_complete(told())
