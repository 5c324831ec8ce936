"""A worker that a project had is asked to end and has time to; nobody else waits for that, and an operator need not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import EngineUnavailable


def calls_of(small: Small, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str, str]]:
    """When what was asked of the engine about which machine, from now on."""
    told: list[tuple[float, str, str]] = []

    def watched(name: str) -> Callable[..., Any]:
        call = getattr(small.engine, name)

        async def noted(machine_id: str, *more: Any) -> None:
            told.append((asyncio.get_running_loop().time(), name, machine_id))
            await call(machine_id, *more)

        return noted

    for name in ("stop", "destroy"):
        monkeypatch.setattr(small.engine, name, watched(name))
    return told


def takes_to_end(small: Small, machine_id: str, seconds: float) -> None:
    small.engine._containers[machine_id].end_s = seconds


async def is_gone(small: Small, machine_id: str) -> None:
    await small.until(lambda: machine_id not in small.fleet.machines)


def test_a_projects_worker_has_ten_seconds_to_end_and_an_idle_one_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        calls, loop = calls_of(small, monkeypatch), asyncio.get_running_loop()
        machine = await small.assign("p1")
        takes_to_end(small, machine.id, 60.0)
        begun_at = loop.time()
        await small.orchestrator.release("p1")
        await is_gone(small, machine.id)
        assert [(round(at - begun_at), name) for at, name, _ in calls] == [(0, "stop"), (10, "destroy")]
        calls.clear()
        idle = small.idle[0]
        takes_to_end(small, idle.id, 60.0)
        begun_at = loop.time()
        await small.orchestrator.destroy(idle.id)
        assert loop.time() - begun_at < 1
        assert [name for _, name, machine_id in calls if machine_id == idle.id] == ["destroy"]

    lived(story, min_idle=2, recycle=True)


def test_a_destroy_is_answered_when_the_worker_has_ended_and_is_removed() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        takes_to_end(small, machine.id, 4.0)
        begun_at = asyncio.get_running_loop().time()
        first = asyncio.create_task(small.orchestrator.destroy(machine.id))
        await asyncio.sleep(2)
        await small.orchestrator.destroy(machine.id)  # a repeated one joins it
        assert 3.9 <= asyncio.get_running_loop().time() - begun_at <= 4.5
        assert machine.id not in small.engine.instances()
        await first

    lived(story, min_idle=1)


def test_an_operator_may_cut_it_short() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        takes_to_end(small, machine.id, 60.0)
        slow = asyncio.create_task(small.orchestrator.destroy(machine.id))
        await asyncio.sleep(2)
        begun_at = asyncio.get_running_loop().time()
        await small.orchestrator.destroy(machine.id, at_once=True)
        assert asyncio.get_running_loop().time() - begun_at < 0.5
        await slow
        other = await small.assign("p1")
        takes_to_end(small, other.id, 60.0)
        begun_at = asyncio.get_running_loop().time()
        await small.orchestrator.destroy(other.id, at_once=True)
        assert asyncio.get_running_loop().time() - begun_at < 0.5

    lived(story, min_idle=1)


def test_workers_end_side_by_side_and_hold_nobody_up() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(40)
        taken = [await small.assign(f"p{number}") for number in range(40)]
        begun_at = asyncio.get_running_loop().time()
        for machine in taken:
            takes_to_end(small, machine.id, 60.0)
            await small.orchestrator.release(machine.id)
        await small.assign("next")  # cold, beside forty that end
        assert asyncio.get_running_loop().time() - begun_at < 2
        for machine in taken:
            await is_gone(small, machine.id)
        assert asyncio.get_running_loop().time() - begun_at < 13

    lived(story, min_idle=40, max_machines=90, recycle=True)


def test_whoever_waits_for_a_place_waits_for_no_worker_that_ends() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        first, second = [await small.assign(f"p{number}") for number in range(2)]
        for machine in (first, second):
            takes_to_end(small, machine.id, 60.0)
            await small.orchestrator.release(machine.id)
        await asyncio.sleep(1)
        assert small.fleet.machines[first.id].state is State.STOPPING
        begun_at = asyncio.get_running_loop().time()
        await small.assign("p3")
        assert asyncio.get_running_loop().time() - begun_at < 1
        assert first.id not in small.fleet.machines
        assert small.fleet.machines[second.id].state is State.STOPPING, "one place was enough"

    lived(story, min_idle=2, max_machines=2, recycle=True)


def test_when_the_service_stops_nobody_waits_for_a_worker() -> None:
    """Its container is on record as stopping: the next run goes on with it."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        takes_to_end(small, machine.id, 60.0)
        slow = asyncio.create_task(small.orchestrator.destroy(machine.id))
        await asyncio.sleep(1)
        small.orchestrator.turn_all_away()
        with pytest.raises(EngineUnavailable, match=f"{machine.id} will be removed when the service runs again"):
            await asyncio.wait_for(slow, 0.1)
        assert small.store.machines()[0].state is State.STOPPING

    lived(story, min_idle=1)


def test_a_worker_that_the_engine_cannot_ask_is_removed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        small.engine.kill(machine.id)
        await small.orchestrator.destroy(machine.id)
        assert machine.id not in small.engine.instances()

    lived(story, min_idle=1)
