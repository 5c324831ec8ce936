"""When a machine is read whose deadline depends on its use, and what a reading without use means.

Readings come at regular intervals, and one exactly when a deadline would pass. That one counts only when it may end
something: in the minute after a start nothing expires, and what was read at its beginning says nothing of its end.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.lease import Lease, silent_ending
from worker_orchestrator.core.machine import Machine, State

__all__ = ["LEAST_INTERVAL_S", "Silence", "is_readable", "meaning_of_silence", "needs_readings", "next_reading"]

LEAST_INTERVAL_S: Final = 2.0
PER_DEADLINE: Final = 3
"""A machine is read so often at least in the time of its shortest deadline."""
UNKNOWN_S: Final = 5.0
"""What could not be read is tried again so soon."""
_AFTER_S: Final = 0.001
"""A reading comes so long after a deadline: both clocks are rounded."""


class Silence(Enum):
    """What it means if a reading now shows no use."""

    GOES_ON = "open"  # it was not quiet for long enough
    SPARED = "spared"  # it was, but nothing expires yet: a later reading decides
    ENDS = "ends"  # a deadline has passed


def needs_readings(machine: Machine | None) -> bool:
    """Whether a deadline of this machine depends on its use, and it can be used."""
    if machine is None or machine.lease is None or machine.state is not State.READY:
        return False
    return bool(_limits_s(machine.lease))


def is_readable(fleet: Fleet, machine: Machine) -> bool:
    """Whether what its container counts says anything: nobody can use a machine that cannot serve."""
    return machine.state is State.READY and not fleet.is_doubted(machine)


def next_reading(fleet: Fleet, machine: Machine, now: float, longest_s: float) -> float:
    """When this machine is to be read again (monotonic seconds), after `longest_s` at most."""
    assert machine.lease is not None, f"{machine.id} has no deadlines"
    limits_s = (limit_s / PER_DEADLINE for limit_s in _limits_s(machine.lease))
    interval_s = max(LEAST_INTERVAL_S, min([longest_s, *limits_s]))
    end = silent_ending(machine.lease, fleet.quiet(machine.id))
    if end is None:
        return now + min(interval_s, UNKNOWN_S)
    left_s = max(end, _spared_until(fleet, machine)) - fleet.lease_time(now)
    if left_s <= 0:
        return now + interval_s
    return now + left_s / math.ceil(left_s / interval_s) + _AFTER_S


def meaning_of_silence(fleet: Fleet, machine: Machine, now: float) -> Silence:
    """What a reading of this machine that is taken now means if it shows no use."""
    assert machine.lease is not None, f"{machine.id} has no deadlines"
    end, at = silent_ending(machine.lease, fleet.quiet(machine.id)), fleet.lease_time(now)
    if end is None or at < end:
        return Silence.GOES_ON
    return Silence.SPARED if at < _spared_until(fleet, machine) else Silence.ENDS


def _limits_s(lease: Lease) -> list[float]:
    """How long its machine may go unused, by each deadline that says so and still holds."""
    confirm_within = None if lease.is_used else lease.terms.confirm_within
    return [limit_s for limit_s in (lease.terms.idle_timeout, confirm_within) if limit_s is not None]


def _spared_until(fleet: Fleet, machine: Machine) -> float:
    return max(fleet.nothing_expires_before, fleet.watches[machine.id].spared_until)
