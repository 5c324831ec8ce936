"""An engine inside the process: the demo without Docker, and the world that tests and simulations run against.

Each instance is a small HTTP server on the machine's port, so its URL answers. With `Faults` it behaves as badly as real
engines do, from a seed: calls that are refused or lose their reply, creates that land after the caller gave up, stale
listings, instances that die or never answer. With `serve_http=False` nothing touches the network, and `probe` asks the
instance itself. With `plans_ports=False` the engine gives the addresses, as Kubernetes does: a port per instance.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from msgspec.structs import replace

from worker_orchestrator.core.activity import Counters
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.base import Identity, Listing
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.memory.containers import HOME, Container, Place
from worker_orchestrator.engines.memory.faults import Faults
from worker_orchestrator.engines.memory.meddling import Meddling
from worker_orchestrator.engines.memory.page import Work
from worker_orchestrator.engines.probe import PROBE_TIMEOUT_S, http_probe
from worker_orchestrator.errors import (
    EngineObstructed,
    EngineRejected,
    EngineUnavailable,
    NotRunning,
    OutcomeUnknown,
)

__all__ = ["Faults", "MemoryEngine"]

PROBE_BYTES: Final = 413
"""What a probe brings to an instance without a network: as much as the kernel counts of one on Docker."""
_NATIVE_ID: Final = re.compile(r"[0-9a-f]{12}")
_Deed = Callable[[Place], Awaitable[bool]]


class MemoryEngine(Meddling):
    """A place for instances that lives as long as this object. Instances survive the orchestrator, not the process.

    `image` is what all pools run, but for those that `images` names. `options` are those of each pool, by its name.
    """

    restarts_in_place = True

    def __init__(
        self,
        owner: str = "",
        *,
        image: str = "memory",
        faults: Faults | None = None,
        serve_http: bool = True,
        plans_ports: bool = True,
        host: str = "127.0.0.1",
        options: Mapping[str, DockerOptions] | None = None,
    ) -> None:
        super().__init__(owner, faults or Faults(), host, serve_http=serve_http, plans_ports=plans_ports)
        self.image, self.images = image, dict[str, str]()
        self._port_names: dict[str, tuple[str, ...]] = {}  # by pool, of those whose workers have several ports
        self.take_options(options or {})
        self.calls = 0
        self._calls: set[asyncio.Task[bool]] = set()

    def is_native_id(self, text: str) -> bool:
        return _NATIVE_ID.fullmatch(text) is not None

    async def ping(self) -> None:
        await self._reach()

    async def identity(self) -> Identity:
        await self._reach()
        return Identity(self.engine_id, marked=self.engine_id == HOME)

    async def template(self, pool: str, *, fetch: bool = True) -> str:  # noqa: ARG002 # there is nothing to fetch
        await self._reach()
        return " ".join([self.images.get(pool, self.image), *self._port_names.get(pool, ())])

    def take_options(self, options: Mapping[str, DockerOptions]) -> frozenset[str]:
        """Take the names of the ports of each pool, which are all that matters here. Returns the pools with other names."""
        before = self._port_names
        self._port_names = {pool: tuple(name for name, _ in chosen.ports) for pool, chosen in options.items()}
        return frozenset(pool for pool, names in self._port_names.items() if before.get(pool, ()) != names)

    def progress(self, pool: str) -> str:  # noqa: ARG002 # it is busy with nothing
        return ""

    async def list(self) -> Listing:
        as_of, stale = asyncio.get_running_loop().time(), self._shown()
        await self._reach()
        return Listing(as_of, stale if self.faults.strikes(self.faults.stale_listing) else self._shown())

    def _shown(self) -> dict[str, Instance]:
        return {name: one for name, one in self.instances().items() if name not in self.hidden}

    async def create(self, machine: Machine) -> bool:
        self._wanted_ports[machine.id] = machine.host_ports
        return await self._write(lambda place: self._run(place, machine), may_reject=True)

    async def restart(self, machine_id: str, *, stop_first: bool = False) -> None:
        await self._write(lambda place: self._start_again(place, machine_id, stop_first=stop_first), may_reject=True)

    async def stop(self, machine_id: str, grace_s: float) -> None:
        await self._write(lambda place: self._let_end(place, machine_id, grace_s), may_reject=True)

    def cannot_park(self, pool: str) -> str:  # noqa: ARG002 # all of them can
        return ""

    async def pause(self, machine_id: str) -> None:
        await self._write(lambda place: self._switch(place, machine_id, paused=True), may_reject=True)

    async def unpause(self, machine_id: str) -> None:
        await self._write(lambda place: self._switch(place, machine_id, paused=False), may_reject=True)

    async def destroy(self, machine_id: str) -> bool:
        return await self._write(lambda place: self._remove(place, machine_id), may_reject=False)

    async def configure(  # it posts nothing
        self,
        machine: Machine,
        values: LateValues,
        *,
        anew: bool = False,  # noqa: ARG002
        limit_s: float = 60.0,  # noqa: ARG002
    ) -> None:
        """All that was there before is gone, whether or not that is asked for."""
        await self._write(lambda place: self._give(place, machine.id, values), may_reject=True)

    async def is_configured(self, machine_id: str) -> bool:
        await self._reach()
        container = self._own(machine_id)
        return container is not None and container.is_ready

    async def clean(self, machine_id: str) -> None:
        await self._write(lambda place: self._clean(place, machine_id), may_reject=True)

    async def probe(
        self,
        machine: Machine,
        instance: Instance | None = None,
        limit_s: float = PROBE_TIMEOUT_S,
        *,
        closely: bool = False,
    ) -> str | None:
        if self.faults.strikes(self.faults.unheard):
            raise EngineUnavailable("It is not known whether the worker serves.")
        if not self.plans_ports:
            if instance is None or instance.port is None:
                return "nothing answers, since it has no address yet"
            machine = replace(machine, port=instance.port)
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
        if container is None:
            return "nothing answers"
        container.work.received_bytes += PROBE_BYTES
        return None

    def _serving(self, machine: Machine) -> Container | None:
        """The container of this machine that answers on its port, on whichever engine."""
        containers = (place.get(machine.id) for place in self._places.values())
        return next((one for one in containers if one is not None and one.serves(machine.port)), None)

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

    async def counters(self, machine_id: str, *, cpu: bool) -> Counters:
        work = await self._work_of(machine_id)
        now = asyncio.get_running_loop().time()
        return Counters(now, work.received_bytes, work.sent_bytes, work.cpu_s if cpu else None, str(work.run))

    async def is_connected(self, machine_id: str) -> bool | None:
        return (await self._work_of(machine_id)).connections > 0

    async def _work_of(self, machine_id: str) -> Work:
        await self._reach()
        if self.faults.strikes(self.faults.unread):
            raise EngineUnavailable("What the instance has done could not be read.")
        container = self._own(machine_id)
        if container is None or container.instance.status is not Status.RUNNING:
            raise NotRunning(f"The instance {machine_id} does not run.")
        return container.work

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
                container.end()

    # how calls reach the engine, and how they are carried out

    async def _reach(self) -> None:
        self.calls += 1
        if self.faults.slow_s > 0:
            await asyncio.sleep(self.faults.chance.uniform(0, self.faults.slow_s))
        await self._thawed.wait()
        if not self.up or self.faults.strikes(self.faults.refused):
            raise EngineUnavailable("The memory engine is down.")

    async def _write(self, deed: _Deed, *, may_reject: bool) -> bool:
        """Have it carried out; as in every engine, a call goes on if its caller gives up."""
        return await asyncio.shield(self._begin(self._carry_out(deed, self._containers, may_reject=may_reject)))

    def _begin(self, work: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        call = asyncio.create_task(work)
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return call

    def _ended(self, call: asyncio.Task[bool]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # perhaps nobody waits for it any more

    async def _carry_out(self, deed: _Deed, place: Place, *, may_reject: bool) -> bool:
        await self._reach()
        if may_reject and self.faults.strikes(self.faults.rejected):
            raise EngineRejected("The memory engine refused.")
        if self.faults.strikes(self.faults.obstructed):
            raise EngineObstructed("The memory engine has no room.", kind="memory")
        if self.faults.strikes(self.faults.late):
            self._begin(self._carry_out_late(deed, place))
            raise OutcomeUnknown
        is_done = await deed(place)
        self._tell()
        if self.faults.strikes(self.faults.lost_reply):
            raise OutcomeUnknown
        return is_done

    async def _carry_out_late(self, deed: _Deed, place: Place) -> bool:
        await asyncio.sleep(self.faults.chance.uniform(0, self.faults.late_s))
        is_done = await deed(place)
        self._tell()
        return is_done
