"""A log line names the request that caused the change, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from tests.simulation.small import Small, lived

from worker_orchestrator.control.world.reports import Report
from worker_orchestrator.core.instance import Status
from worker_orchestrator.telemetry.request_id import REQUEST_ID


@pytest.fixture(autouse=True)
def every_line() -> Iterator[None]:
    """Histories are lived through in silence, and leave it behind."""
    kept = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**kept)


async def asked(small: Small, request: str, what: str, name: str) -> None:
    """As a request does: in a context of its own."""
    REQUEST_ID.set(request)
    await (small.assign(name) if what == "assign" else getattr(small.orchestrator, what)(name))


def causes(lines: list[structlog.typing.EventDict]) -> list[tuple[str, str | None]]:
    return [(line["event"], line["request"]) for line in lines if "generation" in line]


def test_requests_that_share_a_commit_are_told_apart() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        with structlog.testing.capture_logs() as lines:
            async with asyncio.TaskGroup() as group:
                for number in (1, 2):
                    group.create_task(asked(small, f"r{number}", "assign", f"p{number}"))
        told = {(line["event"], line.get("project")): line["request"] for line in lines if "generation" in line}
        assert told[("assigned", "p1")] == "r1"
        assert told[("assigned", "p2")] == "r2"

    lived(story)


def test_what_a_request_sets_off_is_its_own_and_what_follows_is_nobodys() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        with structlog.testing.capture_logs() as lines:
            await asyncio.create_task(asked(small, "r1", "assign", "p"))
            await small.await_idle(2)
            await asyncio.create_task(asked(small, "r2", "release", "p"))
            await asyncio.sleep(30)
        assert causes(lines) == [
            ("assigned", "r1"),
            ("created", "r1"),  # the machine that takes its place in the pool
            ("answered", None),
            ("released", "r2"),
            ("retired", "r2"),
            ("forgotten", None),
        ]

    lived(story, max_idle=2)


def test_a_destroy_is_told_with_its_request() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        name = small.idle[0].id
        with structlog.testing.capture_logs() as lines:
            await asyncio.create_task(asked(small, "r1", "destroy", name))
            await asyncio.sleep(5)
        assert ("destroyed", "r1") in causes(lines)
        assert ("forgotten", None) in causes(lines)

    lived(story)


def test_a_request_that_was_served_from_the_line_is_named() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        with structlog.testing.capture_logs() as lines:
            await asyncio.create_task(asked(small, "r1", "assign", "p"))
        assert causes(lines) == [("created", "r1"), ("answered", None), ("assigned", "r1")]

    lived(story, min_idle=0, slow_s=0.1)


def test_a_machine_that_fails_the_request_that_would_have_it_is_told_with_it() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        await asyncio.sleep(5)
        for container in small.engine._containers.values():
            container.mute = True
        with structlog.testing.capture_logs() as lines:
            await asyncio.create_task(asked(small, "r1", "assign", "p"))
        told = [line for line in lines if line["event"] == "withdrawn"]
        assert told
        assert {line["request"] for line in told} == {"r1"}

    lived(story)


def test_what_a_change_of_the_pool_sets_off_is_told_with_its_request() -> None:
    async def story(small: Small) -> None:
        async def scale() -> None:
            REQUEST_ID.set("r1")
            small.orchestrator.change_pool("default", {"min_idle": 3})

        await small.await_idle(2)
        with structlog.testing.capture_logs() as lines:
            await asyncio.create_task(scale())
            await small.await_idle(3)
        assert causes(lines) == [("created", "r1"), ("answered", None)]

    lived(story)


def test_what_a_probe_found_in_the_same_turn_is_not_the_requests() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        first = (await small.assign("p")).id
        probers, turn = small.orchestrator._parts.probers, asyncio.get_running_loop().create_future()
        tell = probers._tell

        def tell_and_go_on(report: Report) -> None:
            tell(report)
            if small.fleet.pending and not turn.done():
                turn.set_result(asyncio.ensure_future(asked(small, "r1", "release", first)))

        probers._tell = tell_and_go_on
        with structlog.testing.capture_logs() as lines:
            await (await turn)
        assert causes(lines) == [("answered", None), ("released", "r1")]

    lived(story, slow_s=0.1, max_idle=5)


def test_what_the_engine_shows_is_nobodys_doing() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        REQUEST_ID.set("r1")  # nothing that runs in the background looks at it
        with structlog.testing.capture_logs() as lines:
            small.engine.kill(small.idle[0].id, Status.EXITED)
            await asyncio.sleep(30)
        assert causes(lines)
        assert {request for _, request in causes(lines)} == {None}

    lived(story)
