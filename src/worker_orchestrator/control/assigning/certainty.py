"""Waiting for a listing, where the machine of a project is said to have ended and no listing has shown it yet."""

from __future__ import annotations

import asyncio
from typing import Final

from worker_orchestrator.control.deciding.seats import HangUp
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.errors import NoMachineAvailable

__all__ = ["LEAST_S", "STOPPING", "Certainty"]

LEAST_S: Final = 1.5
"""So long a request waits at least for its reserved machine to answer, or for a listing to show what became of it."""
STOPPING: Final = "The service is stopping."


class Certainty:
    """Lets requests wait until it is known whether their machines serve."""

    def __init__(self, state: ControlState) -> None:
        self._state, self._fleet = state, state.fleet
        self._waiting: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def await_listing(self, project: str, hung_up: HangUp | None) -> float:
        """Return how many seconds that took: none where the machine of this project is not doubted, 1.5 at most.

        Raises NoMachineAvailable when the service stops, and CancelledError when `hung_up` returned first: else a machine
        might be reserved for a client that has gone.
        """
        if not self._is_doubted(project):
            return 0.0
        asked_at = self._state.now()
        known = asyncio.ensure_future(self._until_known(project))
        self._waiting.add(known)
        leaving = None if hung_up is None else asyncio.ensure_future(hung_up())
        try:
            ends = {known} if leaving is None else {known, leaving}
            await asyncio.wait(ends, timeout=LEAST_S, return_when=asyncio.FIRST_COMPLETED)
            if leaving is not None and leaving.done():
                raise asyncio.CancelledError("the client hung up")
            if self._is_stopping:
                raise NoMachineAvailable(STOPPING)
        finally:
            self._waiting.discard(known)
            known.cancel()
            if leaving is not None:
                leaving.cancel()
        # Without a listing in time, the fleet on record is the best knowledge there is.
        return self._state.now() - asked_at

    def turn_all_away(self) -> None:
        """Answer every request that waits here: the service is stopping."""
        self._is_stopping = True
        for known in self._waiting:
            known.cancel()

    async def _until_known(self, project: str) -> None:
        while self._is_doubted(project):
            await self._state.next_news()

    def _is_doubted(self, project: str) -> bool:
        own = self._fleet.of_project(project)
        return own is not None and self._fleet.is_doubted(own)
