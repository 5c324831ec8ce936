"""When others may see a preview, what goes on is looked at again: it ends for who may not see it any more, and only then."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
from tests.unit.door.relayed import Relayed, lived

from worker_orchestrator.door.messages import Changed, Kind, Question, Route, encoded

PASS = b"Cookie: orchestrator_preview=good\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A worker whose replies, and WebSockets, go on for ever."""
    is_socket = b"Upgrade: websocket" in await reader.readuntil(b"\r\n\r\n")
    writer.write(
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        if is_socket
        else b"HTTP/1.1 200 OK\r\n\r\n"
    )
    writer.write(b"begun")
    await reader.read(-1)


def by_link(stage: Relayed, ends_in_s: float | None = 100.0) -> None:
    """From now on only who has the pass may see it."""

    def answer(question: Question) -> Route:
        if question.shown.passes != ("good",):
            return Route(question.id, Kind.REFUSED)
        port = stage.worker_port
        return Route(
            question.id,
            Kind.WORKER,
            "app",
            host="127.0.0.1",
            port=port,
            key="m.1",
            is_for_all=False,
            ends_in_s=ends_in_s,
        )

    stage.answer = answer
    stage.channel.tell(encoded(Changed()))


async def opened(stage: Relayed, *fields: bytes) -> End:
    reader, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n" + b"".join(fields) + b"\r\n")
    await reader.readuntil(b"begun")
    return reader, writer


async def ended(end: End) -> bytes:
    with contextlib.suppress(ConnectionError):
        return await end[0].read()
    return b""


async def goes_on(end: End, for_s: float = 0.2) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await ended(end)
        return False
    return True


@pytest.mark.parametrize("kind", [b"", UPGRADE], ids=["a stream", "a WebSocket"])
def test_what_a_visitor_without_a_pass_has_open_ends_and_that_of_others_goes_on(kind: bytes) -> None:
    async def story(stage: Relayed) -> None:
        stranger, friend = await opened(stage, kind), await opened(stage, kind, PASS)
        by_link(stage)
        assert not (await ended(stranger)).endswith(b"0\r\n\r\n")
        assert await goes_on(friend)
        assert b" 403 " in await stage.get()
        for _, writer in (stranger, friend):
            writer.close()

    lived(streams, story)


def test_what_goes_on_with_a_pass_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(stage: Relayed) -> None:
        friend = await opened(stage, PASS)
        by_link(stage, 0.3)
        await ended(friend)
        friend[1].close()

    lived(streams, story)


def test_a_change_without_consequence_ends_nothing_and_asks_once_for_all_who_are_alike() -> None:
    async def story(stage: Relayed) -> None:
        ends = [await opened(stage) for _ in range(3)]
        asked = len(stage.questions)
        stage.channel.tell(encoded(Changed()))
        assert all([await goes_on(end) for end in ends])
        assert len(stage.questions) == asked + 1
        assert not stage.questions[-1].visits
        for _, writer in ends:
            writer.close()

    lived(streams, story)


def test_a_request_that_was_led_before_the_change_and_begins_after_it_ends_too() -> None:
    async def story(stage: Relayed) -> None:
        connect = stage.door._workers.connect

        async def late(route: Route) -> object:
            by_link(stage)
            await asyncio.sleep(0.05)
            return await connect(route)

        stage.door._workers.connect = late  # type: ignore[method-assign, assignment] # as one that is slow
        reader, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        assert not (await ended((reader, writer))).endswith(b"0\r\n\r\n")
        writer.close()

    lived(streams, story)


def test_a_service_that_does_not_say_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_orchestrator.door.routes.ANSWER_S", 0.05)

    async def story(stage: Relayed) -> None:
        end = await opened(stage)
        stage.channel._heard = replace(stage.channel._heard, message=lambda _: None)
        stage.channel.tell(encoded(Changed()))
        assert await goes_on(end)
        end[1].close()

    lived(streams, story)


def test_a_service_that_says_it_late_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_orchestrator.door.routes.ANSWER_S", 0.05)

    async def story(stage: Relayed) -> None:
        end, heard = await opened(stage), stage.channel._heard
        stage.channel._heard = replace(heard, message=lambda _: None)
        by_link(stage)
        assert await goes_on(end)
        stage.channel._heard = heard
        assert not (await ended(end)).endswith(b"0\r\n\r\n")
        end[1].close()

    lived(streams, story)


def test_a_request_that_waits_when_it_may_not_be_seen_any_more_is_not_sent_again() -> None:
    """On a connection that rested, it would look as one that the worker had closed meanwhile."""
    seen: list[int] = []
    waits = asyncio.Event()

    async def thinks_the_second_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            seen.append(len(seen))
            if len(seen) == 2:
                waits.set()
                await reader.read(-1)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage")

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        await reader.readuntil(b"page")
        writer.write(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
        await waits.wait()
        by_link(stage)
        assert b" 502 " in await reader.readuntil(b"\r\n\r\n")
        assert len(seen) == 2
        writer.close()

    lived(thinks_the_second_time, story)
