"""A pool with a reserve, as clients and operators meet it: what is paused, what an assign costs, and what goes wrong."""

from __future__ import annotations

import asyncio

from tests.simulation.small import Small, lived

from worker_orchestrator.core import reasons
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import EngineRejected


def parked(small: Small) -> list[str]:
    return [one.id for one in small.fleet.machines.values() if one.state is State.PARKED]


def paused(small: Small) -> list[str]:
    return [one.id for one in small.engine.instances().values() if one.status is Status.PAUSED]


async def has_reserve(small: Small, count: int) -> list[str]:
    """So many machines are parked, and known to be paused. Returns their ids, the first to be woken first."""
    await small.until(lambda: len(paused(small)) == len(parked(small)) == count)
    await asyncio.sleep(0.1)
    return list(small.fleet.all_parked("default"))


def test_a_pool_fills_its_reserve_and_pauses_it() -> None:
    async def story(small: Small) -> None:
        await has_reserve(small, 2)
        assert len(small.idle) == 1
        await asyncio.sleep(250)
        assert (len(small.idle), len(paused(small)), small.calls("create")) == (1, 2, 3)

    lived(story, min_idle=1, parked=2)


def test_an_assign_that_finds_nothing_idle_takes_a_parked_machine_with_one_call_and_one_probe() -> None:
    async def story(small: Small) -> None:
        first, _ = await has_reserve(small, 2)
        probes, begun_at = small.probes_answered(), asyncio.get_running_loop().time()
        machine = await small.assign("p1")
        assert (machine.id, machine.project) == (first, "p1")
        assert asyncio.get_running_loop().time() - begun_at < 0.005
        assert (small.calls("unpark"), small.probes_answered()) == (1, probes + 1)
        await small.until(lambda: len(paused(small)) == 2)
        assert small.calls("create") == 3, "it is refilled by a new one"

    lived(story, min_idle=0, parked=2)


def test_who_is_released_is_used_again_and_not_paused_at_once() -> None:
    """A pause per release and a wake per assign would cost more than they save."""

    async def story(small: Small) -> None:
        await has_reserve(small, 1)
        for _ in range(20):
            await small.assign("p1")
            await small.orchestrator.release("p1")
            await asyncio.sleep(0.5)
        assert small.calls("unpark") == 1
        assert small.calls("park") == 2, "the one that took its place is parked"

    lived(story, min_idle=0, parked=1)


def test_a_parked_machine_shows_every_five_minutes_that_it_answers() -> None:
    async def story(small: Small) -> None:
        (machine_id,) = await has_reserve(small, 1)
        probes = small.probes_answered()
        await asyncio.sleep(310)
        assert (small.calls("unpark"), small.calls("park"), small.probes_answered()) == (1, 2, probes + 1)
        assert await has_reserve(small, 1) == [machine_id]
        small.engine._containers[machine_id].mute = True
        await asyncio.sleep(320)
        (other,) = await has_reserve(small, 1)
        assert other != machine_id
        assert "did not answer" in small.fleet.machines[machine_id].reason

    lived(story, min_idle=0, parked=1)


def test_a_restart_of_the_engine_that_ends_what_is_paused_has_the_reserve_made_anew() -> None:
    async def story(small: Small) -> None:
        before = await has_reserve(small, 2)
        for machine_id in before:
            small.engine.kill(machine_id)
        after = await has_reserve(small, 2)
        assert not set(before) & set(after)
        assert small.fleet.pool("default").image_brake is None

    lived(story, min_idle=0, parked=2)


def test_an_engine_that_refuses_to_pause_leaves_the_reserve_idle_and_is_asked_once_a_minute() -> None:
    async def story(small: Small) -> None:
        await small.await_template()

        async def refuse(machine_id: str) -> None:
            refused.append(machine_id)
            raise EngineRejected(f"{machine_id} cannot be paused.")

        refused: list[str] = []
        small.engine.pause = refuse  # type: ignore[method-assign]
        await small.await_idle(2)
        await asyncio.sleep(170)
        assert len(refused) == 2 * 3
        assert (len(small.idle), small.calls("create")) == (2, 2)
        assert (await small.assign("p1")).project == "p1"

    lived(story, min_idle=0, parked=2)


def test_what_may_be_paused_late_is_given_to_nobody() -> None:
    """The call hangs until nobody waits for it any more, and is carried out after that."""

    async def story(small: Small) -> None:
        await small.await_template()
        await small.await_idle(1)
        late = small.idle[0].id
        small.engine.faults.late, small.engine.faults.late_s = 1.0, 60.0
        await small.until(lambda: late in parked(small))
        await asyncio.sleep(0.01)
        small.engine.faults.late = 0.0
        machine = await small.assign("p1")
        assert machine.id != late
        await asyncio.sleep(100)
        assert small.fleet.machines[machine.id].state is State.READY
        assert small.engine.instances()[machine.id].status is Status.RUNNING
        assert late not in small.engine.instances()

    lived(story, min_idle=0, parked=1)


def test_a_wake_that_hangs_is_given_up_and_another_machine_serves() -> None:
    async def story(small: Small) -> None:
        first, second = await has_reserve(small, 2)
        hang, go_on = asyncio.Event(), small.engine.unpause

        async def unpause(machine_id: str) -> None:
            if machine_id == first:
                await hang.wait()
            await go_on(machine_id)

        small.engine.unpause = unpause  # type: ignore[method-assign]
        begun_at = asyncio.get_running_loop().time()
        machine = await small.assign("p1")
        assert machine.id == second
        assert asyncio.get_running_loop().time() - begun_at < 12
        assert small.fleet.machines[first].reason == reasons.started_too_slowly(5.0)
        hang.set()

    lived(story, min_idle=0, parked=2)


def test_somebody_who_lets_a_parked_machine_go_on_has_it_paused_again() -> None:
    async def story(small: Small) -> None:
        (machine_id,) = await has_reserve(small, 1)
        small.engine._containers[machine_id].thaw()
        small.engine._tell()
        await small.until(lambda: small.calls("park") == 2)
        assert await has_reserve(small, 1) == [machine_id]

    lived(story, min_idle=0, parked=1)
