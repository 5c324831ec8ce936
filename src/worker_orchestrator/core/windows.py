"""Clock windows of a pool: which of them are open at a time, and the sizes that are in force then.

A window opens whenever its cron expression says so in its time zone, and stays open for its duration, which is time that
really passes: ten hours are ten hours, also on the day of a clock change. It is open without a break while its openings
overlap or follow one another.

CronSim only says which local times an expression means. What a local time is on the day of a clock change is decided here,
as Debian's cron(8) does it:

* An expression whose minute or hour begins with `*` follows the clock. It opens at each minute whose local time it means:
  not in an hour that is left out, and twice in an hour that comes twice.
* Any other expression means certain times of a day, and none of them is lost or comes twice. A time that is left out opens
  its window at the moment of the change. A time that comes twice opens it the first time.

Times are whole seconds since 1970, as the clock on the wall says. Nothing here reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim

__all__ = ["OpenWindow", "SizesInForce", "Window", "next_start", "previous_start", "sizes_at"]

_SECOND: Final = timedelta(seconds=1)
_WEEK_S: Final = 7 * 86_400
"""No zone changes its clock and changes it back within a week. A change that is cancelled later counts as well: a time that
it repeats comes before all others."""
_LONGEST_DAY_S: Final = 26 * 3600
_MOST_OPENINGS: Final = 40


class Window(msgspec.Struct, frozen=True):
    """From each time that `cron` means in `zone`, for `duration_s` seconds, at least `min_idle` machines are kept idle.

    `max_idle` stands in for the pool's own meanwhile; None leaves that in force. `cron` has five fields.
    """

    cron: str
    duration_s: int
    zone: ZoneInfo
    min_idle: int
    max_idle: int | None = None

    @property
    def follows_clock(self) -> bool:
        """Whether it opens by what the clock shows, however often that is, and not at certain times of a day."""
        minute, hour = self.cron.split()[:2]
        return minute.startswith("*") or hour.startswith("*")

    @property
    def horizon_s(self) -> int:
        """How far openings that follow one another are looked for: a day at least, for windows of a minute."""
        return max(_LONGEST_DAY_S, _MOST_OPENINGS * self.duration_s)


class OpenWindow(msgspec.Struct, frozen=True):
    """A window that is open, without a break since `since_s` and until `until_s`.

    If it is open for longer than is looked back (40 openings, or 26 hours if that is longer), it has been open since before
    `since_s`. If it stays open for longer than that, `until_s` is None.
    """

    window: Window
    since_s: int
    until_s: int | None


class SizesInForce(msgspec.Struct, frozen=True):
    """The sizes of a pool at a time, and which of its windows are open then.

    Which windows are open has not changed since `since_s`. That is None if no window has been open before, and may be later
    than the last change if a window is open for very long. It changes at `until_s` at the earliest, so ask again then; None
    if it never changes.
    """

    min_idle: int
    max_idle: int | None
    open: tuple[OpenWindow, ...] = ()
    since_s: int | None = None
    until_s: int | None = None


def sizes_at(windows: Sequence[Window], min_idle: int, max_idle: int | None, wall_s: float) -> SizesInForce:
    """The sizes of a pool with these windows and these sizes of its own.

    Of all that are in force, the highest `min_idle` counts. The highest `max_idle` of open windows stands in for the pool's
    own, and is never below `min_idle`.
    """
    now = math.floor(wall_s)
    opened, changed, changes = list[OpenWindow](), list[int](), list[int]()
    for window in windows:
        last = previous_start(window, now)
        if last is not None and now < last + window.duration_s:
            found = OpenWindow(window, _opened_at(window, last), _closes_at(window, last))
            opened.append(found)
            changed.append(found.since_s)
            changes.append(last + window.horizon_s if found.until_s is None else found.until_s)
            continue
        coming = next_start(window, now)
        changed += [] if last is None else [last + window.duration_s]
        changes += [] if coming is None else [coming]
    lowest = max([min_idle, *(each.window.min_idle for each in opened)])
    limits = [each.window.max_idle for each in opened if each.window.max_idle is not None]
    highest = max(limits) if limits else max_idle
    return SizesInForce(
        lowest,
        None if highest is None else max(lowest, highest),
        tuple(opened),
        max(changed, default=None),
        min(changes, default=None),
    )


def _opened_at(window: Window, start: int) -> int:
    """Since when the window that opened at `start` has been open without a break."""
    opened = start
    while start - opened <= window.horizon_s:
        earlier = next_start(window, opened - window.duration_s - 1)
        assert earlier is not None, f"{window.cron} has no start at {opened}"
        if earlier == opened:
            break
        opened = earlier
    return opened


def _closes_at(window: Window, start: int) -> int | None:
    """When the window that opened at `start` closes; None if that is beyond the horizon."""
    closes = start + window.duration_s
    while closes - start <= window.horizon_s:
        later = previous_start(window, closes)
        assert later is not None, f"{window.cron} has no start at {start}"
        if later + window.duration_s == closes:
            return closes
        closes = later + window.duration_s
    return None


# starts


def next_start(window: Window, after_s: int) -> int | None:
    """When the window opens next after this second; None if that is not within 50 years."""
    zone = window.zone
    if not window.follows_clock:
        found = _cron_from(window.cron, _latest_shown(after_s, zone) + _SECOND)
        return None if found is None else _first_moment(found, zone)
    at = after_s + 1
    while True:
        shown = _shown(at, zone)
        found = _cron_from(window.cron, shown)
        if found is None:
            return None
        start = at + _seconds(found - shown)
        change = _change_between(at, start, zone)
        if change is None:
            return start
        at = change


def previous_start(window: Window, at_s: int) -> int | None:
    """When the window opened last until this second, which counts; None if that is not within 50 years."""
    zone = window.zone
    if not window.follows_clock:
        found = _cron_until(window.cron, _latest_shown(at_s, zone))
        return None if found is None else _first_moment(found, zone)
    at = at_s
    while True:
        shown = _shown(at, zone)
        found = _cron_until(window.cron, shown)
        if found is None:
            return None
        start = at - _seconds(shown - found)
        change = _change_between(at, start, zone)
        if change is None:
            return start
        at = change - 1


def _cron_from(cron: str, local: datetime) -> datetime | None:
    """The first local time that the expression means, from this one on."""
    return next(CronSim(cron, local - _SECOND), None)


def _cron_until(cron: str, local: datetime) -> datetime | None:
    """The last local time that the expression means, up to this one."""
    return next(CronSim(cron, local + _SECOND, reverse=True), None)


# the clock of a zone


def _shown(at: int, zone: ZoneInfo) -> datetime:
    """What the clock shows."""
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0)


def _latest_shown(at: int, zone: ZoneInfo) -> datetime:
    """The latest time that the clock has shown so far. In an hour that comes twice, it showed the end of that before."""
    local = datetime.fromtimestamp(at, zone)
    if not local.fold:
        return local.replace(tzinfo=None)
    first_time = math.floor(local.replace(fold=0).timestamp())
    change = _change_between(first_time, at, zone)
    assert change is not None, f"the clock of {zone.key} was not put back before {at}"
    return _shown(change - 1, zone)


def _first_moment(local: datetime, zone: ZoneInfo) -> int:
    """When the clock shows this time for the first time, or a later one if this one is left out."""
    first = math.floor(local.replace(tzinfo=zone).timestamp())
    if _shown(first, zone) == local:
        return first
    change = _change_between(math.floor(local.replace(tzinfo=zone, fold=1).timestamp()), first, zone)
    assert change is not None, f"the clock of {zone.key} does not leave out {local}"
    return change


def _change_between(here: int, there: int, zone: ZoneInfo) -> int | None:
    """The first change of the clock that is met between two seconds, in either direction: the first second after it."""
    step = _WEEK_S if there > here else -_WEEK_S
    while here != there:
        further = min(here + step, there) if step > 0 else max(here + step, there)
        if _offset(here, zone) != _offset(further, zone):
            before, after = sorted((here, further))
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (middle, after) if _offset(middle, zone) == _offset(before, zone) else (before, middle)
            return after
        here = further
    return None


def _offset(at: int, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(at, zone).utcoffset()


def _seconds(difference: timedelta) -> int:
    return difference // _SECOND
