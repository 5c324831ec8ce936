"""Keeps pauses and the starts of programs in a container apart.

If Docker 20.10 pauses a container while a program is being started in it (`docker exec`), what starts that program is frozen
half-way, and holds a lock that the end of the pause needs. Then Docker can neither let the container go on, nor inspect, nor
remove it: only the kernel can, by hand. So nothing is paused in which something was started that may not be there yet, and
nothing is started in what is being paused.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from worker_orchestrator.errors import EngineRejected, EngineUnavailable, NotRunning

__all__ = ["Programs"]

LANDS_WITHIN_S: Final = 10.0
"""For a start to land whose caller has gone."""


class Programs:
    """By the ids of containers: in which ones programs are, and which are being paused."""

    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()
        self._pausing: set[str] = set()

    def begin(self, native_id: str) -> None:
        """One is about to be started there. Raises NotRunning if that is being paused."""
        if native_id in self._pausing:
            raise NotRunning("The container is being paused.")
        self._inside[native_id] += 1

    def end(self, native_id: str) -> None:
        """One that was begun there has ended, or is there for certain."""
        self._inside[native_id] -= 1
        if not self._inside[native_id]:
            del self._inside[native_id]

    @contextmanager
    def starting(self, native_id: str) -> Iterator[None]:
        """Around the start of one, until it is there. If that fails, it may be there later, unless the engine refused it."""
        self.begin(native_id)
        try:
            yield
        except EngineRejected:
            self.end(native_id)
            raise
        except BaseException:
            asyncio.get_running_loop().call_later(LANDS_WITHIN_S, self.end, native_id)
            raise
        self.end(native_id)

    @contextmanager
    def pausing(self, native_id: str) -> Iterator[None]:
        """Around a pause. Raises EngineUnavailable if something is being started there, or runs."""
        if self._inside[native_id]:
            raise EngineUnavailable("A command runs in the container, so it is not paused now.")
        self._pausing.add(native_id)
        try:
            yield
        finally:
            self._pausing.discard(native_id)
