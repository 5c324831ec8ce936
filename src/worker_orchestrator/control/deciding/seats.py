"""Requests that wait for a machine. All clients of one project share one seat, so a late client does not wait longer.

A seat is given up when its last client hangs up. A machine that was being made for it becomes idle, and a machine that was
reserved for it, but not reported to any client, becomes idle again.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.errors import ProjectHasNoMachine
from worker_orchestrator.telemetry.request_id import REQUEST_ID

__all__ = ["HangUp", "SearchResult", "Seat", "Seats"]

HangUp = Callable[[], Awaitable[None]]
"""Returns when the client has gone."""


@dataclass(slots=True, eq=False)
class SearchResult:
    """The machine of a project. `trace` is how the project came to it, until the first waiting client takes it."""

    machine: Machine
    trace: Trace | None


@dataclass(slots=True, eq=False)
class Seat:
    """The place of one project in the line of a pool. `generation` is the fleet's when the seat was opened.

    `until` is the monotonic time to which one of its clients waits. `only_own` of them take no other machine than the one
    that the project had. `is_vain`: it has that no more, and nobody is left who takes another one.
    """

    project: str
    pool: str
    search: asyncio.Task[SearchResult]
    generation: int
    request: str
    clients: int = 0
    until: float = 0.0
    only_own: int = 0
    is_vain: bool = False


class Seats:
    """The seats by project, and the promise of a machine that each search may wait for."""

    def __init__(self) -> None:
        self._seats: dict[str, Seat] = {}
        self.projects: Collection[str] = self._seats.keys()  # includes those whose search has just ended
        self._promises: dict[str, asyncio.Future[Machine | None]] = {}

    def __contains__(self, project: str) -> bool:
        seat = self._seats.get(project)
        return seat is not None and not seat.search.done()  # the result of a search may not hold for later requests

    def __len__(self) -> int:
        return len(self._seats)

    def request(self, project: str) -> str:
        """The id of the request that opened this project's seat; empty if the project has no seat."""
        seat = self._seats.get(project)
        return "" if seat is None else seat.request

    def insist_on_any(self, project: str) -> None:
        """Raises ProjectHasNoMachine if nobody who waits on the seat of this project takes another machine than it had."""
        seat = self._seats.get(project)
        if seat is not None and seat.only_own == seat.clients:
            raise _no_machine(project)

    def pool(self, project: str) -> str | None:
        """The pool in which this project waits for its machine; None if it has no seat whose search goes on."""
        return self._seats[project].pool if project in self else None

    def waiting(self) -> Counter[str]:
        """How many projects have a seat in each pool."""
        return Counter(seat.pool for seat in self._seats.values())

    def open(self, project: str, pool: str, generation: int, search: Coroutine[Any, Any, SearchResult]) -> None:
        """Begin the search for this project's machine in this pool. It ends by itself, or when its last client hangs up."""
        assert project not in self, f"{project} has a seat"
        task = asyncio.create_task(search, name=f"seat of {project}")
        seat = Seat(project, pool, task, generation, REQUEST_ID.get())
        self._seats[project] = seat
        seat.search.add_done_callback(lambda task: self._close(project, seat, task))

    def _close(self, project: str, seat: Seat, task: asyncio.Task[SearchResult]) -> None:
        if self._seats.get(project) is seat:
            del self._seats[project]
        if not task.cancelled():
            task.exception()  # mark it as retrieved: the waiting clients get it, if there are any

    def waiting_until(self) -> list[tuple[str, float]]:
        """Each project whose search waits for a promise, and the time to which its clients wait at most."""
        return [(project, seat.until) for project, seat in self._seats.items() if project in self._promises]

    def join(self, project: str, until: float = math.inf) -> Seat:
        """Join the seat of this project, to wait until then. Each client that joined must call `leave`."""
        seat = self._seats[project]
        seat.clients += 1
        seat.until = max(seat.until, until)
        return seat

    def leave(self, seat: Seat) -> bool:
        """Leave a seat. True if no client is left and the search still runs: then the caller must cancel the search."""
        seat.clients -= 1
        if seat.clients or seat.search.done():
            return False
        self._seats.pop(seat.project, None)
        return True

    def end_in_vain(self, seat: Seat) -> bool:
        """Whether all who are left take only the machine that the project had, which it has no more. They hear so.

        Then the caller must cancel the search, as after `leave`.
        """
        if seat.only_own < seat.clients or seat.search.done():
            return False
        seat.is_vain = True
        self._seats.pop(seat.project, None)
        return True

    @staticmethod
    async def wait(seat: Seat, hung_up: HangUp | None, wait_s: float) -> SearchResult:
        """The result of the search of this seat, even if the time is up in the same turn in which the search ends.

        Raises what the search raises, TimeoutError after `wait_s`, CancelledError when this client hung up, and
        ProjectHasNoMachine if the search ended in vain.
        """
        leaving = None if hung_up is None else asyncio.ensure_future(hung_up())
        try:
            ends = {seat.search} if leaving is None else {seat.search, leaving}
            await asyncio.wait(ends, timeout=max(0.0, wait_s), return_when=asyncio.FIRST_COMPLETED)
            if seat.is_vain:
                raise _no_machine(seat.project)
            if seat.search.done():
                return seat.search.result()
            if leaving is not None and leaving.done():
                raise asyncio.CancelledError("the client hung up")
            raise TimeoutError
        finally:
            if leaving is not None:
                leaving.cancel()

    async def search_ended(self, project: str, within_s: float) -> None:
        """Return when no search for this project goes on, after `within_s` at the latest. It takes no part in it."""
        if project in self:
            await asyncio.wait({self._seats[project].search}, timeout=within_s)

    # promises: how the tick and the probers reach a search

    async def promised(self, project: str) -> Machine | None:
        """Wait until `keep_promise`, `look_again` (None) or `refuse` is called for this project."""
        promise: asyncio.Future[Machine | None] = asyncio.get_running_loop().create_future()
        self._promises[project] = promise
        try:
            return await promise
        finally:
            if self._promises.get(project) is promise:
                del self._promises[project]

    def keep_promise(self, machine: Machine) -> None:
        assert machine.holding is not None, f"{machine.id} has no project"
        self._resolve(machine.holding.project, machine)

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


def _no_machine(project: str) -> ProjectHasNoMachine:
    return ProjectHasNoMachine(f"The project {project} has no machine any more, so none was woken.")
