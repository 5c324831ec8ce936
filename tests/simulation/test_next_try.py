"""When the next restart of a project's machine is, as the service tells it: wall time, and the same at each look."""

from __future__ import annotations

import asyncio

from tests.simulation.small import Small, lived

from worker_orchestrator.control.reading.views import MachineView
from worker_orchestrator.core.machine import State


async def viewed(small: Small, machine_id: str) -> MachineView:
    return await small.orchestrator.record(small.fleet.machines[machine_id])


async def ended_twice(small: Small) -> str:
    """The id of a machine that waits for its second restart, 10 s."""
    await small.await_idle(2)
    machine = await small.assign("p")
    small.engine.kill(machine.id)
    await small.until(lambda: small.fleet.watches[machine.id].tries == 1)
    await small.until(lambda: small.fleet.machines[machine.id].state is State.READY)
    small.engine.kill(machine.id)
    await small.until(lambda: small.fleet.watches[machine.id].tries == 2)
    return machine.id


def test_it_is_told_while_a_restart_is_waited_for_and_no_longer() -> None:
    async def story(small: Small) -> None:
        machine_id = await ended_twice(small)
        view = await viewed(small, machine_id)
        assert view.next_try_ms is not None
        assert 9_000 < view.next_try_ms - small.clock.wall_ms() <= 10_001
        assert view.machine.evidence, "its last lines are read"
        await asyncio.sleep(5)
        assert (await viewed(small, machine_id)).next_try_ms == view.next_try_ms, "nothing has changed"
        await small.until(lambda: small.fleet.machines[machine_id].state is State.READY)
        view = await viewed(small, machine_id)
        assert (view.next_try_ms, view.machine.evidence) == (None, "")
        (idle, *_) = small.idle
        assert (await viewed(small, idle.id)).next_try_ms is None

    lived(story)


def test_it_follows_the_clock_of_the_computer_if_that_is_set() -> None:
    async def story(small: Small) -> None:
        machine_id = await ended_twice(small)
        before = (await viewed(small, machine_id)).next_try_ms
        assert before is not None
        wall_ms = small.clock.wall_ms
        small.orchestrator._state.wall_ms = lambda: wall_ms() + 3_600_000
        after = (await viewed(small, machine_id)).next_try_ms
        assert after is not None
        assert abs(after - before - 3_600_000) <= 1

    lived(story)
