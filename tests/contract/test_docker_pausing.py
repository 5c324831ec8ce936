"""Pauses on Docker: how many calls they are, whose containers they reach, and what is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from tests.contract.worlds import DockerWorld, until_named
from tests.integration.docker_command import a_name, docker

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, NotRunning, OutcomeUnknown

pytestmark = pytest.mark.promise("parked")


async def test_letting_one_go_on_is_a_single_call(docker_world: DockerWorld) -> None:
    """Somebody waits for it. One that no listing has shown is looked up before."""
    machine = await docker_world.running()
    async with docker_world.proxied() as (engine, proxy):
        await engine.pause(machine.id)
        await engine.list()
        proxy.asked.clear()
        await engine.unpause(machine.id)
        assert len(proxy.asked) == 1
        assert "/unpause" in proxy.asked[0]
        await engine.unpause(machine.id)
        assert await docker_world.status(machine) is Status.RUNNING


async def test_many_that_come_and_go_are_never_refused_and_answer_each_time(docker_world: DockerWorld) -> None:
    """Docker hears of each pause a little late, and may then refuse the next call: what it says for a moment is not so."""
    engine = docker_world.engine
    machines = [await docker_world.running() for _ in range(8)]
    await engine.list()

    async def come_and_go(machine: Machine) -> None:
        instance = await docker_world.instance(machine)
        for _ in range(12):
            for _ in range(2):
                await engine.pause(machine.id)
                await engine.unpause(machine.id)
            assert await engine.probe(machine, instance, 5.0) is None

    await asyncio.gather(*map(come_and_go, machines))


async def test_a_reply_that_was_lost_is_no_answer(docker_world: DockerWorld) -> None:
    """It may have been carried out. Whoever asks again hears that it was."""
    machine = await docker_world.running()
    async with docker_world.proxied() as (engine, proxy):
        await engine.list()
        for call, status in (("pause", Status.PAUSED), ("unpause", Status.RUNNING)):
            proxy.lose = f"POST .*/{call} "
            with pytest.raises(OutcomeUnknown):
                await (engine.pause if call == "pause" else engine.unpause)(machine.id)
            proxy.lose = "nothing"
            assert await docker_world.status(machine) is status
            await (engine.pause if call == "pause" else engine.unpause)(machine.id)
            assert await docker_world.status(machine) is status


async def test_a_renamed_container_is_paused_and_what_has_its_name_is_not(docker_world: DockerWorld) -> None:
    """Its label tells who it is, whether or not a listing has shown it, and also if it was made anew since."""
    engine, machine = docker_world.engine, await docker_world.running()
    docker("rename", machine.id, a_name("renamed"))
    foreign = docker("run", "-d", "--name", machine.id, docker_world.image).out
    try:
        for _ in range(2):
            await engine.pause(machine.id)
            assert docker("inspect", "-f", "{{.State.Status}}", foreign).out == "running"
            assert await docker_world.status(machine) is Status.PAUSED
            await engine.unpause(machine.id)
            assert await docker_world.status(machine) is Status.RUNNING
        await engine.destroy(machine.id)
        for switch in (engine.pause, engine.unpause):
            with pytest.raises(EngineRejected, match=machine.id):
                await switch(machine.id)
        assert docker("inspect", "-f", "{{.State.Status}}", foreign).out == "running"
    finally:
        docker("rm", "-f", "-v", foreign)
    await engine.create(machine)
    await engine.pause(machine.id)
    assert await docker_world.status(machine) is Status.PAUSED


async def test_own_pauses_are_no_signs_and_those_of_others_are(docker_world: DockerWorld) -> None:
    """Else each container that goes on for a project would be doubted just as it is needed."""
    machine, engine = await docker_world.running(), docker_world.engine
    await engine.list()
    watch = engine.watch()
    assert isinstance(watch, AsyncGenerator)
    async with asyncio.timeout(20):
        await anext(watch)
        for _ in range(2):
            await engine.pause(machine.id)
            await engine.pause(machine.id)
            await engine.unpause(machine.id)
            await engine.unpause(machine.id)
        told = asyncio.create_task(until_named(watch, machine.id))
        await asyncio.wait({told}, timeout=1.0)
        assert not told.done()
        docker("pause", machine.id)
        await told
        docker("unpause", machine.id)
        await until_named(watch, machine.id)
    await watch.aclose()


@pytest.mark.promise("trouble")
async def test_one_that_is_paused_and_lost_its_network_says_both(docker_world: DockerWorld) -> None:
    """What its trouble says is the pause; the other one is seen apart from it, and is its trouble when it goes on."""
    machine, engine = await docker_world.running(), docker_world.engine
    await engine.pause(machine.id)
    before = await docker_world.instance(machine)
    docker("network", "disconnect", "-f", docker_world.network_of(machine), machine.id)
    cut_off = await docker_world.instance(machine)
    assert before is not None
    assert cut_off is not None
    assert (before.is_cut_off, cut_off.is_cut_off) == (False, True)
    assert cut_off.trouble == before.trouble
    if docker_world.dialect.isolates_by_network:  # while it is paused, Podman only takes note of it
        docker("network", "connect", docker_world.network_of(machine), machine.id)
        await engine.unpause(machine.id)
        await docker_world.serves(machine)
        return
    await engine.unpause(machine.id)
    after = await docker_world.instance(machine)
    assert after is not None
    assert "disconnected from its network" in after.trouble


async def test_one_that_lost_its_network_while_it_was_paused_leaves_its_port_to_the_next(
    docker_world: DockerWorld,
) -> None:
    """Podman would keep a rule that leads from that port to where it was."""
    machine = await docker_world.running()
    await docker_world.engine.pause(machine.id)
    docker("network", "disconnect", "-f", docker_world.network_of(machine), machine.id)
    await docker_world.engine.destroy(machine.id)
    again = await docker_world.machine(machine.port)
    await docker_world.engine.create(again)
    await docker_world.serves(again)


async def test_one_that_is_paused_outlives_the_service(docker_world: DockerWorld) -> None:
    """The next one finds it paused, is not told that it has ended, and lets it go on."""
    machine = await docker_world.running()
    await docker_world.engine.pause(machine.id)
    engine = await docker_world.open_engine()
    await engine.template(DEFAULT_POOL)
    watch = engine.watch()
    assert isinstance(watch, AsyncGenerator)
    await anext(watch)
    assert (await engine.list()).instances[machine.id].status is Status.PAUSED
    told = asyncio.create_task(until_named(watch, machine.id))
    await asyncio.wait({told}, timeout=1.0)
    assert not told.done()
    told.cancel()
    await asyncio.gather(told, return_exceptions=True)
    await engine.unpause(machine.id)
    await docker_world.serves(machine)
    await watch.aclose()


async def test_none_is_paused_in_which_a_command_runs(docker_world: DockerWorld) -> None:
    """Somebody uses it. And in what is paused none is started."""
    machine, engine = await docker_world.running(), docker_world.engine
    await engine.list()
    running = asyncio.create_task(engine.exec(machine.id, ["sleep", "2"]))
    await asyncio.sleep(1.0)
    with pytest.raises(EngineUnavailable):
        await engine.pause(machine.id)
    assert await docker_world.status(machine) is Status.RUNNING
    assert (await running).exit_code == 0
    await engine.pause(machine.id)
    with pytest.raises(NotRunning):
        await engine.exec(machine.id, ["true"])
    await engine.unpause(machine.id)
    await docker_world.serves(machine)
