"""An engine inside the process: the demo without Docker, and the world that tests and simulations run against.

Each instance is a small HTTP server on the machine's port, so its URL answers. With `Faults` it behaves as badly as real
engines do, from a seed: calls that are refused or lose their reply, creates that land after the caller gave up, stale
listings, instances that die or never answer. With `serve_http=False` nothing touches the network, and `probe` asks the
instance itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from worker_orchestrator.engines import Identity
from worker_orchestrator.engines.probe import http_probe
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, OutcomeUnknown, PortTaken
from worker_orchestrator.machine import Instance, Machine, Status

__all__ = ["Faults", "MemoryEngine"]

_Deed = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Faults:
    """How often what goes wrong, as probabilities from 0 to 1, drawn from `chance`. All off by default."""

    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 # a replayable seed
    refused: float = 0.0  # the call does not reach the engine
    rejected: float = 0.0  # the engine says no
    lost_reply: float = 0.0  # carried out, but the caller never hears of it
    late: float = 0.0  # the caller gives up, and it is carried out up to `late_s` later
    late_s: float = 5.0
    slow_s: float = 0.0  # every call takes up to this long
    stale_listing: float = 0.0  # what is listed is as old as the call, not as the reply
    mute: float = 0.0  # an instance that runs and never answers
    stillborn: float = 0.0  # an instance that exits at once

    def strikes(self, probability: float) -> bool:
        return probability > 0 and self.chance.random() < probability


@dataclass(slots=True)
class _Container:
    instance: Instance
    mute: bool = False
    server: asyncio.Server | None = None


class MemoryEngine:
    """A place for instances that lives as long as this object. Instances survive the orchestrator, not the process."""

    plans_ports = True
    progress = ""

    def __init__(
        self,
        owner: str = "",
        *,
        image: str = "memory",
        faults: Faults | None = None,
        serve_http: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        self.owner, self.image, self.faults = owner, image, faults or Faults()
        self.up = True
        self.engine_id = "memory"
        self.taken_ports: set[int] = set()
        self.calls = 0
        self._serve_http, self._host = serve_http, host
        self._containers: dict[str, _Container] = {}
        self._late: set[asyncio.Task[None]] = set()
        self._listeners: set[asyncio.Event] = set()

    # the protocol

    async def ping(self) -> None:
        await self._reach()

    async def identity(self) -> Identity:
        await self._reach()
        return Identity(self.engine_id, marked=self.engine_id == "memory")

    async def template(self) -> str:
        await self._reach()
        return self.image

    async def list(self) -> Mapping[str, Instance]:
        stale = self.instances()
        await self._reach()
        return stale if self.faults.strikes(self.faults.stale_listing) else self.instances()

    async def create(self, machine: Machine) -> None:
        await self._write(lambda: self._run(machine), may_reject=True)

    async def restart(self, machine_id: str) -> None:
        await self._write(lambda: self._start_again(machine_id), may_reject=True)

    async def destroy(self, machine_id: str) -> None:
        await self._write(lambda: self._remove(machine_id), may_reject=False)

    async def probe(self, machine: Machine) -> str | None:
        if self._serve_http and machine.port is not None:
            return await http_probe(self._host, machine.port)
        container = self._containers.get(machine.id)
        serves = container is not None and container.instance.status is Status.RUNNING and not container.mute
        return None if serves else "nothing answers"

    async def watch(self) -> AsyncIterator[None]:
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            while True:
                yield
                await changed.wait()
                changed.clear()
        finally:
            self._listeners.discard(changed)

    async def aclose(self) -> None:
        for task in self._late:
            task.cancel()
        for container in self._containers.values():
            if container.server is not None:
                container.server.close()

    # the world, as tests see and change it

    def instances(self) -> dict[str, Instance]:
        return {machine_id: container.instance for machine_id, container in self._containers.items()}

    def put(self, instance: Instance) -> None:
        """Let an instance be there that nobody asked for: a stray, a foreign one."""
        self._containers[instance.id] = _Container(instance)
        self._tell()

    def kill(self, machine_id: str, status: Status = Status.EXITED) -> None:
        """The instance stops serving, as after `docker kill` (or `docker pause`, with that status)."""
        container = self._containers[machine_id]
        self._close(container)
        container.instance = replace(container.instance, status=status, detail="killed")
        self._tell()

    def remove(self, machine_id: str) -> None:
        """The instance is gone, as after `docker rm -f`."""
        self._close(self._containers.pop(machine_id))
        self._tell()

    # carrying out

    async def _reach(self) -> None:
        self.calls += 1
        if self.faults.slow_s > 0:
            await asyncio.sleep(self.faults.chance.uniform(0, self.faults.slow_s))
        if not self.up or self.faults.strikes(self.faults.refused):
            raise EngineUnavailable("the memory engine is down")

    async def _write(self, deed: _Deed, *, may_reject: bool) -> None:
        await self._reach()
        if may_reject and self.faults.strikes(self.faults.rejected):
            raise EngineRejected("the memory engine says no")
        if self.faults.strikes(self.faults.late):
            task = asyncio.create_task(self._carry_out_late(deed))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            raise OutcomeUnknown
        await deed()
        self._tell()
        if self.faults.strikes(self.faults.lost_reply):
            raise OutcomeUnknown

    async def _carry_out_late(self, deed: _Deed) -> None:
        await asyncio.sleep(self.faults.chance.uniform(0, self.faults.late_s))
        try:
            await deed()
        except (EngineRejected, PortTaken):
            return
        self._tell()

    async def _run(self, machine: Machine) -> None:
        assert machine.port is not None, "we plan the ports of this engine"
        known = self._containers.get(machine.id)
        if known is not None and known.instance.port == machine.port:
            return
        if known is not None:
            self._close(self._containers.pop(machine.id))
        if machine.port in self.taken_ports | {c.instance.port for c in self._containers.values()}:
            raise PortTaken(f"host port {machine.port} is in use")
        stillborn = self.faults.strikes(self.faults.stillborn)
        instance = Instance(
            machine.id,
            self.owner,
            machine.pool,
            machine.template,
            Status.EXITED if stillborn else Status.RUNNING,
            native_id=machine.id.encode().hex()[-12:],
            address=self._host,
            port=machine.port,
            detail="stillborn" if stillborn else "",
        )
        container = _Container(instance, mute=self.faults.strikes(self.faults.mute))
        self._containers[machine.id] = container
        if not stillborn:
            await self._open(container)

    async def _start_again(self, machine_id: str) -> None:
        container = self._containers.get(machine_id)
        if container is None:
            raise EngineRejected(f"no instance {machine_id}")
        if container.instance.status is not Status.RUNNING:
            if container.instance.port in self.taken_ports:
                raise PortTaken(f"host port {container.instance.port} is in use")
            container.instance = replace(container.instance, status=Status.RUNNING, detail="")
            await self._open(container)

    async def _remove(self, machine_id: str) -> None:
        container = self._containers.pop(machine_id, None)
        if container is not None:
            self._close(container)

    async def _open(self, container: _Container) -> None:
        if not self._serve_http or container.mute:
            return
        machine_id, port = container.instance.id, container.instance.port
        try:
            container.server = await asyncio.start_server(_Page(machine_id).answer, self._host, port)
        except OSError as error:
            self._containers.pop(machine_id, None)
            raise PortTaken(f"host port {port} is in use") from error

    @staticmethod
    def _close(container: _Container) -> None:
        if container.server is not None:
            container.server.close()
            container.server = None

    def _tell(self) -> None:
        for listener in self._listeners:
            listener.set()


class _Page:
    """What a demo worker answers to every request."""

    def __init__(self, machine_id: str) -> None:
        body = f"Hello from {machine_id}, a worker of the memory engine.\n".encode()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._response = head.encode() + body

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self._response)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
