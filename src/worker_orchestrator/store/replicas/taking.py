"""Takes the steps of one leader: sends the calls that each of them asks for, as long as this leader may write.

Before each call the leader's time is looked at. It proves nothing (`store/cluster/ledger.py` does), and makes it rare that
something is sent in vain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from worker_orchestrator.store.cluster.calls import Answer, Call, Outdated, Steps, Verdict

__all__ = ["Steward"]

T = TypeVar("T")
PARALLEL: Final = 64
"""A takeover asks for one call for each pod."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0


class Steward:
    """Takes steps in one term. `answer` sends one call, `may_write` says whether this term goes on."""

    def __init__(self, answer: Callable[[Call], Awaitable[Answer]], may_write: Callable[[], bool]) -> None:
        self._answer, self._may_write = answer, may_write
        self._room = asyncio.Semaphore(PARALLEL)

    @property
    def may_write(self) -> bool:
        """Whether its term goes on."""
        return self._may_write()

    async def take(self, steps: Steps[T]) -> T:
        """What these steps return. Whatever has no answer is asked for again, with pauses.

        Raises Outdated: they raised it, or the time of this leader is over. What was sent may land all the same.
        """
        answers: tuple[Answer, ...] | None = None
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                calls = next(steps) if answers is None else steps.send(answers)
            except StopIteration as end:
                result: T = end.value
                return result
            if not self._may_write():
                raise Outdated("The time of this leader is over.")
            answers = tuple(await asyncio.gather(*map(self._one, calls)))
            if any(answer.verdict is Verdict.UNKNOWN for answer in answers):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                pause_s = FIRST_PAUSE_S

    async def _one(self, call: Call) -> Answer:
        async with self._room:
            return await self._answer(call) if self._may_write() else Answer(Verdict.UNKNOWN)
