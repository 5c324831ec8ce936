"""Listings of the right engine, and the last lines of workers that a listing shows dead."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.core.instance import Instance
from worker_orchestrator.engines.base import Engine, Listing
from worker_orchestrator.engines.extras import Logs
from worker_orchestrator.errors import EngineUnavailable, OrchestratorError
from worker_orchestrator.telemetry.foreign_text import plain_lines

__all__ = ["Listings"]

LIST_TIMEOUT_S: Final = 10.0
LAST_LINES: Final = 30
LAST_LINES_TIMEOUT_S: Final = 1.0


class Listings:
    """Lists one engine, known by `engine_id`, and keeps what the last listing that can be believed showed."""

    def __init__(self, engine: Engine, engine_id: str, observer: Observer) -> None:
        self._engine, self._engine_id, self._observer = engine, engine_id, observer
        self._instances: Mapping[str, Instance] = {}

    def instance(self, machine_id: str) -> Instance | None:
        """What the last listing showed of this machine; None if it did not show it."""
        return self._instances.get(machine_id)

    async def take(self, *, surely: bool) -> Listing:
        """What the engine lists. `surely`: the right engine answered both before and after it.

        Another engine lacks all our machines, so a listing that lacks one must be taken again for sure. Raises EngineError;
        EngineUnavailable after 10 s.
        """
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                if surely:
                    await self._insist_on_the_right_engine()
                listing = await self._observer.measure("list", self._engine.list())
                if surely:
                    await self._insist_on_the_right_engine()
        except TimeoutError:
            raise EngineUnavailable(f"It did not list its containers within {LIST_TIMEOUT_S:g} s.") from None
        self._instances = listing.instances
        return listing

    async def _insist_on_the_right_engine(self) -> None:
        identity = await self._observer.measure("identity", self._engine.identity())
        if not identity.marked and identity.id != self._engine_id:
            raise EngineUnavailable(f"Another engine answers at this address ({identity.id}, not {self._engine_id}).")

    async def last_lines(self, machine_ids: Collection[str]) -> dict[str, str]:
        """What each of these machines wrote last; empty where the engine cannot tell within a second."""
        lines = await asyncio.gather(*map(self._last_lines_of, machine_ids))
        return dict(zip(machine_ids, lines, strict=True))

    async def _last_lines_of(self, machine_id: str) -> str:
        if not isinstance(self._engine, Logs):
            return ""
        try:
            async with asyncio.timeout(LAST_LINES_TIMEOUT_S):
                return plain_lines(await self._engine.last_lines(machine_id, LAST_LINES))
        except (TimeoutError, OrchestratorError):  # whatever it is, a machine's end is told without its last lines
            return ""
