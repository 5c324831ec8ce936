"""What the engine is asked to do for one machine, and how that may end.

An action is idempotent: it may be started again after any result, and the next tick does so if it is still due.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from worker_orchestrator.core.machine import Machine

__all__ = ["Action", "Clean", "Create", "Destroy", "Outcome", "Park", "Restart", "Result", "Stop", "Unpark"]


class Create(msgspec.Struct, frozen=True):
    """Make this machine run, with exactly its template and ports."""

    machine: Machine

    @property
    def machine_id(self) -> str:
        return self.machine.id


class Restart(msgspec.Struct, frozen=True):
    """Start the exited container of this machine again, in place. `stop_first`: if it runs, stop it before that."""

    machine_id: str
    stop_first: bool = False


class Stop(msgspec.Struct, frozen=True):
    """End the worker of this machine, which has as much time for that as its `pool` allows, and keep its container."""

    machine_id: str
    pool: str


class Destroy(msgspec.Struct, frozen=True):
    """Remove whatever runs under this id; if nothing does, that is success.

    `gently`: give the worker time to end first, as much as its `pool` allows.
    """

    machine_id: str
    gently: bool = False
    pool: str = ""


class Clean(msgspec.Struct, frozen=True):
    """Restart this machine, which is free, so that nothing of its configuration is left, and look whether that is so."""

    machine_id: str


class Park(msgspec.Struct, frozen=True):
    """Pause the container of this machine, which is free; if it is paused, that is success."""

    machine_id: str


class Unpark(msgspec.Struct, frozen=True):
    """Let the container of this machine go on, which was parked; if it is not paused, that is success."""

    machine_id: str


Action = Create | Restart | Stop | Destroy | Clean | Park | Unpark


class Result(StrEnum):
    """How an action ended."""

    DONE = "done"
    UNAVAILABLE = "unavailable"  # not carried out; a later try may succeed
    REJECTED = "rejected"  # not carried out; another try will not help
    OBSTRUCTED = "obstructed"  # not carried out, because of something outside the worker and its image
    PORT_TAKEN = "port taken"  # not carried out; another host port may do
    UNKNOWN = "unknown"  # it may have been carried out, or may still be


class Outcome(msgspec.Struct, frozen=True):
    """How one action ended: in one word, in a sentence for people, and with the last log lines if there are any.

    `under_way`: the engine only accepted it, and a listing will show what came of it. `port` is the host port that is taken,
    if the engine said which.
    """

    result: Result
    message: str = ""
    evidence: str = ""
    under_way: bool = False
    port: int | None = None
