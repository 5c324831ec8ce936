"""The number of a process, whichever output comes first, and who listens to it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from worker_orchestrator.errors import EngineUnavailable
from worker_orchestrator.http.e2b.fan import Fan, Listener
from worker_orchestrator.http.e2b.filesystem import entries_in
from worker_orchestrator.http.e2b.messages import Config
from worker_orchestrator.http.e2b.process_api import _told as told
from worker_orchestrator.http.e2b.processes import Process


def a_process() -> Process:
    return Process(cast("Any", None), Config("true"), None, has_input=False)


async def heard(listener: Listener, count: int) -> list[dict[str, Any]]:
    events = listener.events()
    return [await anext(events) for _ in range(count)]


@pytest.mark.parametrize(
    "pieces",
    [
        [("stderr", b"42\n"), ("stdout", b"out"), ("stderr", b"err")],
        [("stdout", b"out"), ("stderr", b"42\nerr")],
        [("stdout", b"out"), ("stderr", b"4"), ("stderr", b"2\nerr")],
    ],
)
def test_nothing_is_told_before_the_number(pieces: list[tuple[str, bytes]]) -> None:
    async def story() -> list[dict[str, Any]]:
        process = a_process()
        listener = process.fan.join()
        for stream, data in pieces:
            await process.take(stream, data)
        assert process.begun.is_set()
        return await heard(listener, 3)

    start, *data = asyncio.run(story())
    assert start == {"start": {"pid": 42}}
    assert data == [{"data": {"stdout": b"out"}}, {"data": {"stderr": b"err"}}]


def test_a_terminal_writes_its_number_with_a_return() -> None:
    async def story() -> list[dict[str, Any]]:
        process = a_process()
        listener = process.fan.join()
        await process.take("pty", b"7\r\n$ ")
        return await heard(listener, 2)

    assert asyncio.run(story()) == [{"start": {"pid": 7}}, {"data": {"pty": b"$ "}}]


def test_a_shell_that_complains_has_no_number() -> None:
    async def story() -> tuple[int, list[dict[str, Any]]]:
        process = a_process()
        listener = process.fan.join()
        await process.take("stderr", b"sh: not here\n")
        return process.pid, listener.unread()

    assert asyncio.run(story()) == (0, [{"data": {"stderr": b"sh: not here\n"}}])


def test_a_slow_listener_makes_the_process_wait_until_it_leaves() -> None:
    async def story() -> None:
        fan = Fan()
        slow = fan.join({"start": {"pid": 1}})
        telling = asyncio.ensure_future(fan.tell({"data": {}}, 100_000))
        await asyncio.sleep(0.01)
        assert not telling.done()
        fan.leave(slow)
        await telling
        await fan.tell({"data": {}}, 100_000)  # nobody listens: it is dropped

    asyncio.run(story())


def test_who_comes_late_hears_how_it_ended() -> None:
    async def story() -> list[dict[str, Any]]:
        fan = Fan()
        fan.end({"end": {}})
        return [event async for event in fan.join({"start": {}}).events()]

    assert asyncio.run(story()) == [{"start": {}}, {"end": {}}]


def test_the_first_end_counts() -> None:
    """Its time was up, and then the engine ended it. What the engine could not say is an error, and no silence."""

    async def story() -> list[dict[str, Any]]:
        fan = Fan()
        listener = fan.join()
        fan.end({"late": "too late"})
        fan.end({"end": {}})
        return [event async for event in listener.events()]

    assert asyncio.run(story()) == [{"late": "too late"}]

    async def lost() -> None:
        fan = Fan()
        fan.end({"lost": EngineUnavailable("Docker does not answer.")})
        async for _ in told(fan.join()):
            pass

    with pytest.raises(EngineUnavailable):
        asyncio.run(lost())


def test_names_and_links_of_a_listing() -> None:
    """A name may have blanks and lines."""
    told = (
        "81a4 5 1700000000 web www-data /a/b c\n41ed 4096 1700000000 root root /a/two\nlines\n"
        "a1ff 1 1700000000 root root /a/link\n\0/a/link\0b c\0"
    )
    entries = entries_in(told)
    assert [(one["name"], one["type"], one["size"], one["permissions"]) for one in entries] == [
        ("b c", "FILE_TYPE_FILE", "5", "-rw-r--r--"),
        ("two\nlines", "FILE_TYPE_DIRECTORY", "4096", "drwxr-xr-x"),
        ("link", "FILE_TYPE_SYMLINK", "1", "lrwxrwxrwx"),
    ]
    assert [one.get("symlinkTarget") for one in entries] == [None, None, "b c"]
    assert (entries[0]["owner"], entries[0]["group"], entries[0]["modifiedTime"]) == (
        "web",
        "www-data",
        "2023-11-14T22:13:20Z",
    )
