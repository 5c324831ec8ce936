"""What a warm assign costs, counted: no computer and no noise has a say in it, so the figures are exact.

Who makes a figure smaller writes the smaller one here. Who needs a larger one says in the commit what it buys.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
import uvloop
from bench.counts import Watched, watched

CALLS: Final = 275
"""Python functions that a pair of assign and release calls, by the service and (about 30) by the client beside it; a little
more than measured, since the parts that arrive together differ from time to time."""
PEAK_BYTES: Final = 64 * 1024
LEFT_BLOCKS: Final = 20
"""What a pair leaves to the garbage collector, or for good."""
PAIRS: Final = 200

Story = Callable[[Watched], Awaitable[None]]


@pytest.fixture
def told(tmp_path: Path) -> Callable[[Story], None]:
    """Tells a story about a service with a few idle machines that have just answered."""

    def tell(story: Story) -> None:
        async def run() -> None:
            async with watched(tmp_path) as service:
                await story(service)

        uvloop.run(run())

    return tell


def test_a_warm_assign_is_one_transaction_of_five_statements(told: Callable[[Story], None]) -> None:
    """The machine, the event, the generation; a release leaves the generation as it is."""

    async def story(service: Watched) -> None:
        with service.counting() as assigning:
            await service.assign()
        assert assigning.verbs == ["BEGIN", "UPDATE", "INSERT", "INSERT", "COMMIT"]
        with service.counting() as releasing:
            await service.release()
        assert releasing.verbs == ["BEGIN", "UPDATE", "INSERT", "COMMIT"]

    told(story)


def test_a_warm_assign_asks_the_engine_nothing(told: Callable[[Story], None]) -> None:
    async def story(service: Watched) -> None:
        with service.counting() as counted:
            await service.assign()
            await service.release()
        assert not counted.engine

    told(story)


def test_asking_again_stores_nothing(told: Callable[[Story], None]) -> None:
    async def story(service: Watched) -> None:
        await service.assign()
        with service.counting() as counted:
            await service.assign()
        assert not counted.statements
        assert not counted.engine

    told(story)


def test_reading_the_list_asks_neither_the_database_nor_the_engine(told: Callable[[Story], None]) -> None:
    async def story(service: Watched) -> None:
        with service.counting() as counted:
            await service.ask("GET", "/machines/list")
        assert not counted.statements
        assert not counted.engine

    told(story)


def test_a_reply_is_as_long_as_it_was(told: Callable[[Story], None]) -> None:
    """All of it, head and body, but for the request's id, which grows with their number."""

    async def story(service: Watched) -> None:
        assigned, released = await service.assign(), await service.release()
        assert len(_without_id(assigned)) == 306
        assert len(_without_id(released)) == 234

    told(story)


def _without_id(reply: bytes) -> bytes:
    return re.sub(rb"(x-request-id: )\S+", rb"\1", reply)


def test_the_decisions_of_one_turn_share_a_transaction(told: Callable[[Story], None]) -> None:
    """Requests that come in one packet are decided in one turn of the loop or, where each waits for its reply, in one each."""

    async def story(service: Watched) -> None:
        others = [await asyncio.open_connection(*service.writer.get_extra_info("peername")) for _ in range(3)]
        with service.counting() as counted:
            for number, (_, writer) in enumerate(others):
                writer.write(f"GET /p{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            for reader, writer in others:
                await reader.readuntil(b"\r\n\r\n")
                writer.close()
        assert counted.verbs.count("UPDATE") == 3
        assert counted.verbs.count("BEGIN") == 1

    told(story)


def test_a_pair_does_no_more_work_than_it_did(told: Callable[[Story], None]) -> None:
    """In calls of Python functions: what makes a pair twice as dear makes it call twice as much, on every computer."""

    async def story(service: Watched) -> None:
        counts = []
        for _ in range(5):
            with service.counting_calls() as counted:
                await service.assign()
                await service.release()
            counts.append(counted.calls)
        assert sorted(counts)[2] <= CALLS, counts

    told(story)


def test_an_assign_needs_little_memory_and_leaves_next_to_nothing_behind(told: Callable[[Story], None]) -> None:
    async def story(service: Watched) -> None:
        with service.counting_memory() as one:
            await service.assign()
        assert one.peak_bytes <= PEAK_BYTES
        await service.release()
        with service.counting_memory() as many:
            for _ in range(PAIRS):
                await service.assign()
                await service.release()
        assert many.blocks <= LEFT_BLOCKS * PAIRS

    told(story)
