"""The engine is told of exactly those machines that the next project may configure, and in which none has ever been."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace

from worker_orchestrator.control.deciding.foresight import Foresight
from worker_orchestrator.core.machine import Holding, Machine, State
from worker_orchestrator.core.spec import Late, PoolSpec
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.memory.engine import MemoryEngine

IDLE = Machine("worker-1700000000000-abcdefghi", "late", "f00d", State.READY, 9093)
POOLS = {
    "late": PoolSpec(template="f00d", late=Late("/run/project")),
    "posted": PoolSpec(template="f00d", late=Late(post="/configure")),
    "other": PoolSpec(template="f00d"),
}


class Told:
    def __init__(self) -> None:
        self.of: list[str] = []

    def foresee(self, machines: Collection[Machine]) -> None:
        self.of = [machine.id for machine in machines]


def told_of(*machines: Machine, engine: Any) -> None:
    fleet = SimpleNamespace(machines={machine.id: machine for machine in machines})
    state = SimpleNamespace(fleet=fleet, spec=SimpleNamespace(pools=POOLS))

    async def story() -> None:
        task = asyncio.create_task(Foresight(cast("Any", state), cast("Engine", engine)).run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())


def test_only_idle_machines_that_were_never_assigned_count() -> None:
    told = Told()
    others = [
        replace(IDLE, id="assigned", holding=Holding("p"), generation=3),
        replace(IDLE, id="had", generation=3),
        replace(IDLE, id="starting", state=State.STARTING),
        replace(IDLE, id="posted", pool="posted"),
        replace(IDLE, id="without", pool="other"),
    ]
    told_of(IDLE, *others, engine=told)
    assert told.of == [IDLE.id]


def test_an_engine_that_prepares_nothing_is_told_nothing() -> None:
    told_of(IDLE, engine=MemoryEngine())
