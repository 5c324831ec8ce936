"""Virtual time: nobody waits, everything happens in its order, and a standstill is noticed."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from tests.simulation.virtual import Deadlock, VirtualClock, virtual_time


def test_a_long_sleep_takes_no_time() -> None:
    begun_at = time.monotonic()
    with virtual_time() as loop:
        before = loop.time()
        loop.run_until_complete(asyncio.sleep(86_400))
        assert loop.time() - before == pytest.approx(86_400)
    assert time.monotonic() - begun_at < 5


def test_sleepers_wake_in_the_order_of_their_timers() -> None:
    woken: list[float] = []

    async def sleeper(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        woken.append(delay_s)

    async def all_of_them() -> None:
        await asyncio.gather(*(sleeper(delay_s) for delay_s in (30, 0.5, 7, 0)))

    with virtual_time() as loop:
        loop.run_until_complete(all_of_them())
    assert woken == [0, 0.5, 7, 30]


def test_waiting_for_what_never_comes_is_a_deadlock() -> None:
    with virtual_time() as loop:
        never = loop.create_future()
        with pytest.raises(Deadlock):
            loop.run_until_complete(never)


def test_being_busy_for_ever_at_one_moment_is_a_deadlock() -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110 # this is what must be noticed
            await asyncio.sleep(0)

    with virtual_time() as loop:
        task = loop.create_task(spin())
        with pytest.raises(Deadlock):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)


def test_wall_time_follows_the_loop_and_ids_follow_the_seed() -> None:
    with virtual_time() as loop:
        clock, twin = VirtualClock(loop, random.Random(1)), VirtualClock(loop, random.Random(1))
        before_ms = clock.wall_ms()
        loop.run_until_complete(asyncio.sleep(1.5))
        assert clock.wall_ms() == before_ms + 1500
        assert clock.machine_id() == twin.machine_id() != clock.machine_id()
