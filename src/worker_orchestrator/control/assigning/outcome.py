"""How an assign that brought no machine is counted."""

from __future__ import annotations

from worker_orchestrator.control.telling.observer import AssignOutcome
from worker_orchestrator.errors import CommitFailed, MachineFailed, NoMachineAvailable

__all__ = ["outcome_of"]


def outcome_of(error: BaseException) -> AssignOutcome:
    """What this error makes of an assign."""
    match error:
        case NoMachineAvailable() | MachineFailed():
            return AssignOutcome.UNAVAILABLE
        case CommitFailed():
            return AssignOutcome.STORE_FAILED
        case _:
            return AssignOutcome.ABANDONED
