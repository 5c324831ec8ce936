"""Calls to the engine: one at a time per machine, each with a time-out, many machines at once.

A worker that a project had is asked to end before its container is removed, and has `stop_timeout_s` for it. Nobody else
waits for that: it takes none of the places for calls, and `hurry` cuts it short. So is one that is put to sleep.

While a call is under way, and for every listing that was begun before it ended, its machine is *busy*: what a listing
shows of it proves nothing. A call that timed out has an unknown outcome, which is an outcome like the others: the next
tick looks, and asks for what is missing under the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import structlog

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.telling.observer import Call, Observer, result_of
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.control.world.reports import Settled, Tell
from worker_orchestrator.core.action import Action, Clean, Create, Destroy, Outcome, Park, Restart, Result, Stop, Unpark
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import Configurable
from worker_orchestrator.engines.pausable import Pausable
from worker_orchestrator.errors import EngineError, EngineRejected, PortTaken

__all__ = ["Actions"]

ACTION_TIMEOUT_S: Final = 30.0
UNPARK_TIMEOUT_S: Final = 10.0
"""It takes a few milliseconds. A project may wait for it, and gets another machine if it hangs."""
REMOVED_WITHIN_S: Final = 30.0
"""For a listing to show that a removal which the engine has accepted is done."""
PARALLEL: Final = 32
"""Creates in parallel pay, up to a point: more only make each other slower, and time out."""

_log = structlog.get_logger(__name__)


class Actions:
    """Performs actions. Each one is reported as `Settled`, before anybody who awaits it goes on.

    `stop_timeout_s` is how long a worker may take to end, `stop_timeouts_s` has that of pools that have their own.
    """

    def __init__(
        self,
        engine: Engine,
        background: Background,
        probers: Probers,
        tell: Tell,
        observer: Observer,
        stop_timeout_s: float,
    ) -> None:
        self._engine = engine
        self._background = background
        self._probers, self._tell, self._observer = probers, tell, observer
        self._running: dict[str, tuple[Action, asyncio.Task[Outcome]]] = {}
        self._listings: list[set[str]] = []
        self._room = asyncio.Semaphore(PARALLEL)
        self._room_to_restart = asyncio.Semaphore(PARALLEL)  # a worker that is stopped first may take 10 s to end
        self._room_to_unpark = asyncio.Semaphore(PARALLEL)  # a project waits for that, and it takes a few ms
        self.stop_timeout_s = stop_timeout_s
        self.stop_timeouts_s: Mapping[str, float] = {}
        self._ending: dict[str, asyncio.Event] = {}  # workers that have time to end, each with what cuts it short
        self._turned_away = asyncio.Event()

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
        """Begin this action, and stop probing its machine; None if the machine is busy: then a later tick asks again."""
        machine_id = action.machine_id
        if machine_id in self._running:
            return None
        self._probers.stop(machine_id)
        for busy in self._listings:
            busy.add(machine_id)
        task = self._background.spawn(self._perform(action), f"{_name_of(action)} {machine_id}")
        self._running[machine_id] = (action, task)
        return task

    def hurry(self, machine_id: str) -> None:
        """Let its worker end at once, if it is taking its time for that."""
        if machine_id in self._ending:
            self._ending[machine_id].set()

    def turn_all_away(self) -> None:
        """Answer everybody who waits for a machine to be removed: the service is stopping, and goes on with it later."""
        self._turned_away.set()

    async def finish(
        self,
        action: Destroy | Restart | Stop,
        is_wanted: Callable[[], bool],
        until_gone: Callable[[], Awaitable[None]],
    ) -> Outcome:
        """Have this done and return how that ended: join it if it is under way, wait for another call.

        A removal is a removal, however gently it was begun. What is not wanted any more after such a wait counts as done.
        If the engine has only accepted a removal, `until_gone` is awaited too: it returns when a listing has shown that
        it is done.
        """
        while True:
            running = self._running.get(action.machine_id)
            if running is None:
                if not is_wanted():
                    return Outcome(Result.DONE)
                self.start(action)
                running = self._running[action.machine_id]
            other, task = running
            if not await self._is_over(task):
                return Outcome(Result.UNAVAILABLE, f"The service is stopping. {_left_undone(action)}")
            if other == action or (isinstance(other, Destroy) and isinstance(action, Destroy)):
                outcome = task.result()
                return await self._await_removal(action, outcome, until_gone) if outcome.under_way else outcome

    async def _await_removal(
        self, action: Destroy | Restart | Stop, accepted: Outcome, until_gone: Callable[[], Awaitable[None]]
    ) -> Outcome:
        """How a removal ended that the engine accepted."""
        machine_id = action.machine_id
        removal = self._background.spawn(_within(until_gone, REMOVED_WITHIN_S), f"removal of {machine_id}")
        try:
            if not await self._is_over(removal):
                return Outcome(Result.UNAVAILABLE, f"The service is stopping. {_left_undone(action)}")
            if removal.result():
                return accepted
            return Outcome(
                Result.UNKNOWN, f"{machine_id} is being removed, but still exists after {REMOVED_WITHIN_S:g} s."
            )
        finally:
            removal.cancel()

    async def _is_over(self, task: asyncio.Task[Any]) -> bool:
        """Wait for this; False if everybody is turned away before."""
        leaving = asyncio.ensure_future(self._turned_away.wait())
        try:
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        return task.done()

    async def _perform(self, action: Action) -> Outcome:
        call, begun_at = _name_of(action), self._observer.now()
        try:
            ended = await self._let_end(action)
            if isinstance(action, Stop):
                outcome = ended or Outcome(Result.UNKNOWN, "The worker was not given the time to end.")
            else:
                async with self._room_for(action):
                    begun_at = self._observer.now()
                    outcome = ended or await self._outcome(self._call_engine(action), _limit_s(action))
            took_s = self._observer.now() - begun_at
        finally:
            del self._running[action.machine_id]
        self._observer.call_ended(call, outcome.result, took_s, action.machine_id)
        if outcome.result is not Result.DONE:
            _log.warning(
                "engine call failed",
                call=call,
                machine=action.machine_id,
                result=outcome.result.value,
                why=outcome.message,
            )
        self._tell(Settled(action, outcome, took_s))
        return outcome

    def _room_for(self, action: Action) -> asyncio.Semaphore:
        """What takes long keeps nothing waiting that does not."""
        match action:
            case Restart() | Clean():
                return self._room_to_restart
            case Unpark():
                return self._room_to_unpark
            case _:
                return self._room

    async def _let_end(self, action: Action) -> Outcome | None:
        """Let a worker end that is to sleep, or is to be removed gently. Returns how that ended.

        None: that was cut short, or it is to be removed now, whether or not it has ended.
        """
        if not isinstance(action, Stop) and not (isinstance(action, Destroy) and action.gently):
            return None
        grace_s = self.stop_timeouts_s.get(action.pool, self.stop_timeout_s)
        if not grace_s and isinstance(action, Destroy):
            return None
        hurried = self._ending[action.machine_id] = asyncio.Event()
        stopping = asyncio.ensure_future(self._stop(action.machine_id, grace_s))
        cut_short = asyncio.ensure_future(hurried.wait())
        try:
            await asyncio.wait({stopping, cut_short}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                return None
            outcome = stopping.result()
            if isinstance(action, Stop):
                return outcome
            return None if outcome.result in {Result.DONE, Result.REJECTED} else outcome
        finally:
            del self._ending[action.machine_id]
            stopping.cancel()
            cut_short.cancel()

    async def _stop(self, machine_id: str, grace_s: float) -> Outcome:
        """A task that is cancelled before its first turn has made no call."""
        return await self._outcome(self._engine.stop(machine_id, grace_s), grace_s + ACTION_TIMEOUT_S)

    async def _outcome(self, call: Awaitable[bool | None], limit_s: float) -> Outcome:
        """How this call ended. One that returns False was only accepted."""
        try:
            async with asyncio.timeout(limit_s):
                is_done = await call
        except TimeoutError:
            return Outcome(Result.UNKNOWN, f"The container engine did not answer within {limit_s:g} s.")
        except EngineError as error:
            return Outcome(result_of(error), error.message, port=error.port if isinstance(error, PortTaken) else None)
        return Outcome(Result.DONE, under_way=is_done is False)

    async def _call_engine(self, action: Create | Restart | Destroy | Clean | Park | Unpark) -> bool | None:
        match action:
            case Create(machine):
                return await self._engine.create(machine)
            case Restart(machine_id, stop_first):
                await self._engine.restart(machine_id, stop_first=stop_first)
                return None
            case Destroy(machine_id):
                return await self._engine.destroy(machine_id)
            case Clean(machine_id):
                if not isinstance(self._engine, Configurable):
                    raise EngineRejected(f"This engine cannot clean {machine_id}.")
                await self._engine.clean(machine_id)
                return None
            case Park(machine_id):
                await self._pausable(machine_id).pause(machine_id)
                return None
            case Unpark(machine_id):
                await self._pausable(machine_id).unpause(machine_id)
                return None

    def _pausable(self, machine_id: str) -> Pausable:
        if not isinstance(self._engine, Pausable):
            raise EngineRejected(f"This engine can neither pause {machine_id} nor let it go on.")
        return self._engine


def _limit_s(action: Action) -> float:
    return UNPARK_TIMEOUT_S if isinstance(action, Unpark) else ACTION_TIMEOUT_S


async def _within(wait: Callable[[], Awaitable[None]], limit_s: float) -> bool:
    """Whether this wait ends within so many seconds."""
    try:
        async with asyncio.timeout(limit_s):
            await wait()
    except TimeoutError:
        return False
    return True


def _left_undone(action: Destroy | Restart | Stop) -> str:
    match action:
        case Destroy(machine_id):
            return f"{machine_id} will be removed when the service runs again."
        case Restart(machine_id):
            return f"{machine_id} will be restarted when the service runs again."
        case Stop(machine_id):
            return f"{machine_id} will be put to sleep when the service runs again."


def _name_of(action: Action) -> Call:
    match action:
        case Create():
            return "create"
        case Restart():
            return "restart"
        case Stop():
            return "stop"
        case Destroy():
            return "destroy"
        case Clean():
            return "clean"
        case Park():
            return "park"
        case Unpark():
            return "unpark"
