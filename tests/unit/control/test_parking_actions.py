"""Pauses as actions: they are carried out and told like all others, and nobody who is to go on waits behind creates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.telling.observer import Call, Observer
from worker_orchestrator.control.world.actions import PARALLEL, Actions
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.control.world.reports import Settled, Tell
from worker_orchestrator.core.action import Create, Outcome, Park, Result, Unpark
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.memory.engine import MemoryEngine

ID = "worker-1700000000000-abcdefghi"


class Counting(Observer):
    """Remembers the calls, and how each ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[Call, Result]] = []

    def call_ended(self, call: Call, result: Result, took_s: float, machine_id: str = "") -> None:
        self.ended.append((call, result))


class World:
    def __init__(self, engine: Any = None) -> None:
        self.engine = engine or MemoryEngine("owner", serve_http=False)
        self.observer, self.told = Counting(), list[Settled]()
        probers = cast("Probers", SimpleNamespace(stop=lambda _: None))
        background, tell = Background(Defect()), cast("Tell", self.told.append)
        self.actions = Actions(self.engine, background, probers, tell, self.observer, 10.0)

    async def perform(self, action: Any) -> Outcome:
        task = self.actions.start(action)
        assert task is not None
        return await task


def a_machine(name: str = ID, port: int = 9093) -> Machine:
    return Machine(name, "default", "memory", State.STARTING, port)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await story()

    asyncio.run(limited())


def test_a_machine_is_paused_and_goes_on_and_both_are_told_and_counted() -> None:
    async def story() -> None:
        world = World()
        await world.engine.create(a_machine())
        for action, status in ((Park(ID), Status.PAUSED), (Unpark(ID), Status.RUNNING)):
            assert (await world.perform(action)).result is Result.DONE
            assert world.engine.instances()[ID].status is status
        assert [settled.action for settled in world.told] == [Park(ID), Unpark(ID)]
        assert world.observer.ended == [("park", Result.DONE), ("unpark", Result.DONE)]

    run(story)


@pytest.mark.parametrize("action", [Park(ID), Unpark(ID)])
def test_an_engine_that_cannot_pause_refuses_in_words(action: Park | Unpark) -> None:
    async def story() -> None:
        outcome = await World(object()).perform(action)
        assert (outcome.result, outcome.message) == (
            Result.REJECTED,
            f"This engine can neither pause {ID} nor let it go on.",
        )

    run(story)


def test_who_is_to_go_on_waits_for_no_create_and_who_is_to_be_paused_may() -> None:
    """A project waits for the one, and nobody for the other."""

    class Slow(MemoryEngine):
        async def create(self, machine: Machine) -> bool:
            await creating.wait()
            return await super().create(machine)

    creating = asyncio.Event()

    async def story() -> None:
        world = World(Slow("owner", serve_http=False))
        await MemoryEngine.create(world.engine, a_machine())
        await world.engine.pause(ID)
        others = [a_machine(f"worker-1700000000000-{number:09}", 9100 + number) for number in range(PARALLEL)]
        creates = [world.actions.start(Create(machine)) for machine in others]
        await asyncio.sleep(0)
        assert (await world.perform(Unpark(ID))).result is Result.DONE
        parking = world.actions.start(Park(ID))
        assert parking is not None
        await asyncio.sleep(0.05)
        assert not parking.done()
        creating.set()
        assert (await parking).result is Result.DONE
        await asyncio.gather(*(create for create in creates if create is not None))

    run(story)
