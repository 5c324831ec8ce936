"""The first sign of an end: the end of the main process, or a signal, long before Docker 26 and later report it.

What shows that it is the first sign: Docker's events are kept back meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

import pytest
from tests.contract.worlds import DockerWorld, soon, until_named
from tests.integration.docker_command import a_name, docker, make_image

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.base import EndOf
from worker_orchestrator.engines.docker.engine import DockerEngine

EVENTS = r"GET .*/events"


@pytest.fixture
def image_that_goes_on(example_image: str) -> Iterator[str]:
    """The tag of an image whose worker ignores the signals to end and to reload."""
    tag = f"{a_name('image')}:latest"
    script = "trap '' TERM HUP; exec httpd -f -p 0.0.0.0:9092 -h /srv"
    make_image(tag, f'ENTRYPOINT ["sh", "-c", "{script}"]')
    yield tag
    containers = docker("ps", "-aq", "--filter", f"ancestor={tag}").lines
    if containers:
        docker("rm", "-f", "-v", *containers)
    docker("rmi", "-f", tag, check=False)


@asynccontextmanager
async def watched(engine: DockerEngine) -> AsyncIterator[AsyncGenerator[str | None]]:
    """An open watch."""
    watch = engine.watch()
    assert isinstance(watch, AsyncGenerator)
    async with aclosing(watch), asyncio.timeout(20):
        await anext(watch)
        yield watch


async def followed(engine: DockerEngine, container_id: str) -> None:
    async def look() -> bool:
        return container_id in engine._processes

    await soon(look, "its main process is followed")


@asynccontextmanager
async def deaf(world: DockerWorld, machine: Machine) -> AsyncIterator[tuple[DockerEngine, AsyncGenerator[str | None]]]:
    """An engine that follows this machine and hears no more events, and its watch."""
    async with world.proxied() as (engine, proxy):
        await engine.list()
        async with watched(engine) as watch:
            await followed(engine, world.inspect(machine)["Id"])
            proxy.keep_back = EVENTS
            yield engine, watch


async def test_the_end_of_the_main_process_is_told_without_any_event(docker_world: DockerWorld) -> None:
    """And whoever waits until it is shown, sees it in a listing."""
    machine = await docker_world.running()
    async with deaf(docker_world, machine) as (engine, watch):
        docker_world.kill(machine)
        await until_named(watch, machine.id)
        await engine.until_shown(machine.id)
        assert (await engine.list()).instances[machine.id].status is Status.EXITED


async def test_a_restart_by_hand_is_told_as_an_end_though_it_runs_again(docker_world: DockerWorld) -> None:
    """What was in its memory is gone. A pause is told too, and is no end."""
    engine, machine = docker_world.engine, await docker_world.running()
    await engine.list()
    async with watched(engine) as watch:
        docker("pause", machine.id)
        while (sign := await anext(watch)) != machine.id:
            pass
        assert not isinstance(sign, EndOf)
        docker("unpause", machine.id)
        docker("restart", "-t", "0", machine.id)
        while not isinstance(sign := await anext(watch), EndOf) or sign != machine.id:
            pass
        await engine.until_shown(machine.id)
        assert (await engine.list()).instances[machine.id].status is Status.RUNNING


async def test_each_run_of_a_container_is_followed(docker_world: DockerWorld) -> None:
    """Events tell of a start by anybody; without them, a listing does."""
    machine = await docker_world.running()
    async with deaf(docker_world, machine) as (engine, watch):
        for _ in range(2):
            container_id = docker_world.inspect(machine)["Id"]
            await followed(engine, container_id)
            docker_world.kill(machine)
            await until_named(watch, machine.id)
            await engine.until_shown(machine.id)
            docker("start", machine.id)
            await engine.list()


async def test_a_container_is_followed_from_its_start_without_a_listing(docker_world: DockerWorld) -> None:
    """Its machine may be handed out before the next listing."""
    machine = await docker_world.machine()
    async with watched(docker_world.engine):
        await docker_world.engine.create(machine)
        await followed(docker_world.engine, docker_world.inspect(machine)["Id"])


async def test_what_ended_while_no_watch_was_open_is_told_by_the_next_one(docker_world: DockerWorld) -> None:
    machine = await docker_world.running()
    engine = docker_world.engine
    await engine.list()
    async with watched(engine):
        await followed(engine, docker_world.inspect(machine)["Id"])
    docker_world.kill(machine)

    async def has_ended() -> bool:
        return bool(engine._processes.ended)

    await soon(has_ended, "its end is known")
    async with watched(engine) as watch:
        await until_named(watch, machine.id)


async def test_processes_of_others_are_not_followed(docker_world: DockerWorld) -> None:
    """Nor those of a container that only bears our labels."""
    machine = await docker_world.machine()
    async with watched(docker_world.engine):
        docker_world.put_running(machine, docker_world.somebody_else)
        own = await docker_world.running()
        await docker_world.engine.list()
        await followed(docker_world.engine, docker_world.inspect(own)["Id"])
        assert docker_world.inspect(machine)["Id"] not in docker_world.engine._processes


async def test_a_signal_to_end_is_told_and_the_doubt_ends_soon_where_nothing_comes_of_it(
    docker_world: DockerWorld, image_that_goes_on: str
) -> None:
    """`docker stop` sends the same signal, and many a worker ends of it at once."""
    engine = docker_world.engine = await docker_world.open_engine(image_that_goes_on)
    machine = await docker_world.running()
    await engine.list()
    async with watched(engine) as watch:
        docker("kill", "--signal", "TERM", machine.id)
        await until_named(watch, machine.id)
        begun_at = asyncio.get_running_loop().time()
        await engine.until_shown(machine.id)
        assert asyncio.get_running_loop().time() - begun_at < 3
        assert (await engine.list()).instances[machine.id].status is Status.RUNNING


async def test_a_signal_to_reload_is_not_told(docker_world: DockerWorld, image_that_goes_on: str) -> None:
    """What comes next is: the events of one container come in order."""
    engine = docker_world.engine = await docker_world.open_engine(image_that_goes_on)
    machine = await docker_world.running()
    await engine.list()
    async with watched(engine) as watch:
        docker("kill", "--signal", "HUP", machine.id)
        docker("pause", machine.id)
        await until_named(watch, machine.id)
        await engine.until_shown(machine.id)
        assert (await engine.list()).instances[machine.id].status is Status.PAUSED
        docker("unpause", machine.id)
