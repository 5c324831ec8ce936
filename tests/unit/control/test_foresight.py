"""The engine is told of exactly those machines that the next project may configure, and in which none has ever been."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace

from worker_orchestrator.control.deciding.foresight import Foresight
from worker_orchestrator.core.machine import Holding, Machine, State
from worker_orchestrator.core.reasons import UNPARKED
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
    """What it was told the last time, and what was added to that."""

    def __init__(self) -> None:
        self.of: list[str] = []
        self.more: list[str] = []

    def foresee(self, machines: Collection[Machine], *, more: bool = False) -> None:
        told = [machine.id for machine in machines]
        if more:
            self.more += told
        else:
            self.of = told


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


def test_parked_machines_and_those_that_go_on_count_as_well() -> None:
    told = Told()
    parked = replace(IDLE, id="parked", state=State.PARKED)
    goes_on = replace(IDLE, id="goes on", state=State.STARTING, reason=UNPARKED)
    told_of(IDLE, parked, goes_on, replace(parked, id="had", generation=3), engine=told)
    assert told.of == [IDLE.id, "parked", "goes on"]


def test_of_one_that_is_about_to_be_paused_it_is_told_at_once_and_nothing_is_given_up() -> None:
    told = Told()
    machines = [
        replace(IDLE, id="a", state=State.PARKED),
        replace(IDLE, id="b", state=State.PARKED, generation=3),
        IDLE,
    ]
    fleet = SimpleNamespace(machines={machine.id: machine for machine in machines})
    state = SimpleNamespace(fleet=fleet, spec=SimpleNamespace(pools=POOLS))
    foresight = Foresight(cast("Any", state), cast("Engine", told))
    for machine_id in ("a", "b", "gone"):
        foresight.tell_of(machine_id)
    assert (told.of, told.more) == ([], ["a"])
    Foresight(cast("Any", state), MemoryEngine("owner", serve_http=False)).tell_of("a")


def test_an_engine_that_prepares_nothing_is_told_nothing() -> None:
    told_of(IDLE, engine=MemoryEngine())
