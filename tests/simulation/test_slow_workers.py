"""A worker has as long for an answer as its start may take: slow is not dead, neither at the start nor later."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.instance import Instance
from worker_orchestrator.core.machine import Machine

SLOW_S = 7.0


def test_a_worker_that_takes_seconds_for_each_answer_comes_up_serves_and_stays() -> None:
    async def story(small: Small) -> None:
        small.engine.faults.sluggish, small.engine.faults.sluggish_s = 1.0, SLOW_S
        await small.until(lambda: len(small.idle) == 2, within_s=SLOW_S + 1)
        born = {machine.id for machine in small.idle}
        await asyncio.sleep(300)
        assert {machine.id for machine in small.idle} == born
        machine = await small.assign("p1")
        assert machine.id in born

    lived(story, min_idle=2)


def test_a_service_that_just_started_does_not_know_yet_who_is_slow() -> None:
    async def story(small: Small) -> None:
        small.engine.faults.sluggish, small.engine.faults.sluggish_s = 1.0, SLOW_S
        await small.until(lambda: len(small.idle) == 2, within_s=SLOW_S + 1)
        born = {machine.id for machine in small.idle}
        for watch in small.fleet.watches.values():  # as after a restart
            watch.verified_at, watch.slowest_answer_s, watch.answer_s = None, 0.0, 0.0
        machine = await small.assign("p1")
        assert machine.id in born
        await asyncio.sleep(100)
        assert born <= set(small.fleet.machines)

    lived(story, min_idle=2)


def test_whoever_finds_a_hung_machine_gets_another_as_soon_as_ever() -> None:
    """Also where this process has never heard it: another one is at hand."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        first, second = small.idle
        small.engine._containers[first.id].answer_s = 3600.0
        small.fleet.watches[first.id].verified_at = None
        small.fleet.watches[second.id].verified_at = -100.0
        begun_at = asyncio.get_running_loop().time()
        assert (await small.assign("p1")).id == second.id
        assert asyncio.get_running_loop().time() - begun_at <= 1.1
        await small.until(lambda: first.id not in [machine.id for machine in small.idle], within_s=240)

    lived(story, min_idle=2)


def test_a_question_that_got_lost_keeps_nobody_from_becoming_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        probe, asked = small.engine.probe, []

        async def first_is_lost(
            machine: Machine, instance: Instance | None, limit_s: float, *, closely: bool = False
        ) -> str | None:
            asked.append(machine.id)
            if asked.count(machine.id) == 1:
                await asyncio.sleep(limit_s)
                return "lost"
            return await probe(machine, instance, limit_s, closely=closely)

        monkeypatch.setattr(small.engine, "probe", first_is_lost)
        await small.until(lambda: len(small.idle) == 2, within_s=1.5)

    lived(story, min_idle=2)


def test_a_worker_that_says_nothing_is_asked_again_ever_more_seldom_and_fails_with_its_start() -> None:
    async def story(small: Small) -> None:
        small.engine.faults.sluggish, small.engine.faults.sluggish_s = 1.0, 3600.0
        await small.await_template()
        await small.until(
            lambda: any(machine.state == "failed" for machine in small.fleet.machines.values()), within_s=70
        )
        reason = next(machine.reason for machine in small.fleet.machines.values() if machine.state == "failed")
        assert reason.startswith("The worker did not answer within 60 s of its start: no answer within ")

    lived(story, min_idle=1)
