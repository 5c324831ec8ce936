"""A namespace of the cluster that KUBECONFIG names, and what others may do to its pods behind the engine's back."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from tests.contract.worlds import SAID, World, soon
from tests.integration.docker_command import a_name
from tests.integration.waiting import PortBlock

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.calls import Refusal
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access
from worker_orchestrator.settings.settings import DEFAULT_POOL

__all__ = ["NODE_PORTS", "KubernetesWorld"]

IMAGE: Final = os.environ.get("CLUSTER_IMAGE", "worker:1")
"""An image on the cluster's nodes, or that they can pull, with a shell, `httpd` and `/www`, such as busybox has."""
PORT: Final = 8080
_SERVES: Final = f"echo worker listens on {PORT}; trap 'exit 3' TERM; httpd -f -p {PORT} -h / & wait"
NODE_PORTS: Final = range(18_000, 19_000)
"""Of nodes: no Service has them, and no connection begins at one."""
_NOWHERE: Final = {"kubernetes.io/hostname": "no-such-node"}
_SHOWN_WITHIN_S: Final = 90.0
_T = TypeVar("_T")


class KubernetesWorld(World):
    """The real thing, with a namespace and an owner of its own."""

    engine: KubernetesEngine
    ends_at_once = False
    serves_within_s = _SHOWN_WITHIN_S

    def __init__(self, ports: PortBlock, *, at_nodes: bool = False) -> None:
        super().__init__(ports)
        self._at_nodes = at_nodes
        self.namespace = a_name("contract")
        self._env = {"A": "b"}
        self._more: list[KubernetesEngine] = []

    def options(self, **chosen: Any) -> DockerOptions:
        """Options of a pool, of which these are chosen."""
        command = {"spec": {"containers": [{"name": "worker", "command": ["sh", "-c", _SERVES]}]}}
        return DockerOptions(
            **{"image": IMAGE, "worker_port": PORT, "env": self._env, "pod_template": command, **chosen}
        )

    async def open(self) -> None:
        self.owner = a_name("owner")
        self.engine = self.open_engine()
        await self.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    def open_engine(self, server: str = "", of_nodes: range | None = None, **chosen: Any) -> KubernetesEngine:
        """One more engine of the same owner with one pool, closed with this world. `of_nodes`: the ports of nodes for it."""
        access = find_access(namespace=self.namespace)
        client = Client(replace(access, server=server) if server else access)
        host_ports = of_nodes or (NODE_PORTS if self._at_nodes else None)
        engine = KubernetesEngine(client, self.owner, {DEFAULT_POOL: self.options(**chosen)}, host_ports)
        self._more.append(engine)
        return engine

    async def close(self) -> None:
        await self.call("DELETE", self._pods(""), {"gracePeriodSeconds": 0}, [("propagationPolicy", "Background")])
        await self.call("DELETE", f"/api/v1/namespaces/{self.namespace}")
        for engine in self._more:
            await engine.aclose()

    async def call(self, method: str, path: str, body: Any = None, params: Any = ()) -> Any:
        """As `kubectl` does it."""
        return await self.engine._client.call(method, path, params, body)

    def _pods(self, name: str) -> str:
        return self.engine._client.pods(name)

    # what others do. These are plain functions, so each is done on an event loop of its own.

    def _apart(self, deed: Callable[[KubernetesEngine], Awaitable[_T]]) -> _T:
        """Do this beside the test's own loop, which waits for it."""
        results: list[Any] = []

        async def do() -> None:
            client = Client(find_access(namespace=self.namespace))
            host_ports = NODE_PORTS if self._at_nodes else None
            engine = KubernetesEngine(client, self.owner, {DEFAULT_POOL: self.options()}, host_ports)
            try:
                results.append(await deed(engine))
            except BaseException as error:  # noqa: BLE001 # it is raised where it was asked for
                results.append(error)
            finally:
                await engine.aclose()

        thread = threading.Thread(target=lambda: asyncio.run(do()))
        thread.start()
        thread.join()
        if isinstance(results[0], BaseException):
            raise results[0]
        done: _T = results[0]
        return done

    def kill(self, machine: Machine) -> None:
        async def deed(engine: KubernetesEngine) -> None:
            await engine.exec(machine.id, ["sh", "-c", "kill 1"])
            await _shown(engine, machine, lambda status: status is Status.EXITED)

        self._apart(deed)

    def remove(self, machine: Machine) -> None:
        async def deed(engine: KubernetesEngine) -> None:
            path, now = engine._client.pods(machine.id), {"gracePeriodSeconds": 0}
            await engine._client.call("DELETE", path, body=now)

        self._apart(deed)

    async def say(self, machine: Machine) -> None:
        await self.engine.exec(machine.id, ["sh", "-c", f"echo {SAID} >/proc/1/fd/1"])

    def put(self, machine: Machine, owner: str) -> None:
        """It is on no node, and never will be."""

        async def deed(engine: KubernetesEngine) -> None:
            await engine.template(DEFAULT_POOL)
            template = engine._templates[DEFAULT_POOL, machine.template]
            pod = template.pod(owner, machine)
            pod = {**pod, "spec": {**pod["spec"], "nodeSelector": _NOWHERE}}
            await engine._client.call("POST", engine._client.pods(), body=pod)
            deadline = time.monotonic() + _SHOWN_WITHIN_S
            while not (await engine.list()).instances[machine.id].unplaced:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

        self._apart(deed)

    def put_created(self, machine: Machine) -> None:
        raise AssertionError("a pod is made in one step")

    def rebuild(self) -> None:
        """An image cannot be asked, so it is another template when the settings are others."""
        self._env = {"A": "rebuilt"}
        self.engine.take_options({DEFAULT_POOL: self.options()})

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[Engine]:
        engine = self.open_engine()
        await engine.template(DEFAULT_POOL)
        engine._client.access = replace(engine._client.access, server=f"https://127.0.0.1:{self.port()}")
        yield engine

    async def exists(self, machine: Machine) -> bool:
        try:
            await self.call("GET", self._pods(machine.id))
        except Refusal:
            return False
        return True


async def _shown(engine: KubernetesEngine, machine: Machine, is_right: Callable[[Status], bool]) -> None:
    async def look() -> bool:
        instance = (await engine.list()).instances.get(machine.id)
        return instance is not None and is_right(instance.status)

    await soon(look, f"{machine.id} is shown as it is", within_s=_SHOWN_WITHIN_S)
