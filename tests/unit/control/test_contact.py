"""Contact with the engine: three seconds of patience, then nobody waits, until a listing succeeds again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.simulation.virtual import virtual_time

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.world.contact import PATIENCE_S, Contact
from worker_orchestrator.control.world.reports import Lost, Report, Silent
from worker_orchestrator.engines.memory.engine import MemoryEngine


class Place:
    """An engine that counts its pings, and a contact of which is counted what it reports."""

    def __init__(self) -> None:
        self.engine = MemoryEngine("owner", serve_http=False)
        self.background = Background(Defect())
        self.contact = Contact(self.engine, self.background, self.count, Observer())
        self.lost, self.silences, self.pings = 0, 0, 0
        self.ping = self.engine.ping
        self.engine.ping = self.count_ping  # type: ignore[method-assign]

    def count(self, report: Report) -> None:
        self.lost += isinstance(report, Lost)
        self.silences += isinstance(report, Silent)

    async def count_ping(self) -> None:
        self.pings += 1
        await self.ping()


def lived(story: Callable[[Place], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        place = Place()
        await story(place)
        await place.background.aclose()

    with virtual_time() as loop:
        loop.run_until_complete(told())


def test_nobody_waits_and_nobody_pings() -> None:
    async def story(place: Place) -> None:
        place.contact.restored()
        await asyncio.sleep(60)
        assert place.pings == 0

    lived(story)


@pytest.mark.parametrize("how", ["frozen", "down"])
def test_who_waits_for_an_engine_that_is_gone_hears_so_after_three_seconds(how: str) -> None:
    async def story(place: Place) -> None:
        place.contact.restored()
        if how == "frozen":
            place.engine.freeze()
        else:
            place.engine.up = False
        begun_at = asyncio.get_running_loop().time()
        assert await place.contact.unless_lost(asyncio.sleep(600, "done")) is None
        assert asyncio.get_running_loop().time() - begun_at == pytest.approx(PATIENCE_S, abs=0.6)
        assert place.lost == 1
        assert place.silences >= 1, "a listing is asked for"
        begun_at = asyncio.get_running_loop().time()
        assert await place.contact.unless_lost(asyncio.sleep(600, "done")) is None
        assert asyncio.get_running_loop().time() == begun_at, "from then on nobody waits"
        assert place.lost == 1

    lived(story)


def test_an_engine_that_answers_is_waited_for() -> None:
    async def story(place: Place) -> None:
        place.contact.restored()
        assert await place.contact.unless_lost(asyncio.sleep(20, "done")) == "done"
        assert place.pings > 20
        pings = place.pings
        await asyncio.sleep(60)
        assert place.pings <= pings + 1, "nobody waits any more"
        assert place.contact.problem is None

    lived(story)


def test_an_engine_that_comes_back_in_time_loses_nobody() -> None:
    async def story(place: Place) -> None:
        loop = asyncio.get_running_loop()
        place.contact.restored()
        place.engine.up = False
        loop.call_later(2.0, setattr, place.engine, "up", True)  # noqa: FBT003 # what setattr takes
        loop.call_later(2.1, place.contact.restored)
        assert await place.contact.unless_lost(asyncio.sleep(10, "done")) == "done"
        assert place.contact.problem is None
        assert not place.contact.lost.is_set()
        assert place.lost == 0

    lived(story)


def test_a_listing_that_fails_for_long_loses_the_engine_too() -> None:
    """As when another engine answers at the address: a ping would succeed."""

    async def story(place: Place) -> None:
        loop = asyncio.get_running_loop()
        place.contact.failed("another engine", loop.time())
        assert not place.contact.lost.is_set()
        await asyncio.sleep(PATIENCE_S)
        place.contact.failed("another engine", loop.time())
        assert place.contact.lost.is_set()
        place.contact.restored()
        assert not place.contact.lost.is_set()
        place.contact.failed("again", loop.time())
        assert not place.contact.lost.is_set(), "a new outage is a new patience"

    lived(story)


def test_a_listing_that_succeeds_is_worth_more_than_an_older_ping() -> None:
    async def story(place: Place) -> None:
        loop = asyncio.get_running_loop()
        place.contact.restored()
        place.engine.freeze()
        loop.call_later(PATIENCE_S - 0.1, place.contact.restored)
        loop.call_later(PATIENCE_S + 0.1, place.engine.thaw)
        assert await place.contact.unless_lost(asyncio.sleep(10, "done")) == "done"
        assert place.contact.problem is None
        assert place.lost == 0

    lived(story)
