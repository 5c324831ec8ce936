"""What the signs of an engine are told as."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.world.engine_events import EngineEvents
from worker_orchestrator.control.world.reports import Ended, EngineChanged, Report, Shown
from worker_orchestrator.engines.base import EndOf, Engine, RecoveryOf


class _Signs:
    """An engine that gives one sign."""

    def __init__(self, sign: str) -> None:
        self._sign = sign
        self.shown: list[str] = []

    async def watch(self) -> AsyncGenerator[str | None, None]:
        yield self._sign
        await asyncio.Event().wait()

    async def until_shown(self, machine_id: str) -> None:
        self.shown.append(machine_id)


async def _told(sign: str) -> list[Report]:
    """What is told of `sign`, up to what is told once a listing has shown it."""
    told: list[Report] = []
    engine, background, all_told = _Signs(sign), Background(Defect()), asyncio.Event()

    def tell(report: Report) -> None:
        told.append(report)
        if isinstance(report, Shown | EngineChanged):
            all_told.set()

    events = EngineEvents(cast("Engine", engine), background, tell, cast("Observer", None))
    running = asyncio.create_task(events.run())
    await asyncio.wait_for(all_told.wait(), 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert engine.shown == ["w1"]
    return told


def test_an_end_casts_doubt_until_a_listing_shows_it() -> None:
    assert asyncio.run(_told(EndOf("w1"))) == [Ended("w1", is_certain=True), Shown("w1")]


def test_what_may_serve_again_is_looked_at_and_not_doubted() -> None:
    """Docker tells that a container was put on its network after its worker has answered, when there is much to do."""
    assert asyncio.run(_told(RecoveryOf("w1"))) == [EngineChanged(templates=False)]
