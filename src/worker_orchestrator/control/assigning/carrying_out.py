"""Waiting until the engine has done what a caller asked for, and the errors that say why it has not."""

from __future__ import annotations

from functools import partial

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.world.actions import Actions
from worker_orchestrator.core import due_actions
from worker_orchestrator.core.action import Destroy, Outcome, Restart, Result, Stop
from worker_orchestrator.errors import EngineObstructed, EngineRejected, EngineUnavailable

__all__ = ["CarryingOut"]


class CarryingOut:
    """Has one action carried out for a caller."""

    def __init__(self, decisions: Decisions, actions: Actions) -> None:
        self._state, self._fleet, self._contact = decisions.state, decisions.fleet, decisions.contact
        self._actions = actions

    async def done(self, action: Destroy | Restart | Stop, what: str) -> None:
        """Return when the engine has done this. Raises EngineError, where `what` comes when the engine is back."""
        is_wanted = partial(due_actions.still_wanted, self._fleet, action)
        until_gone = partial(self._state.until_forgotten, action.machine_id)
        outcome = await self._contact.unless_lost(self._actions.finish(action, is_wanted, until_gone))
        if outcome is None:
            why = f" {self._contact.problem}" if self._contact.problem else ""
            raise EngineUnavailable(f"{what} when the container engine is available again.{why}")
        if outcome.result is not Result.DONE:
            raise _refused(outcome)


def _refused(outcome: Outcome) -> EngineRejected | EngineUnavailable:
    match outcome.result:
        case Result.REJECTED:
            return EngineRejected(outcome.message)
        case Result.OBSTRUCTED | Result.PORT_TAKEN:
            return EngineObstructed(outcome.message)
        case _:
            return EngineUnavailable(outcome.message)
