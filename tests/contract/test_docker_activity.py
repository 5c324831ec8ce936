"""Whether a container is used, as this computer's kernel counts it and as Docker tells it: both say the same."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from msgspec.structs import replace
from tests.contract.worlds import DockerWorld, soon
from tests.integration.calling import call
from tests.integration.docker_command import docker

from worker_orchestrator.core.activity import ActivityRules, Counters, shows_activity
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.docker import activity as docker_activity
from worker_orchestrator.engines.docker.activity import DockerActivity
from worker_orchestrator.engines.extras import Activity
from worker_orchestrator.errors import EngineUnavailable, NotRunning

pytestmark = pytest.mark.promise("deadline")

NEVER_WAS = "worker-1700000000000-neverwas1"
RULES = ActivityRules(cpu=0.05)
NOISE_BYTES = 2000
"""What a network says to a container at its start, and for each neighbour, with the headers of Ethernet."""


@pytest.fixture(params=["by the kernel", "by Docker"])
def asks_docker(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "by Docker")


@pytest.fixture
def seen(docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch, *, asks_docker: bool) -> DockerWorld:
    """A world whose processes are visible from here, or not, as those on another computer are."""
    if asks_docker:
        monkeypatch.setattr(docker_world.engine._processes, "living", lambda _container: None)
    return docker_world


async def followed(world: DockerWorld) -> Machine:
    """A machine that serves, and whose process the engine has looked up, as far as it is visible."""
    machine = await world.running()
    watch = world.engine.watch()
    await anext(watch)
    await world.engine.list()
    container = world.engine._container_of(machine.id)

    async def is_looked_up() -> bool:
        return container in world.engine._processes or container in world.engine._unseen

    await soon(is_looked_up, "its process is looked up")
    return machine


async def counted(world: DockerWorld, machine: Machine, *, cpu: bool = True) -> Counters:
    assert isinstance(world.engine, Activity)
    return await world.engine.counters(machine.id, cpu=cpu)


async def test_a_container_that_is_left_alone_is_not_used(seen: DockerWorld, *, asks_docker: bool) -> None:
    """The kernel's counters are without what a network says to all its containers, which Docker counts as well."""
    noise_bytes = NOISE_BYTES if asks_docker else RULES.traffic_min
    machine = await followed(seen)
    before = await counted(seen, machine)
    await asyncio.sleep(3)
    assert shows_activity(before, await counted(seen, machine), replace(RULES, traffic_min=noise_bytes)) is False


async def test_one_small_request_is_use(seen: DockerWorld) -> None:
    machine = await followed(seen)
    before = await counted(seen, machine, cpu=False)
    assert machine.port is not None
    assert (await asyncio.to_thread(call, machine.port, "GET", "/")).status == 200
    assert shows_activity(before, await counted(seen, machine, cpu=False), ActivityRules()) is True


async def test_work_is_use_where_that_counts(seen: DockerWorld) -> None:
    machine = await followed(seen)
    before = await counted(seen, machine)
    docker("exec", machine.id, "sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
    after = await counted(seen, machine)
    assert shows_activity(before, after, RULES) is True
    assert shows_activity(before, after, ActivityRules(traffic_min=NOISE_BYTES)) is False


async def test_a_container_that_was_started_again_was_used(seen: DockerWorld) -> None:
    """By the number of its process or, where only Docker is asked, by its counters, which begin anew."""
    machine = await followed(seen)
    for _ in range(20):
        await seen.probe(machine)
    before = await counted(seen, machine)
    await seen.engine.restart(machine.id, stop_first=True)
    await seen.serves(machine)

    async def is_seen() -> bool:
        return shows_activity(before, await counted(seen, machine), ActivityRules(traffic_min=10**9)) is True

    await soon(is_seen, "it counts as used")


async def test_only_what_runs_is_counted(seen: DockerWorld) -> None:
    machine = await followed(seen)
    seen.kill(machine)

    async def is_refused() -> bool:
        with pytest.raises(NotRunning):
            await counted(seen, machine)
        return True

    await soon(is_refused, "it is not counted any more")


async def test_the_kernel_and_docker_count_the_same_but_for_the_noise(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await followed(docker_world)
    if docker_world.engine._processes.living(docker_world.engine._container_of(machine.id)) is None:
        missing = "the processes of this engine are not visible from here"
        pytest.fail(missing, pytrace=False) if os.environ.get("CI") == "true" else pytest.skip(missing)
    mine = await counted(docker_world, machine)
    monkeypatch.setattr(docker_world.engine._processes, "living", lambda _container: None)
    theirs = await counted(docker_world, machine)
    assert mine.run
    assert not theirs.run
    for name in ("received_bytes", "sent_bytes"):
        assert 0 <= getattr(theirs, name) - getattr(mine, name) <= NOISE_BYTES
    assert mine.cpu_s == pytest.approx(theirs.cpu_s, abs=0.05)


async def test_the_kernel_counts_from_the_first_reading_after_a_start_on(docker_world: DockerWorld) -> None:
    """Also before a listing shows the container: counted by Docker first, it would look used at the second reading."""
    engine, machine = docker_world.engine, await docker_world.machine()
    watch = engine.watch()
    await anext(watch)
    await engine.create(machine)
    await docker_world.serves(machine)
    first = await counted(docker_world, machine)
    await engine.list()
    await asyncio.sleep(0.5)
    second = await counted(docker_world, machine)
    assert first.run == second.run
    assert shows_activity(first, second, RULES) is False


async def test_a_silent_connection_is_seen(seen: DockerWorld) -> None:
    """From inside, where the kernel's tables of this container are not to be had."""
    machine = await followed(seen)
    engine = seen.engine
    assert isinstance(engine, Activity)
    assert await engine.is_connected(machine.id) is False
    assert machine.port is not None

    async def is_connected() -> bool:
        return await engine.is_connected(machine.id) is True

    with socket.create_connection(("127.0.0.1", machine.port)):
        await soon(is_connected, "the connection is seen")

    async def has_ended() -> bool:
        return not await is_connected()

    await soon(has_ended, "it has ended")


async def test_where_nothing_can_look_inside_nobody_knows(
    seen: DockerWorld, monkeypatch: pytest.MonkeyPatch, *, asks_docker: bool
) -> None:
    machine = await followed(seen)
    monkeypatch.setattr(docker_activity, "_TABLES", ("no-such-program",))
    assert isinstance(seen.engine, DockerActivity)
    assert await seen.engine.is_connected(machine.id) is (None if asks_docker else False)


async def test_an_engine_that_cannot_be_reached_counts_nothing(docker_world: DockerWorld) -> None:
    machine = await docker_world.running()
    async with docker_world.unreachable() as engine:
        assert isinstance(engine, Activity)
        with pytest.raises(EngineUnavailable):
            await engine.counters(machine.id, cpu=False)
        with pytest.raises(EngineUnavailable):
            await engine.is_connected(machine.id)
