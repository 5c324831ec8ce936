"""Deadlines that depend on use: whoever uses a machine keeps it, whoever does not loses it in time, nobody by a guess."""

from __future__ import annotations

import asyncio
import random

import pytest
from msgspec.structs import replace
from tests.simulation.small import Small, lived

from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.core.activity import ActivityRules, Counters, Traffic
from worker_orchestrator.core.lease import SPARED_S, Terms
from worker_orchestrator.core.machine import Machine

IDLE = Terms(idle_timeout=30)
LATE_S = 2.0


def now() -> float:
    return asyncio.get_running_loop().time()


async def served(small: Small) -> Machine:
    """The machine of project p, once the minute after the start is over in which nothing expires."""
    await small.await_idle(1)
    await asyncio.sleep(SPARED_S + 1)
    return await small.assign("p")


def has_it(small: Small) -> bool:
    return small.fleet.of_project("p") is not None


async def lost_after(small: Small) -> float:
    """How many seconds from now project p keeps its machine."""
    begun_at = now()
    await small.until(lambda: not has_it(small), within_s=3600)
    return now() - begun_at


async def used(small: Small, machine: Machine, seconds: float, **more: float) -> None:
    """Its counters grow by so much in each second of this time, or until its project has it no more."""
    for _ in range(round(seconds)):
        if not has_it(small):
            return
        work = small.engine.work(machine.id)
        for name, value in more.items():
            setattr(work, name, getattr(work, name) + value)
        await asyncio.sleep(1)


def test_an_abandoned_machine_goes_back_at_most_two_seconds_late() -> None:
    async def story(small: Small) -> None:
        machine = await served(small)
        assert 30 <= await lost_after(small) <= 30 + LATE_S
        await small.until(lambda: machine.id not in small.fleet.machines)

    lived(story, min_idle=1, terms=IDLE)


@pytest.mark.parametrize(
    ("rules", "more", "kept"),
    [
        (ActivityRules(), {"received_bytes": 100}, True),
        (ActivityRules(), {"received_bytes": 10}, False),
        (ActivityRules(), {"sent_bytes": 100}, False),
        (ActivityRules(Traffic.ANY), {"sent_bytes": 100}, True),
        (ActivityRules(Traffic.OFF), {"received_bytes": 100}, False),
        (ActivityRules(), {"cpu_s": 1.0}, False),
        (ActivityRules(cpu=0.05), {"cpu_s": 0.1}, True),
        (ActivityRules(cpu=0.05), {"cpu_s": 0.04}, False),
    ],
)
def test_a_machine_is_kept_by_what_its_pool_counts_as_use(
    rules: ActivityRules, more: dict[str, float], *, kept: bool
) -> None:
    async def story(small: Small) -> None:
        machine = await served(small)
        await used(small, machine, 120, **more)
        assert has_it(small) is kept
        if kept:
            assert 20 <= await lost_after(small) <= 30 + LATE_S

    lived(story, min_idle=1, terms=IDLE, activity=rules)


@pytest.mark.parametrize("traffic", list(Traffic))
def test_a_silent_connection_keeps_it_unless_no_traffic_counts(traffic: Traffic) -> None:
    async def story(small: Small) -> None:
        machine = await served(small)
        small.engine.work(machine.id).connections = 1
        await asyncio.sleep(200)
        assert has_it(small) is (traffic is not Traffic.OFF)
        if has_it(small):
            small.engine.work(machine.id).connections = 0
            assert await lost_after(small) <= 30 + LATE_S

    lived(story, min_idle=1, terms=IDLE, activity=ActivityRules(traffic))


def test_what_is_open_in_it_keeps_it_and_its_end_is_the_last_use() -> None:
    async def story(small: Small) -> None:
        machine = await served(small)
        with small.orchestrator.uses.of(machine):
            await asyncio.sleep(95)
            with small.orchestrator.uses.of(machine):
                await asyncio.sleep(5)
            await asyncio.sleep(100)
            assert has_it(small)
        assert 30 <= await lost_after(small) <= 30 + LATE_S

    lived(story, min_idle=1, terms=IDLE)


@pytest.mark.parametrize("slow_s", [0.0, 0.5])
@pytest.mark.parametrize("seen_before_s", [0.0, SPARED_S + 1])
def test_that_the_service_itself_asks_whether_a_worker_serves_is_no_use(slow_s: float, seen_before_s: float) -> None:
    """It does before it gives somebody a machine that it has not heard for a while. That brings more than noise."""

    async def story(small: Small) -> None:
        machine = await served(small)
        await small.orchestrator.release("p")
        await asyncio.sleep(seen_before_s)
        asked = small.engine.work(machine.id).received_bytes
        machine = await small.assign("p")
        assert (small.engine.work(machine.id).received_bytes > asked) is (seen_before_s > 0)
        assert 30 <= await lost_after(small) <= 30 + LATE_S + slow_s

    lived(story, min_idle=1, max_machines=1, slow_s=slow_s, terms=Terms(confirm_within=30))


@pytest.mark.parametrize("terms", [Terms(confirm_within=30), IDLE])
def test_counters_from_another_source_are_no_use(monkeypatch: pytest.MonkeyPatch, terms: Terms) -> None:
    """Docker is asked until the process of a container that has just started is known; it counts more than the kernel."""

    async def story(small: Small) -> None:
        counted, seen = small.engine.counters, set[int]()

        async def from_docker_first(machine_id: str, *, cpu: bool) -> Counters:
            counters = await counted(machine_id, cpu=cpu)
            generation = small.fleet.machines[machine_id].generation
            is_first = generation not in seen
            seen.add(generation)
            return replace(counters, received_bytes=761, run="") if is_first else counters

        monkeypatch.setattr(small.engine, "counters", from_docker_first)
        await served(small)
        assert 30 <= await lost_after(small) <= 30 + 10 + LATE_S, "it begins anew with the second reading"

    lived(story, min_idle=1, terms=terms)


def test_what_a_former_project_left_open_is_no_use_of_the_next_one() -> None:
    async def story(small: Small) -> None:
        machine = await served(small)
        with small.orchestrator.uses.of(machine):
            await small.orchestrator.release("p")
            again = await small.assign("p")
            assert (again.id, again.generation) != (machine.id, machine.generation)
            assert again.id == machine.id
            assert 30 <= await lost_after(small) <= 30 + LATE_S

    lived(story, min_idle=1, max_machines=1, terms=IDLE)


def test_a_machine_that_is_never_used_goes_back_and_one_that_was_is_not_asked_again() -> None:
    async def story(small: Small) -> None:
        machine = await served(small)
        assert 10 <= await lost_after(small) <= 10 + LATE_S
        await small.await_idle(1)
        machine = await small.assign("p")
        await asyncio.sleep(3)
        small.engine.work(machine.id).received_bytes += 1000
        await small.until(lambda: small.fleet.of_project("p").lease.is_used)  # type: ignore[union-attr]
        calls = small.engine.calls
        await asyncio.sleep(300)
        assert has_it(small)
        assert small.engine.calls - calls < 150, "it is not read any more, and the tick asks six times a minute"

    lived(story, min_idle=1, terms=Terms(confirm_within=10))


def test_while_nothing_can_be_read_nothing_expires() -> None:
    async def story(small: Small) -> None:
        await served(small)
        small.engine.faults.unread = 1.0
        await asyncio.sleep(600)
        assert has_it(small)
        small.engine.faults.unread = 0.0
        assert 30 <= await lost_after(small) <= 30 + 5 + LATE_S

    lived(story, min_idle=1, terms=IDLE)


def test_while_the_engine_is_away_nothing_expires() -> None:
    async def story(small: Small) -> None:
        await served(small)
        await asyncio.sleep(25)
        small.engine.up = False
        await asyncio.sleep(600)
        assert has_it(small)
        small.engine.up = True
        assert 30 <= await lost_after(small) <= 30 + 5 + LATE_S

    lived(story, min_idle=1, terms=IDLE)


def test_a_container_that_was_started_again_was_used() -> None:
    """Its counters begin anew, so nobody knows what was before. Its project has a minute to see that it is back."""

    async def story(small: Small) -> None:
        machine = await served(small)
        await asyncio.sleep(25)
        small.engine.kill(machine.id)
        await small.until(lambda: small.engine.work(machine.id).run == 2)
        assert 30 <= await lost_after(small) <= SPARED_S + LATE_S

    lived(story, min_idle=1, terms=IDLE)


@pytest.mark.parametrize("seed", range(20))
def test_with_lost_readings_nobody_loses_what_is_used_and_everybody_what_is_not(seed: int) -> None:
    """Every third reading fails, and each call takes up to a second. Its project uses it every 25 s at least."""

    async def story(small: Small) -> None:
        chance = random.Random(seed)
        machine = await served(small)
        small.engine.faults.unread = 0.33
        for _ in range(30):
            assert has_it(small)
            small.engine.work(machine.id).received_bytes += chance.randint(300, 10_000)
            await asyncio.sleep(chance.uniform(0, 25))
        assert has_it(small)
        small.engine.faults.unread = 0.1
        last_at = now()
        await small.until(lambda: not has_it(small), within_s=3600)
        assert now() - last_at >= 5

    lived(story, min_idle=1, slow_s=1.0, terms=IDLE)


def test_in_the_first_minute_nothing_expires_and_the_last_second_of_it_counts() -> None:
    """What was read at its beginning says nothing of its end."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p")
        await asyncio.sleep(SPARED_S - 2)
        assert has_it(small)
        small.engine.work(machine.id).received_bytes += 1000
        await asyncio.sleep(8)
        assert has_it(small)
        assert await lost_after(small) <= 10 + LATE_S

    lived(story, min_idle=1, terms=Terms(idle_timeout=10))


def test_in_the_first_minute_an_abandoned_machine_stays_and_then_it_goes() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await small.assign("p")
        begun_at = now()
        left_s = SPARED_S - (begun_at - 1000)
        assert left_s - 1 <= await lost_after(small) <= left_s + LATE_S

    lived(story, min_idle=1, terms=Terms(idle_timeout=10))


def test_deadlines_that_a_project_asks_for_later_count_at_once() -> None:
    async def story(small: Small) -> None:
        await served(small)
        await asyncio.sleep(100)
        await small.assign_machine("p", terms=IDLE)
        assert 30 <= await lost_after(small) <= 30 + LATE_S

    lived(story, min_idle=1)


def test_a_shorter_interval_holds_from_a_reload_on() -> None:
    async def story(small: Small) -> None:
        await served(small)
        await asyncio.sleep(1)
        limits = Limits(activity_interval_s=2.0)
        small.orchestrator.reconfigure(small.orchestrator.spec, limits, ())
        await asyncio.sleep(1)
        calls = small.engine.calls
        await asyncio.sleep(60)
        assert small.engine.calls - calls >= 29

    lived(story, min_idle=1, terms=Terms(idle_timeout=900))


def test_after_readings_that_failed_while_a_command_ran_silence_begins_with_the_first_that_does_not() -> None:
    """What happened between the end of the command and that reading is not known."""

    async def story(small: Small) -> None:
        machine = await served(small)
        with small.orchestrator.uses.of(machine):
            await asyncio.sleep(5)
            small.engine.faults.unread = 1.0
            await asyncio.sleep(60)
            small.engine.faults.unread = 0.0
        assert 33 <= await lost_after(small) <= 37

    lived(story, min_idle=1, terms=IDLE)


@pytest.mark.parametrize("known", [True, False])
def test_where_the_pool_left_the_settings_its_rules_go_on_or_nothing_expires(*, known: bool) -> None:
    """They are known in the run of the service in which it left. Later ones cannot tell what counts as use there."""

    async def story(small: Small) -> None:
        machine = await served(small)
        state = small.orchestrator._state
        before = state.spec
        gone = replace(before, pools={}, retired=before.retired_by((), {machine.pool}) if known else {})
        state.spec = gone
        await used(small, machine, 100, cpu_s=0.1)
        assert has_it(small), "its work counts as before, or nothing is known"
        await asyncio.sleep(100)
        assert has_it(small) is not known

    lived(story, min_idle=1, terms=IDLE, activity=ActivityRules(cpu=0.05))
