"""Workers with several ports by name: each is published, listed by its name, and given up for another if it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from msgspec.structs import replace
from tests.contract.worlds import DockerWorld, MemoryWorld, listening_on
from tests.integration.docker_command import LABEL, a_name, docker, make_image, remove_image
from tests.integration.waiting import PortBlock

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.errors import EngineRejected, PortTaken

PORTS = (("http", 9092), ("hmr", 24678))
TWO_SERVERS = (
    'ENTRYPOINT ["sh", "-c", "mkdir -p /hmr && echo hmr >/hmr/index.html && httpd -p 24678 -h /hmr; exec /bin/worker"]'
)


@pytest.fixture(scope="module")
def two_ports(example_image: str) -> Iterator[str]:
    """An image whose workers serve on two ports."""
    tag = f"{a_name('image')}:latest"
    make_image(tag, TWO_SERVERS, "EXPOSE 24678")
    yield tag
    remove_image(tag)


async def recorded(world: DockerWorld, engine: DockerEngine) -> Machine:
    """A machine with two ports, only on record. From now on this is the engine of that world."""
    world.engine = engine
    machine = await world.machine()
    assert machine.port is not None
    return replace(machine, ports=(("http", machine.port), ("hmr", world.port())))


def page(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
        return str(reply.read().decode())


async def test_each_port_is_published_and_listed_by_its_name(docker_world: DockerWorld, two_ports: str) -> None:
    engine = await docker_world.open_engine(two_ports, ports=PORTS)
    machine = await recorded(docker_world, engine)
    await engine.create(machine)
    await docker_world.serves(machine)
    first, second = machine.host_ports
    assert "Hello from" in page(first)
    assert page(second) == "hmr\n"
    instance = await docker_world.instance(machine)
    assert instance is not None
    assert (instance.port, instance.ports) == (machine.port, machine.ports)
    shown = docker_world.inspect(machine)
    assert set(shown["Config"]["ExposedPorts"]) == {"9092/tcp", "24678/tcp"}
    assert shown["Config"]["Labels"][f"{LABEL}.ports"] == "http=9092 hmr=24678"

    docker_world.kill(machine)
    instance = await docker_world.instance(machine)
    assert instance is not None
    assert instance.status is Status.EXITED
    assert instance.ports in {(), machine.ports}, "Podman goes on to list them"
    await engine.restart(machine.id)
    await docker_world.serves(machine)
    assert page(second) == "hmr\n"


async def test_the_port_that_is_named_for_it_is_asked_whether_the_worker_is_ready(
    docker_world: DockerWorld, example_image: str
) -> None:
    """The other one may answer as it likes. Settings that name another port do not change a machine that is there."""
    engine = await docker_world.open_engine(example_image, ports=PORTS, ready_port="hmr")
    machine = await recorded(docker_world, engine)
    await engine.create(machine)
    await docker_world.serves(replace(machine, port=machine.port, ports=()))
    missing = await docker_world.probe(machine)
    assert missing is not None
    assert missing.endswith("does the worker listen on 0.0.0.0:24678?")
    docker("exec", machine.id, "httpd", "-p", "24678")
    await docker_world.serves(machine)

    later = await docker_world.open_engine(example_image, ports=(("http", 9092), ("ws", 24678)), ready_port="ws")
    docker("exec", machine.id, "sh", "-c", "kill $(ps | awk '/[h]ttpd -p 24678/ { print $1 }')")
    await later.list()
    assert await later.probe(machine) is not None, "its label says that it is asked at hmr"


async def test_a_port_that_is_taken_is_named_and_leaves_nothing_behind(
    docker_world: DockerWorld, two_ports: str
) -> None:
    """By another process, or by another container: then the machine keeps its other port."""
    engine = await docker_world.open_engine(two_ports, ports=PORTS)
    machine = await recorded(docker_world, engine)
    first, second = machine.host_ports
    for taken in (second, first):
        with listening_on(taken):
            with pytest.raises(PortTaken) as refused:
                await engine.create(machine)
            assert refused.value.port == taken
            assert await docker_world.instance(machine) is None
    await engine.create(machine)
    other = replace(await recorded(docker_world, engine))
    thief = replace(other, ports=(*other.ports[:1], ("hmr", second)))
    with pytest.raises(PortTaken) as refused:
        await engine.create(thief)
    assert refused.value.port == second
    await engine.create(other)
    await docker_world.serves(other)


async def test_a_container_on_other_ports_than_wanted_is_made_anew(docker_world: DockerWorld, two_ports: str) -> None:
    """A create that landed late: the machine has moved to another second port since."""
    engine = await docker_world.open_engine(two_ports, ports=PORTS)
    machine = await recorded(docker_world, engine)
    await engine.create(machine)
    native = docker_world.inspect(machine)["Id"]
    await engine.create(machine)
    assert docker_world.inspect(machine)["Id"] == native, "safe to repeat"
    moved = replace(machine, ports=(*machine.ports[:1], ("hmr", docker_world.port())))
    await engine.create(moved)
    assert docker_world.inspect(machine)["Id"] != native
    instance = await docker_world.instance(machine)
    assert instance is not None
    assert instance.ports == moved.ports


async def test_a_machine_with_names_that_the_settings_do_not_have_any_more_is_not_created(
    docker_world: DockerWorld, two_ports: str
) -> None:
    engine = await docker_world.open_engine(two_ports, ports=PORTS)
    machine = await recorded(docker_world, engine)
    with pytest.raises(EngineRejected, match="other names than it was recorded with"):
        await engine.create(replace(machine, ports=()))
    assert await docker_world.instance(machine) is None


@pytest.fixture
def memory_world(runner: asyncio.Runner, ports: PortBlock) -> Iterator[MemoryWorld]:
    world = MemoryWorld(ports)
    runner.run(world.open())
    yield world
    runner.run(world.close())


async def test_the_memory_engine_serves_on_each_port(memory_world: MemoryWorld) -> None:
    machine = await memory_world.machine()
    assert machine.port is not None
    second = memory_world.port()
    machine = replace(machine, ports=(("http", machine.port), ("hmr", second)))
    with listening_on(second):
        with pytest.raises(PortTaken) as refused:
            await memory_world.engine.create(machine)
        assert refused.value.port == second
    await memory_world.engine.create(machine)
    for port in machine.host_ports:
        assert await memory_world.probe(replace(machine, port=port, ports=())) is None
    instance = await memory_world.instance(machine)
    assert instance is not None
    assert instance.ports == machine.ports
    moved = replace(machine, ports=(*machine.ports[:1], ("hmr", memory_world.port())))
    await memory_world.engine.create(moved)
    assert await memory_world.probe(replace(machine, port=second, ports=())) is not None
    memory_world.kill(moved)
    await memory_world.engine.restart(moved.id)
    assert await memory_world.probe(replace(moved, port=moved.host_ports[1], ports=())) is None
