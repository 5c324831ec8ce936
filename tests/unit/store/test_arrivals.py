"""The record of arrivals: what was put in comes out, within its bounds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker_orchestrator.control.telling.arrivals import ArrivalRecord
from worker_orchestrator.control.telling.observer import AssignOutcome
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.store.arrivals import KEPT_MIN, Minute
from worker_orchestrator.store.store import DATABASE, Store

NOW_MIN = 30_000_000
TRACE = cast(Trace, SimpleNamespace())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / DATABASE) as opened:
        yield opened


class Clock:
    ms = NOW_MIN * 60_000

    def __call__(self) -> int:
        return self.ms


def test_minutes_are_kept_by_pool_and_read_in_their_order_in_any_thread(store: Store) -> None:
    minutes = [Minute(NOW_MIN + 1, 1, [59_999]), Minute(NOW_MIN, 3, [0, 7, 60])]
    assert store.arrivals.keep([("a", one) for one in minutes] + [("b", Minute(NOW_MIN, 1, [5]))], {"a": "{}"})
    read = store.arrivals.reader("a", NOW_MIN, NOW_MIN + 1)
    with ThreadPoolExecutor(1) as threads:
        for found in (store.arrivals.of("a", NOW_MIN, NOW_MIN + 1), threads.submit(read).result()):
            assert [(one.minute, one.count, list(one.offsets)) for one in found] == [
                (NOW_MIN, 3, [0, 7, 60]),
                (NOW_MIN + 1, 1, [59_999]),
            ]
    assert store.arrivals.of("a", NOW_MIN + 1, NOW_MIN + 9)[0].times() == [(NOW_MIN + 1) * 60 + 59.999]
    assert store.arrivals.learned() == {"a": "{}"}
    with Store(None) as in_memory:
        in_memory.arrivals.keep([("a", minutes[0])], {})
        assert len(in_memory.arrivals.reader("a", NOW_MIN, NOW_MIN + 1)()) == 1


def test_what_is_old_or_of_a_time_to_come_or_too_much_is_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [NOW_MIN - KEPT_MIN - 1, NOW_MIN - KEPT_MIN, NOW_MIN - 2, NOW_MIN - 1, NOW_MIN, NOW_MIN + 1]
    store.arrivals.keep([("a", Minute(minute, 1, [1])) for minute in times], {"a": "{}", "b": "{}"})
    assert store.arrivals.prune(NOW_MIN, ["a"])
    assert [one.minute for one in store.arrivals.of("a", 0, NOW_MIN + 9)] == times[1:5]
    assert store.arrivals.learned() == {"a": "{}"}
    monkeypatch.setattr("worker_orchestrator.store.arrivals.ROWS_KEPT", 2)
    assert store.arrivals.prune(NOW_MIN, ["a"])
    assert [one.minute for one in store.arrivals.of("a", 0, NOW_MIN + 9)] == times[3:5]


# heard


def heard(record: ArrivalRecord, clock: Clock, *at_ms: int, pool: str = "a", took_s: float = 0.0) -> None:
    for at in at_ms:
        clock.ms = NOW_MIN * 60_000 + at
        record.assign_ended(AssignOutcome.WARM, took_s, TRACE, pool)


def test_arrivals_are_told_once_in_the_order_in_which_they_came(store: Store) -> None:
    clock = Clock()
    record = ArrivalRecord(store.arrivals, clock)
    heard(record, clock, 500, pool="b")
    heard(record, clock, 4_000)
    heard(record, clock, 5_000, took_s=3.0)
    record.assign_ended(AssignOutcome.UNAVAILABLE, 1.0, None, "a")
    begin = NOW_MIN * 60
    assert record.take() == {"a": [begin + 2, begin + 4], "b": [begin + 0.5]}
    assert record.take() == {}
    record.save({})
    assert [list(one.offsets) for one in store.arrivals.of("a", NOW_MIN, NOW_MIN)] == [[2_000, 4_000]]


def test_a_minute_goes_on_after_it_was_stored_and_after_a_restart(store: Store) -> None:
    clock = Clock()
    for at in (1_000, 2_000, 3_000):
        record = ArrivalRecord(store.arrivals, clock)
        heard(record, clock, at)
        record.take()
        record.save({})
        record.save({})
    found = store.arrivals.of("a", NOW_MIN, NOW_MIN)
    assert [(one.count, list(one.offsets)) for one in found] == [(3, [1_000, 2_000, 3_000])]


def test_of_very_many_arrivals_the_times_are_an_even_sample(store: Store) -> None:
    clock = Clock()
    record = ArrivalRecord(store.arrivals, clock)
    drawn = random.Random(1)
    heard(record, clock, *sorted(drawn.randrange(60_000) for _ in range(10_000)))
    record.take()
    record.save({})
    (found,) = store.arrivals.of("a", NOW_MIN, NOW_MIN)
    assert found.count == 10_000
    assert len(found.offsets) <= 512
    times = found.times()
    assert len(times) == 10_000
    assert times == sorted(times)
    half = sum(at < NOW_MIN * 60 + 30 for at in times)
    assert half == pytest.approx(5_000, abs=200)


def test_what_cannot_be_stored_is_tried_again_and_does_not_grow_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_orchestrator.control.telling.arrivals._MOST_UNSAVED", 3)
    clock = Clock()
    record = ArrivalRecord(store.arrivals, clock)
    store._db.execute("PRAGMA query_only = 1")
    for minute in range(6):
        heard(record, clock, minute * 60_000)
        record.take()
        record.save({})
    store._db.execute("PRAGMA query_only = 0")
    record.save({})
    assert [one.minute for one in store.arrivals.of("a", 0, NOW_MIN + 9)] == [NOW_MIN + 3, NOW_MIN + 4, NOW_MIN + 5]


def test_a_database_that_cannot_be_read_stops_nothing(store: Store) -> None:
    clock = Clock()
    record = ArrivalRecord(store.arrivals, clock)
    store._db.execute("ALTER TABLE arrival RENAME TO away")
    heard(record, clock, 1_000)
    assert list(record.take()) == ["a"]
    record.save({})


def test_the_record_names_no_project(store: Store) -> None:
    columns: list[Any] = store._connection.column("SELECT name FROM pragma_table_info('arrival')")
    assert columns == ["pool", "minute", "count", "offsets"]
