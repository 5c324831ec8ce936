"""How many idle machines are needed: measured, and said in words that can be checked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.simulation.test_keeping_history import GAUGES, TRACE

from worker_orchestrator.control.reading.history import FINE_S, History
from worker_orchestrator.control.reading.standing import demand
from worker_orchestrator.control.telling.observer import AssignOutcome
from worker_orchestrator.store.store import Store


class Clock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as opened:
        yield opened


def step(history: History, clock: Clock, **assigns: int) -> None:
    """Ten seconds in which so many projects got a machine of each pool."""
    for pool, count in assigns.items():
        for _ in range(count):
            history.assign_ended(AssignOutcome.WARM, 0.001, TRACE, pool)
    clock.ms += FINE_S * 1000
    history.take(GAUGES)


def test_assigns_are_counted_by_pool_over_the_last_five_minutes(store: Store, clock: Clock) -> None:
    history = History(store, clock)
    for _ in range(30):
        step(history, clock, default=1, node20=2)
    assert (history.assigns_per_minute("default"), history.assigns_per_minute("node20")) == (6, 12)
    assert history.assigns_per_minute("other") == 0
    for _ in range(15):
        step(history, clock)
    assert history.assigns_per_minute("default") == pytest.approx(3, rel=0.1)
    for _ in range(20):
        step(history, clock)
    assert history.assigns_per_minute("default") == 0


def test_what_is_counted_at_this_moment_counts_as_well(store: Store, clock: Clock) -> None:
    """And one assign right after the start is not taken for a rush."""
    history = History(store, clock)
    history.assign_ended(AssignOutcome.COLD, 0.5, TRACE, "default")
    history.assign_ended(AssignOutcome.REPEAT, 0.5, None, "default")
    assert history.assigns_per_minute("default") == 6


def test_the_counts_are_kept_beyond_a_restart(store: Store, clock: Clock) -> None:
    history = History(store, clock)
    step(history, clock, default=5)
    clock.ms += 1000
    history.take(GAUGES, is_last=True)
    assert History(store, clock).assigns_per_minute("default") > 0
    clock.ms += 3_600_000
    assert History(store, clock).assigns_per_minute("default") == 0, "what happened an hour ago says nothing of now"


@pytest.mark.parametrize(
    ("per_minute", "warm_up_s", "needed"), [(6, 20, 2), (6, 21, 3), (0.1, 30, 1), (600, 0.5, 5), (3, 20, 1)]
)
def test_rate_times_time_is_what_is_used_up_meanwhile(per_minute: float, warm_up_s: float, needed: int) -> None:
    found = demand(per_minute, warm_up_s)
    assert found is not None
    assert found.idle_needed == needed


@pytest.mark.parametrize(("per_minute", "warm_up_s"), [(0, 20.0), (6, None), (0, None)])
def test_without_data_there_is_no_demand(per_minute: float, warm_up_s: float | None) -> None:
    assert demand(per_minute, warm_up_s) is None


def test_the_sentence_can_be_checked_by_hand() -> None:
    found = demand(6, 20)
    assert found is not None
    times = "\N{MULTIPLICATION SIGN}"
    said = (
        f"6 assigns per minute {times} 20 s until a new machine answers = 2 machines used up meanwhile, on average, so "
        "2 idle machines are needed."
    )
    assert found.says(2) == said
    assert found.says(1) == f"{said} The pool keeps 1, so projects have to wait."
    assert found.says(1, 1) == said, "what is parked serves as well"
    assert found.says(0, 1) == f"{said} The pool keeps 0 and 1 parked, so projects have to wait."
    one = demand(3, 20)
    assert one is not None
    assert one.says(1).endswith("= 1 machines used up meanwhile, on average, so 1 idle machine is needed.")
    few = demand(3, 1.12)
    assert few is not None
    assert few.says(1).endswith("= 0.056 machines used up meanwhile, on average, so 1 idle machine is needed.")
