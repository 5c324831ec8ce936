"""Calls to the engine: one at a time per machine, each with a time-out, many machines at once.

While a call is under way, and for every listing that was begun before it ended, its machine is *busy*: what a listing
shows of it proves nothing. A call that timed out has an unknown outcome, which is an outcome like the others: the next
tick looks, and asks for what is missing under the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from worker_orchestrator.engines import Engine, Logs
from worker_orchestrator.errors import EngineError
from worker_orchestrator.machine import Action, Create, Destroy, Outcome, Restart, Result
from worker_orchestrator.orchestrator.background import Background
from worker_orchestrator.orchestrator.observer import Call, Observer, result_of
from worker_orchestrator.orchestrator.traces import Traces
from worker_orchestrator.outside import plain_lines

__all__ = ["Actions"]

ACTION_TIMEOUT_S: Final = 30.0
PARALLEL: Final = 32
"""Creates in parallel pay, up to a point: more only make each other slower, and time out."""

_log = structlog.get_logger(__name__)


class Actions:
    """Performs actions. `settled` gets each one with its outcome, before anybody who awaits it."""

    def __init__(
        self,
        engine: Engine,
        background: Background,
        settled: Callable[[Action, Outcome], None],
        observer: Observer,
        traces: Traces,
    ) -> None:
        self._engine = engine
        self._background = background
        self._settled = settled
        self._observer, self._traces = observer, traces
        self._running: dict[str, tuple[Action, asyncio.Task[Outcome]]] = {}
        self._listings: list[set[str]] = []
        self._room = asyncio.Semaphore(PARALLEL)

    @contextmanager
    def listing(self) -> Iterator[set[str]]:
        """The ids that are busy from here on to the end of the block: those under way, and those begun meanwhile."""
        busy = set(self._running)
        self._listings.append(busy)
        try:
            yield busy
        finally:
            self._listings.remove(busy)

    def is_busy(self, machine_id: str) -> bool:
        return machine_id in self._running

    def start(self, action: Action) -> asyncio.Task[Outcome] | None:
        """Begin this action; None if its machine is busy: then a later tick asks again."""
        machine_id = action.machine_id
        if machine_id in self._running:
            return None
        for busy in self._listings:
            busy.add(machine_id)
        task = self._background.spawn(self._perform(action), f"{_call(action)} {machine_id}")
        self._running[machine_id] = (action, task)
        return task

    async def finish(self, action: Action) -> Outcome:
        """Have this done and return how it ended: join the same action where it is under way, wait for another one."""
        while True:
            running = self._running.get(action.machine_id)
            if running is None:
                task = self.start(action)
                assert task is not None, "nothing ran under this id a moment ago"
                return await asyncio.shield(task)
            outcome = await asyncio.shield(running[1])
            if running[0] == action:
                return outcome

    async def _perform(self, action: Action) -> Outcome:
        call = _call(action)
        try:
            async with self._room:
                begun_at = self._observer.now()
                outcome = await self._outcome(action)
                took_s = self._observer.now() - begun_at
        finally:
            del self._running[action.machine_id]
        self._observer.call_ended(call, outcome.result, took_s)
        if isinstance(action, Create) and outcome.result is Result.DONE:
            self._traces.created(action.machine_id, took_s)
        if outcome.result is not Result.DONE:
            _log.warning(
                "engine call failed",
                call=call,
                machine=action.machine_id,
                result=outcome.result.value,
                why=outcome.message,
            )
        self._settled(action, outcome)
        return outcome

    async def _outcome(self, action: Action) -> Outcome:
        try:
            async with asyncio.timeout(ACTION_TIMEOUT_S):
                await self._call(action)
        except TimeoutError:
            return Outcome(Result.UNKNOWN, f"the engine did not answer within {ACTION_TIMEOUT_S:g} s")
        except EngineError as error:
            return Outcome(result_of(error), error.message)
        return Outcome(Result.DONE)

    async def _call(self, action: Action) -> None:
        match action:
            case Create(machine):
                await self._engine.create(machine)
            case Restart(machine_id, stop_first):
                await self._engine.restart(machine_id, stop_first=stop_first)
            case Destroy(machine_id):
                await self._engine.destroy(machine_id)

    async def last_lines(self, machine_id: str) -> str:
        """What this machine wrote last, within a second; empty where the engine cannot tell."""
        if not isinstance(self._engine, Logs):
            return ""
        try:
            async with asyncio.timeout(1.0):
                return plain_lines(await self._engine.last_lines(machine_id, 10))
        except (TimeoutError, EngineError):
            return ""


def _call(action: Action) -> Call:
    match action:
        case Create():
            return "create"
        case Restart():
            return "restart"
        case Destroy():
            return "destroy"
