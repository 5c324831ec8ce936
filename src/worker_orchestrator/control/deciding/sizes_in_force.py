"""Puts other sizes in force: for clock windows, and for pools whose sizes follow demand."""

from __future__ import annotations

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.sizes import PoolSizes
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.core.spec import Spec

__all__ = ["put_in_force"]


def put_in_force(state: ControlState, sizes: PoolSizes, decisions: Decisions) -> Spec | None:
    """Apply the sizes as they are due now. Returns what was in force before; None if nothing changed."""
    before, after = state.spec, sizes.applied(state.spec)
    if after == before:
        return None
    state.spec = after
    decisions.apply_and_commit_soon()
    state.wake.set()
    return before
