"""The computer sleeps, and the first thing after it is a decision: whatever it is, it is made with the time of now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace
from tests.simulation.small import Small, lived

from worker_orchestrator.core.expiry import LATE_S
from worker_orchestrator.core.lease import SPARED_S, Lease, Terms
from worker_orchestrator.core.spec import DEFAULT_POOL, PoolSpec
from worker_orchestrator.engines.base import Listing

SLEPT_S = 1000.0
HOUR = Terms(ttl=3600)
OTHER = PoolSpec(None, pending=True, min_idle=1)

Way = Callable[[Small], Awaitable[Lease | None]]


def lease_of(small: Small, project: str) -> Lease | None:
    machine = small.fleet.of_project(project)
    return None if machine is None else machine.lease


def fall_asleep(small: Small) -> None:
    small.clock.asleep_s += SLEPT_S


async def an_assign(small: Small) -> Lease | None:
    fall_asleep(small)
    return (await small.assign("p")).lease


async def an_assign_again(small: Small) -> Lease | None:
    await small.assign("p")
    fall_asleep(small)
    return (await small.assign("p")).lease


async def a_keepalive(small: Small) -> Lease | None:
    await small.assign("p")
    fall_asleep(small)
    return (await small.orchestrator.leases.keep_alive("p", Terms())).lease


async def a_restart(small: Small) -> Lease | None:
    machine = await small.assign("p")
    fall_asleep(small)
    restart = asyncio.create_task(small.orchestrator.restart(machine.id))
    await asyncio.sleep(0)
    lease = lease_of(small, "p")
    await restart
    return lease


async def a_release(small: Small) -> Lease | None:
    """The machine goes to the project that waits for it."""
    await small.assign("o")
    waiting = asyncio.create_task(small.assign("p"))
    await small.until(lambda: small.fleet.waiting)
    fall_asleep(small)
    await small.orchestrator.release("o")
    return (await waiting).lease


async def a_release_in_v1(small: Small) -> Lease | None:
    await small.assign("o")
    waiting = asyncio.create_task(small.assign("p"))
    await small.until(lambda: small.fleet.waiting)
    fall_asleep(small)
    await small.orchestrator.release_of("o")
    return (await waiting).lease


async def an_answer_of_a_new_worker(small: Small) -> Lease | None:
    await small.assign("o")
    waiting = asyncio.create_task(small.assign("p"))
    await small.until(lambda: small.fleet.waiting)
    fall_asleep(small)
    small.engine.faults.slow_s = 0.0
    await small.orchestrator.destroy(small.fleet.projects["o"])
    return (await waiting).lease


async def a_change_of_the_pool(small: Small) -> Lease | None:
    """While it is paused, a machine of an older template is better than none."""
    await small.assign("o")
    waiting = asyncio.create_task(small.assign("p"))
    await small.until(lambda: small.fleet.waiting)
    state = small.orchestrator._state
    pool = state.spec.pools[DEFAULT_POOL]
    small.fleet.leave_line("p")
    await small.orchestrator.release("o")
    state.spec = replace(state.spec, pools={DEFAULT_POOL: replace(pool, template="newer")})
    small.fleet.join_line(DEFAULT_POOL, "p")
    fall_asleep(small)
    small.orchestrator.change_pool(DEFAULT_POOL, {"paused": True})
    return (await waiting).lease


WAYS: list[Way] = [
    an_assign,
    an_assign_again,
    a_keepalive,
    a_restart,
    a_release,
    a_release_in_v1,
    an_answer_of_a_new_worker,
    a_change_of_the_pool,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_lease_that_begins_right_after_a_sleep_of_the_computer_begins_after_it(way: Way) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await asyncio.sleep(SPARED_S + 1)
        before = small.fleet.lease_time(asyncio.get_running_loop().time())
        lease = await way(small)
        assert lease is not None
        assert lease.renewed_at >= before + SLEPT_S
        assert small.fleet.nothing_expires_before >= before + SLEPT_S + SPARED_S, "and clients come first"

    lived(story, min_idle=1, max_machines=1, terms=HOUR)


def test_it_is_so_for_deadlines_that_only_a_project_asked_for() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        fall_asleep(small)
        machine = (await small.assign_machine("p", terms=HOUR)).machine
        assert machine.lease is not None
        assert machine.lease.renewed_at >= SLEPT_S

    lived(story, min_idle=1)


def test_it_is_so_from_the_moment_in_which_a_pool_gets_deadlines() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        parts, spec = small.orchestrator._parts, small.orchestrator.spec
        assert parts.state.now == asyncio.get_running_loop().time, "without deadlines nothing more is done"
        pool = replace(spec.pools[DEFAULT_POOL], terms=HOUR)
        parts.reconfigure(replace(spec, pools={DEFAULT_POOL: pool}), parts._limits, ())
        fall_asleep(small)
        machine = await small.assign("p")
        assert machine.lease is not None
        assert machine.lease.renewed_at >= SLEPT_S

    lived(story, min_idle=1)


def test_a_tick_right_after_a_sleep_ends_nothing() -> None:
    """Not even where the computer fell asleep while the engine was being listed."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        await asyncio.sleep(SPARED_S + 1)
        await small.assign_machine("p", terms=Terms(ttl=100))
        take = small.engine.list

        async def sleep_meanwhile() -> Listing:
            listing = await take()
            fall_asleep(small)
            return listing

        small.engine.list = sleep_meanwhile  # type: ignore[method-assign]
        await small.orchestrator._state.next_listing()
        small.engine.list = take  # type: ignore[method-assign]
        await asyncio.sleep(SPARED_S - 3)
        assert small.fleet.of_project("p") is not None
        await small.until(lambda: small.fleet.of_project("p") is None, within_s=6)

    lived(story, min_idle=1)


@pytest.mark.parametrize("after_s", [0.1, 1.0, 2.6, 4.9, 7.9])
@pytest.mark.parametrize("is_asleep", [True, False])
def test_no_standstill_of_more_than_five_seconds_goes_unnoticed(after_s: float, *, is_asleep: bool) -> None:
    """Whenever it begins, and whether the computer slept or this process was stopped: clients come first."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        await asyncio.sleep(SPARED_S + 1)
        await small.assign_machine("p", terms=Terms(ttl=8))
        await asyncio.sleep(after_s)
        if is_asleep:
            small.clock.asleep_s += LATE_S + 0.001
        else:
            small.loop.stand_still(LATE_S + 0.001)
        await asyncio.sleep(SPARED_S - 1)
        assert small.fleet.of_project("p") is not None
        await small.until(lambda: small.fleet.of_project("p") is None, within_s=4)

    lived(story, min_idle=1)
