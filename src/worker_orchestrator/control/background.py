"""Tasks in the background. A defect in one of them stops the process instead of going unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog

from worker_orchestrator.control.defect import Defect

__all__ = ["Background"]

_log = structlog.get_logger(__name__)

END_LIMIT_S: Final = 4.0
"""For tasks that were cancelled. A command in a container is ended by an engine, which may answer nothing."""
_T = TypeVar("_T")


class Background:
    """Owns tasks until they end. Every exception that a task lets out is a defect."""

    def __init__(self, defect: Defect) -> None:
        self._defect = defect
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Run this beside everything else."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        if self._closed:
            task.cancel()
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._defect.report(error)

    async def aclose(self) -> None:
        """Cancel all tasks, and every task that is begun from now on. Nobody waits for long for one that does not end."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=END_LIMIT_S)
            for task in left:
                _log.warning("not waited for any longer", what=task.get_name())
