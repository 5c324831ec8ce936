"""What every engine that has logs promises of them, checked on each of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from tests.contract.worlds import SAID, World

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Logs
from worker_orchestrator.errors import EngineUnavailable, NotRunning

pytestmark = pytest.mark.promise("logs")

NEVER_WAS = "worker-1700000000000-neverwas1"


def has_logs(world: World) -> Logs:
    assert isinstance(world.engine, Logs)
    return world.engine


async def whole(stream: AsyncIterator[bytes]) -> str:
    async with asyncio.timeout(15):
        return b"".join([piece async for piece in stream]).decode()


async def until(text: str, stream: AsyncIterator[bytes]) -> str:
    """What was read when this text came."""
    seen = ""
    async with asyncio.timeout(15):
        while text not in seen:
            seen += (await anext(stream)).decode()
    return seen


async def talkative(world: World, times: int = 1) -> Machine:
    machine = await world.running()
    for _ in range(times):
        await world.say(machine)
    return machine


async def test_logs_hold_all_lines(world: World) -> None:
    """Of one that runs and of one that ended, in the order in which they were written."""
    machine = await talkative(world)
    lines = (await whole(has_logs(world).logs(machine.id))).splitlines()
    assert machine.id in lines[0] or "listens on" in lines[0]
    assert SAID in lines[-1]
    world.kill(machine)
    assert (await whole(has_logs(world).logs(machine.id))).splitlines() == lines


async def test_a_tail_holds_the_last_lines(world: World) -> None:
    """No more than were asked for, and all of them where there are fewer."""
    machine = await talkative(world, times=3)
    logs = has_logs(world).logs
    every = (await whole(logs(machine.id))).splitlines()
    assert (await whole(logs(machine.id, tail=2))).splitlines() == every[-2:]
    assert (await whole(logs(machine.id, tail=0))).splitlines() == []
    assert (await whole(logs(machine.id, tail=1000))).splitlines() == every


async def test_each_line_tells_its_time_if_asked(world: World) -> None:
    """RFC 3339, in UTC, then a blank, then the line as it is without."""
    machine = await talkative(world, times=2)
    logs = has_logs(world).logs
    plain = (await whole(logs(machine.id))).splitlines()
    timed = (await whole(logs(machine.id, timestamps=True))).splitlines()
    assert [line.split(" ", 1)[1] for line in timed] == plain
    for line in timed:
        time = line.split(" ", 1)[0]
        assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}(\.[0-9]+)?Z", time)  # Podman 5.4: whole seconds
        assert abs(datetime.now(UTC) - datetime.fromisoformat(time)) < timedelta(minutes=5)


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_a_follower_sees_lines_as_they_are_written_and_ends_with_the_instance(world: World, how: str) -> None:
    """It may begin with none of the old ones."""
    machine = await talkative(world)
    async with aclosing(has_logs(world).logs(machine.id, tail=0, follow=True)) as stream:  # type: ignore[type-var]
        reading = asyncio.create_task(until(SAID, stream))
        await asyncio.sleep(0)
        while not reading.done():
            await world.say(machine)
            await asyncio.wait({reading}, timeout=0.1)
        assert "listens on" not in reading.result()
        (world.kill if how == "kill" else world.remove)(machine)
        await whole(stream)


async def test_following_one_that_ended_ends(world: World) -> None:
    """With what there is."""
    machine = await talkative(world)
    world.kill(machine)
    assert SAID in await whole(has_logs(world).logs(machine.id, follow=True))


async def test_followers_do_not_hold_other_calls(world: World) -> None:
    """Nor each other, whether they are read or not."""
    machine = await talkative(world)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            stream = has_logs(world).logs(machine.id, follow=True)
            await stack.enter_async_context(aclosing(stream))  # type: ignore[type-var]
            await until(SAID, stream)
        async with asyncio.timeout(5):
            await world.engine.ping()
            assert machine.id in (await world.engine.list()).instances


async def test_a_follower_can_be_cancelled(world: World) -> None:
    """While it waits for the next line."""
    machine = await talkative(world)
    following = asyncio.create_task(whole(has_logs(world).logs(machine.id, follow=True)))
    await asyncio.wait({following}, timeout=0.3)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_what_is_not_there_or_not_ours_has_no_logs(world: World) -> None:
    """Whatever stands under its name."""
    theirs = await world.machine()
    world.put(theirs, world.somebody_else)
    for machine_id in (NEVER_WAS, theirs.id):
        with pytest.raises(NotRunning, match=machine_id):
            await whole(has_logs(world).logs(machine_id))
        assert await has_logs(world).last_lines(machine_id, 10) == ""


async def test_logs_of_an_engine_that_cannot_be_reached_are_unavailable(world: World) -> None:
    """They may be asked for again."""
    machine = await talkative(world)
    async with world.unreachable() as engine:
        assert isinstance(engine, Logs)
        with pytest.raises(EngineUnavailable):
            await whole(engine.logs(machine.id))


async def test_last_lines_are_the_end_of_the_logs(world: World) -> None:
    """As many as were asked for."""
    machine = await talkative(world, times=2)
    logs = has_logs(world)
    assert (await logs.last_lines(machine.id, 1)).splitlines() == (await whole(logs.logs(machine.id))).splitlines()[-1:]
