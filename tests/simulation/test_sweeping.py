"""Idle machines are asked whether they still serve, each once per refresh, and nobody else's is."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.instance import Instance
from worker_orchestrator.core.machine import Machine, State


def counted(small: Small, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each machine is probed from now on."""
    probes, probe = Counter[str](), small.engine.probe

    async def count(
        machine: Machine, instance: Instance | None, limit_s: float, *, closely: bool = False
    ) -> str | None:
        probes[machine.id] += 1
        return await probe(machine, instance, limit_s, closely=closely)

    monkeypatch.setattr(small.engine, "probe", count)
    return probes


def test_each_idle_machine_is_asked_once_per_refresh_and_not_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(4)
        await asyncio.sleep(10)  # the sweep that began before they were there
        probes = counted(small, monkeypatch)
        await asyncio.sleep(3)
        assert 1 <= probes.total() <= 2
        await asyncio.sleep(97)
        assert set(probes.values()) <= {9, 10, 11}
        assert len(probes) == 4

    lived(story, min_idle=4)


def test_a_projects_machine_is_left_alone_from_the_moment_when_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the sweep that began while it was idle: its worker must not see questions that nobody of its own sent."""

    async def story(small: Small) -> None:
        await small.await_idle(4)
        await asyncio.sleep(10)
        taken = {(await small.assign(f"p{number}")).id for number in range(4)}
        probes = counted(small, monkeypatch)
        await asyncio.sleep(20)
        assert not taken & set(probes)

    lived(story, min_idle=4, max_machines=4)


def test_one_that_has_just_answered_is_at_hand_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With twenty of them one answers every half second, so an assign now and then need not ask any."""

    async def story(small: Small) -> None:
        await small.await_idle(20)
        await asyncio.sleep(20)
        probes = counted(small, monkeypatch)
        for number in range(5):
            before = probes.total()
            await small.assign(f"p{number}")
            assert probes.total() == before
            await asyncio.sleep(1.2)

    lived(story, min_idle=20, max_machines=20)


def test_one_that_comes_and_goes_is_asked_before_its_next_project_would_have_to_wait() -> None:
    """Its turn in the sweep comes while a project has it, as a rule; so it is asked as it is released, twice a second."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        await small.assign("p0")
        probes_before = small.probes_answered()
        for number in range(400):
            await small.orchestrator.release(f"p{number}")
            (machine,) = small.fleet.machines.values()
            assert machine.state is State.READY, f"after {number} rounds it has to answer first"
            await asyncio.sleep(0.01)
            await small.assign(f"p{number + 1}")
            await asyncio.sleep(0.01)
        assert 12 <= small.probes_answered() - probes_before <= 24

    lived(story, min_idle=1, max_machines=1, slow_s=0.002)
