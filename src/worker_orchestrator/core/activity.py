"""What counts as use of a worker: what its counters say that happened between two readings.

A counter that went back, or another run of the container, counts as use: whatever was not seen does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

__all__ = ["DEFAULT_TRAFFIC_MIN", "ActivityRules", "Counters", "Traffic", "are_comparable", "shows_activity"]

DEFAULT_TRAFFIC_MIN: Final = 256
"""Bytes: less than one small HTTP request brings, and more than what a network says to all its containers in between."""


class Traffic(StrEnum):
    """Which traffic of a container counts as use."""

    INBOUND = "inbound"
    ANY = "any"  # also what the worker sends by itself
    OFF = "off"


class ActivityRules(msgspec.Struct, frozen=True):
    """What counts as use of the workers of a pool.

    `traffic_min`: so many bytes between two readings are noise. `cpu`: more processors than this in use since the last
    reading count as well, such as 0.05; None: what a worker computes does not count.
    """

    traffic: Traffic = Traffic.INBOUND
    traffic_min: int = DEFAULT_TRAFFIC_MIN
    cpu: float | None = None

    @property
    def needs_counters(self) -> bool:
        """Whether it matters what the engine counts."""
        return self.traffic is not Traffic.OFF or self.cpu is not None


class Counters(msgspec.Struct, frozen=True, gc=False):
    """What a container has received, sent and computed since its start, read at `at` (monotonic seconds).

    None where that is not known. `run` is another one after each start of the container, or empty.
    """

    at: float
    received_bytes: int | None = None
    sent_bytes: int | None = None
    cpu_s: float | None = None
    run: str = ""


def are_comparable(before: Counters, now: Counters) -> bool:
    """Whether both come from the same source: one that tells the run of a container counts less of its network."""
    return bool(before.run) == bool(now.run)


def shows_activity(before: Counters, now: Counters, rules: ActivityRules) -> bool | None:
    """Whether the worker was used between two readings. None if what matters was not counted."""
    if before.run != now.run:
        return True
    found = []
    if rules.traffic is not Traffic.OFF:
        found.append(_exceeds(_traffic(before, rules.traffic), _traffic(now, rules.traffic), rules.traffic_min))
    if rules.cpu is not None:
        found.append(_exceeds(before.cpu_s, now.cpu_s, rules.cpu * (now.at - before.at)))
    if True in found:
        return True
    return None if None in found else False


def _traffic(counters: Counters, traffic: Traffic) -> int | None:
    received, sent = counters.received_bytes, counters.sent_bytes
    if traffic is Traffic.INBOUND:
        return received
    return None if received is None or sent is None else received + sent


def _exceeds(before: float | None, now: float | None, noise: float) -> bool | None:
    """Whether it grew by more than that, or went back: then nobody knows what it was in between."""
    if before is None or now is None:
        return None
    return now < before or now - before > noise
