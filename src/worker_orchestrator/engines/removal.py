"""Removing one instance to the end, for commands that run without the service: nobody else makes listings then."""

from __future__ import annotations

import asyncio
from typing import Final

from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import EngineUnavailable

__all__ = ["remove"]

REMOVED_WITHIN_S: Final = 120.0
"""The kubelet of an old Kubernetes takes most of a minute to say that a pod has ended."""
_PAUSE_S: Final = 0.2
AGAIN_S: Final = 5.0
"""So often it is asked for again: an engine may do by force what it could not do otherwise."""


async def remove(engine: Engine, machine_id: str) -> None:
    """Destroy what runs under this id, and return when it is gone. Raises what `destroy` raises."""
    if await engine.destroy(machine_id):
        return
    now = asyncio.get_running_loop().time
    again_at = now() + AGAIN_S
    try:
        async with asyncio.timeout(REMOVED_WITHIN_S):
            while machine_id in (await engine.list()).instances:
                await asyncio.sleep(_PAUSE_S)
                if now() >= again_at:
                    again_at = now() + AGAIN_S
                    if await engine.destroy(machine_id):
                        return
    except TimeoutError:
        raise EngineUnavailable(
            f"{machine_id} is being removed, but still exists after {REMOVED_WITHIN_S:g} s."
        ) from None
