"""An engine inside the process: the demo without Docker, and the world that tests and simulations run against.

Each instance is a small HTTP server on the machine's port, so its URL answers. With `Faults` it behaves as badly as real
engines do, from a seed: calls that are refused or lose their reply, creates that land after the caller gave up, stale
listings, instances that die or never answer. With `serve_http=False` nothing touches the network, and `probe` asks the
instance itself.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.base import Identity
from worker_orchestrator.engines.memory.page import Output, Page
from worker_orchestrator.engines.probe import PROBE_TIMEOUT_S, http_probe
from worker_orchestrator.errors import (
    EngineObstructed,
    EngineRejected,
    EngineUnavailable,
    NotRunning,
    OutcomeUnknown,
    PortTaken,
)

__all__ = ["Faults", "MemoryEngine"]

_HOME: Final = "memory"
_Deed = Callable[["_Place"], Awaitable[None]]


@dataclass(slots=True)
class Faults:
    """How often what goes wrong, as probabilities from 0 to 1, drawn from `chance`. All off by default."""

    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 # a replayable seed
    refused: float = 0.0  # the call does not reach the engine
    rejected: float = 0.0  # the engine says no
    obstructed: float = 0.0  # the engine cannot, for a cause that is nobody's machine
    lost_reply: float = 0.0  # carried out, but the caller never hears of it
    late: float = 0.0  # the caller gives up, and it is carried out up to `late_s` later
    late_s: float = 5.0
    slow_s: float = 0.0  # every call takes up to this long
    stale_listing: float = 0.0  # what is listed is as old as the call, not as the reply
    unheard: float = 0.0  # a probe of which nobody can tell what it would have found
    mute: float = 0.0  # an instance that runs and never answers
    sluggish: float = 0.0  # an instance that takes up to `sluggish_s` for each answer
    sluggish_s: float = 4.0
    stubborn: float = 0.0  # an instance that takes up to a minute to end
    stillborn: float = 0.0  # an instance that exits at once

    def strikes(self, probability: float) -> bool:
        return probability > 0 and self.chance.random() < probability


@dataclass(slots=True)
class _Container:
    instance: Instance
    mute: bool = False
    answer_s: float = 0.0
    end_s: float = 0.0  # what it takes to end when it is asked to
    server: asyncio.Server | None = None
    output: Output = field(default_factory=Output)


_Place = dict[str, _Container]  # by machine id


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
        self.engine_id = _HOME
        self.taken_ports: set[int] = set()
        self.hidden: set[str] = set()  # machine ids that are there, and that nobody finds for the time being
        self.calls = 0
        self._serve_http, self._host = serve_http, host
        self._places: dict[str, _Place] = {_HOME: {}}
        self._wanted_ports: dict[str, int | None] = {}  # of the last create of each machine
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._calls: set[asyncio.Task[None]] = set()
        self._listeners: dict[asyncio.Event, deque[str]] = {}  # with the ids of what ended

    # the protocol

    async def ping(self) -> None:
        await self._reach()

    async def identity(self) -> Identity:
        await self._reach()
        return Identity(self.engine_id, marked=self.engine_id == _HOME)

    async def template(self, *, fetch: bool = True) -> str:  # noqa: ARG002 # there is nothing to fetch
        await self._reach()
        return self.image

    async def list(self) -> Mapping[str, Instance]:
        stale = self._shown()
        await self._reach()
        return stale if self.faults.strikes(self.faults.stale_listing) else self._shown()

    async def create(self, machine: Machine) -> None:
        self._wanted_ports[machine.id] = machine.port
        await self._write(lambda place: self._run(place, machine), may_reject=True)

    async def restart(self, machine_id: str, *, stop_first: bool = False) -> None:
        await self._write(lambda place: self._start_again(place, machine_id, stop_first=stop_first), may_reject=True)

    async def stop(self, machine_id: str, grace_s: float) -> None:
        await self._write(lambda place: self._let_end(place, machine_id, grace_s), may_reject=True)

    async def destroy(self, machine_id: str) -> None:
        await self._write(lambda place: self._remove(place, machine_id), may_reject=False)

    async def probe(self, machine: Machine, limit_s: float = PROBE_TIMEOUT_S, *, closely: bool = False) -> str | None:
        if self.faults.strikes(self.faults.unheard):
            raise EngineUnavailable("nobody can tell whether it serves")
        if self._serve_http and machine.port is not None:
            return await http_probe(self._host, machine.port, limit_s=limit_s, closely=closely)
        if self.faults.slow_s > 0:
            await asyncio.sleep(self.faults.chance.uniform(0, min(self.faults.slow_s, PROBE_TIMEOUT_S)))
        container = self._serving(machine)
        if container is not None and container.answer_s > 0:
            await asyncio.sleep(min(container.answer_s, limit_s))
            if container.answer_s > limit_s:
                return f"no answer within {limit_s:g} s"
            container = self._serving(machine)
        return None if container is not None else "nothing answers"

    def _serving(self, machine: Machine) -> _Container | None:
        found = (place.get(machine.id) for place in self._places.values())
        return next((container for container in found if _serves(container, machine.port)), None)

    async def watch(self) -> AsyncIterator[str | None]:
        changed = asyncio.Event()
        ended = self._listeners[changed] = deque()
        try:
            while True:
                yield None
                await changed.wait()
                changed.clear()
                while ended:
                    yield ended.popleft()
        finally:
            del self._listeners[changed]

    async def until_shown(self, machine_id: str) -> None:  # noqa: ARG002 # a listing always does
        if self.faults.slow_s > 0:
            await asyncio.sleep(self.faults.chance.uniform(0, self.faults.slow_s))

    async def last_lines(self, machine_id: str, count: int) -> str:
        await self._reach()
        container = self._own(machine_id)
        return container.output.last(count) if container is not None else ""

    async def logs(
        self, machine_id: str, *, tail: int | None = None, follow: bool = False, timestamps: bool = False
    ) -> AsyncIterator[bytes]:
        await self._reach()
        container = self._own(machine_id)
        if container is None:
            raise NotRunning(f"There is no instance {machine_id}.")
        async for line in container.output.lines(tail, follow=follow, timestamps=timestamps):
            yield line

    async def aclose(self) -> None:
        for call in self._calls:
            call.cancel()
        for place in self._places.values():
            for container in place.values():
                self._end(container)

    # the world, as tests see and change it

    def instances(self) -> dict[str, Instance]:
        return {machine_id: container.instance for machine_id, container in self._containers.items()}

    def _shown(self) -> dict[str, Instance]:
        return {name: one for name, one in self.instances().items() if name not in self.hidden}

    def freeze(self) -> None:
        """No call returns from now on, until `thaw`: then all of them are carried out, also those given up meanwhile."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def switch(self, engine_id: str = _HOME) -> None:
        """From now on the engine of this name answers at our address, with instances of its own."""
        self.engine_id = engine_id
        self._places.setdefault(engine_id, {})
        self._tell()

    def put(self, instance: Instance) -> None:
        """Let an instance be there that nobody asked for: a stray, a foreign one."""
        self._containers[instance.id] = _Container(instance)
        self._tell()

    def kill(self, machine_id: str, status: Status = Status.EXITED) -> None:
        """The instance stops serving, as after `docker kill` (or `docker pause`, with that status)."""
        container = self._containers[machine_id]
        (self._end if status is Status.EXITED else self._close)(container)
        trouble = "it is paused" if status is Status.PAUSED else ""
        container.instance = replace(container.instance, status=status, detail="killed", trouble=trouble)
        self._tell(machine_id if status in {Status.EXITED, Status.PAUSED} else None)

    def disconnect(self, machine_id: str) -> None:
        """Nobody reaches the instance any more, as after `docker network disconnect -f`."""
        container = self._containers[machine_id]
        self._close(container)
        container.instance = replace(container.instance, port=None, address=None, trouble="it is on no network")
        self._tell(machine_id)

    async def restore(self, machine_id: str, port: int | None) -> None:
        """What was paused or disconnected serves again, on this port."""
        container = self._containers[machine_id]
        container.instance = replace(container.instance, status=Status.RUNNING, port=port, trouble="", detail="")
        await self._open(container)
        self._tell()

    def rename(self, machine_id: str, name: str) -> None:
        """The instance bears another name, as after `docker rename`. It is the same machine."""
        container = self._containers[machine_id]
        container.instance = replace(container.instance, renamed="" if name == machine_id else name)
        self._tell()

    def remove(self, machine_id: str) -> None:
        """The instance is gone, as after `docker rm -f`."""
        self._end(self._containers.pop(machine_id))
        self._tell(machine_id)

    # carrying out

    @property
    def _containers(self) -> _Place:
        return self._places[self.engine_id]

    def _own(self, machine_id: str) -> _Container | None:
        container = self._containers.get(machine_id)
        return container if container is not None and container.instance.owner == self.owner else None

    async def _reach(self) -> None:
        self.calls += 1
        if self.faults.slow_s > 0:
            await asyncio.sleep(self.faults.chance.uniform(0, self.faults.slow_s))
        await self._thawed.wait()
        if not self.up or self.faults.strikes(self.faults.refused):
            raise EngineUnavailable("the memory engine is down")

    async def _write(self, deed: _Deed, *, may_reject: bool) -> None:
        """Have it carried out; as in every engine, a call goes on when its caller gave up."""
        call = asyncio.create_task(self._carry_out(deed, self._containers, may_reject=may_reject))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        await asyncio.shield(call)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # perhaps nobody waits for it any more

    async def _carry_out(self, deed: _Deed, place: _Place, *, may_reject: bool) -> None:
        await self._reach()
        if may_reject and self.faults.strikes(self.faults.rejected):
            raise EngineRejected("the memory engine says no")
        if self.faults.strikes(self.faults.obstructed):
            raise EngineObstructed("the memory engine has no room", kind="memory")
        if self.faults.strikes(self.faults.late):
            call = asyncio.create_task(self._carry_out_late(deed, place))
            self._calls.add(call)
            call.add_done_callback(self._ended)
            raise OutcomeUnknown
        await deed(place)
        self._tell()
        if self.faults.strikes(self.faults.lost_reply):
            raise OutcomeUnknown

    async def _carry_out_late(self, deed: _Deed, place: _Place) -> None:
        await asyncio.sleep(self.faults.chance.uniform(0, self.faults.late_s))
        await deed(place)
        self._tell()

    async def _run(self, place: _Place, machine: Machine) -> None:
        assert machine.port is not None, "we plan the ports of this engine"
        known = place.get(machine.id)
        if known is not None and known.instance.owner != self.owner:
            raise EngineRejected(f"An instance named {machine.id} that is not ours is in the way.")
        if known is not None:
            outdated = self._wanted_ports.get(machine.id) != machine.port
            if outdated or known.instance.port == machine.port:
                if known.instance.status is Status.CREATED:
                    await self._start_again(place, machine.id)
                return
            self._end(place.pop(machine.id))
        if machine.port in self.taken_ports | {c.instance.port for c in place.values()}:
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
        if self.faults.strikes(self.faults.stubborn):
            container.end_s = self.faults.chance.uniform(0, 60)
        if self.faults.strikes(self.faults.sluggish):
            container.answer_s = self.faults.chance.uniform(0.5, self.faults.sluggish_s)
        place[machine.id] = container
        if not stillborn:
            try:
                await self._open(container)
            except PortTaken:
                del place[machine.id]
                raise

    async def _start_again(self, place: _Place, machine_id: str, *, stop_first: bool = False) -> None:
        container = place.get(machine_id)
        if container is None:
            raise EngineRejected(f"no instance {machine_id}")
        if stop_first and container.instance.status in {Status.RUNNING, Status.PAUSED}:
            self._close(container)
            container.instance = replace(container.instance, status=Status.EXITED, detail="stopped")
        if container.instance.status is not Status.RUNNING:
            if container.instance.port in self.taken_ports:
                raise PortTaken(f"host port {container.instance.port} is in use")
            await self._open(container)
            container.instance = replace(container.instance, status=Status.RUNNING, detail="", trouble="")

    async def _remove(self, place: _Place, machine_id: str) -> None:
        container = None if machine_id in self.hidden else place.pop(machine_id, None)
        if container is not None:
            self._end(container)
            self._wanted_ports.pop(machine_id, None)

    async def _let_end(self, place: _Place, machine_id: str, grace_s: float) -> None:
        container = place.get(machine_id)
        if container is None or container.instance.status is not Status.RUNNING:
            return
        if container.end_s > 0:
            await asyncio.sleep(min(container.end_s, grace_s))
        if container.instance.status is Status.RUNNING:
            self._end(container)
            container.instance = replace(container.instance, status=Status.EXITED, detail="stopped")

    async def _open(self, container: _Container) -> None:
        machine_id, port = container.instance.id, container.instance.port
        if self._serve_http and not container.mute:
            page = Page(machine_id, container.output)
            try:
                container.server = await asyncio.start_server(page.answer, self._host, port)
            except OSError as error:
                raise PortTaken(f"host port {port} is in use") from error
        container.output.write(f"{machine_id} runs on port {port}")

    @staticmethod
    def _close(container: _Container) -> None:
        if container.server is not None:
            container.server.close()
            container.server = None

    @classmethod
    def _end(cls, container: _Container) -> None:
        cls._close(container)
        container.output.end()

    def _tell(self, ended: str | None = None) -> None:
        for listener, told in self._listeners.items():
            listener.set()
            if ended is not None:
                told.append(ended)


def _serves(container: _Container | None, port: int | None) -> bool:
    if container is None or container.mute:
        return False
    return (
        container.instance.status is Status.RUNNING
        and not container.instance.trouble
        and container.instance.port == port
    )
