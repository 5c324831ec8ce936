"""Who waits for a machine that ends again and again is told as soon as no try comes in time, and is not told too early."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.errors import NoMachineAvailable


async def die(small: Small, machine: Machine) -> None:
    """It ends, and that is noticed."""
    restarts = small.fleet.watches[machine.id].tries
    small.engine.kill(machine.id)
    await small.until(lambda: small.fleet.watches[machine.id].tries > restarts)


async def used_up(small: Small, machine: Machine, deaths: int) -> None:
    """It ended so often, each time as soon as it answered."""
    for _ in range(deaths):
        await small.until(lambda: small.fleet.machines[machine.id].state is State.READY, within_s=300.0)
        await die(small, machine)


async def fail_the_next_try(small: Small, machine: Machine) -> None:
    """It is started again, and ends before it answers."""
    small.engine.faults.unheard = 1.0
    await small.until(lambda: small.fleet.watches[machine.id].restart_acknowledged)
    await die(small, machine)
    small.engine.faults.unheard = 0.0


def test_who_waits_is_told_when_the_next_try_moves_beyond_its_time() -> None:
    """A try that fails meanwhile puts the next one off: what is left of the wait is no use."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = await small.assign("p")
        await used_up(small, machine, 2)  # the next try is in 10 s, and the one after that 30 s later
        waits = [asyncio.ensure_future(small.assign_machine("p", wait_s=wait_s)) for wait_s in (15.0, 30.0)]
        begun_at = asyncio.get_running_loop().time()
        await asyncio.sleep(1.0)
        await fail_the_next_try(small, machine)
        for wait in waits:
            with pytest.raises(
                NoMachineAvailable, match=r"will be restarted in (29|30) s\. .* `orchestrator restart p`"
            ):
                await wait
        assert 9.0 < asyncio.get_running_loop().time() - begun_at < 13.0
        assert small.fleet.machines[machine.id].project == "p", "it keeps its machine"

    lived(story)


def test_who_waits_long_enough_for_the_next_try_is_not_told_to_go() -> None:
    """Even if another client of the same project waits for less."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = await small.assign("p")
        await used_up(small, machine, 2)
        waits = [asyncio.ensure_future(small.assign_machine("p", wait_s=wait_s)) for wait_s in (50.0, 15.0)]
        await asyncio.sleep(1.0)
        await fail_the_next_try(small, machine)
        with pytest.raises(NoMachineAvailable):
            await waits[1]
        assert (await waits[0]).machine.id == machine.id

    lived(story)
