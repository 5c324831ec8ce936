"""Workers that are reached at ports of their nodes: which port each pod gets, and where a listing says that it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.unit.engines.kubernetes.fake_server import a_pod, pods, served, status

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.engines.kubernetes.listing import instance_of
from worker_orchestrator.errors import EngineObstructed, EngineUnavailable

PORTS = range(20_000, 20_004)
OPTIONS = DockerOptions("my/worker:1", worker_port=80, pids_limit=2048, log_limit=30 * 1024**2)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def at_node(name: str, host_port: int, **more: Any) -> dict[str, Any]:
    """A pod of ours that is reached at its node."""
    pod = a_pod(name, **more)
    pod["spec"]["containers"][0]["ports"][0]["hostPort"] = host_port
    pod["status"]["hostIP"] = "192.168.0.7"
    return pod


class Server:
    """Keeps the pods that are posted, as long as it is not told that something is wrong."""

    def __init__(self, *items: dict[str, Any]) -> None:
        self.items, self.created, self.refuses = list(items), list[int](), False
        self.tried = list[int]()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/pods"):
            return web.json_response({"metadata": {"uid": "u"}})
        if request.method == "GET":
            return status(503) if self.refuses else pods(*self.items)
        pod = await request.json()
        port = pod["spec"]["containers"][0]["ports"][0]["hostPort"]
        if "dryRun" in request.query:
            self.tried.append(port)
        else:
            self.created.append(port)
            self.items.append(at_node(pod["metadata"]["name"], port))
        return web.json_response(pod)


async def make(engine: KubernetesEngine, count: int, begin: int = 0) -> None:
    template = await engine.template("default")
    for number in range(begin, begin + count):
        await engine.create(
            Machine(f"worker-170000000000{number}-aaaaaaaaa", "default", template, State.STARTING, None)
        )


def test_a_new_service_gives_no_port_that_a_pod_of_ours_has() -> None:
    """It looks at them before the first create, if nobody has done so yet; a listing that failed proves nothing."""
    server = Server(*(at_node(f"w{port}", port) for port in PORTS[:-1]))

    async def work() -> None:
        async with served(server.answer) as client:
            engine = KubernetesEngine(client, "me", {"default": OPTIONS}, PORTS)
            server.refuses = True
            with pytest.raises(EngineUnavailable):
                await make(engine, 1)
            assert server.created == []
            server.refuses = False
            await make(engine, 1)
            assert server.created == [PORTS[-1]]
            with pytest.raises(EngineObstructed, match="raise --last-port"):
                await make(engine, 1, begin=1)
            server.items.pop(0)
            await engine.list()
            await make(engine, 1, begin=1)
            assert server.created == [PORTS[-1], PORTS[0]]

    run(work())


def test_a_namespace_that_allows_no_ports_of_nodes_says_so_at_the_start() -> None:
    """The server is asked about a pod that has one."""
    server = Server()

    async def work() -> None:
        async with served(server.answer) as client:
            await KubernetesEngine(client, "me", {"default": OPTIONS}, PORTS).template("default")

    run(work())
    assert server.tried == [PORTS[0]]


def test_where_a_worker_is_reached_is_read_from_its_pod() -> None:
    """Whatever the setting is now: machines of both kinds may run beside each other."""
    pod = at_node("w1", 20_001)
    shown = instance_of(pod)
    assert (shown.address, shown.host, shown.port) == ("192.168.0.7", "192.168.0.7", 20_001)
    shown = instance_of(a_pod("w1"))
    assert (shown.address, shown.host, shown.port) == ("10.0.0.1", "10.0.0.1", 80)
    ended = instance_of(at_node("w1", 20_001, phase="Pending"))
    assert (ended.status, ended.address, ended.port) == (Status.PENDING, None, None)


def test_a_port_that_another_pod_has_on_every_node_is_no_room() -> None:
    """As the scheduler says it, or the kubelet if the scheduler was late."""
    said = "0/3 nodes are available: 3 node(s) didn't have free ports for the requested pod ports."
    pod = at_node("w1", 20_001, phase="Pending")
    pod["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    ]
    assert said in instance_of(pod).unplaced
    pod["status"] = {"phase": "Failed", "reason": "NodePorts", "message": "Pod Predicate NodePorts failed"}
    assert "(NodePorts)" in instance_of(pod).unplaced


def test_a_worker_that_says_nothing_is_asked_about_where_it_should_be_reached() -> None:
    machine = Machine("worker-1700000000000-aaaaaaaaa", "default", "t", State.STARTING, None)

    async def work() -> None:
        async with silent_worker() as port, served(Server().answer) as client:
            pod = at_node(machine.id, port)
            pod["status"]["hostIP"] = "127.0.0.1"
            for ports, what in ((PORTS, "ports of nodes"), (None, "addresses of pods")):
                engine = KubernetesEngine(client, "me", {"default": OPTIONS}, ports)
                missing = await engine.probe(machine, instance_of(pod), 0.05)
                assert missing is not None
                assert missing.endswith(f" of 127.0.0.1; are {what} reached from here?")

    run(work())


@asynccontextmanager
async def silent_worker() -> AsyncIterator[int]:
    """Its port takes connections, and that is all."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]
