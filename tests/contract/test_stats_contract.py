"""What instances use, on every engine that measures: what is not known is None, and never 0."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.worlds import MemoryWorld, World, soon
from tests.integration.waiting import PortBlock

from worker_orchestrator.engines.extras import Exec, Stats, Usage
from worker_orchestrator.errors import EngineUnavailable, NotRunning

pytestmark = pytest.mark.promise("stats")

NEVER_WAS = "worker-1700000000000-neverwas1"
MIB = 1024 * 1024


async def measured(world: World, machine_id: str) -> Usage:
    assert isinstance(world.engine, Stats)
    return await world.engine.stats(machine_id)


async def test_an_instance_is_measured_at_the_first_question(real_world: World) -> None:
    """Its share of the processor too."""
    usage = await measured(real_world, (await real_world.running()).id)
    assert usage.cpu_percent is not None
    assert 0 <= usage.cpu_percent < 1000
    assert usage.cpu_seconds is None or 0 < usage.cpu_seconds < 60
    assert usage.memory_bytes is not None
    assert 0 < usage.memory_bytes < 100 * MIB
    for counted in (usage.memory_limit_bytes, usage.processes, usage.sent_bytes):
        assert counted is None or counted > 0
    assert usage.received_bytes is None or usage.received_bytes >= 0


async def test_who_is_busy_is_seen_to_be(real_world: World) -> None:
    """By the share since the question before."""
    machine, engine = await real_world.running(), real_world.engine
    assert isinstance(engine, Exec)
    busy = asyncio.create_task(engine.exec(machine.id, ["sh", "-c", "while :; do :; done"], timeout_s=60))

    async def is_busy() -> bool:
        return ((await measured(real_world, machine.id)).cpu_percent or 0) > 10

    try:
        await soon(is_busy, "a loop uses the processor", within_s=50)
    finally:
        busy.cancel()
        await asyncio.wait({busy})


async def test_memory_is_told_without_the_file_cache(real_world: World) -> None:
    """Which goes as soon as somebody needs the room."""
    machine, engine = await real_world.running(), real_world.engine
    assert isinstance(engine, Exec)
    await engine.exec(machine.id, ["sh", "-c", "dd if=/dev/zero of=/tmp/big bs=1M count=64"])
    assert ((await measured(real_world, machine.id)).memory_bytes or 0) < 32 * MIB


async def test_only_what_runs_and_is_ours_is_measured(real_world: World) -> None:
    """Whatever stands under its name."""
    dead, theirs = await real_world.running(), await real_world.machine()
    real_world.kill(dead)
    real_world.put(theirs, real_world.somebody_else)
    for machine_id in (NEVER_WAS, dead.id, theirs.id):
        with pytest.raises(NotRunning, match=machine_id):
            await measured(real_world, machine_id)


async def test_an_engine_that_cannot_be_reached_measures_nothing(real_world: World) -> None:
    """It may be asked again later."""
    machine = await real_world.running()
    async with real_world.unreachable() as engine:
        assert isinstance(engine, Stats)
        with pytest.raises(EngineUnavailable):
            await engine.stats(machine.id)


def test_the_engine_that_measures_nothing_does_not_claim_to(ports: PortBlock, runner: asyncio.Runner) -> None:
    """So the API answers 501."""
    world = MemoryWorld(ports)
    runner.run(world.open())
    assert not isinstance(world.engine, Stats)
    runner.run(world.close())
