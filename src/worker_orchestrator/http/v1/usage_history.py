"""What workers used when somebody looked: so whoever looks next sees more than the present moment.

The engine is never asked for it. Of a worker at which nobody looked, nothing is known. All of it is in memory and bounded.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.engines.extras import Usage

__all__ = ["LONGEST_S", "Reading", "UsageHistory"]

LONGEST_S: Final = 900
STEP_MS: Final = 4_000
"""Of several who look at the same time, one fills the history."""
MACHINES: Final = 200
_MOST: Final = LONGEST_S * 1000 // STEP_MS


@dataclass(frozen=True, slots=True)
class Reading:
    """What a worker used at one time (wall time)."""

    at_ms: int
    used: Usage


class UsageHistory:
    """The last readings of the machines that were looked at last."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._machines: OrderedDict[str, deque[Reading]] = OrderedDict()

    def add(self, machine_id: str, used: Usage) -> None:
        """Take in what was just measured. If somebody has put the clock back, what is later than now is forgotten."""
        readings = self._machines.setdefault(machine_id, deque(maxlen=_MOST))
        self._machines.move_to_end(machine_id)
        now_ms = self._wall_ms()
        while readings and readings[-1].at_ms > now_ms:
            readings.pop()
        if not readings or now_ms - readings[-1].at_ms >= STEP_MS:
            readings.append(Reading(now_ms, used))
        if len(self._machines) > MACHINES:
            self._machines.popitem(last=False)

    def of(self, machine_id: str, past_s: int) -> list[Reading]:
        """The readings of so many seconds until now, oldest first."""
        since_ms = self._wall_ms() - past_s * 1000
        return [one for one in self._machines.get(machine_id, ()) if one.at_ms > since_ms]
