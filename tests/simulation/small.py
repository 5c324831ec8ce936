"""One orchestrator on the memory engine, in virtual time: for short stories in which nothing goes wrong by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from tests.simulation.virtual import VirtualClock, VirtualLoop, virtual_time

from worker_orchestrator.control.assignment import Assignment
from worker_orchestrator.control.deciding.seats import HangUp
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.history import History
from worker_orchestrator.control.reading.prometheus import Metrics
from worker_orchestrator.control.telling.observer import Observers
from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.engines.memory.engine import Faults, MemoryEngine
from worker_orchestrator.settings.settings import DEFAULT_POOL
from worker_orchestrator.store.store import Store

__all__ = ["Small", "lived"]


class Small:
    """A pool of two idle machines, five at most, and those `beside` it. Every call of the engine takes up to `slow_s`."""

    def __init__(  # what varies from story to story
        self,
        loop: VirtualLoop,
        *,
        slow_s: float = 0.0,
        max_machines: int = 5,
        max_awake: int | None = None,
        last_port: int = 65535,
        plans_ports: bool = True,
        restarts_in_place: bool = True,
        host: str = "127.0.0.1",
        beside: Mapping[str, PoolSpec] | None = None,
        **pool: Any,
    ) -> None:
        self.loop = loop
        faults = Faults(random.Random(1), slow_s=slow_s)
        self.engine = MemoryEngine("owner", faults=faults, serve_http=False, plans_ports=plans_ports, host=host)
        self.store = Store(None)
        self.metrics = Metrics(loop.time)
        self.fleet = Fleet("owner")
        wanted = PoolSpec(None, pending=True, **pool)
        spec = Spec(
            {DEFAULT_POOL: wanted, **(beside or {})},
            max_machines=max_machines,
            max_awake=max_awake,
            first_port=9093 if plans_ports else None,
            last_port=last_port,
            restarts_in_place=restarts_in_place,
        )
        self.clock = VirtualClock(loop, random.Random(1))
        self.history = History(self.store, self.clock.wall_ms)
        observers = Observers(self.metrics, self.history)
        self.orchestrator = Orchestrator(
            self.fleet, spec, self.engine, self.store, self.clock, Limits(), "memory", observer=observers
        )

    async def assign(self, project: str, hung_up: HangUp | None = None, pool: str | None = None) -> Machine:
        """The machine of this project, from this pool."""
        return await self.orchestrator.assign(project, pool, hung_up)

    async def assign_machine(self, project: str, **more: Any) -> Assignment:
        """As a request of /v1 does it."""
        return await self.orchestrator.assign_machine(project, DEFAULT_POOL, **more)

    async def until(self, look: Callable[[], object], within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while not look():  # noqa: ASYNC110 # there is no event for most of what a story waits for
                await asyncio.sleep(0.01)

    async def await_template(self) -> None:
        """From then on machines can be made."""
        await self.until(lambda: self.orchestrator._state.spec.pools[DEFAULT_POOL].template)

    @property
    def idle(self) -> list[Machine]:
        return [machine for machine in self.fleet.machines.values() if machine.is_idle]

    async def await_idle(self, count: int) -> None:
        await self.until(lambda: len(self.idle) == count)

    def calls(self, name: str) -> int:
        """How often the engine was asked for this."""
        samples = self.shown().items()
        return int(sum(count for key, count in samples if f'engine_calls_total{{call="{name}"' in key))

    def probes_answered(self) -> int:
        """How often a worker was asked whether it serves, and said so."""
        return int(self.shown()['orchestrator_probes_total{result="answered"}'])

    def shown(self) -> dict[str, float]:
        """Each sample of the metrics, by its name with labels."""
        lines = self.metrics.exposition(self.orchestrator.gauges()).decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


def lived(story: Callable[[Small], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Live through a story, from an empty pool on."""

    async def told(loop: VirtualLoop) -> None:
        small = Small(loop, **options)
        running = asyncio.create_task(small.orchestrator.run())
        try:
            await story(small)
            assert not running.done(), "the service stopped"
        finally:
            running.cancel()
            await asyncio.wait({running})
            small.store.close()
            await small.engine.aclose()
            await asyncio.sleep(0)

    with virtual_time() as loop:
        loop.run_until_complete(told(loop))
