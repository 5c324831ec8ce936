"""What containers use, as Docker measures it."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.worlds import DockerWorld, soon
from tests.integration.docker_command import docker

from worker_orchestrator.engines.extras import Stats, Usage
from worker_orchestrator.engines.samples import Sample, Samples, fits
from worker_orchestrator.errors import EngineUnavailable, NotRunning

pytestmark = pytest.mark.promise("stats")

NEVER_WAS = "worker-1700000000000-neverwas1"
MIB = 1024 * 1024


async def measured(world: DockerWorld, machine_id: str) -> Usage:
    assert isinstance(world.engine, Stats)
    return await world.engine.stats(machine_id)


async def test_a_container_is_measured_at_the_first_question(docker_world: DockerWorld) -> None:
    """All of it: its share of the processor too."""
    machine = await docker_world.running()
    usage = await measured(docker_world, machine.id)
    assert usage.cpu_percent is not None
    assert 0 <= usage.cpu_percent < 1000
    assert usage.cpu_seconds is not None
    assert 0 < usage.cpu_seconds < 60
    assert usage.memory_bytes is not None
    assert 0 < usage.memory_bytes < 100 * MIB
    assert (usage.processes or 0) >= 3
    assert usage.memory_limit_bytes is not None
    assert usage.received_bytes is not None
    assert usage.sent_bytes is not None


async def test_who_is_busy_is_seen_to_be(docker_world: DockerWorld) -> None:
    """By the share since the question before, and by the seconds."""
    machine = await docker_world.running()
    quiet = await measured(docker_world, machine.id)
    docker("exec", "-d", machine.id, "sh", "-c", "while :; do :; done")

    async def is_busy() -> bool:
        usage = await measured(docker_world, machine.id)
        return (usage.cpu_percent or 0) > 10 and (usage.cpu_seconds or 0) > (quiet.cpu_seconds or 0)

    await soon(is_busy, "a loop uses the processor")


async def test_a_recent_question_saves_a_sample(docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks again asks Docker once."""
    machine = await docker_world.running()
    measure = docker_world.engine._measure
    asked: list[str] = []

    async def counting(machine_id: str, native_id: str) -> object:
        asked.append(native_id)
        return await measure(machine_id, native_id)

    monkeypatch.setattr(docker_world.engine, "_measure", counting)
    await measured(docker_world, machine.id)
    assert len(asked) == 2

    async def asks_once() -> bool:
        await asyncio.sleep(0.15)  # samples that are closer are not compared: Docker 26 and newer answer at once
        asked.clear()
        assert (await measured(docker_world, machine.id)).cpu_percent is not None
        return len(asked) == 1

    await soon(asks_once, "one sample is enough")


def test_a_sample_is_compared_with_one_before_of_the_same_life() -> None:
    """Not with one of more than a minute ago, nor with one so close that the clock counts more, nor with a larger one."""
    now = Sample(taken_s=1000.0, cpu_s=50.0)
    assert fits(Sample(995.0, 50.0), now)
    assert fits(Sample(940.0, 0.0), now)
    for before in (None, Sample(939.0, 50.0), Sample(999.95, 50.0), Sample(1001.0, 50.0), Sample(995.0, 51.0)):
        assert not fits(before, now)


def test_only_so_many_samples_are_kept() -> None:
    """Containers come and go."""
    samples = Samples()
    for number in range(3000):
        samples.remember(str(number), Sample(float(number), 0.0))
    assert len(samples) == 1024
    assert samples.of("2999") == Sample(2999.0, 0.0)


async def test_memory_is_told_without_the_file_cache(docker_world: DockerWorld) -> None:
    """Which goes as soon as somebody needs the room."""
    machine = await docker_world.running()
    docker("exec", machine.id, "dd", "if=/dev/zero", "of=/srv/files/big", "bs=1M", "count=64")
    assert ((await measured(docker_world, machine.id)).memory_bytes or 0) < 32 * MIB


async def test_what_goes_over_the_network_is_counted(docker_world: DockerWorld) -> None:
    """Both ways."""
    machine = await docker_world.running()
    before = await measured(docker_world, machine.id)
    await docker_world.serves(machine)

    async def is_counted() -> bool:
        usage = await measured(docker_world, machine.id)
        return (usage.received_bytes or 0) > (before.received_bytes or 0) and (usage.sent_bytes or 0) > 0

    await soon(is_counted, "a request is counted")


async def test_only_what_runs_and_is_ours_is_measured(docker_world: DockerWorld) -> None:
    """Whatever stands under its name."""
    dead, theirs = await docker_world.running(), await docker_world.machine()
    docker_world.kill(dead)
    docker_world.put_running(theirs, docker_world.somebody_else)
    for machine_id in (NEVER_WAS, dead.id, theirs.id):
        with pytest.raises(NotRunning, match=machine_id):
            await measured(docker_world, machine_id)


async def test_an_engine_that_cannot_be_reached_measures_nothing(docker_world: DockerWorld) -> None:
    """It may be asked again later."""
    machine = await docker_world.running()
    async with docker_world.unreachable() as engine:
        assert isinstance(engine, Stats)
        with pytest.raises(EngineUnavailable):
            await engine.stats(machine.id)
