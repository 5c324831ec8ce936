"""What workers used before, as far as somebody looked; in bounds, whoever looks and however often."""

from __future__ import annotations

from worker_orchestrator.engines.extras import Usage
from worker_orchestrator.http.v1.usage_history import LONGEST_S, MACHINES, STEP_MS, UsageHistory


class Clock:
    now_ms = 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms


def used(memory_bytes: int) -> Usage:
    return Usage(1.5, 0.5, memory_bytes, None, None, None, None)


def memory(history: UsageHistory, machine: str = "one", past_s: int = LONGEST_S) -> list[int]:
    return [reading.used.memory_bytes or 0 for reading in history.of(machine, past_s)]


def test_what_was_read_is_told_to_whoever_looks_later() -> None:
    clock = Clock()
    history = UsageHistory(clock.wall_ms)
    assert memory(history) == []
    for number in range(3):
        history.add("one", used(number))
        clock.now_ms += 5_000
    assert memory(history) == [0, 1, 2]
    assert memory(history, past_s=6) == [2]
    assert memory(history, "another") == []


def test_many_who_look_at_once_fill_it_no_faster_than_one() -> None:
    clock = Clock()
    history = UsageHistory(clock.wall_ms)
    for number in range(100_000 // 500):
        history.add("one", used(number))
        clock.now_ms += 500
    assert len(memory(history)) == 100_000 // STEP_MS


def test_it_forgets_what_is_older_than_a_quarter_of_an_hour_and_who_was_not_looked_at_for_longest() -> None:
    clock = Clock()
    history = UsageHistory(clock.wall_ms)
    for number in range(1_000):
        history.add("one", used(number))
        clock.now_ms += STEP_MS
    assert len(memory(history)) <= LONGEST_S * 1000 // STEP_MS
    assert memory(history)[-1] == 999
    for number in range(MACHINES - 1):
        history.add(f"machine-{number}", used(0))
    history.add("one", used(1_000))
    history.add("one-more", used(0))
    assert memory(history, "machine-0") == []
    assert memory(history)[-1] == 1_000


def test_a_clock_that_is_put_back_leaves_nothing_from_the_future() -> None:
    clock = Clock()
    history = UsageHistory(clock.wall_ms)
    history.add("one", used(1))
    clock.now_ms -= 600_000
    history.add("one", used(2))
    assert memory(history) == [2]
