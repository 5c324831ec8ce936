"""The stream of events tells whoever missed some: because he was slow, or because the database is an older copy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec.structs import replace

from worker_orchestrator.control.telling import feed as feeds
from worker_orchestrator.control.telling.feed import Feed
from worker_orchestrator.core.machine import Cause, Change, Machine, State
from worker_orchestrator.http.v1.events import _stream
from worker_orchestrator.store.event_numbers import SKIPPED
from worker_orchestrator.store.store import Store

MACHINE = Machine("worker-1-aaaaaaaaa", "default", "t", State.STARTING, 9093, reason="new")
KEPT = 10
PAGE = 4


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """One that keeps few events, prunes at each commit, and is read in small pages."""
    monkeypatch.setattr("worker_orchestrator.store.event_log.EVENTS_KEPT", KEPT)
    monkeypatch.setattr("worker_orchestrator.store.event_log.PRUNE_EVERY", 1)
    monkeypatch.setattr(feeds, "PAGE", PAGE)
    with Store(tmp_path / "orchestrator.db") as opened:
        opened.commit([Change(None, MACHINE, Cause.CREATED)], {}, 5)
        yield opened


def happen(store: Store, count: int, feed: Feed | None = None) -> None:
    """So many more events."""
    for number in range(count):
        before = store.machines()[0]
        store.commit([Change(before, replace(before, reason=f"{number}"), Cause.MOVED)], {}, 6)
        if feed is not None:
            feed.committed()


def everything(store: Store, after: int | None, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
    return _stream(Feed(store), after, lambda _told: True, follow=follow)


def frames(text: bytes) -> list[tuple[int, str]]:
    """Id and kind of each; a place alone has none."""
    found = []
    for block in text.decode().split("\n\n")[:-1]:
        fields = dict(line.partition(": ")[::2] for line in block.splitlines())
        found.append((int(fields["id"]), fields.get("event", "")))
    return found


async def read_all(pieces: AsyncGenerator[bytes, None]) -> list[tuple[int, str]]:
    return frames(b"".join([piece async for piece in pieces]))


@pytest.mark.parametrize("follow", [True, False])
def test_a_reader_who_is_slower_than_pruning_is_told_of_the_gap(store: Store, *, follow: bool) -> None:
    """He reads one page; before the next one, all behind it is pruned."""

    async def scenario() -> None:
        happen(store, 7)
        feed = Feed(store)
        async with aclosing(_stream(feed, 0, lambda _told: True, follow=follow)) as pieces:
            heard = frames(await anext(pieces) + await anext(pieces))
            assert heard[-1] == (PAGE, "moved")
            happen(store, 3 * KEPT, feed)
            while "reset" not in {kind for _, kind in heard}:
                last = heard[-1][0]
                heard += frames(await asyncio.wait_for(anext(pieces), 5))
                new = [number for number, _ in heard if number > last]
                assert "reset" in heard[-1][1] or heard[-2][1] == "reset" or new[0] == last + 1, heard
            oldest, newest = feed.range()
            assert (newest if follow else oldest - 1, "reset") in heard
            if follow:
                happen(store, 1, feed)
            assert frames(await asyncio.wait_for(anext(pieces), 5))[0] == (newest + 1 if follow else oldest, "moved")

    asyncio.run(scenario())


def test_a_burst_of_more_events_than_are_kept_ends_nothing_and_is_a_gap(store: Store) -> None:
    async def scenario() -> None:
        feed = Feed(store)
        async with aclosing(_stream(feed, None, lambda _told: True, follow=True)) as pieces:
            await anext(pieces)
            coming = asyncio.ensure_future(anext(pieces))
            await asyncio.sleep(0)
            happen(store, 3 * KEPT, feed)
            assert (3 * KEPT + 1, "reset") in frames(await asyncio.wait_for(coming, 5))

    asyncio.run(scenario())


def test_what_a_reset_says_is_where_one_can_go_on(store: Store) -> None:
    happen(store, 3 * KEPT)

    async def scenario() -> None:
        first = await anext(everything(store, 1))
        data = next(line for line in first.decode().splitlines() if line.startswith("data: "))
        kept = json.loads(data.removeprefix("data: "))
        for after in (kept["oldest"] - 1, kept["newest"]):
            assert "reset" not in {kind for _, kind in await read_all(everything(store, after))}

    asyncio.run(scenario())


# after an older copy was put in place


def test_an_id_of_events_that_a_restored_database_does_not_know_leads_to_a_reset(store: Store) -> None:
    happen(store, 4)
    newest = store.event_range()[1]
    store.commit([], store.skip_event_numbers(), 7)

    async def scenario() -> None:
        for lost in (newest + 1, newest + 5, newest + 100_000):
            for count in (0, 2):
                happen(store, count)
                for follow in (True, False):
                    head = frames(await anext(everything(store, lost, follow=follow)))
                    assert head[0][1] == "reset", (lost, count)

    asyncio.run(scenario())


def test_who_saw_no_more_than_a_restored_database_knows_goes_on_without_a_gap(store: Store) -> None:
    happen(store, 4)
    store.commit([], store.skip_event_numbers(), 7)

    async def scenario() -> None:
        assert await read_all(everything(store, 5)) == [(5, "")]
        happen(store, 2)
        later = [(SKIPPED + 6, "moved"), (SKIPPED + 7, "moved")]
        assert await read_all(everything(store, 5)) == [(5, ""), *later]
        assert await read_all(everything(store, 4)) == [(4, ""), (5, "moved"), *later]
        assert await read_all(everything(store, SKIPPED + 5)) == [(SKIPPED + 5, ""), *later]
        told = [number for number, _ in await read_all(everything(store, None))][1:]
        assert told == [1, 2, 3, 4, 5, SKIPPED + 6, SKIPPED + 7]

    asyncio.run(scenario())


def test_a_restored_database_without_any_event_is_followed_from_its_beginning(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Store(tmp_path / "orchestrator.db") as empty:
            empty.commit([], empty.skip_event_numbers(), 5)
            assert await read_all(everything(empty, 0)) == [(0, "")]
            empty.commit([Change(None, MACHINE, Cause.CREATED)], {}, 6)
            for after in (None, 0, SKIPPED):
                assert [number for number, _ in await read_all(everything(empty, after))][1:] == [SKIPPED + 1]

    asyncio.run(scenario())
