"""The containers of the memory engine, and what its calls do to them once they are carried out."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.memory.faults import Faults
from worker_orchestrator.engines.memory.page import Freezer, Output, Page, Work
from worker_orchestrator.errors import EngineRejected, NotRunning, PortTaken

__all__ = ["HOME", "ON_NO_NETWORK", "Container", "Containers", "Place"]

HOME: Final = "memory"
"""The name of the engine that is ours; `switch` lets others answer."""
ON_NO_NETWORK: Final = "The container is on no network."
_FIRST_GIVEN_PORT: Final = 40_001
"""The engine gives ports from here on if it gives the addresses and nothing touches the network."""


@dataclass(slots=True)
class Container:
    """One instance, with how it behaves."""

    instance: Instance
    mute: bool = False
    answer_s: float = 0.0
    end_s: float = 0.0  # how long it takes to end when it is asked to
    servers: list[asyncio.Server] = field(default_factory=list)  # one for each port
    values: LateValues | None = None  # what it was configured with, in its memory
    is_ready: bool = False  # and all of that is there
    output: Output = field(default_factory=Output)
    work: Work = field(default_factory=Work)
    freezer: Freezer = field(default_factory=Freezer)

    def serves(self, port: int | None) -> bool:
        """Whether it answers on this port."""
        instance = self.instance
        return not self.mute and instance.status is Status.RUNNING and not instance.trouble and instance.port == port

    def close(self) -> None:
        """Let it be reached no more."""
        while self.servers:
            self.servers.pop().close()
        self.freezer.end()

    def freeze(self) -> None:
        """Let it do nothing, and keep all that it has: who connects to it gets no answer until it goes on."""
        self.freezer.freeze()
        self.instance = replace(self.instance, status=Status.PAUSED, trouble="The container is paused.")

    def thaw(self) -> None:
        """Let it go on where it was."""
        self.freezer.thaw()
        trouble = ON_NO_NETWORK if self.instance.is_cut_off else ""
        self.instance = replace(self.instance, status=Status.RUNNING, detail="", trouble=trouble)

    def end(self) -> None:
        """Let it end: it answers no more, its output is complete, and what was in its memory is gone."""
        self.close()
        self.output.end()
        self.forget()

    def forget(self) -> None:
        """Nothing is in its memory any more."""
        self.values, self.is_ready = None, False


Place = dict[str, Container]  # by machine id


class Containers:
    """The places of all engines that may answer, each with its containers.

    * `hidden`       machine ids that are there, and that no call finds for the time being
    * `taken_ports`  host ports that belong to other processes
    * `no_room`      why an instance that is created now cannot be placed; empty if it can
    * `lingers_s`    a destroy is only accepted, and the instance is gone after so many seconds; 0: it is gone at once
    """

    def __init__(self, owner: str, faults: Faults, host: str, *, serve_http: bool, plans_ports: bool) -> None:
        self.owner, self.faults, self._host = owner, faults, host
        self.plans_ports, self._serve_http = plans_ports, serve_http
        self.engine_id = HOME
        self.taken_ports: set[int] = set()
        self.hidden: set[str] = set()
        self.no_room, self.lingers_s = "", 0.0
        self._places: dict[str, Place] = {HOME: {}}
        self._wanted_ports: dict[str, tuple[int, ...]] = {}  # of the last create of each machine
        self._given_ports = itertools.count(_FIRST_GIVEN_PORT)
        self._listeners: dict[asyncio.Event, deque[str]] = {}  # with the ids of what ended

    def address_of(self, machine_id: str) -> str:  # noqa: ARG002 # all are at one
        """Where the ports of its pages are reached."""
        return self._host

    @property
    def _containers(self) -> Place:
        """What the engine that answers now has."""
        return self._places[self.engine_id]

    def _own(self, machine_id: str) -> Container | None:
        container = self._containers.get(machine_id)
        return container if container is not None and container.instance.owner == self.owner else None

    def _tell(self, ended: str | None = None) -> None:
        """Let all who watch know that something changed, and which instance ended."""
        for listener, ids in self._listeners.items():
            listener.set()
            if ended is not None:
                ids.append(ended)

    async def _run(self, place: Place, machine: Machine) -> bool:
        """Carry out a create: whether it runs; else it was only accepted, since there is no room."""
        known = place.get(machine.id)
        if known is not None and known.instance.owner != self.owner:
            raise EngineRejected(f"Another instance has the name {machine.id}, and this service did not make it.")
        if known is not None and not self._is_to_be_replaced(known, machine):
            if known.instance.status is Status.CREATED:
                await self._start_again(place, machine.id)
            return True
        if known is not None:
            place.pop(machine.id).end()
        if self.plans_ports:
            others = {port for one in place.values() for port in _ports_of(one.instance)}
            self._insist_on_free(machine.host_ports, others)
        container = place[machine.id] = self._made(machine)
        if container.instance.status is Status.RUNNING:
            try:
                await self._open(container)
            except PortTaken:
                del place[machine.id]
                raise
        return not self.no_room

    def _is_to_be_replaced(self, known: Container, machine: Machine) -> bool:
        """Whether what stands there has another port than this create, which is the last one, wants."""
        is_last = self._wanted_ports.get(machine.id) == machine.host_ports
        return self.plans_ports and is_last and _ports_of(known.instance) != machine.host_ports

    def _insist_on_free(self, ports: Iterable[int], others: AbstractSet[int] = frozenset()) -> None:
        """Raises PortTaken if another process has one of these host ports, or it is among `others`."""
        for port in ports:
            if port in self.taken_ports or port in others:
                raise _taken(port)

    def _made(self, machine: Machine) -> Container:
        faults = self.faults
        stillborn = faults.strikes(faults.stillborn)
        instance = Instance(
            machine.id,
            self.owner,
            machine.pool,
            machine.template,
            Status.PENDING if self.no_room else Status.EXITED if stillborn else Status.RUNNING,
            native_id=machine.id.encode().hex()[-12:],
            detail="The container exited at once." if stillborn else "",
            unplaced=self.no_room,
        )
        if self.plans_ports:
            instance = replace(instance, address=self._host, port=machine.port, ports=machine.ports)
        container = Container(instance, mute=faults.strikes(faults.mute))
        if faults.strikes(faults.stubborn):
            container.end_s = faults.chance.uniform(0, 60)
        if faults.strikes(faults.sluggish):
            container.answer_s = faults.chance.uniform(0.5, faults.sluggish_s)
        return container

    async def _start_again(self, place: Place, machine_id: str, *, stop_first: bool = False) -> bool:
        container = place.get(machine_id)
        if container is None:
            raise EngineRejected(f"There is no instance {machine_id}.")
        if stop_first and container.instance.status in {Status.RUNNING, Status.PAUSED}:
            container.close()
            container.forget()
            container.instance = replace(container.instance, status=Status.EXITED, detail="The container was stopped.")
        if container.instance.status is not Status.RUNNING:
            self._insist_on_free(_ports_of(container.instance))
            container.close()
            await self._open(container)
            container.work.begin_anew()
            container.instance = replace(
                container.instance, status=Status.RUNNING, detail="", trouble="", is_cut_off=False
            )
        return True

    async def _switch(self, place: Place, machine_id: str, *, paused: bool) -> bool:
        """Carry out a pause, or its end."""
        container = place.get(machine_id)
        if container is None or container.instance.status not in {Status.RUNNING, Status.PAUSED}:
            raise EngineRejected(f"The instance {machine_id} does not run.")
        if paused:
            container.freeze()
        elif container.instance.status is Status.PAUSED:
            container.thaw()
        return True

    async def _give(self, place: Place, machine_id: str, values: LateValues) -> bool:
        """Carry out a configuration. What was there before is gone."""
        container = place.get(machine_id)
        if container is None or container.instance.status is not Status.RUNNING:
            raise NotRunning(f"The instance {machine_id} does not run.")
        container.values, container.is_ready = values, not self.faults.strikes(self.faults.torn)
        container.instance = replace(container.instance, is_configurable=True)
        if not container.is_ready:
            raise EngineRejected("Not all of the configuration could be written.")
        return True

    async def _clean(self, place: Place, machine_id: str) -> bool:
        """Carry out a cleaning: end it, start it again, and look what is left."""
        await self._start_again(place, machine_id, stop_first=True)
        container = place[machine_id]
        if container.values is not None or self.faults.strikes(self.faults.unclean):
            raise EngineRejected("Something of its configuration is left.")
        return True

    async def _remove(self, place: Place, machine_id: str) -> bool:
        """Carry out a destroy: whether it is gone; else it was only accepted."""
        container = None if machine_id in self.hidden else place.get(machine_id)
        if container is None:
            return True
        container.end()
        self._wanted_ports.pop(machine_id, None)
        if not self.lingers_s:
            del place[machine_id]
            return True
        if container.instance.status is not Status.TERMINATING:
            container.instance = replace(container.instance, status=Status.TERMINATING)
            asyncio.get_running_loop().call_later(self.lingers_s, self._removed, place, machine_id, container)
        return False

    def _removed(self, place: Place, machine_id: str, container: Container) -> None:
        if place.get(machine_id) is container:
            del place[machine_id]
            self._tell()

    async def _let_end(self, place: Place, machine_id: str, grace_s: float) -> bool:
        container = place.get(machine_id)
        if container is None or container.instance.status not in {Status.RUNNING, Status.PAUSED}:
            return True
        if container.end_s > 0:
            await asyncio.sleep(min(container.end_s, grace_s))
        if container.instance.status in {Status.RUNNING, Status.PAUSED}:
            container.end()
            container.instance = replace(container.instance, status=Status.EXITED, detail="The container was stopped.")
        return True

    async def _open(self, container: Container) -> None:
        """Let it be reached, at the address that we planned or that it gets now."""
        machine_id, port = container.instance.id, container.instance.port
        if self._serve_http and not container.mute:
            page = Page(machine_id, container.output, container.work, container.freezer)
            for each in _ports_of(container.instance) or (0,):
                try:
                    container.servers.append(await asyncio.start_server(page.answer, self._host, each))
                except OSError as error:
                    container.close()
                    raise _taken(each) from error
            port = container.servers[0].sockets[0].getsockname()[1]
        if not self.plans_ports:
            port = port or next(self._given_ports)
            container.instance = replace(container.instance, address=self._host, host=self._host, port=port)
        container.output.write(f"{machine_id} runs on port {port}")


def _ports_of(instance: Instance) -> tuple[int, ...]:
    """All its host ports, its own first."""
    if instance.ports:
        return tuple(port for _, port in instance.ports)
    return () if instance.port is None else (instance.port,)


def _taken(port: int) -> PortTaken:
    error = PortTaken(f"Host port {port} is in use.")
    error.port = port
    return error
