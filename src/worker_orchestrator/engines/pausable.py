"""What an engine offers that can pause its instances: another of the extras (`extras.py`)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from worker_orchestrator.engines.base import Engine

__all__ = ["Pausable", "why_no_parking"]


@runtime_checkable
class Pausable(Protocol):
    """An engine that can pause an instance: it uses no processor, keeps all that it has in memory, and goes on later.

    Whether the engine at hand can do that for a pool is part of what `Engine.template` judges, if the settings say that the
    pool parks machines. Of a pool that begins to do so at run time, `cannot_park` is asked.
    """

    def cannot_park(self, pool: str) -> str:
        """Why machines of this pool cannot be parked, with what to do, for people; empty if they can."""
        ...

    async def pause(self, machine_id: str) -> None:
        """Pause it. Safe to repeat, so one that is paused is a success.

        Raises EngineRejected if it does not run or cannot be paused, and every other EngineError but PortTaken.
        """
        ...

    async def unpause(self, machine_id: str) -> None:
        """Let it go on. Safe to repeat: one that runs is a success. Raises as `pause` does."""
        ...


def why_no_parking(engine: Engine, pool: str) -> str:
    """Why this engine cannot park machines of this pool, for people; empty if it can."""
    if not isinstance(engine, Pausable):
        return "The engine cannot pause workers, so none can be parked: choose --parked 0."
    return engine.cannot_park(pool)
