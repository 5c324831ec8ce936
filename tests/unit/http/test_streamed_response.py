"""A stream that nobody reads holds nothing: what it is made of is closed even where it never began."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from worker_orchestrator.http.server.streamed_response import ServiceEnd, StreamedResponse, with_first_item
from worker_orchestrator.http.v1.logs import begin_following
from worker_orchestrator.http.v1.single_file import archive_of_file, file_in_archive

Made = Callable[[AsyncGenerator[bytes, None]], Awaitable[Any]]


async def _file() -> AsyncGenerator[bytes, None]:
    async def content() -> AsyncGenerator[bytes, None]:
        yield b"text"

    async for piece in archive_of_file("name", 4, content()):
        yield piece


@pytest.mark.parametrize("made", [with_first_item, begin_following, file_in_archive])
def test_who_asks_for_the_headers_alone_leaves_nothing_open(made: Made) -> None:
    async def scenario() -> None:
        is_closed = asyncio.Event()

        async def lines() -> AsyncGenerator[bytes, None]:
            try:
                async for piece in _file():
                    yield piece
                await asyncio.Event().wait()
            finally:
                is_closed.set()

        await _ask_for_the_head(made, lines())
        assert is_closed.is_set()

    _run(scenario)


def test_who_asks_for_the_headers_of_a_log_in_which_nothing_happens_leaves_nothing_open() -> None:
    async def scenario() -> None:
        is_closed = asyncio.Event()

        async def lines() -> AsyncGenerator[bytes, None]:
            try:
                await asyncio.Event().wait()
                yield b""
            finally:
                is_closed.set()

        await _ask_for_the_head(begin_following, lines())
        assert is_closed.is_set()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    _run(scenario)


async def _ask_for_the_head(made: Made, lines: AsyncGenerator[bytes, None]) -> None:
    source = await made(lines)
    assert source is not None
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    await StreamedResponse(source, ServiceEnd(), "text/plain")({"method": "HEAD"}, receive, send)
    assert [message.get("status") for message in sent] == [200, None]


def _run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Without the collector, which closes what nobody knows any more, sooner or later."""
    gc.disable()
    try:
        asyncio.run(scenario())  # type: ignore[arg-type] # it is a coroutine function
    finally:
        gc.enable()
