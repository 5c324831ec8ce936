"""Whether an instance is used, on every engine: traffic, work where that counts, open connections."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.worlds import DockerWorld, World, soon

from worker_orchestrator.core.activity import ActivityRules, Counters, shows_activity
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Activity, Exec
from worker_orchestrator.errors import EngineUnavailable, NotRunning

pytestmark = pytest.mark.promise("deadline")

RULES = ActivityRules(cpu=0.1)


async def counted(world: World, machine: Machine, *, cpu: bool = True) -> Counters:
    assert isinstance(world.engine, Activity)
    return await world.engine.counters(machine.id, cpu=cpu)


async def followed(world: World) -> Machine:
    """A machine that serves, and whose process Docker's engine has looked up: else it is counted in another way later."""
    machine = await world.running()
    if isinstance(world, DockerWorld):
        await world.watch()
        await world.engine.list()
        container = world.engine._container_of(machine.id)

        async def is_looked_up() -> bool:
            return container in world.engine._processes or container in world.engine._unseen

        await soon(is_looked_up, "its process is looked up")
    return machine


async def test_an_instance_that_is_left_alone_is_not_used(world: World) -> None:
    """However often it is asked for: a reading is no use."""
    machine = await followed(world)
    await asyncio.sleep(1)  # what a network says to all at the start is over
    before = await counted(world, machine)
    for _ in range(3):
        await asyncio.sleep(1)
        await counted(world, machine)
    assert shows_activity(before, await counted(world, machine), RULES) is False


async def test_requests_are_use(world: World) -> None:
    """As each probe is one."""
    machine = await followed(world)
    before = await counted(world, machine, cpu=False)
    for _ in range(5):
        assert await world.probe(machine) is None
    assert shows_activity(before, await counted(world, machine, cpu=False), ActivityRules()) is True


async def test_work_is_use_where_that_counts(real_world: World) -> None:
    """And only there."""
    machine, engine = await followed(real_world), real_world.engine
    assert isinstance(engine, Exec)
    before = await counted(real_world, machine)
    await engine.exec(machine.id, ["sh", "-c", "i=0; while [ $i -lt 900000 ]; do i=$((i+1)); done"])
    after = await counted(real_world, machine)
    assert shows_activity(before, after, RULES) is True
    assert shows_activity(before, after, ActivityRules(traffic_min=2000)) is False


async def test_a_silent_connection_is_seen(world: World) -> None:
    """Until it is closed."""
    machine = await followed(world)
    engine, instance = world.engine, await world.instance(machine)
    assert isinstance(engine, Activity)
    assert instance is not None
    assert await engine.is_connected(machine.id) is False
    host = "127.0.0.1" if isinstance(world, DockerWorld) else instance.address
    _, writer = await asyncio.open_connection(host, instance.port)

    async def is_connected() -> bool:
        return await engine.is_connected(machine.id) is True

    await soon(is_connected, "the connection is seen")
    writer.close()

    async def has_ended() -> bool:
        return not await is_connected()

    await soon(has_ended, "it has ended")


async def test_only_what_runs_and_is_ours_is_counted(world: World) -> None:
    """What ended is not used, and its last counters say nothing."""
    dead = await followed(world)
    world.kill(dead)

    async def is_refused() -> bool:
        with pytest.raises(NotRunning):
            await counted(world, dead)
        return True

    await soon(is_refused, "it is not counted any more")
    assert isinstance(world.engine, Activity)
    with pytest.raises(NotRunning):
        await world.engine.is_connected(dead.id)


async def test_an_engine_that_cannot_be_reached_counts_nothing(world: World) -> None:
    """So nothing expires meanwhile."""
    machine = await world.running()
    async with world.unreachable() as engine:
        assert isinstance(engine, Activity)
        with pytest.raises(EngineUnavailable):
            await engine.counters(machine.id, cpu=False)
        with pytest.raises(EngineUnavailable):
            await engine.is_connected(machine.id)
