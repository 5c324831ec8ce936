"""Work that is done once for all who want its result at the same time, such as the pull of an image by two pools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

__all__ = ["JoinedWork"]

_T = TypeVar("_T")


class JoinedWork(Generic[_T]):
    """Who asks while it is under way gets the same result, or the same error. It is cancelled when the last one gives up."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, _T]], name: str) -> None:
        self._work, self._name = work, name
        self._task: asyncio.Task[_T] | None = None
        self._waiting = 0  # how many wait for this task

    async def result(self) -> _T:
        """Join what is under way, or begin."""
        task = self._task
        if task is None:
            task = self._task = asyncio.create_task(self._work(), name=self._name)
            task.add_done_callback(_look_at)
            self._waiting = 0
        self._waiting += 1
        try:
            return await asyncio.shield(task)
        finally:
            if self._task is task:
                self._waiting -= 1
                if task.done():
                    self._task = None
                elif not self._waiting:
                    self._task = None
                    task.cancel()


def _look_at(task: asyncio.Task[Any]) -> None:
    """Whoever gave up does not hear of its error any more."""
    if not task.cancelled():
        task.exception()
