"""What the engine is asked to do for one machine, and how that may end."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from worker_orchestrator.core.machine import Machine

__all__ = ["Action", "Create", "Destroy", "Outcome", "Restart", "Result"]


class Create(msgspec.Struct, frozen=True):
    """Make this machine run, with exactly its template and port."""

    machine: Machine

    @property
    def machine_id(self) -> str:
        return self.machine.id


class Restart(msgspec.Struct, frozen=True):
    """Start the exited container of this machine again, in place. `stop_first`: end it where it runs."""

    machine_id: str
    stop_first: bool = False


class Destroy(msgspec.Struct, frozen=True):
    """Remove whatever runs under this id. Absent is success. `gently`: what runs is asked to end first, and has time to."""

    machine_id: str
    gently: bool = False


Action = Create | Restart | Destroy


class Result(StrEnum):
    """How an action ended."""

    DONE = "done"
    UNAVAILABLE = "unavailable"  # it was not carried out; again later
    REJECTED = "rejected"  # it was not carried out; again will not help
    OBSTRUCTED = "obstructed"  # it was not carried out, for a cause outside: again when that is mended
    PORT_TAKEN = "port taken"
    UNKNOWN = "unknown"  # it may have been carried out, or may be yet


class Outcome(msgspec.Struct, frozen=True):
    result: Result
    message: str = ""
    evidence: str = ""
