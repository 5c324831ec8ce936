"""What chaos did, when, and to which machine: the only excuses that the service has."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock

__all__ = ["Harm", "Kind", "Span"]


class Kind(StrEnum):
    """What was harmed."""

    SERVICE_DOWN = "service down"  # from the signal until it answers again
    SERVICE_FROZEN = "service frozen"
    DAEMON_DOWN = "daemon down"
    DAEMON_DYING = "daemon ends or begins"  # when its containers die, one after another
    DAEMON_FROZEN = "daemon frozen"
    DISK = "state dir not writable"
    KILLED = "container killed"
    REMOVED = "container removed"
    PAUSED = "container paused"
    LET_GO_ON = "container let go on"
    PORT = "port taken"


@dataclass(slots=True)
class Span:
    """One harm from its begin to its end (monotonic seconds). `what`: a machine id or a port; empty for all."""

    kind: Kind
    what: str
    begun_at: float
    ended_at: float = math.inf


@dataclass(slots=True)
class Harm:
    """All harm of one run."""

    spans: list[Span] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def begin(self, kind: Kind, what: str = "") -> Span:
        """Call it before the deed, so that no consequence is older than its cause."""
        span = Span(kind, what, time.monotonic())
        with self._lock:
            self.spans.append(span)
        return span

    @staticmethod
    def end(span: Span) -> None:
        span.ended_at = min(span.ended_at, time.monotonic())

    @contextmanager
    def during(self, kind: Kind, what: str = "") -> Iterator[None]:
        span = self.begin(kind, what)
        try:
            yield
        finally:
            self.end(span)

    def begun(self, *kinds: Kind, since: float, what: str | None = None) -> bool:
        """Whether one of these harms began since then."""
        with self._lock:
            return any(
                span.kind in kinds and span.begun_at >= since and what in {None, span.what} for span in self.spans
            )

    def over(self, kind: Kind, *, since: float, until: float, what: str | None) -> bool:
        """Whether this harm was all done between these times."""
        with self._lock:
            return any(
                (span.kind, span.what) == (kind, what) and since <= span.begun_at and span.ended_at <= until
                for span in self.spans
            )

    def done(self, *kinds: Kind, since: float = 0.0, what: str | None = None) -> bool:
        """Whether one of these harms lasted at some time since then; `what` narrows it to one machine or port."""
        with self._lock:
            return any(
                span.kind in kinds and span.ended_at >= since and what in {None, span.what} for span in self.spans
            )
