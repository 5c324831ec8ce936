"""For how long a project has its machine, where that is limited.

Its times are seconds of the lease clock. It does not jump with the clock on the wall, does not stop while the computer
sleeps, and goes on over restarts of the service. The deadlines of one assignment are its `Terms`, and its `Lease` says when
their time began::

    ttl              since the assignment, or since the client last asked for it or kept it alive
    max_age          since the assignment
    idle_timeout     since the last activity
    confirm_within   since the assignment, unless there was any activity

Activity is known by readings (`Quiet`), which are no part of the lease: whatever was not seen counts as activity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

__all__ = [
    "NO_TERMS",
    "SILENT",
    "SPARED_S",
    "Announcement",
    "Asked",
    "Ending",
    "EndsBy",
    "Lease",
    "OnExpiry",
    "Quiet",
    "Terms",
    "age_ending",
    "agreed",
    "certain_ending",
    "ending",
    "lead_s",
    "silent_ending",
    "unannounced_ending",
]


SPARED_S: Final = 60.0
"""How long nothing expires after a start or a wake, and a machine that has come back to life."""


class EndsBy(StrEnum):
    """The deadline that ends an assignment: the name of its setting."""

    TTL = "ttl"
    MAX_AGE = "max_age"
    IDLE_TIMEOUT = "idle_timeout"
    CONFIRM_WITHIN = "confirm_within"


SILENT: Final = frozenset({EndsBy.IDLE_TIMEOUT, EndsBy.CONFIRM_WITHIN})
"""The deadlines that pass only if nobody uses the machine."""


class Terms(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The deadlines of an assignment in seconds; None where there is none."""

    ttl: float | None = None
    max_age: float | None = None
    idle_timeout: float | None = None
    confirm_within: float | None = None

    def __bool__(self) -> bool:
        return self != NO_TERMS

    def changed(self, other: Terms) -> Terms:
        """These, with what `other` says instead. There, 0 stands for no such deadline."""
        return Terms(
            _changed(self.ttl, other.ttl),
            _changed(self.max_age, other.max_age),
            _changed(self.idle_timeout, other.idle_timeout),
            _changed(self.confirm_within, other.confirm_within),
        )

    def capped(self, most: float | None) -> Terms:
        """These, with a `max_age` of at most this, where they say anything of it. None: it may be any."""
        if most is None or self.max_age is None or 0 < self.max_age <= most:
            return self
        return Terms(self.ttl, most, self.idle_timeout, self.confirm_within)

    @property
    def needs_activity(self) -> bool:
        """Whether it matters if the machine is used."""
        return self.idle_timeout is not None or self.confirm_within is not None


NO_TERMS: Final = Terms()


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What a project asks for with an assignment: metadata, as JSON, and deadlines. None: it says nothing of the machine.

    `for_commands`: it runs commands in it, for which a machine will do whose worker answered in the last round of probes.
    """

    metadata: str | None = None
    terms: Terms = NO_TERMS
    for_commands: bool = False


def agreed(ours: Terms | None, asked: Terms) -> Terms:
    """The deadlines of a new assignment in a pool that has `ours`, for a project that asked for these."""
    return (ours or NO_TERMS).changed(asked.capped(None if ours is None else ours.max_age))


def _changed(old: float | None, new: float | None) -> float | None:
    return old if new is None else new or None


class Announcement(msgspec.Struct, frozen=True, gc=False):
    """That the end of an assignment was announced: at what time, for what time, and by which deadline it ends."""

    at: float
    ends_at: float
    by: EndsBy


class OnExpiry(StrEnum):
    """What becomes of a machine when a deadline of its project has passed. In any case no other project gets it as it is."""

    RELEASE = "release"  # its worker has time to stop
    SLEEP = (
        "sleep"  # its container is stopped and kept for its project; only max_age ends the assignment, as release does
    )
    DESTROY = "destroy"  # it is killed at once


class Lease(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The terms of one assignment, and when their time began. `is_used`: there was activity, so it counts as confirmed.

    `on_expiry` is what its pool said at the assignment: a pool that vanished meanwhile does not turn sleep into an end.
    `announced` is the last end that was announced since it was renewed; None if there was none.
    """

    terms: Terms
    assigned_at: float
    renewed_at: float
    is_used: bool = False
    announced: Announcement | None = None
    on_expiry: OnExpiry = OnExpiry.RELEASE


@dataclass(slots=True)
class Quiet:
    """What this process knows of the activity of one machine. Times are seconds of the lease clock.

    `since` is the later of the last activity and the first of the readings that followed each other without a gap; None if
    nothing is known. `until` is when the last reading was taken. In between, nothing happened.
    """

    since: float | None = None
    until: float = -math.inf
    active_at: float | None = None  # the last activity that this process knows of

    def note(self, at: float, *, is_active: bool | None) -> None:
        """A reading that was taken then shows whether there was activity since the one before. None: that is not known."""
        if is_active is None:
            self.since = None
            return
        if is_active:
            self.active_at = at
        if is_active or self.since is None:
            self.since = at
        self.until = at

    def note_activity(self, at: float) -> None:
        """There was activity then: no reading is needed to know it."""
        self.active_at = at
        if self.since is not None:
            self.since = max(self.since, at)


class Ending(msgspec.Struct, frozen=True, gc=False):
    """When an assignment ends as things are, and by which of its deadlines.

    `is_certain`: no reading can put it off. Else it is the earliest time at which it might end.
    """

    at: float
    by: EndsBy
    is_certain: bool = True


def ending(lease: Lease, quiet: Quiet, *, sleeps: bool = False) -> Ending | None:
    """The first deadline to come, or that has passed, as things are. None without one.

    While its machine `sleeps`, only its age can end an assignment: that nobody uses it was why it fell asleep.
    """
    if sleeps:
        return age_ending(lease)
    return min(_endings(lease, quiet), key=_at, default=None)


def certain_ending(lease: Lease, quiet: Quiet, *, sleeps: bool = False) -> Ending | None:
    """As `ending`, of those that come whatever is read of the machine."""
    if sleeps:
        return age_ending(lease)
    return min((one for one in _endings(lease, quiet) if one.is_certain), key=_at, default=None)


def unannounced_ending(lease: Lease, quiet: Quiet, certain: Ending | None, *, sleeps: bool = False) -> Ending | None:
    """As `ending`, of those that are foreseen: without readings nothing ends for silence. None if it was announced before.

    `certain` is its `certain_ending`. An end that was announced and then put off, by activity or by other terms, is to be
    announced anew.
    """
    end = certain if sleeps or quiet.since is None else ending(lease, quiet)
    if end is None or (lease.announced is not None and end.at <= lease.announced.ends_at):
        return None
    return end


def lead_s(lease: Lease, by: EndsBy, longest_s: float) -> float:
    """How many seconds before its end by this deadline it is announced: half of a deadline that is short.

    So whoever keeps it alive twice as often as needed is never warned.
    """
    limit_s: float = getattr(lease.terms, by)
    return min(longest_s, limit_s / 2)


def silent_ending(lease: Lease, quiet: Quiet) -> float | None:
    """When a deadline passes if there is no use until then. None without one, or if nothing is known of its use."""
    if quiet.since is None:
        return None
    return min((one.at for one in _endings(lease, quiet) if one.by in SILENT), default=None)


def age_ending(lease: Lease) -> Ending | None:
    """When the assignment is older than it may get; None if it may get as old as it likes."""
    max_age = lease.terms.max_age
    return None if max_age is None else Ending(lease.assigned_at + max_age, EndsBy.MAX_AGE)


def _at(one: Ending) -> float:
    return one.at


def _endings(lease: Lease, quiet: Quiet) -> Iterator[Ending]:
    terms = lease.terms
    if terms.ttl is not None:
        yield Ending(lease.renewed_at + terms.ttl, EndsBy.TTL)
    oldest = age_ending(lease)
    if oldest is not None:
        yield oldest
    if terms.idle_timeout is not None:
        yield _by_silence(terms.idle_timeout, EndsBy.IDLE_TIMEOUT, lease, quiet)
    is_used = lease.is_used or (quiet.active_at is not None and quiet.active_at > lease.assigned_at)
    if terms.confirm_within is not None and not is_used:
        yield _by_silence(terms.confirm_within, EndsBy.CONFIRM_WITHIN, lease, quiet)


def _by_silence(limit_s: float, by: EndsBy, lease: Lease, quiet: Quiet) -> Ending:
    """When it will have been quiet for so long. That is certain once a reading has shown it."""
    if quiet.since is None:
        return Ending(max(lease.renewed_at, quiet.active_at or 0.0) + limit_s, by, is_certain=False)
    at = quiet.since + limit_s
    return Ending(at, by, is_certain=quiet.until >= at)
