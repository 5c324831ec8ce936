"""Removing an instance to the end, on an engine that only accepts a removal."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from worker_orchestrator.engines import removal
from worker_orchestrator.engines.base import Engine, Listing
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.errors import EngineUnavailable


class Slow:
    """It is gone once its removal was asked for so many times."""

    def __init__(self, needed: int) -> None:
        self.needed, self.asked = needed, 0

    async def destroy(self, _: str) -> bool:
        self.asked += 1
        return False

    async def list(self) -> Listing:
        return Listing(0.0, {} if self.asked >= self.needed else {"m": object()})  # type: ignore[dict-item] # only its id


def test_a_removal_is_asked_for_again_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine does by force, after a while, what it could not do otherwise."""
    monkeypatch.setattr(removal, "AGAIN_S", 0.01)
    engine = Slow(3)
    asyncio.run(removal.remove(cast("Engine", engine), "m"))
    assert engine.asked == 3


def test_what_is_not_gone_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "REMOVED_WITHIN_S", 0.3)
    with pytest.raises(EngineUnavailable, match="m is being removed, but still exists after"):
        asyncio.run(removal.remove(cast("Engine", Slow(10**6)), "m"))


def test_what_is_gone_at_once_needs_no_listing() -> None:
    async def work() -> None:
        engine = MemoryEngine(serve_http=False)
        await removal.remove(engine, "m")
        assert engine.calls == 1

    asyncio.run(work())
