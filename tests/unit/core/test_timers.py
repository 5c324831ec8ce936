"""The times at which machines are looked at again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from worker_orchestrator.core.timers import SLACK, Timers

_STEP = some.tuples(some.sampled_from(["set", "discard", "take"]), some.sampled_from("abcde"), some.integers(0, 20))


@given(some.lists(_STEP, max_size=60))
def test_each_is_due_at_the_last_time_that_was_set(steps: list[tuple[str, str, int]]) -> None:
    timers, expected = Timers(), dict[str, float]()
    for what, name, at in steps:
        match what:
            case "set":
                timers.set(name, at)
                expected[name] = at
            case "discard":
                timers.discard(name)
                expected.pop(name, None)
            case _:
                due = timers.take_due(at)
                assert due == sorted(due, key=lambda one: (expected[one], one))
                assert set(due) == {one for one, time in expected.items() if time <= at}
                expected = {one: time for one, time in expected.items() if time > at}
        assert timers.first() == min(expected.values(), default=None)
        assert len(timers) == len(expected)


def test_what_was_set_and_discarded_a_million_times_takes_no_room() -> None:
    """A machine that is assigned and released again and again has a deadline a day from now each time."""
    timers = Timers()
    for number in range(10_000):
        timers.set("w1", 86_400 + number)
        timers.discard("w1")
    assert len(timers._heap) <= SLACK + 1  # its size is what is tested


def test_to_put_a_time_off_or_set_it_again_costs_nothing_until_it_comes() -> None:
    timers = Timers()
    for number in range(50):
        timers.set("w1", 100 + number)
        timers.set("w1", 100 + number)
    assert len(timers._heap) == 1


def test_times_that_hold_no_more_are_thrown_away_when_they_are_more_than_the_others_and_some() -> None:
    """Not earlier, since that costs something."""
    timers = Timers()
    for number in range(10):
        timers.set(f"w{number}", 1000.0)
    for earlier in range(10 + SLACK):
        timers.set("w1", 999.0 - earlier)
    assert len(timers._heap) == 20 + SLACK
    timers.set("w1", 1.0)
    assert len(timers._heap) == 10
    assert timers.take_due(2000.0) == ["w1", "w0", *(f"w{number}" for number in range(2, 10))]


def test_it_is_known_which_have_a_time() -> None:
    timers = Timers()
    timers.set("a", 1.0)
    assert "a" in timers
    assert "b" not in timers
    timers.discard("a")
    assert "a" not in timers
