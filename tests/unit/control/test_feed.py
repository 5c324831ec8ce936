"""The event table, told to those who follow and to those who only look."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from worker_orchestrator.control.telling.feed import Feed
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.store.store import Store

NEW = Machine("worker-1-aaaaaaaaa", "default", "t", State.STARTING, 9093, reason="new")
READY = replace(NEW, state=State.READY)
CREATED = Change(None, NEW, Cause.CREATED)
ANSWERED = Change(NEW, READY, Cause.ANSWERED)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "orchestrator.db") as opened:
        yield opened


def happens(store: Store, feed: Feed, *changes: Change) -> None:
    store.commit(changes, {}, 5)
    feed.committed()


def causes(feed: Feed, after: int = 0) -> list[str]:
    return [told.cause for told in feed.kept(after)]


def test_a_follower_hears_what_was_and_then_what_comes(store: Store) -> None:
    async def scenario() -> None:
        feed = Feed(store)
        happens(store, feed, CREATED)
        pages = feed.follow(0)
        assert [told.cause for told in await anext(pages)] == ["created"]
        happens(store, feed, ANSWERED)
        assert [(told.id, told.cause) for told in await anext(pages)] == [(2, "answered")]
        await pages.aclose()

    asyncio.run(scenario())


def test_a_follower_hears_later_what_cannot_be_put_into_the_table_now(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing else happens then."""
    monkeypatch.setattr("worker_orchestrator.control.telling.feed.AGAIN_S", 0.02)

    async def scenario() -> None:
        feed = Feed(store)
        happens(store, feed, CREATED, ANSWERED)
        pages = feed.follow(2)
        coming = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0)
        happens(store, feed, Change(READY, replace(READY, holding=Holding("p"), generation=1), Cause.ASSIGNED))
        store._db.execute("PRAGMA query_only = 1")
        await asyncio.sleep(0.05)
        assert not coming.done()
        store._db.execute("PRAGMA query_only = 0")
        assert [(told.id, told.cause) for told in await asyncio.wait_for(coming, 5)] == [(3, "assigned")]
        await pages.aclose()

    asyncio.run(scenario())


def test_who_only_looks_sees_what_happened_after_the_last_follower_left(store: Store) -> None:
    async def scenario() -> None:
        feed = Feed(store)
        pages = feed.follow(0)
        coming = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0)
        happens(store, feed, CREATED)
        assert [told.cause for told in await coming] == ["created"]
        await pages.aclose()
        happens(store, feed, ANSWERED)
        assert causes(feed) == ["created", "answered"]
        assert causes(feed, after=1) == ["answered"]

    asyncio.run(scenario())


def test_a_new_follower_hears_what_happened_while_nobody_followed(store: Store) -> None:
    async def scenario() -> None:
        feed = Feed(store)
        first = feed.follow(0)
        coming = asyncio.ensure_future(anext(first))
        await asyncio.sleep(0)
        happens(store, feed, CREATED)
        await coming
        await first.aclose()
        happens(store, feed, ANSWERED)
        second = feed.follow(1)
        assert [told.cause for told in await anext(second)] == ["answered"]
        await second.aclose()

    asyncio.run(scenario())
