"""What others may do to the instances of the memory engine, and to the engine, behind our back. For tests."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.base import EndOf
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.memory.containers import HOME, ON_NO_NETWORK, Container, Containers
from worker_orchestrator.engines.memory.faults import Faults
from worker_orchestrator.engines.memory.page import Work

__all__ = ["Meddling"]


class Meddling(Containers):
    """Each method changes the world at once, as if somebody else had done it. `up`: whether the engine answers."""

    def __init__(self, owner: str, faults: Faults, host: str, *, serve_http: bool, plans_ports: bool) -> None:
        super().__init__(owner, faults, host, serve_http=serve_http, plans_ports=plans_ports)
        self.up = True
        self._thawed = asyncio.Event()
        self._thawed.set()

    def instances(self) -> dict[str, Instance]:
        """What there is, hidden or not."""
        return {machine_id: container.instance for machine_id, container in self._containers.items()}

    def work(self, machine_id: str) -> Work:
        """What the instance has done, to be changed as its clients and its worker would."""
        return self._containers[machine_id].work

    def values(self, machine_id: str) -> LateValues | None:
        """What is left in its memory of what any project configured it with."""
        return self._containers[machine_id].values

    def freeze(self) -> None:
        """No call returns from now on, until `thaw`: then all of them are carried out, also those given up meanwhile."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Let calls return again."""
        self._thawed.set()

    def switch(self, engine_id: str = HOME) -> None:
        """From now on the engine of this name answers at our address, with instances of its own."""
        self.engine_id = engine_id
        self._places.setdefault(engine_id, {})
        self._tell()

    def put(self, instance: Instance) -> None:
        """Let an instance be there that was not created through us: a stray, a foreign one."""
        self._containers[instance.id] = Container(instance)
        self._tell()

    def kill(self, machine_id: str, status: Status = Status.EXITED) -> None:
        """The instance stops serving, as after `docker kill` (or `docker pause`, with that status)."""
        container = self._containers[machine_id]
        if status is Status.PAUSED:
            container.freeze()
        elif status is Status.EXITED:
            container.end()
        else:
            container.close()
        if status is not Status.PAUSED:
            container.instance = replace(
                container.instance, status=status, detail="The container was killed.", trouble=""
            )
        ended = {Status.EXITED: EndOf(machine_id), Status.PAUSED: machine_id}
        self._tell(ended.get(status))

    def disconnect(self, machine_id: str) -> None:
        """Nobody reaches the instance any more, as after `docker network disconnect -f`."""
        container = self._containers[machine_id]
        container.close()
        is_paused = container.instance.status is Status.PAUSED
        container.instance = replace(
            container.instance,
            port=None,
            ports=(),
            address=None,
            is_cut_off=True,
            trouble=container.instance.trouble if is_paused else ON_NO_NETWORK,
        )
        self._tell(machine_id)

    async def restore(self, machine_id: str, port: int | None) -> None:
        """What was paused or disconnected serves again, on this port."""
        container = self._containers[machine_id]
        container.instance = replace(container.instance, port=port, is_cut_off=False)
        container.thaw()
        if not container.servers:
            await self._open(container)
        self._tell()

    async def start(self, machine_id: str) -> None:
        """The instance runs again, as after `docker start`. Raises PortTaken."""
        await self._start_again(self._containers, machine_id)
        self._tell()

    def rename(self, machine_id: str, name: str) -> None:
        """The instance bears another name, as after `docker rename`. It is the same machine."""
        container = self._containers[machine_id]
        container.instance = replace(container.instance, renamed="" if name == machine_id else name)
        self._tell()

    def remove(self, machine_id: str) -> None:
        """The instance is gone, as after `docker rm -f`."""
        self._containers.pop(machine_id).end()
        self._tell(EndOf(machine_id))
