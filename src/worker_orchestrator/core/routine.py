"""Which changes are no news: they are stored like all others, and make neither an event nor a line in the log.

A thousand clients that keep their machines every twenty seconds, or a hundred parked machines that show every five minutes
that they answer, would push all other events out of the table within hours. A machine that was taken out of the reserve for
that is parked in the last event of it; what happens to it instead of going back is an event again.
"""

from __future__ import annotations

from typing import Final

from worker_orchestrator.core.machine import Cause, Change
from worker_orchestrator.core.reasons import STILL_ANSWERS, UNPARKED_FOR_CHECK

__all__ = ["is_routine"]

_ASSIGNED: Final = Cause.ASSIGNED
_RELEASED: Final = Cause.RELEASED
_KEPT: Final = Cause.KEPT
_PARKED: Final = Cause.PARKED
_UNPARKED: Final = Cause.UNPARKED
_ANSWERED: Final = Cause.ANSWERED


def is_routine(change: Change) -> bool:
    """Whether this change is no news."""
    cause, before, after = change.cause, change.before, change.after
    if cause is _ASSIGNED or cause is _RELEASED:  # almost all changes, and each is asked about twice
        return False
    if cause is _UNPARKED:
        return after is not None and after.reason == UNPARKED_FOR_CHECK
    if cause is _ANSWERED:
        return before is not None and before.reason == UNPARKED_FOR_CHECK
    if cause is _PARKED:
        return before is not None and before.reason == STILL_ANSWERS
    return cause is _KEPT
