"""What every engine promises that can pause its instances."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.contract.worlds import World

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.pausable import Pausable
from worker_orchestrator.errors import EngineRejected, EngineUnavailable

pytestmark = pytest.mark.promise("parked")

Switch = Callable[[Pausable, str], Coroutine[Any, Any, None]]
SWITCHES: dict[str, Switch] = {
    "pause": lambda engine, machine_id: engine.pause(machine_id),
    "unpause": lambda engine, machine_id: engine.unpause(machine_id),
}


@pytest.fixture
def world(restarting_world: World) -> World:
    """Those that can restart an instance can pause it too."""
    return restarting_world


def pausable(world: World) -> Pausable:
    assert isinstance(world.engine, Pausable)
    return world.engine


async def paused(world: World) -> Machine:
    """A machine that served, and is paused."""
    machine = await world.running()
    await pausable(world).pause(machine.id)
    return machine


async def test_what_is_paused_answers_when_it_goes_on_and_both_can_be_repeated(world: World) -> None:
    """It is the same one, at the same address; meanwhile it is listed as paused, and no probe of it is answered."""
    machine, engine = await world.running(), pausable(world)
    before = await world.instance(machine)
    assert before is not None
    await engine.unpause(machine.id)
    assert await world.instance(machine) == before
    for _ in range(2):
        await asyncio.gather(*(engine.pause(machine.id) for _ in range(2)))
        await engine.pause(machine.id)
        instance = await world.instance(machine)
        assert instance is not None
        assert (instance.status, instance.port) == (Status.PAUSED, before.port)
        assert "paused" in instance.ailment
        assert not instance.is_cut_off
        assert await world.probe(machine)
        await asyncio.gather(*(engine.unpause(machine.id) for _ in range(2)))
        await engine.unpause(machine.id)
        assert await world.instance(machine) == before
        await world.serves(machine)


async def test_who_asks_while_it_is_paused_is_answered_when_it_goes_on(world: World) -> None:
    """The connection is made, and waits."""
    machine = await paused(world)
    instance = await world.instance(machine)
    asking = asyncio.create_task(world.engine.probe(machine, instance, 10.0))
    await asyncio.wait({asking}, timeout=0.3)
    assert not asking.done()
    await pausable(world).unpause(machine.id)
    assert await asking is None


async def test_one_that_is_paused_can_be_removed(world: World) -> None:
    """At once, and its port is free."""
    machine = await paused(world)
    assert await world.engine.destroy(machine.id)
    assert await world.instance(machine) is None
    again = await world.machine(machine.port)
    await world.engine.create(again)
    await world.serves(again)


async def test_one_that_is_paused_can_be_stopped_and_started_again(world: World) -> None:
    """It is asked to end, as one that runs."""
    machine = await paused(world)
    await world.engine.stop(machine.id, 5.0)
    assert await world.status(machine) is Status.EXITED
    await world.engine.restart(machine.id)
    await world.serves(machine)
    await pausable(world).pause(machine.id)
    await world.engine.restart(machine.id, stop_first=True)
    await world.serves(machine)


@pytest.mark.parametrize("switch", SWITCHES)
async def test_what_does_not_run_can_neither_be_paused_nor_go_on(world: World, switch: str) -> None:
    """And what does not exist cannot either. Asking again will not help."""
    machine, engine = await world.running(), pausable(world)
    world.kill(machine)
    for listed in (False, True):
        if listed:
            assert await world.status(machine) is Status.EXITED
        with pytest.raises(EngineRejected):
            await SWITCHES[switch](engine, machine.id)
        assert await world.status(machine) is Status.EXITED
    with pytest.raises(EngineRejected):
        await SWITCHES[switch](engine, "worker-1700000000000-neverwas1")


@pytest.mark.parametrize("switch", SWITCHES)
async def test_an_engine_that_cannot_be_reached_pauses_nothing(world: World, switch: str) -> None:
    """Nothing was carried out: it may be asked again later."""
    machine = await world.running()
    async with world.unreachable() as engine:
        assert isinstance(engine, Pausable)
        with pytest.raises(EngineUnavailable):
            await SWITCHES[switch](engine, machine.id)
    assert await world.status(machine) is Status.RUNNING
