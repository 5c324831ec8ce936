"""What is told of assignments that a deadline ends, which is much, and of keepalives, which is next to nothing."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from tests.simulation.small import Small, lived

from worker_orchestrator.core.lease import Terms
from worker_orchestrator.core.spec import PoolSpec
from worker_orchestrator.errors import ProjectHasNoMachine

OTHER = PoolSpec(None, pending=True, min_idle=1, terms=Terms(max_age=90))


def counted(small: Small, by: str, pool: str = "default") -> float:
    return small.shown()[f'orchestrator_expired_total{{by="{by}",pool="{pool}"}}']


def test_each_expiry_is_counted_by_its_deadline_and_its_pool() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(3)
        await small.assign("p")
        await small.assign("q", pool="other")
        await small.assign_machine("r", terms=Terms(ttl=0, max_age=100))
        assert [counted(small, by) for by in ("ttl", "max_age", "idle_timeout", "confirm_within")] == [0, 0, 0, 0]
        await small.until(lambda: small.fleet.of_project("r") is None, within_s=120)
        assert (counted(small, "ttl"), counted(small, "max_age")) == (1, 1)
        assert (counted(small, "ttl", "other"), counted(small, "max_age", "other")) == (0, 1)

    lived(story, terms=Terms(ttl=61), beside={"other": OTHER})


def test_a_pool_tells_its_last_ten_expiries_newest_first() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        await asyncio.sleep(60)
        for number in range(12):
            await small.assign_machine(f"p{number}", terms=Terms(ttl=1))
            await small.until(lambda: not small.fleet.leased)
        found = small.orchestrator.feed.expiries("default")
        assert [one.project for one in found] == [f"p{number}" for number in range(11, 1, -1)]
        assert {one.reason for one in found} == {"Its project had not asked for it for 1 s."}
        assert small.orchestrator.feed.expiries("other") == []

    lived(story)


def test_a_keepalive_is_no_line_of_the_log_and_no_event_but_an_expiry_is_both() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = (await small.assign_machine("p", terms=Terms(ttl=70))).machine
        with structlog.testing.capture_logs() as lines:
            newest = small.store.event_range()[1]
            for _ in range(3):
                await asyncio.sleep(50)
                await small.orchestrator.leases.keep_alive("p", Terms())
            assert small.fleet.of_project("p") is not None
            assert [event for event in small.store.events(newest) if event.machine == machine.id] == []
            assert [line for line in lines if line.get("machine") == machine.id] == []
            await small.until(lambda: small.fleet.of_project("p") is None, within_s=75)
            await asyncio.sleep(1)
        told = next(line for line in lines if line["event"] == "expired")
        assert (told["machine"], told["project"], told["generation"]) == (machine.id, "p", machine.generation)
        assert told["why"] == "Its project had not asked for it for 70 s."
        assert "expired" in [event.cause for event in small.store.events(newest)]

    lived(story)


@pytest.mark.parametrize("late_s", [0.0, 0.5])
def test_who_comes_too_late_with_a_keepalive_is_told_so(late_s: float) -> None:
    """There is one winner, also at the same instant."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        await asyncio.sleep(61)
        first = (await small.assign_machine("p", terms=Terms(ttl=5))).machine
        await small.until(lambda: small.fleet.of_project("p") is None)
        await asyncio.sleep(late_s)
        with pytest.raises(ProjectHasNoMachine, match=r"^The project p has no machine, so nothing was kept\.$"):
            await small.orchestrator.leases.keep_alive("p", Terms())
        second = (await small.assign_machine("p")).machine
        assert second.id != first.id

    lived(story)
