"""Refusals of a real Docker that are neither the worker's fault nor its image's: told apart, each with its own sentence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from tests.contract.worlds import DockerWorld
from tests.integration.docker_command import a_name, docker, docker_json

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.errors import EngineObstructed

NOWHERE = "192.0.2.1"
"""An address for documentation, which no host has (RFC 5737)."""


@pytest.fixture
def tiny_network() -> Iterator[str]:
    """One with room for a single container: four addresses, of which three are the network's own and its gateway's."""
    name = a_name("tiny")
    docker("network", "create", "--subnet", "198.18.77.0/30", name)
    yield name
    docker("network", "rm", name)


async def test_a_network_without_an_address_is_no_fault_of_the_image(
    docker_world: DockerWorld, tiny_network: str
) -> None:
    engine = await docker_world.open_engine(network=tiny_network)
    template = await engine.template(DEFAULT_POOL)
    first, second = [replace(await docker_world.machine(), template=template) for _ in range(2)]
    try:
        await engine.create(first)
        with pytest.raises(EngineObstructed, match=r"network has no address left\. .* --network") as refused:
            await engine.create(second)
        assert refused.value.kind == "addresses"
        assert second.id not in (await engine.list()).instances, "nothing is left behind"
    finally:
        await engine.destroy(first.id)


async def test_an_address_that_the_host_lost_is_left_out_of_the_next_template(docker_world: DockerWorld) -> None:
    """As after IPv6 was switched off: the create says why, and the next ones do without."""
    engine = await docker_world.open_engine(
        publish_addresses=("127.0.0.1", NOWHERE), host_addresses=lambda: ("127.0.0.1",)
    )
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    with pytest.raises(EngineObstructed, match="does not have the address on which") as refused:
        await engine.create(machine)
    assert refused.value.kind == "address"
    template = await engine.template(DEFAULT_POOL)
    assert template != machine.template
    await engine.create(replace(machine, template=template))
    bindings = docker_json("inspect", machine.id)["HostConfig"]["PortBindings"]
    assert [each["HostIp"] for ports in bindings.values() for each in ports] == ["127.0.0.1"]


async def test_an_address_that_the_operator_named_is_not_replaced(docker_world: DockerWorld) -> None:
    engine = await docker_world.open_engine(publish_addresses=(NOWHERE,))
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    with pytest.raises(EngineObstructed):
        await engine.create(machine)
    assert await engine.template(DEFAULT_POOL) == machine.template


async def test_a_restart_stops_what_runs_and_keeps_its_files(docker_world: DockerWorld) -> None:
    """Its image says how it is stopped; without `stop_first` one that runs is left alone."""
    machine = await docker_world.running()
    docker("exec", machine.id, "sh", "-c", "echo kept >/tmp/work")
    begun = docker_world.inspect(machine)["State"]["StartedAt"]
    await docker_world.engine.restart(machine.id)
    assert docker_world.inspect(machine)["State"]["StartedAt"] == begun
    await docker_world.engine.restart(machine.id, stop_first=True)
    assert docker_world.inspect(machine)["State"]["StartedAt"] > begun
    await docker_world.serves(machine)
    assert docker("exec", machine.id, "cat", "/tmp/work").out == "kept"


async def test_a_restart_starts_what_has_ended(docker_world: DockerWorld) -> None:
    machine = await docker_world.running()
    docker("kill", machine.id)
    await docker_world.engine.restart(machine.id, stop_first=True)
    assert await docker_world.status(machine) is Status.RUNNING
