"""One log line per change of a machine, after it is stored."""

from __future__ import annotations

from typing import Final

import structlog

from worker_orchestrator.core.machine import Cause, Change
from worker_orchestrator.core.routine import is_routine

__all__ = ["ChangeLog"]

_EVENTS: Final = {cause: cause.value for cause in Cause}  # an enum takes 1 µs to tell its own value
_EXPIRING: Final = Cause.EXPIRING


class ChangeLog:
    """Logs every change that is news.

    It is made once the log is configured: structlog looks for the logger at each call otherwise.
    """

    def __init__(self) -> None:
        self._info = structlog.get_logger(__name__).bind().info

    def write(self, change: Change, request: str, the_pool: str) -> None:
        """Log this change, with the id of the request that caused it (empty if there was none).

        The line says in which pool it happened, unless there is only `the_pool`. What is no news is no line.
        """
        if is_routine(change):
            return
        after = change.after
        machine = after if after is not None and after.holding is not None else change.before or change.machine
        self._info(
            _EVENTS[change.cause],
            machine=machine.id,
            project=None if machine.holding is None else machine.holding.project,
            generation=machine.generation or None,
            pool=None if machine.pool == the_pool else machine.pool,
            why=change.machine.reason if change.cause is not _EXPIRING else change.reason,
            request=request or None,
        )
