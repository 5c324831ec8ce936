"""Requests that name a pool, beside those that do not: each project has one machine, and hears of the pool that it is of."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from tests.simulation.small import Small, lived

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import PoolSpec
from worker_orchestrator.errors import NoMachineAvailable, OtherPool, PoolNotFound

BESIDE = {"node": PoolSpec(None, min_idle=1, pending=True), "empty": PoolSpec(None, min_idle=0, pending=True)}


def told(story: Any, **options: Any) -> None:
    lived(story, beside=BESIDE, max_machines=9, **options)


def drop(small: Small, pool: str) -> None:
    """The settings do not name this pool any more."""
    state, decisions = small.orchestrator._state, small.orchestrator._decisions
    state.spec = replace(state.spec, pools={name: one for name, one in state.spec.pools.items() if name != pool})
    decisions.apply_and_commit_soon()


def test_each_project_gets_a_machine_of_the_pool_that_it_names_else_of_the_default_one() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(3)
        machines = await asyncio.gather(
            small.assign("p", pool="node"), small.assign("q"), small.assign("r", pool="empty")
        )
        assert [machine.pool for machine in machines] == ["node", "default", "empty"]
        assert [machine.project for machine in machines] == ["p", "q", "r"]

    told(story, slow_s=0.2)


def test_a_machine_is_told_again_to_whoever_names_its_pool_or_none() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(3)
        machine = await small.assign("p", pool="node")
        assert await small.assign("p") == await small.assign("p", pool="node") == machine
        for pool in ("default", "empty"):
            with pytest.raises(OtherPool) as refusal:
                await small.assign("p", pool=pool)
            assert (refusal.value.has, refusal.value.asked) == ("node", pool)
        with pytest.raises(PoolNotFound):
            await small.assign("p", pool="never heard of")
        assert small.fleet.of_project("p") == machine

    told(story)


def test_while_a_project_waits_it_can_ask_for_no_other_pool() -> None:
    """Whoever names none waits for the same machine."""

    async def story(small: Small) -> None:
        await small.await_idle(3)
        first = asyncio.create_task(small.assign("p", pool="empty"))
        await asyncio.sleep(0.01)
        with pytest.raises(OtherPool, match="waits for a machine of the pool empty, not of default"):
            await small.assign("p", pool="default")
        second = asyncio.create_task(small.assign("p"))
        assert await first == await second
        assert (await first).pool == "empty"
        assert len(small.fleet.projects) == 1

    told(story, slow_s=0.5)


def test_a_pool_that_does_not_exist_is_not_found() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(3)
        with pytest.raises(PoolNotFound, match=r"There is no pool nod\. The pools are: default, node, empty"):
            await small.assign("p", pool="nod")
        assert "nod" not in small.fleet.pools

    told(story)


def test_whoever_waits_in_a_pool_that_vanishes_from_the_settings_is_told_at_once() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(3)
        waiting = asyncio.create_task(small.assign("p", pool="empty"))
        await asyncio.sleep(0.01)
        drop(small, "empty")
        with pytest.raises(NoMachineAvailable, match="no pool of this name"):
            async with asyncio.timeout(0.1):
                await waiting
        assert (await small.assign("p")).pool == "default"
        await small.until(lambda: not [one for one in small.fleet.machines.values() if one.pool == "empty"])

    told(story, slow_s=2.0)


def test_the_machine_of_a_project_outlives_its_pool() -> None:
    """It is removed when it is released; then the pool is not found."""

    async def story(small: Small) -> None:
        await small.await_idle(3)
        machine = await small.assign("p", pool="node")
        drop(small, "node")
        await small.await_idle(2)
        assert await small.assign("p") == await small.assign("p", pool="node") == machine
        await small.orchestrator.release("p")
        await small.until(lambda: machine.id not in small.fleet.machines)
        with pytest.raises(PoolNotFound):
            await small.assign("p", pool="node")

    told(story)


def test_a_pool_that_vanishes_while_its_machine_is_probed_has_no_other_one_to_give() -> None:
    """The one that was reserved does not answer, and the next one may not come from there."""

    async def story(small: Small) -> None:
        await small.await_idle(3)
        await asyncio.sleep(5)
        (machine,) = (one for one in small.idle if one.pool == "node")
        small.engine._containers[machine.id].answer_s = 0.5
        small.fleet.watches[machine.id].verified_at = None
        waiting: asyncio.Task[Machine] = asyncio.create_task(small.assign("p", pool="node"))
        await small.until(lambda: small.fleet.of_project("p"))
        drop(small, "node")
        small.engine._containers[machine.id].mute = True
        with pytest.raises(NoMachineAvailable, match=r"There is no pool node\. The pools are: default, empty"):
            await waiting
        assert small.fleet.of_project("p") is None
        assert small.fleet.waiting == {}

    told(story)
