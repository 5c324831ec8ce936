"""What an engine offers that can pause its instances: another of the extras (`extras.py`)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["Pausable"]


@runtime_checkable
class Pausable(Protocol):
    """An engine that can pause an instance: it uses no processor, keeps all that it has in memory, and goes on where it was.

    Whether the engine at hand can do that for a pool is part of what `Engine.template` judges, if the pool parks machines.
    """

    async def pause(self, machine_id: str) -> None:
        """Pause it. Safe to repeat.

        Raises EngineRejected if it does not run or cannot be paused, and every other EngineError but PortTaken.
        """
        ...

    async def unpause(self, machine_id: str) -> None:
        """Let it go on. Safe to repeat: one that runs is a success. Raises as `pause` does."""
        ...
