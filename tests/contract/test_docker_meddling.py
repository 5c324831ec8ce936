"""What people do to workers with the engine's own tools: rename, copy, pause, take off the network."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator, Iterator

import pytest
from msgspec.structs import replace
from tests.contract.worlds import DockerWorld, until_named
from tests.integration.docker_command import LABEL, a_name, docker, docker_json, is_podman, make_image

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.errors import EngineRejected


@pytest.fixture
def image() -> Iterator[str]:
    """A tag that goes with the test, and all containers made of it."""
    tag = f"{a_name('image')}:latest"
    yield tag
    containers = docker("ps", "-aq", "--filter", f"ancestor={tag}").lines
    if containers:
        docker("rm", "-f", "-v", *containers)
    docker("rmi", "-f", tag, check=False)


async def test_a_renamed_container_is_the_machine_that_it_was(docker_world: DockerWorld) -> None:
    """Its label tells who it is: it is listed, restarted, read and removed as before, and known under both names."""
    engine, machine = docker_world.engine, await docker_world.running()
    name = a_name("renamed")
    docker("exec", machine.id, "sh", "-c", "echo kept >/tmp/file")
    docker("rename", machine.id, name)
    instance = await docker_world.instance(machine)
    assert instance is not None
    assert (instance.status, instance.renamed, instance.port) == (Status.RUNNING, name, machine.port)
    assert set((await engine.list()).instances) & {machine.id, name} == {machine.id}
    docker("kill", name)
    await engine.restart(machine.id)
    await docker_world.serves(machine)
    assert docker("exec", name, "cat", "/tmp/file").out == "kept"
    assert "listens on 0.0.0.0:9092" in await engine.last_lines(machine.id, 10)
    docker("rename", name, machine.id)
    again = await docker_world.instance(machine)
    assert again is not None
    assert (again.renamed, again.native_id) == ("", instance.native_id)
    docker("rename", machine.id, name)
    await engine.destroy(machine.id)
    assert docker("container", "inspect", name, check=False).failed


async def test_the_end_of_a_renamed_container_is_told(docker_world: DockerWorld) -> None:
    machine, name = await docker_world.running(), a_name("renamed")
    docker("rename", machine.id, name)
    await docker_world.engine.list()
    watch = docker_world.engine.watch()
    assert isinstance(watch, AsyncGenerator)
    async with asyncio.timeout(10):
        await anext(watch)
        docker("kill", name)
        await until_named(watch, machine.id)
        await docker_world.engine.until_shown(machine.id)
    assert await docker_world.status(machine) is Status.EXITED
    await watch.aclose()


@pytest.mark.parametrize("takes_its_name", [False, True])
async def test_a_container_made_of_a_copy_is_no_machine(
    docker_world: DockerWorld, image: str, *, takes_its_name: bool
) -> None:
    """`docker commit` copies labels: it is its starter's, before the machine was removed and afterwards."""
    engine, machine = docker_world.engine, await docker_world.running()
    docker("commit", machine.id, image)
    name = machine.id if takes_its_name else a_name("copy")
    if takes_its_name:
        docker("rename", machine.id, a_name("renamed"))
    native = docker("run", "-d", "--network", "none", "--name", name, image).out
    assert docker_json("inspect", native)["Config"]["Labels"][f"{LABEL}.machine"] == machine.id
    listed = (await engine.list()).instances
    assert listed[machine.id].native_id != native
    assert native not in {instance.native_id for instance in listed.values()}
    await engine.destroy(machine.id)
    assert await docker_world.instance(machine) is None
    await engine.destroy(machine.id)
    assert docker_json("inspect", native)["State"]["Running"]
    if takes_its_name:
        with pytest.raises(EngineRejected, match="this service did not make it"):
            await engine.create(machine)


async def test_a_copy_whose_image_was_removed_is_no_machine_either(docker_world: DockerWorld, image: str) -> None:
    """Docker removes the image of a stopped container by force."""
    machine = await docker_world.running()
    docker("commit", machine.id, image)
    native = docker("create", "--name", a_name("copy"), image).out
    try:
        docker("rmi", "-f", image)
        fresh = await docker_world.open_engine()
        listed = (await fresh.list()).instances
        assert listed[machine.id].native_id != native
        await fresh.destroy(machine.id)
        if not is_podman():  # which removes the container with its image
            assert not docker("container", "inspect", native, check=False).failed
    finally:
        docker("rm", "-f", native, check=False)


async def test_workers_can_be_made_of_a_copy(docker_world: DockerWorld, image: str) -> None:
    """An operator prepares a worker, and makes it the image: what is made of that are machines."""
    docker("commit", (await docker_world.running()).id, image)
    engine = await docker_world.open_engine(image)
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    assert (await engine.list()).instances[machine.id].status is Status.RUNNING
    await engine.destroy(machine.id)
    assert machine.id not in (await engine.list()).instances


@pytest.mark.promise("trouble")
@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize("how", ["pause", "cut off"])
async def test_what_keeps_a_worker_from_serving_is_told_with_the_command_that_helps(
    docker_world: DockerWorld, how: str, *, renamed: bool
) -> None:
    """Whoever follows it has a worker that serves on its port again."""
    machine = await docker_world.running()
    name = machine.id
    if renamed:
        name = a_name("renamed")
        docker("rename", machine.id, name)
    before = await docker_world.instance(machine)
    assert before is not None
    assert before.ailment == ""
    if how == "pause":
        docker("pause", name)
    else:
        docker("network", "disconnect", "-f", docker_world.network_of(machine), name)
    instance = await docker_world.instance(machine)
    assert instance is not None
    _, _, told = instance.trouble.partition(f"`{docker_world.dialect.command} ")
    docker(*shlex.split(told.partition("`")[0]))
    await docker_world.serves(machine)
    after = await docker_world.instance(machine)
    assert after is not None
    assert (after.ailment, after.port) == ("", machine.port)


@pytest.mark.promise("trouble")
@pytest.mark.parametrize("how", ["pause", "cut off"])
async def test_what_keeps_a_worker_from_serving_is_told_when_it_happens(docker_world: DockerWorld, how: str) -> None:
    """As its end is: whoever waits until it is shown, sees it."""
    machine = await docker_world.running()
    await docker_world.engine.list()
    watch = docker_world.engine.watch()
    assert isinstance(watch, AsyncGenerator)
    async with asyncio.timeout(10):
        await anext(watch)
        if how == "pause":
            docker("pause", machine.id)
        else:
            docker("network", "disconnect", "-f", docker_world.network_of(machine), machine.id)
        await until_named(watch, machine.id)
        await docker_world.engine.until_shown(machine.id)
    instance = await docker_world.instance(machine)
    assert instance is not None
    assert instance.ailment
    await watch.aclose()


@pytest.mark.parametrize("how", ["pause", "cut off"])
async def test_that_a_worker_was_put_right_is_told_when_it_happens(docker_world: DockerWorld, how: str) -> None:
    """Docker tells of it before a listing shows it: whoever lists at once, and then waits for news, waits for long."""
    machine = await docker_world.running()
    network = docker_world.network_of(machine)
    if how == "pause":
        docker("pause", machine.id)
    else:
        docker("network", "disconnect", "-f", network, machine.id)
    await docker_world.engine.list()
    watch = docker_world.engine.watch()
    assert isinstance(watch, AsyncGenerator)
    async with asyncio.timeout(10):
        await anext(watch)
        if how == "pause":
            docker("unpause", machine.id)
        else:
            docker("network", "connect", network, machine.id)
        await until_named(watch, machine.id)
        await docker_world.engine.until_shown(machine.id)
    instance = await docker_world.instance(machine)
    assert instance is not None
    assert not instance.ailment
    await watch.aclose()


async def test_labels_by_which_other_tools_find_their_containers_are_empty(
    docker_world: DockerWorld, image: str
) -> None:
    """`docker compose down` removes what bears its project's label, also where it comes from the image."""
    project = a_name("project")
    make_image(
        image, f"LABEL com.docker.compose.project={project}", "LABEL com.docker.compose.service=web", "LABEL a=b"
    )
    engine = await docker_world.open_engine(image)
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    labels = docker_world.inspect(machine)["Config"]["Labels"]
    assert (labels["com.docker.compose.project"], labels["com.docker.compose.service"]) == ("", "")
    assert (labels["a"], labels[f"{LABEL}.machine"]) == ("b", machine.id)
    assert docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={project}").out == ""
