"""Work that several want at the same time is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from worker_orchestrator.engines.docker.joined_work import JoinedWork


class Work:
    """Counts how often it was begun and how often it was cancelled; it ends when it is told to."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.may_end = asyncio.Event()
        self.error: Exception | None = None
        self.joined = JoinedWork(self._do, "work")

    async def _do(self) -> int:
        self.begun += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.begun

    async def wanted_by(self, count: int) -> list[asyncio.Task[int]]:
        waiting = [asyncio.create_task(self.joined.result()) for _ in range(count)]
        await asyncio.sleep(0.01)
        return waiting


def told(story: Callable[[Work], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        await story(Work())

    asyncio.run(tell())


def test_all_who_ask_meanwhile_get_one_result_and_who_asks_later_another() -> None:
    async def story(work: Work) -> None:
        waiting = await work.wanted_by(3)
        work.may_end.set()
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        assert await work.joined.result() == 2

    told(story)


def test_all_hear_of_its_error() -> None:
    async def story(work: Work) -> None:
        waiting = await work.wanted_by(2)
        work.error = ValueError("broken")
        work.may_end.set()
        for one in waiting:
            with pytest.raises(ValueError, match="broken"):
                await one
        work.error = None
        assert await work.joined.result() == 2, "an error is not kept"

    told(story)


def test_it_goes_on_as_long_as_one_waits_and_ends_with_the_last() -> None:
    async def story(work: Work) -> None:
        first, second = await work.wanted_by(2)
        first.cancel()
        await asyncio.wait({first})
        assert work.cancelled == 0
        second.cancel()
        await asyncio.wait({second})
        (third,) = await work.wanted_by(1)
        assert (work.begun, work.cancelled) == (2, 1), "what is being cancelled is joined by nobody"
        work.may_end.set()
        assert await third == 2

    told(story)
