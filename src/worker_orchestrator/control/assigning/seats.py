"""Requests that wait for a machine. One seat per project, shared by all its clients: whoever comes last is not last in line.

A seat is given up when its last client hangs up. What was being made for it becomes idle, and a machine that was reserved
for it but never told of goes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.telemetry.request_id import REQUEST_ID

__all__ = ["Found", "HangUp", "Seats"]

HangUp = Callable[[], Awaitable[None]]
"""Returns when the client has gone."""


@dataclass(slots=True, eq=False)
class Found:
    """What a search found. `untold`: how the project came to it, until the first of those who wait is told."""

    machine: Machine
    untold: Trace | None


@dataclass(slots=True, eq=False)
class _Seat:
    search: asyncio.Task[Found]
    generation: int
    request: str
    clients: int = 0


class Seats:
    """The seats by project, and the promise of a machine that each search may wait for.

    `on_abandoned(project, generation)` is called when the last client hung up, before the search is cancelled, with the
    generation that was given to `open`.
    """

    def __init__(self) -> None:
        self.on_abandoned: Callable[[str, int], None] = lambda _project, _generation: None
        self._seats: dict[str, _Seat] = {}
        self.projects: Collection[str] = self._seats.keys()  # who sits here, and whose search has just ended
        self._promises: dict[str, asyncio.Future[Machine | None]] = {}

    def __contains__(self, project: str) -> bool:
        seat = self._seats.get(project)
        return seat is not None and not seat.search.done()  # what a search found may not hold for who comes after it

    def __len__(self) -> int:
        return len(self._seats)

    def request(self, project: str) -> str:
        """The id of the request that opened this project's seat; empty where nobody sits."""
        seat = self._seats.get(project)
        return "" if seat is None else seat.request

    def open(self, project: str, generation: int, search: Coroutine[Any, Any, Found]) -> None:
        """Begin the search for this project's machine. It ends by itself, or when its last client hangs up."""
        assert project not in self, f"{project} has a seat"
        seat = _Seat(asyncio.create_task(search, name=f"seat of {project}"), generation, REQUEST_ID.get())
        self._seats[project] = seat
        seat.search.add_done_callback(lambda task: self._close(project, seat, task))

    def _close(self, project: str, seat: _Seat, task: asyncio.Task[Found]) -> None:
        if self._seats.get(project) is seat:
            del self._seats[project]
        if not task.cancelled():
            task.exception()  # whoever sits here hears of it; if nobody does, nobody asked

    async def sit(self, project: str, hung_up: HangUp | None, wait_s: float) -> Found:
        """Wait with the others for what the search finds: what it has found by then this client hears, however late it is.

        Raises what the search raises, TimeoutError after `wait_s`, and CancelledError when this client hung up.
        """
        seat = self._seats[project]
        seat.clients += 1
        leaving = None if hung_up is None else asyncio.ensure_future(hung_up())
        try:
            ends = {seat.search} if leaving is None else {seat.search, leaving}
            await asyncio.wait(ends, timeout=max(0.0, wait_s), return_when=asyncio.FIRST_COMPLETED)
            if seat.search.done():
                return seat.search.result()
            raise (
                TimeoutError if leaving is None or not leaving.done() else asyncio.CancelledError("the client hung up")
            )
        finally:
            if leaving is not None:
                leaving.cancel()
            seat.clients -= 1
            if seat.clients == 0 and not seat.search.done():
                self._seats.pop(project, None)
                self.on_abandoned(project, seat.generation)
                seat.search.cancel()

    # promises: how the tick and the probers reach a search

    async def promised(self, project: str) -> Machine | None:
        """Wait until `keep`, `look_again` (None) or `refuse` is called for this project."""
        promise: asyncio.Future[Machine | None] = asyncio.get_running_loop().create_future()
        self._promises[project] = promise
        try:
            return await promise
        finally:
            if self._promises.get(project) is promise:
                del self._promises[project]

    def keep(self, machine: Machine) -> None:
        assert machine.project is not None, f"{machine.id} belongs to nobody"
        self._resolve(machine.project, machine)

    def look_again(self, project: str) -> None:
        """The machine that this project waited for is its own no longer."""
        self._resolve(project, None)

    def _resolve(self, project: str, machine: Machine | None) -> None:
        promise = self._promises.get(project)
        if promise is not None and not promise.done():
            promise.set_result(machine)

    def refuse(self, project: str, error: Exception) -> None:
        promise = self._promises.get(project)
        if promise is not None and not promise.done():
            promise.set_exception(error)

    def refuse_all(self, error: Exception) -> None:
        for project in list(self._promises):
            self.refuse(project, error)

    async def aclose(self) -> None:
        searches = [seat.search for seat in self._seats.values()]
        for search in searches:
            search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)
