"""Clock windows: what is open when, and until when, also on the days on which the clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker_orchestrator.core.windows import (
    OpenWindow,
    SizesInForce,
    Window,
    next_start,
    previous_start,
    sizes_at,
)

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600
DAY = 24 * HOUR


def at(text: str, zone: ZoneInfo = BERLIN) -> int:
    """Seconds since 1970 of a local time, or of one with an offset from UTC."""
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=zone)).timestamp())


def window(cron: str, hours: float, min_idle: int = 8, max_idle: int | None = None, zone: ZoneInfo = BERLIN) -> Window:
    return Window(cron, round(hours * HOUR), zone, min_idle, max_idle)


WORK = window("0 8 * * 1-5", 10)


# one window


def test_a_pool_without_windows_has_its_own_sizes_for_ever() -> None:
    assert sizes_at([], 2, 5, at("2026-06-01 12:00")) == SizesInForce(2, 5)


def test_a_window_is_open_from_the_second_it_begins_to_the_last_before_it_ends() -> None:
    begin, end = at("2026-06-01 08:00"), at("2026-06-01 18:00")
    opened = SizesInForce(8, None, (OpenWindow(WORK, begin, end),), begin, end)
    closed = SizesInForce(2, None, (), end, at("2026-06-02 08:00"))
    assert sizes_at([WORK], 2, None, begin) == opened
    assert sizes_at([WORK], 2, None, begin + 0.5) == opened
    assert sizes_at([WORK], 2, None, end - 0.001) == opened
    assert sizes_at([WORK], 2, None, end) == closed
    assert sizes_at([WORK], 2, None, begin - 0.001).until_s == begin


def test_a_window_of_weekdays_stays_closed_over_the_weekend() -> None:
    found = sizes_at([WORK], 2, None, at("2026-06-06 12:00"))
    assert (found.min_idle, found.open) == (2, ())
    assert (found.since_s, found.until_s) == (at("2026-06-05 18:00"), at("2026-06-08 08:00"))


def test_the_time_zone_says_when_it_begins() -> None:
    kolkata = window("0 8 * * *", 1, zone=ZoneInfo("Asia/Kolkata"))
    assert next_start(kolkata, at("2026-06-01 00:00")) == at("2026-06-01 08:00+05:30") == at("2026-06-01 02:30+00:00")


def test_a_window_at_the_end_of_the_month_follows_its_length() -> None:
    last = window("0 22 L * *", 4)
    found = [at("2026-01-31 12:00")]
    for _ in range(4):
        found.append(next_start(last, found[-1]) or 0)
    assert found[1:] == [at(f"2026-{day} 22:00") for day in ("01-31", "02-28", "03-31", "04-30")]
    assert sizes_at([last], 0, None, at("2026-03-01 01:59")).min_idle == 8
    assert sizes_at([last], 0, None, at("2026-03-01 02:00")).min_idle == 0


def test_the_31st_comes_in_months_that_have_one() -> None:
    assert next_start(window("0 0 31 * *", 1), at("2026-03-31 00:00")) == at("2026-05-31 00:00")
    assert previous_start(window("0 0 31 * *", 1), at("2026-05-30 23:00")) == at("2026-03-31 00:00")


@pytest.mark.parametrize("minute", ["0", "*/5"])
def test_days_that_do_not_come_within_fifty_years_have_no_start(minute: str) -> None:
    """The settings refuse them."""
    leap_monday = window(f"{minute} 0 * 2 1#5", 1)
    assert next_start(leap_monday, at("2026-01-01 00:00")) == at("2044-02-29 00:00")
    never = window(f"{minute} 0 */31 2 1#5", 1)  # both the first and the fifth Monday
    assert next_start(never, at("2026-01-01 00:00")) is None
    assert previous_start(never, at("2026-01-01 00:00")) is None
    assert sizes_at([never, WORK], 2, None, at("2026-06-01 12:00")).until_s == at("2026-06-01 18:00")
    assert sizes_at([never], 2, 3, at("2026-06-01 12:00")) == SizesInForce(2, 3)


# several openings


def test_a_window_longer_than_its_period_stays_open_and_its_end_is_not_known() -> None:
    long = window("0 8 * * *", 30)
    found = sizes_at([long], 2, None, at("2026-06-03 09:00"))
    assert found.min_idle == 8
    assert found.open[0].until_s is None
    assert found.open[0].since_s < at("2026-05-01 00:00")
    assert found.until_s is not None
    assert found.until_s > at("2026-07-01 00:00")


def test_a_long_window_of_weekdays_is_open_from_monday_to_saturday() -> None:
    found = sizes_at([window("0 8 * * 1-5", 30)], 2, None, at("2026-06-03 09:00"))
    assert (found.since_s, found.until_s) == (at("2026-06-01 08:00"), at("2026-06-06 14:00"))


def test_openings_that_follow_one_another_without_a_gap_are_one() -> None:
    found = sizes_at([window("0 8-17 * * *", 1)], 2, None, at("2026-06-03 12:30"))
    assert (found.since_s, found.until_s) == (at("2026-06-03 08:00"), at("2026-06-03 18:00"))
    minutes = sizes_at([window("* 8-17 * * *", 1 / 60)], 2, None, at("2026-06-03 12:30"))
    assert (minutes.since_s, minutes.until_s) == (found.since_s, found.until_s)


def test_a_second_between_two_openings_is_a_gap() -> None:
    found = sizes_at([window("* * * * *", 59 / HOUR)], 2, None, at("2026-06-03 12:30:10"))
    assert (found.since_s, found.until_s) == (at("2026-06-03 12:30:00"), at("2026-06-03 12:30:59"))
    assert sizes_at([window("* * * * *", 59 / HOUR)], 2, None, at("2026-06-03 12:30:59")).open == ()


def test_forty_openings_are_looked_at_on_either_side() -> None:
    """Of two days on which it opens every hour: 40 hours before their end that is known, and 41 hours before it is not."""
    two_days = window("0 * 1-2 * *", 1)
    found = sizes_at([two_days], 2, None, at("2026-06-01 08:30"))
    assert (found.since_s, found.until_s) == (at("2026-06-01 00:00"), at("2026-06-03 00:00"))
    assert found.open[0].until_s == found.until_s
    found = sizes_at([two_days], 2, None, at("2026-06-01 07:30"))
    assert (found.open[0].until_s, found.until_s) == (None, at("2026-06-01 07:00") + 40 * HOUR)
    always = sizes_at([window("0 * * * *", 1)], 2, None, at("2026-06-05 12:30"))
    assert always.since_s == at("2026-06-05 12:00") - 41 * HOUR


# several windows


def test_of_overlapping_windows_the_highest_min_idle_counts() -> None:
    noon = window("0 12 * * *", 2, min_idle=20)
    both = [WORK, noon]
    assert sizes_at(both, 2, None, at("2026-06-01 11:59")).min_idle == 8
    found = sizes_at(both, 2, None, at("2026-06-01 13:00"))
    assert (found.min_idle, [each.window for each in found.open]) == (20, both)
    assert (found.since_s, found.until_s) == (at("2026-06-01 12:00"), at("2026-06-01 14:00"))
    assert sizes_at(both, 2, None, at("2026-06-01 14:00")).since_s == at("2026-06-01 14:00")


def test_of_closed_windows_the_last_one_to_close_and_the_first_one_to_open_count() -> None:
    """In whatever order they are written."""
    noon, morning = window("0 12 * * *", 2), window("0 8 * * *", 2)
    for both in ([noon, morning], [morning, noon]):
        found = sizes_at(both, 2, None, at("2026-06-01 15:00"))
        assert (found.since_s, found.until_s) == (at("2026-06-01 14:00"), at("2026-06-02 08:00"))


def test_the_pools_own_min_idle_is_the_least() -> None:
    assert sizes_at([WORK], 12, None, at("2026-06-01 12:00")).min_idle == 12


@pytest.mark.parametrize(
    ("of_windows", "own", "found"),
    [
        ([None], None, None),
        ([None], 10, 10),
        ([None], 3, 8),  # never below min_idle
        ([12], None, 12),
        ([12], 20, 12),
        ([12, 15], 10, 15),
        ([12, None], 10, 12),
        ([8], 20, 8),
    ],
)
def test_the_max_idle_of_an_open_window_stands_in_for_the_pools_own(
    of_windows: list[int | None], own: int | None, found: int | None
) -> None:
    windows = [window("0 8 * * *", 10, max_idle=most) for most in of_windows]
    assert sizes_at(windows, 2, own, at("2026-06-01 12:00")).max_idle == found
    assert sizes_at(windows, 2, own, at("2026-06-01 20:00")).max_idle == own


# the days of a clock change: in Berlin 2:00 to 3:00 is left out on 2026-03-29, and comes twice on 2026-10-25


def openings(of: Window, day: str, hours: int = 23) -> list[str]:
    """When it begins from the midnight of a day on, in local time with the offset from UTC."""
    found, time = [], at(f"{day} 00:00", of.zone) - 1
    while (start := next_start(of, time)) is not None and start < at(f"{day} 00:00", of.zone) + hours * HOUR:
        found.append(datetime.fromtimestamp(start, of.zone).strftime("%d %H:%M:%S %z").replace(":00 ", " "))
        time = start
    return found


def test_a_window_that_begins_in_the_missing_hour_begins_when_it_is_left_out() -> None:
    early = window("30 2 * * *", 10)
    assert openings(early, "2026-03-29") == ["29 03:00 +0200"]
    found = sizes_at([early], 2, None, at("2026-03-29 03:15"))
    assert (found.since_s, found.until_s) == (at("2026-03-29 03:00"), at("2026-03-29 13:00"))
    assert sizes_at([early], 2, None, at("2026-03-29 03:00") - 1).min_idle == 2
    assert openings(window("0,20,40 2,3 * * *", 1), "2026-03-29") == [
        "29 03:00 +0200",
        "29 03:20 +0200",
        "29 03:40 +0200",
    ]


def test_a_window_that_begins_in_the_doubled_hour_begins_once() -> None:
    early = window("30 2 * * *", 10)
    assert openings(early, "2026-10-25") == ["25 02:30 +0200"]
    for time in ("02:30+02:00", "02:15+01:00", "02:45+01:00", "11:29+01:00"):
        found = sizes_at([early], 2, None, at(f"2026-10-25 {time}"))
        assert (found.since_s, found.until_s) == (at("2026-10-25 02:30+02:00"), at("2026-10-25 11:30+01:00")), time
    assert sizes_at([early], 2, None, at("2026-10-25 02:29+02:00")).min_idle == 2
    assert next_start(early, at("2026-10-25 02:10+01:00")) == at("2026-10-26 02:30")
    assert openings(window("0 2,3 * * *", 1), "2026-10-25") == ["25 02:00 +0200", "25 03:00 +0100"]


def test_ten_hours_across_a_change_are_ten_hours_that_pass() -> None:
    night = window("0 22 * * *", 10)
    assert sizes_at([night], 2, None, at("2026-03-29 04:00")).until_s == at("2026-03-29 09:00")
    assert sizes_at([night], 2, None, at("2026-10-25 04:00")).until_s == at("2026-10-25 07:00")


def test_a_day_long_window_leaves_a_gap_on_the_day_of_25_hours() -> None:
    found = sizes_at([window("0 0 * * *", 24)], 2, None, at("2026-10-25 12:00"))
    assert found.until_s == at("2026-10-25 23:00")
    assert sizes_at([window("0 0 * * *", 25)], 2, None, at("2026-10-25 12:00")).open[0].until_s is None


def test_a_window_that_follows_the_clock_skips_the_missing_hour_and_comes_twice_in_the_doubled_one() -> None:
    assert openings(window("30 * * * *", 0.5), "2026-03-29", hours=3) == [
        "29 00:30 +0100",
        "29 01:30 +0100",
        "29 03:30 +0200",
    ]
    assert openings(window("30 */2 * * *", 0.5), "2026-10-25", hours=5) == [
        "25 00:30 +0200",
        "25 02:30 +0200",
        "25 02:30 +0100",
    ]
    assert openings(window("*/30 2 * * *", 0.5), "2026-03-29") == []
    assert previous_start(window("*/30 2 * * *", 0.5), at("2026-03-29 12:00")) == at("2026-03-28 02:30")
    assert previous_start(window("30 * * * *", 0.5), at("2026-10-25 02:10+01:00")) == at("2026-10-25 02:30+02:00")


def test_a_window_that_follows_the_clock_opens_at_the_very_second_of_a_change() -> None:
    """From whatever second it is looked for."""
    thrice = window("0 */3 * * *", 1)
    change = at("2026-03-29 03:00")
    assert {next_start(thrice, change - 5000 + second) for second in range(300)} == {change}


def test_a_rare_window_comes_twice_in_the_doubled_hour_before_it_comes_in_another_year() -> None:
    """Whose clock has the same offset from UTC again."""
    rare = window("*/40 2 25 10 *", 0.5)
    assert next_start(rare, at("2026-10-25 02:50+02:00")) == at("2026-10-25 02:00+01:00")
    assert next_start(rare, at("2026-10-25 02:50+01:00")) == at("2027-10-25 02:00+02:00")
    assert previous_start(rare, at("2027-10-25 01:50")) == at("2026-10-25 02:40+01:00")
    assert previous_start(rare, at("2026-10-25 02:10+01:00")) == at("2026-10-25 02:00+01:00")
    assert previous_start(rare, at("2026-10-25 02:10+01:00") - 900) == at("2026-10-25 02:40+02:00")


def test_a_rare_window_is_found_across_several_changes() -> None:
    january = window("*/30 8 1 1 *", 1)
    assert next_start(january, at("2026-01-02 00:00")) == at("2027-01-01 08:00")
    assert previous_start(january, at("2026-12-31 00:00")) == at("2026-01-01 08:30")
    assert next_start(january, at("2026-06-01 00:00")) == at("2027-01-01 08:00")
    assert previous_start(january, at("2026-06-01 00:00")) == at("2026-01-01 08:30")


def test_a_window_that_is_always_open_stays_so_in_the_doubled_hour() -> None:
    for minute in range(0, 180, 29):
        assert sizes_at([window("* * * * *", 1 / 60)], 2, None, at("2026-10-25 01:30") + 60 * minute).min_idle == 8


def test_a_date_that_a_zone_left_out_begins_at_the_change() -> None:
    """Samoa had no 30 December 2011."""
    apia = ZoneInfo("Pacific/Apia")
    noon = window("0 12 * * *", 1, zone=apia)
    assert openings(noon, "2011-12-29", hours=48) == ["29 12:00 -1000", "31 00:00 +1400", "31 12:00 +1400"]


# against a naive evaluation, minute by minute

FIELDS = (range(60), range(24), range(1, 32), range(1, 13), range(8))


def means(field: str, values: range) -> set[int]:
    """The values of a field of the kinds below."""
    found = set[int]()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        low, high = (values[0], values[-1]) if span == "*" else (int(first), int(last or first))
        found.update(range(low, high + 1, int(step or 1)))
    return found


class Naive:
    """Looks at the clock each minute, and at all local times that it leaves out on the way."""

    def __init__(self, of: Window, begin: int, end: int) -> None:
        minute, hour, day, _, weekday = of.cron.split()
        self.fields = [means(field, values) for field, values in zip(of.cron.split(), FIELDS, strict=True)]
        self.both = day.startswith("*") or weekday.startswith("*")
        follows = minute.startswith("*") or hour.startswith("*")
        self.starts = list[int]()
        latest = datetime.fromtimestamp(begin - DAY, of.zone).replace(tzinfo=None)
        for time in range(begin - DAY, end, 60):
            shown = datetime.fromtimestamp(time, of.zone).replace(tzinfo=None, fold=0)
            passed = [latest + timedelta(minutes=n) for n in range(1, (shown - latest) // timedelta(minutes=1) + 1)]
            latest = max(latest, shown)
            if any(map(self.is_meant, [shown] if follows else passed)):
                self.starts.append(time)

    def is_meant(self, local: datetime) -> bool:
        minutes, hours, days, months, weekdays = self.fields
        on_day, on_weekday = local.day in days, bool({local.isoweekday(), local.isoweekday() % 7} & weekdays)
        is_day = (on_day and on_weekday) if self.both else (on_day or on_weekday)
        return local.minute in minutes and local.hour in hours and local.month in months and is_day


CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),  # by half an hour
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Santiago", "2026-04-05"),  # at midnight
    ("America/Santiago", "2026-09-06"),
    ("America/Havana", "2026-11-01"),
    ("Africa/Cairo", "2026-04-24"),
    ("Pacific/Apia", "2011-12-30"),
    ("Asia/Kolkata", "2026-05-31"),
    ("UTC", "2028-02-28"),
]
MINUTES = st.sampled_from(["0", "30", "*/20", "*", "5,35", "10-50/20", "0-59/15"])
HOURS = st.sampled_from(["0", "1", "2", "3", "*", "*/2", "2,3", "1-3", "0-23", "23", "8-17"])
DAYS = st.sampled_from(["*", "1", "25", "28-31", "5,29", "*/2"])
MONTHS = st.sampled_from(["*", "10", "3,4,10", "1-12/2", "*/3"])
WEEKDAYS = st.sampled_from(["*", "0", "7", "1-5", "*/2", "6,0"])
CRONS = st.tuples(MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    cron=CRONS,
    minutes=st.sampled_from([1, 10, 45, 60, 90, 600]),
    offset=st.integers(-3 * HOUR, 27 * HOUR),
)
@example(change=CHANGES[0], cron="30 2 * * *", minutes=600, offset=2 * HOUR)
@example(change=CHANGES[1], cron="30 * * * *", minutes=60, offset=2 * HOUR + 900)
def test_what_is_found_is_what_a_look_at_each_minute_finds(
    change: tuple[str, str], cron: str, minutes: int, offset: int
) -> None:
    zone, day = ZoneInfo(change[0]), change[1]
    of = Window(cron, 60 * minutes, zone, 5)
    midnight = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) - 12 * HOUR
    now = midnight + offset
    begin, end = (now - 2 * DAY) // 60 * 60, (now + 2 * DAY) // 60 * 60
    starts = Naive(of, begin, end).starts
    last = max((start for start in starts if start <= now), default=None)
    coming = min((start for start in starts if start > now), default=None)
    found = previous_start(of, now)
    assert found == last or (last is None and (found is None or found < begin))
    found = next_start(of, now)
    assert found == coming or (coming is None and (found is None or found >= end))
    in_force = sizes_at([of], 2, None, now)
    assert in_force.min_idle == (5 if last is not None and now < last + 60 * minutes else 2)
    if in_force.until_s is not None and in_force.until_s < end - DAY:
        for time in range(now, in_force.until_s + 60, 30):
            began = max((start for start in starts if start <= time), default=-DAY)
            is_same = (time < began + 60 * minutes) == bool(in_force.open)
            assert is_same == (time < in_force.until_s)
