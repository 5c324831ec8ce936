"""What a tick costs, in a process of its own: python -m bench.tick memory MACHINES | docker MACHINES STATE_DIR
| kubernetes MACHINES SETTINGS

On Docker and Kubernetes it takes over what a service left that does not run: that of a state directory, or of these settings
(JSON). Prints JSON: medians of the time and the processor time of a tick, and the longest that a tick kept the event loop
from anything else, an assign for instance.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.in_memory import fill, instance
from bench.subjects import BUILD, IMAGE
from worker_orchestrator.clock import Clock
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.core.machine import State
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.service.opening import load_fleet, open_fleet
from worker_orchestrator.service.specification import spec_of
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import DATABASE, Store
from worker_orchestrator.telemetry import logs

TICKS: Final = 15
SELDOM_S: Final = 3000.0
"""The service makes no tick of its own."""


@asynccontextmanager
async def _in_memory(count: int) -> AsyncIterator[tuple[Orchestrator, int]]:
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        lock = Lock(Path(folder))
        with Store(Path(folder, DATABASE)) as store:
            fill(store, count)
            fleet = load_fleet(store)
            engine = MemoryEngine(fleet.owner, serve_http=False)
            for machine in fleet.machines.values():
                assert machine.port is not None
                engine.put(instance(fleet.owner, machine.id, machine.port))
            flags = {"min_idle": count, "max_machines": count, "first_port": 10_000}
            spec = spec_of(load(flags, {}))
            limits = Limits(refresh_interval_s=SELDOM_S)
            yield Orchestrator(fleet, spec, engine, store, Clock(), limits, engine.engine_id), count
        lock.release()


@asynccontextmanager
async def _taken_over(count: int, flags: Mapping[str, Any]) -> AsyncIterator[tuple[Orchestrator, int]]:
    settings: Settings = load({**flags, "min_idle": count, "max_machines": count}, {})
    async with open_fleet(settings) as opened:
        limits = Limits(refresh_interval_s=SELDOM_S)
        spec = spec_of(settings)
        yield (
            Orchestrator(opened.fleet, spec, opened.engine, opened.store, Clock(), limits, opened.identity.id),
            count,
        )


async def _measure(orchestrator: Orchestrator, count: int) -> dict[str, float]:
    running = asyncio.create_task(orchestrator.run())
    try:
        await orchestrator.first_look()
        await _settled(orchestrator, count)
        walls, cpus = [], []
        for _ in range(TICKS):
            begun, before = time.perf_counter(), time.process_time()
            await _tick(orchestrator)
            walls.append((time.perf_counter() - begun) * 1000)
            cpus.append((time.process_time() - before) * 1000)
            await asyncio.sleep(0.01)
        longest = [await _longest_gap(orchestrator) for _ in range(TICKS)]
        return {
            "wall_ms": statistics.median(walls),
            "cpu_ms": statistics.median(cpus),
            "longest_ms": statistics.median(longest),
        }
    finally:
        running.cancel()
        await asyncio.wait({running})


async def _settled(orchestrator: Orchestrator, count: int) -> None:
    def ready() -> int:
        return sum(machine.state is State.READY for machine in orchestrator.fleet.machines.values())

    async with asyncio.timeout(120):
        while ready() < count:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)


async def _tick(orchestrator: Orchestrator) -> None:
    plan = await orchestrator._parts.ticker._tick()
    assert plan is not None, "the engine was not listed"


async def _longest_gap(orchestrator: Orchestrator) -> float:
    """While a tick runs, measure the longest time in which a task that wants every turn of the loop does not get one."""
    ticking = asyncio.create_task(_tick(orchestrator))
    longest, last = 0.0, time.perf_counter()
    while not ticking.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    await ticking
    await asyncio.sleep(0.01)
    return longest * 1000


async def _main() -> None:
    kind, count, *rest = sys.argv[1:]
    flags = {"image": IMAGE, "state_dir": rest[0]} if kind == "docker" else json.loads("".join(rest) or "{}")
    opened = _in_memory(int(count)) if kind == "memory" else _taken_over(int(count), flags)
    async with opened as (orchestrator, wanted):
        print(json.dumps(await _measure(orchestrator, wanted)))


if __name__ == "__main__":
    logs.configure("json")
    uvloop.run(_main())
