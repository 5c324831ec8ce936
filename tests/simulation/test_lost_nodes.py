"""The node of a project's machine does not report any more: what the project and others hear, and when it gets another."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace
from tests.simulation.small import Small, lived
from tests.simulation.test_pools_as_seen import ask

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.reasons import RELEASED_UNREACHABLE, UNREACHABLE
from worker_orchestrator.core.spec import PoolSpec

GRACE_S = 120.0


def lose(small: Small, machine: Machine) -> None:
    """The engine cannot see it from now on."""
    container = small.engine._containers[machine.id]
    container.instance = replace(container.instance, status=Status.UNKNOWN, unreachable_since=small.loop.time())
    small.engine._tell()


def find(small: Small, machine: Machine) -> None:
    container = small.engine._containers[machine.id]
    container.instance = replace(container.instance, status=Status.RUNNING, unreachable_since=None)
    small.engine._tell()


async def trouble(small: Small, machine: Machine) -> str:
    return (await small.orchestrator.record(small.fleet.machines[machine.id])).trouble


def test_it_is_told_to_be_unreachable_and_kept_without_a_grace() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        mine = await small.assign("p")
        lose(small, mine)
        await asyncio.sleep(7_200)
        assert await trouble(small, mine) == UNREACHABLE
        assert await small.assign("p") == mine, "its address, as before"
        told = (await ask(small, "GET", "/projects/p/why")).body
        assert told["trouble"] == UNREACHABLE
        assert told["why"].endswith(UNREACHABLE)
        problems = " ".join((await ask(small, "GET", "/health")).body["problems"])
        assert "The engine does not know whether the machine still runs that it gave to p, as when" in problems
        find(small, mine)
        await asyncio.sleep(30)
        assert await trouble(small, mine) == ""
        assert await small.assign("p") == mine

    lived(story, restarts_in_place=False)


def test_after_the_grace_it_is_replaced_when_its_project_asks_and_not_before() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        mine = await small.assign("p")
        lose(small, mine)
        await asyncio.sleep(GRACE_S - 20)
        assert await small.assign("p") == mine
        await asyncio.sleep(3600)
        assert small.fleet.machines[mine.id].project == "p"
        replies = await asyncio.gather(*(small.assign("p") for _ in range(5)))
        assert len({reply.id for reply in replies}) == 1, "all of them agree"
        assert replies[0].id != mine.id
        assert replies[0].generation > mine.generation
        told = [one for one in small.store.events() if one.machine == mine.id and one.cause == "released"]
        assert [one.reason for one in told] == [RELEASED_UNREACHABLE]
        await small.until(lambda: mine.id not in small.engine.instances(), within_s=600)

    lived(story, restarts_in_place=False, unreachable_grace_s=GRACE_S)


def test_the_short_way_leaves_it_to_the_long_one_which_looks_at_the_grace() -> None:
    """Almost all requests go the short way, and would be given the lost machine for ever."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        mine = await small.assign("p")
        replies = list[Machine | BaseException]()
        assert small.orchestrator.short_way.assign("p", None, replies.append)
        await small.until(lambda: replies == [mine])
        lose(small, mine)
        await asyncio.sleep(GRACE_S + 30)
        assert not small.orchestrator.short_way.assign("p", None, replies.append)
        assert (await small.assign_machine("p")).machine.id != mine.id

    lived(story, restarts_in_place=False, unreachable_grace_s=GRACE_S)


def test_a_machine_that_was_only_cut_off_for_a_while_is_the_same() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        mine = await small.assign("p")
        for _ in range(3):
            lose(small, mine)
            await asyncio.sleep(GRACE_S - 20)
            find(small, mine)
            await asyncio.sleep(30)
        assert await small.assign("p") == mine

    lived(story, restarts_in_place=False, unreachable_grace_s=GRACE_S)


def test_the_next_one_is_of_the_same_pool_though_nobody_names_it() -> None:
    async def story(small: Small) -> None:
        await small.until(lambda: small.fleet.count_idle("web") == 1)
        mine = await small.assign("p", pool="web")
        lose(small, mine)
        await asyncio.sleep(GRACE_S + 30)
        other = await small.assign("p")
        assert (other.pool, other.id != mine.id) == ("web", True)

    web = PoolSpec(None, pending=True, min_idle=1, unreachable_grace_s=GRACE_S)
    lived(story, restarts_in_place=False, beside={"web": web})


def test_a_machine_that_is_asked_for_by_its_wake_alone_is_not_replaced() -> None:
    """Who wakes a project's machine asks for this one."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        mine = await small.assign("p")
        lose(small, mine)
        await asyncio.sleep(GRACE_S + 30)
        assert (await small.orchestrator.sleepers.wake("p")).id == mine.id
        assert small.fleet.machines[mine.id].state is State.READY

    lived(story, restarts_in_place=False, unreachable_grace_s=GRACE_S)
