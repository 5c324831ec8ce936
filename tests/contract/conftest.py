"""Lets the tests of this folder be coroutines: each runs on an event loop of its own, shared with its fixtures."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest
from tests.contract.kubernetes_world import KubernetesWorld
from tests.contract.worlds import DockerWorld, MemoryWorld, World
from tests.integration.waiting import PortBlock

ON_CLUSTER = pytest.param("kubernetes", marks=pytest.mark.cluster)
"""Only `make test-cluster` runs these, on whatever KUBECONFIG names."""
AT_NODES = pytest.param("kubernetes-at-nodes", marks=pytest.mark.cluster)
"""The same, with workers that are reached at ports of their nodes."""


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def ports() -> Iterator[PortBlock]:
    block = PortBlock.claim()
    yield block
    block.close()


@pytest.fixture
def docker_world(runner: asyncio.Runner, ports: PortBlock, example_image: str) -> Iterator[DockerWorld]:
    """A Docker engine for an owner of its own, who is gone afterwards with all that he made."""
    world = DockerWorld(ports)
    try:
        runner.run(world.open())
        yield world
    finally:
        runner.run(world.close())


@pytest.fixture(params=["memory", "memory-that-gives-addresses", "docker", ON_CLUSTER, AT_NODES])
def world(request: pytest.FixtureRequest, runner: asyncio.Runner, ports: PortBlock) -> Iterator[World]:
    """Every engine in turn."""
    yield from a_world(request, runner, ports)


@pytest.fixture(params=["memory", "memory-that-gives-addresses", "docker"])
def restarting_world(request: pytest.FixtureRequest, runner: asyncio.Runner, ports: PortBlock) -> Iterator[World]:
    """Every engine that starts an instance again in place, or finishes a create in two steps."""
    yield from a_world(request, runner, ports)


@pytest.fixture(params=["docker", ON_CLUSTER])
def real_world(request: pytest.FixtureRequest, runner: asyncio.Runner, ports: PortBlock) -> Iterator[World]:
    """Every engine whose instances have files, and programs that use something."""
    yield from a_world(request, runner, ports)


@pytest.fixture(params=["memory", "docker"])
def planned_world(request: pytest.FixtureRequest, runner: asyncio.Runner, ports: PortBlock) -> Iterator[World]:
    """Every engine on which we plan the host ports."""
    yield from a_world(request, runner, ports)


def a_world(request: pytest.FixtureRequest, runner: asyncio.Runner, ports: PortBlock) -> Iterator[World]:
    if request.param == "docker":
        yield request.getfixturevalue("docker_world")
        return
    if request.param.startswith("kubernetes"):
        yield from cluster_world(runner, ports, at_nodes=request.param == "kubernetes-at-nodes")
        return
    memory = MemoryWorld(ports, plans_ports=request.param == "memory")
    runner.run(memory.open())
    yield memory
    runner.run(memory.close())


def cluster_world(runner: asyncio.Runner, ports: PortBlock, *, at_nodes: bool = False) -> Iterator[KubernetesWorld]:
    """An engine in a namespace of its own, which is gone afterwards."""
    world = KubernetesWorld(ports, at_nodes=at_nodes)
    try:
        runner.run(world.open())
        yield world
    finally:
        runner.run(world.close())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs a cluster is left out unless it is asked for by its mark."""
    if "cluster" not in str(config.getoption("markexpr")):
        items[:] = [item for item in items if item.get_closest_marker("cluster") is None]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    runner = pyfuncitem.funcargs["runner"]
    assert isinstance(runner, asyncio.Runner)
    runner.run(pyfuncitem.obj(**arguments))
    return True
