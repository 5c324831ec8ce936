"""Several pools on one Docker engine: each machine is as its pool says, and goes on when its pool is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from tests.contract.worlds import DockerWorld, soon
from tests.integration.docker_command import LABEL, a_name, docker, docker_json, make_image, remove_image

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.docker import tidying
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.errors import EngineRejected

Tag = Callable[..., str]


@pytest.fixture
def tagged(docker_world: DockerWorld) -> Iterator[Tag]:
    """Makes images that go with the test: the example image with these Dockerfile instructions on top."""
    tags: list[str] = []

    def make(*changes: str) -> str:
        tags.append(f"{a_name('image')}:latest")
        make_image(tags[-1], *changes)
        return tags[-1]

    yield make
    for tag in tags:
        remove_image(tag)


async def running(world: DockerWorld, engine: DockerEngine, pool: str) -> Machine:
    """A machine of this pool, which serves. From now on this is the engine of that world."""
    world.engine = engine
    machine = await world.machine(pool=pool)
    await engine.create(machine)
    await world.serves(machine)
    return machine


def fetches(one: Machine, address: str) -> bool:
    """Whether a program in the first container gets an answer from there."""
    fetch = f"busybox timeout 2 wget -q -O - http://{address}/index.html"
    return not docker("exec", one.id, "sh", "-c", fetch, check=False).failed


def kept_apart(one: Machine, address: str) -> bool:
    """Whether no answer comes from there, but in a moment that is not ours.

    While Docker 20.10 makes any network on this computer, it takes its jump to the rules between networks away and puts it
    back, some milliseconds later. So an answer counts where it comes again.
    """
    return not all(fetches(one, address) for _ in range(3))


def address_of(world: DockerWorld, machine: Machine) -> str:
    (network,) = world.inspect(machine)["NetworkSettings"]["Networks"].values()
    return f"{network['IPAddress']}:9092"


async def test_machines_of_two_pools_run_beside_each_other_as_their_pools_say(
    docker_world: DockerWorld, tagged: Tag
) -> None:
    """Image, environment, limits, way out, and how they show that they are ready: seen from inside."""
    speechless = tagged('ENTRYPOINT ["nc", "-ll", "-p", "9092", "-e", "sleep", "60"]', "ENV OF_IMAGE=two")
    pools = {
        DEFAULT_POOL: docker_world.options(env={"WHO": "default"}),
        "two": docker_world.options(
            image=speechless, env={"WHO": "two"}, ready="tcp", outbound="host", pids_limit=77, cpus=0.5
        ),
    }
    engine = await docker_world.open_pools(pools)
    plain, two = [await running(docker_world, engine, pool) for pool in pools]
    said = [docker("exec", one.id, "sh", "-c", "echo $WHO $OF_IMAGE").out for one in (plain, two)]
    assert said == ["default", "two two"]
    configs = [docker_world.inspect(one)["HostConfig"] for one in (plain, two)]
    assert [config["NanoCpus"] for config in configs] == [0, 500_000_000]
    assert [config["PidsLimit"] or 0 for config in configs][1] == 77
    assert plain.template != two.template
    listed = (await engine.list()).instances
    assert {listed[one.id].pool for one in (plain, two)} == set(pools)
    if not docker_world.dialect.isolates_by_network:
        assert [config["NetworkMode"].removeprefix(f"{LABEL}-{docker_world.owner}") for config in configs] == [
            "",
            "-host",
        ]
    assert kept_apart(plain, address_of(docker_world, two))
    assert kept_apart(two, address_of(docker_world, plain))


async def test_pools_with_the_same_network_options_share_a_network_on_which_workers_stay_apart(
    docker_world: DockerWorld,
) -> None:
    pools = {DEFAULT_POOL: docker_world.options(), "two": docker_world.options(env={"C": "d"})}
    engine = await docker_world.open_pools(pools)
    one, other = [await running(docker_world, engine, pool) for pool in pools]
    if not docker_world.dialect.isolates_by_network:
        networks = [set(docker_world.inspect(it)["NetworkSettings"]["Networks"]) for it in (one, other)]
        assert networks == [{docker_world.network_of(one)}] * 2
    assert kept_apart(one, address_of(docker_world, other))


async def test_leave_to_reach_each_other_is_none_to_reach_another_pool(docker_world: DockerWorld) -> None:
    """And all networks go at the end."""
    shared = docker_world.options(insecure_shared_network=True)
    engine = await docker_world.open_pools({DEFAULT_POOL: docker_world.options(), "two": shared, "three": shared})
    two, also_two, three, plain = [
        await running(docker_world, engine, pool) for pool in ("two", "two", "three", DEFAULT_POOL)
    ]
    assert fetches(two, address_of(docker_world, also_two))
    for stranger in (three, plain):
        assert kept_apart(two, address_of(docker_world, stranger))
        assert kept_apart(stranger, address_of(docker_world, two))
    for machine in (two, also_two, three, plain):
        await engine.destroy(machine.id)
    await engine.remove_network()
    assert not docker("network", "ls", "-q", "--filter", f"label={LABEL}.owner={docker_world.owner}").lines


async def test_a_network_goes_when_neither_a_pool_nor_a_machine_needs_it(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine of a retired pool keeps its network, also while it does not run. Our mark on the engine stays."""
    monkeypatch.setattr(tidying, "TIDY_EVERY_S", 0.1)
    left = {DEFAULT_POOL: docker_world.options()}
    shared = docker_world.options(insecure_shared_network=True)
    engine = await docker_world.open_pools({**left, "idle": shared, "held": shared})
    machines = {pool: await running(docker_world, engine, pool) for pool in (DEFAULT_POOL, "idle", "held")}
    marks = {f"{LABEL}-{docker_world.owner}"}
    idle, held = [{f"{LABEL}-{docker_world.owner}-shared-{pool}"} for pool in ("idle", "held")]
    assert await are_networks(docker_world, marks | idle | held)
    async with watching(engine):
        engine.take_options(left)
        await engine.destroy(machines["idle"].id)
        await soon(lambda: are_networks(docker_world, marks | held), "the network of the idle machine is gone")
        docker_world.kill(machines["held"])
        await asyncio.sleep(0.5)
        await engine.restart(machines["held"].id)
        await docker_world.serves(machines["held"])
        assert await are_networks(docker_world, marks | held)
        await engine.destroy(machines["held"].id)
        await soon(lambda: are_networks(docker_world, marks), "the last network but the mark is gone")
        await engine.destroy(machines[DEFAULT_POOL].id)
        engine.take_options({DEFAULT_POOL: docker_world.options(network="bridge")})
        await asyncio.sleep(0.5)
        assert await are_networks(docker_world, marks), "what is left is our mark"
    assert (await engine.identity()).marked


def networks_of(world: DockerWorld) -> set[str]:
    label = f"label={LABEL}.owner={world.owner}"
    return set(docker("network", "ls", "--format", "{{.Name}}", "--filter", label).lines)


async def are_networks(world: DockerWorld, names: set[str]) -> bool:
    """Whether these are all that workers share, or are our mark."""
    return {name for name in networks_of(world) if name.startswith(LABEL)} == names


@asynccontextmanager
async def watching(engine: DockerEngine) -> AsyncIterator[None]:
    """As the service does all the time."""

    async def watch() -> None:
        async for _ in engine.watch():
            pass

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("how", ["reload", "restart"])
async def test_a_machine_of_a_pool_that_is_gone_goes_on_in_every_respect(
    docker_world: DockerWorld, tagged: Tag, how: str
) -> None:
    """After a reload in this process, and in a process that never knew its pool."""
    speechless = tagged('ENTRYPOINT ["nc", "-ll", "-p", "9092", "-e", "sleep", "60"]', "ENV OF_IMAGE=two")
    of_gone = docker_world.options(image=speechless, env={"TOLD": "a-secret-value"}, ready="tcp", outbound="host")
    left = {DEFAULT_POOL: docker_world.options()}
    engine = await docker_world.open_pools({**left, "gone": of_gone})
    machine = await running(docker_world, engine, "gone")
    if how == "reload":
        assert engine.take_options(left) == frozenset()
    else:
        engine = docker_world.engine = await docker_world.open_pools(left)
    assert (await engine.list()).instances[machine.id].pool == "gone"
    assert await docker_world.probe(machine) is None, "over HTTP it never answers"
    docker("exec", machine.id, "sh", "-c", "echo it is a-secret-value, OF_IMAGE is two >/proc/1/fd/1")

    async def is_hidden() -> bool:
        return "it is $TOLD, OF_IMAGE is two" in await engine.last_lines(machine.id, 10)

    await soon(is_hidden, "the line stands in the log, where the engine writes it when it gets to it")
    assert (await engine.environment(machine.id))["TOLD"] == "a-secret-value"
    done = await engine.exec(machine.id, ["sh", "-c", "echo kept > /srv/files/note; echo $TOLD"])
    assert done.stdout == b"a-secret-value\n"
    docker_world.kill(machine)
    await engine.restart(machine.id)
    await docker_world.serves(machine)
    assert b"kept" in b"".join([piece async for piece in engine.read_files(machine.id, "/srv/files/note")])
    await engine.stop(machine.id, 0)
    assert await engine.destroy(machine.id)
    assert not docker_world.exists(machine)
    with pytest.raises(EngineRejected, match="no pool gone"):
        await engine.template("gone")


async def test_a_restart_makes_the_network_of_a_pool_that_is_gone_again(docker_world: DockerWorld) -> None:
    """With the way out that the machine was made with."""
    closed = docker_world.options(outbound="host")
    engine = await docker_world.open_pools({DEFAULT_POOL: docker_world.options(), "gone": closed})
    machine = await running(docker_world, engine, "gone")
    (name,) = docker_world.inspect(machine)["NetworkSettings"]["Networks"]
    docker_world.kill(machine)
    docker("network", "rm", name, check=not docker_world.dialect.isolates_by_network)
    engine = docker_world.engine = await docker_world.open_pools({DEFAULT_POOL: docker_world.options()})
    await engine.restart(machine.id)
    await docker_world.serves(machine)
    if not docker_world.dialect.isolates_by_network:
        made = docker_json("network", "inspect", name)
        assert made["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"


async def test_a_container_of_an_older_version_is_asked_as_one_of_the_default_pool(docker_world: DockerWorld) -> None:
    """It has no label that says how it shows that it is ready."""
    machine = replace(await docker_world.machine(), pool="gone")
    docker_world.put_running(machine, docker_world.owner)
    await docker_world.serves(machine)
    assert f"{LABEL}.ready" not in docker_world.inspect(machine)["Config"]["Labels"]


async def test_a_missing_image_of_one_pool_keeps_no_other_from_its_machines(docker_world: DockerWorld) -> None:
    """Also while it is being pulled."""
    pools = {DEFAULT_POOL: docker_world.options(), "bad": DockerOptions("127.0.0.1:1/missing:v1")}
    engine = await docker_world.open_pools(pools)
    assert await engine.template("bad", fetch=False) == ""
    bad, good = await asyncio.gather(engine.template("bad"), engine.template(DEFAULT_POOL), return_exceptions=True)
    assert isinstance(bad, EngineRejected)
    assert bad.message.startswith("In pool bad: The image 127.0.0.1:1/missing:v1 is not here and cannot be pulled")
    assert isinstance(good, str)
    assert engine.progress("bad") == engine.progress(DEFAULT_POOL) == ""


async def test_new_options_of_a_pool_make_new_machines_and_leave_those_that_are_there(
    docker_world: DockerWorld,
) -> None:
    engine = await docker_world.open_pools({DEFAULT_POOL: docker_world.options(), "two": docker_world.options()})
    old = await running(docker_world, engine, "two")
    default = await engine.template(DEFAULT_POOL)
    assert old.template == default, "the same options are the same template"
    assert engine.take_options({DEFAULT_POOL: docker_world.options(), "two": docker_world.options(pids_limit=66)}) == {
        "two"
    }
    new = await running(docker_world, engine, "two")
    assert await engine.template(DEFAULT_POOL) == default != new.template
    assert [docker_world.inspect(one)["HostConfig"]["PidsLimit"] or 0 for one in (old, new)][1] == 66
    assert await docker_world.probe(old) is None
