"""Whether the engine answers: what its last listing said, and, while somebody waits for it, a ping.

An engine that is away for a moment (a restart) is worth waiting for; one that stays away is not. So whoever needs it
waits for `PATIENCE_S` at most, and from then on hears so at once, until a listing succeeds again. A hung engine accepts
connections and answers none: only time tells, hence the ping.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.world.reports import Lost, Silent, Tell
from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import EngineError, EngineUnavailable

__all__ = ["Contact"]

PATIENCE_S: Final = 3.0
PING_GAP_S: Final = 0.5
HEARD_WITHIN_S: Final = 1.0
"""An engine that is well may take so long: whoever has less time for something else learns nothing of it in less."""

_T = TypeVar("_T")


class Contact:
    """`problem` says why the engine does not answer, None while it does; `lost` is set once waiting makes no sense.

    `Lost` is reported at that moment, `Silent` whenever a ping failed: a listing should look what is the matter.
    """

    def __init__(self, engine: Engine, background: Background, tell: Tell, observer: Observer) -> None:
        self.problem: str | None = "Its containers were not listed yet."
        self.lost = asyncio.Event()
        self._engine, self._background, self._tell, self._observer = engine, background, tell, observer
        self._now = asyncio.get_running_loop().time
        self._since: float | None = None
        self._answered_at = -math.inf
        self._waiting = 0
        self._pings = False

    @property
    def answers(self) -> bool:
        """Whether the engine answers, as far as is known."""
        return self.problem is None

    def failed(self, why: str, since: float) -> None:
        """It did not answer what it was asked at `since`, in loop time."""
        if since < self._answered_at:
            return  # it answered something else meanwhile
        self.problem = sentence(why)
        self._since = since if self._since is None else self._since
        if not self.lost.is_set() and self._now() - self._since >= PATIENCE_S:
            self.lost.set()
            self._tell(Lost())

    def restored(self) -> None:
        """A listing succeeded."""
        self.problem, self._since, self._answered_at = None, None, self._now()
        self.lost.clear()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Somebody waits for the engine during this block."""
        self._waiting += 1
        if not self._pings:
            self._pings = True
            self._background.spawn(self._ping_while_waited_for(), "ping")
        try:
            yield
        finally:
            self._waiting -= 1

    async def unless_lost(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """What this returns; None, and the work is cancelled, if the engine is or gets lost before it does.

        The work must not raise.
        """
        with self.waiting():
            done = self._background.spawn(work, "needs the engine")
            lost = self._background.spawn(self.lost.wait(), "engine lost")
            try:
                await asyncio.wait({done, lost}, return_when=asyncio.FIRST_COMPLETED)
                return done.result() if done.done() else None
            finally:
                done.cancel()
                lost.cancel()

    async def answer_of(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What this returns or raises.

        Raises EngineUnavailable, and the work is cancelled, if the engine is or gets lost before it ends.
        """
        if self.lost.is_set():
            work.close()
            raise self._is_away()
        done, lost = asyncio.ensure_future(work), asyncio.ensure_future(self.lost.wait())
        ends: set[asyncio.Future[Any]] = {done, lost}
        with self.waiting():
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if not done.done():
                    raise self._is_away()
                return done.result()
            finally:
                for end in ends:
                    end.cancel()
                await asyncio.gather(*ends, return_exceptions=True)

    async def heard(self, within_s: float = math.inf) -> None:
        """Return when the engine answers. For what may take longer than any patience: its beginning may not.

        Raises EngineUnavailable if the engine is away, or does not answer within this time (a second at least) and the
        patience of everybody.
        """
        within_s = max(within_s, HEARD_WITHIN_S)
        try:
            async with asyncio.timeout(None if within_s == math.inf else within_s):
                await self.answer_of(self._engine.ping())
        except TimeoutError:
            raise EngineUnavailable(f"The container engine did not answer within {within_s:g} s.") from None

    def _is_away(self) -> EngineUnavailable:
        return EngineUnavailable(f"The container engine is unavailable. {self.problem}")

    async def _ping_while_waited_for(self) -> None:
        try:
            while self._waiting:
                await self._ping()
                await asyncio.sleep(PING_GAP_S)
        finally:
            self._pings = False

    async def _ping(self) -> None:
        begun_at = self._now()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._observer.measure("ping", self._engine.ping())
        except TimeoutError:
            self._silent(f"It did not answer within {PATIENCE_S:g} s.", begun_at)
        except EngineError as error:
            self._silent(error.message, begun_at)

    def _silent(self, why: str, since: float) -> None:
        self.failed(why, since)
        self._tell(Silent())
