"""One log line per change of a machine, after it is stored."""

from __future__ import annotations

from typing import Final

import structlog

from worker_orchestrator.core.machine import Cause, Change

__all__ = ["log_change"]

_EVENTS: Final = {cause: cause.value for cause in Cause}  # an enum takes 1 µs to tell its own value

_log = structlog.get_logger(__name__)


def log_change(change: Change, request: str, *, names_pool: bool) -> None:
    """Log this change, with the id of the request that caused it (empty if there was none).

    `names_pool`: the line says in which pool it happened.
    """
    machine = change.after if change.after is not None and change.after.project else change.before or change.machine
    _log.info(
        _EVENTS[change.cause],
        machine=machine.id,
        project=machine.project,
        generation=machine.generation or None,
        pool=machine.pool if names_pool else None,
        why=change.machine.reason,
        request=request or None,
    )
