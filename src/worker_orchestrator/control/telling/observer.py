"""Events of the shell for metrics and samples. No decision depends on an observer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeVar

from worker_orchestrator.core.action import Result
from worker_orchestrator.core.machine import Change
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineRejected, EngineUnavailable, PortTaken

if TYPE_CHECKING:
    from worker_orchestrator.control.telling.traces import Trace

__all__ = ["AssignOutcome", "Call", "Delivery", "Observer", "Observers", "Stage", "result_of"]

_T = TypeVar("_T")

Call = Literal[
    "create", "restart", "stop", "clean", "park", "unpark", "destroy", "list", "ping", "identity", "template"
]
"""Calls of the engine: the names of its methods, but for `pause` and `unpause`, which are named after what they are for."""

Stage = Literal["wait", "commit", "probe"]
"""Parts of a search: until there is a machine, until that is stored, and until it has answered once more."""


class AssignOutcome(StrEnum):
    """How one request for a machine ended."""

    WARM = "warm"  # it got a machine that was idle
    COLD = "cold"  # it had to wait for its machine
    REPEAT = "repeat"  # its project had the machine already, or shares it with a request that was answered first
    UNAVAILABLE = "unavailable"  # there was no machine for it
    ABANDONED = "abandoned"  # the client hung up
    STORE_FAILED = "store_failed"  # the assignment could not be stored


class Delivery(StrEnum):
    """What became of one try to tell the webhook something."""

    TAKEN = "taken"  # it answered with a 2xx
    FAILED = "failed"  # it is tried again
    GIVEN_UP = "given_up"  # it is not, since it is too old or too many wait


class Observer:
    """Hears of everything, and does nothing. `now` measures durations, in seconds; it is never decided by."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now

    def search_began(self) -> None:
        """The current request asks for a machine, and that may take more than the short way does."""

    def stage_ended(self, stage: Stage, took_s: float) -> None:
        """A search has this behind it; the request that opened it is the current one."""

    def assign_ended(self, outcome: AssignOutcome, took_s: float, trace: Trace | None, pool: str) -> None:
        """A request for a machine of this pool was answered. `trace` comes with the first reply about an assignment."""

    def call_ended(self, call: Call, result: Result, took_s: float, machine_id: str = "") -> None:
        """A call of the engine ended, about this machine if it was about one."""

    def probe_ended(self, *, answered: bool) -> None:
        """A worker was probed."""

    def came_up(self, ready_s: float, pool: str, machine_id: str = "") -> None:
        """A new machine of this pool answered for the first time, so long after the engine had acknowledged its creation."""

    def events_ended(self) -> None:
        """The engine's stream of events ended, or could not be opened. It is opened again."""

    def committed(self, changes: Sequence[Change], took_s: float, requests: Sequence[str] = ()) -> None:
        """These changes were stored, in one transaction. `requests`: the id of the request behind each, or ""."""

    def commit_failed(self, took_s: float) -> None:
        """A transaction could not be stored; its changes are undone."""

    def delivery_ended(self, result: Delivery) -> None:
        """The webhook was told something, or was not."""

    def waiting_for_webhook(self, count: int) -> None:
        """So many messages wait to be told to the webhook, with those under way."""

    def joined(self, other: Observer) -> Observer:
        """This one and another one, both of which hear of everything."""
        return Observers(self, other)

    async def measure(self, call: Call, work: Awaitable[_T]) -> _T:
        """Have the engine do this, and tell how it ended."""
        begun_at, result = self.now(), Result.UNKNOWN  # as it is when the time is up
        try:
            answer = await work
            result = Result.DONE
        except EngineError as error:
            result = result_of(error)
            raise
        finally:
            self.call_ended(call, result, self.now() - begun_at)
        return answer


class Observers(Observer):
    """Several that hear of everything."""

    def __init__(self, *observers: Observer) -> None:
        super().__init__(observers[0].now)
        self._observers = observers
        # Of what each assign tells, only those hear that listen to it.
        self._of_assigns = [one for one in observers if type(one).assign_ended is not Observer.assign_ended]
        self._of_commits = [one for one in observers if type(one).committed is not Observer.committed]
        self._of_searches = [one for one in observers if type(one).search_began is not Observer.search_began]

    def joined(self, other: Observer) -> Observer:
        return Observers(*self._observers, other)

    def search_began(self) -> None:
        for one in self._of_searches:
            one.search_began()

    def stage_ended(self, stage: Stage, took_s: float) -> None:
        for one in self._of_searches:
            one.stage_ended(stage, took_s)

    def assign_ended(self, outcome: AssignOutcome, took_s: float, trace: Trace | None, pool: str) -> None:
        for one in self._of_assigns:
            one.assign_ended(outcome, took_s, trace, pool)

    def call_ended(self, call: Call, result: Result, took_s: float, machine_id: str = "") -> None:
        for one in self._observers:
            one.call_ended(call, result, took_s, machine_id)

    def probe_ended(self, *, answered: bool) -> None:
        for one in self._observers:
            one.probe_ended(answered=answered)

    def came_up(self, ready_s: float, pool: str, machine_id: str = "") -> None:
        for one in self._observers:
            one.came_up(ready_s, pool, machine_id)

    def events_ended(self) -> None:
        for one in self._observers:
            one.events_ended()

    def committed(self, changes: Sequence[Change], took_s: float, requests: Sequence[str] = ()) -> None:
        for one in self._of_commits:
            one.committed(changes, took_s, requests)

    def commit_failed(self, took_s: float) -> None:
        for one in self._observers:
            one.commit_failed(took_s)

    def delivery_ended(self, result: Delivery) -> None:
        for one in self._observers:
            one.delivery_ended(result)

    def waiting_for_webhook(self, count: int) -> None:
        for one in self._observers:
            one.waiting_for_webhook(count)


def result_of(error: EngineError) -> Result:
    match error:
        case EngineUnavailable():
            return Result.UNAVAILABLE
        case PortTaken():
            return Result.PORT_TAKEN
        case EngineObstructed():
            return Result.OBSTRUCTED
        case EngineRejected():
            return Result.REJECTED
        case _:
            return Result.UNKNOWN
