"""What an assign with values that failed says of the machine that its project has: whether its set-up ended with that."""

from __future__ import annotations

from typing import Final

from worker_orchestrator.errors import (
    CallFailed,
    ConfiguredOtherwise,
    MachineFailed,
    NoMachineAvailable,
    OrchestratorError,
    OtherPool,
    SetupFailed,
)
from worker_orchestrator.wire.v1 import Machine

__all__ = ["NOTHING_SET_UP", "was_not_set_up"]

NOTHING_SET_UP: Final = (CallFailed, ConfiguredOtherwise, MachineFailed, NoMachineAvailable, OtherPool)
"""After these nothing was set up, or that is not known: the project's machine, if it has one, is from before."""


def was_not_set_up(machine: Machine, failure: OrchestratorError) -> bool:
    """Whether it is the machine whose set-up ended with this error. A request that was refused before anything was done says
    nothing of the machine that the project has: somebody may use that.
    """
    if isinstance(failure, SetupFailed):
        return machine.id == failure.machine
    return machine.configured is False and machine.setup is not None
