"""When each machine changed last, and whether anything changed that a reply which was made before does not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker_orchestrator.core.machine import Cause, Change
from worker_orchestrator.core.routine import is_routine

__all__ = ["LastChanges"]

_KEPT: Final = Cause.KEPT


class LastChanges:
    """`at_ms` has the wall time of each machine's last change, by its id; `version` is another one after each change."""

    def __init__(self, at_ms: dict[str, int]) -> None:
        self.at_ms = at_ms
        self.version = 0

    def committed(self, changes: Sequence[Change], wall_ms: int) -> None:
        """These changes were stored just now.

        To keep a machine, as clients do every few seconds, is no change of it. Nor is it for people that a parked one showed
        that it still answers.
        """
        for change in changes:
            if change.cause is _KEPT:
                continue
            self.version += 1
            if change.after is None:
                self.at_ms.pop(change.machine.id, None)
            elif not is_routine(change):
                self.at_ms[change.machine.id] = wall_ms

    def doubted(self) -> None:
        """A machine may not be able to serve any more."""
        self.version += 1
