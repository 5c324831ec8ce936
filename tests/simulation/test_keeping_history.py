"""What the history says is what happened, as long ago as it says, and no more than fits."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.control.reading.gauges import WORDS, Gauges, PoolGauges
from worker_orchestrator.control.reading.history import History, Sample
from worker_orchestrator.control.telling.observer import AssignOutcome, Delivery, Observer, Observers
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.core.action import Result
from worker_orchestrator.errors import NoMachineAvailable
from worker_orchestrator.store.store import Store

HOUR_S, DAY_S = 3_600, 86_400
POOL = PoolGauges(
    dict.fromkeys(WORDS, 1),
    min_idle=2,
    wanted_idle=2,
    max_machines=None,
    slots_held=6,
    waiting=1,
    refill_lag_s=0.5,
    image_fails=False,
    paused=False,
)
GAUGES = Gauges({"default": POOL}, max_machines=100, slots_held=6, waiting=3, engine_answers=True, listing_age_s=1.0)
TRACE = Trace(
    project="p", machine_id="m", generation=1, at_ms=0, how="warm", why="", total_ms=1.0, commit_ms=1.0
)  # fmt: skip


class WallClock:
    ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as opened:
        yield opened


@pytest.fixture
def history(store: Store, clock: WallClock) -> History:
    return History(store, clock)


def go_on(history: History, clock: WallClock, past_s: int) -> None:
    """As `run` does, without waiting."""
    for _ in range(past_s // 10):
        clock.ms += 10_000
        history.take(GAUGES)


def counts(samples: list[Sample]) -> list[tuple[int, int, int]]:
    return [(sample.warm, sample.cold, sample.unavailable) for sample in samples]


def stored(store: Store) -> tuple[int, int]:
    return len(store.history(10)), len(store.history(120))


def test_each_step_tells_of_its_own_time() -> None:
    """How the fleet stood at its end, and who came to a machine in it."""

    async def story(small: Small) -> None:
        keeping = asyncio.create_task(small.history.run(small.orchestrator.gauges))
        await asyncio.sleep(15)
        await small.assign("p1")
        await asyncio.gather(*(small.assign(f"q{n}") for n in range(4)))
        with pytest.raises(NoMachineAvailable):
            await small.assign("none is left", None)
        await asyncio.sleep(10)
        step_s, samples = small.history.samples(HOUR_S)
        assert step_s == 10
        assert {after.at_ms - before.at_ms for before, after in itertools.pairwise(samples)} == {10_000}
        assert (samples[0].idle, samples[1].idle) == (0, 2)
        assert counts(samples[:3]) == [(0, 0, 0), (0, 0, 0), (2, 3, 0)]
        assert counts(samples)[3:].count((0, 0, 1)) == 1
        assert (samples[-1].assigned, samples[-1].limit) == (5, 5)
        assert samples[2].p50_ms is not None
        assert samples[2].p99_ms is not None
        assert samples[2].p50_ms <= samples[2].p99_ms
        assert samples[3].p50_ms is None
        keeping.cancel()
        await asyncio.wait({keeping})

    lived(story, slow_s=0.1)


def test_what_was_seen_is_there_after_a_restart(store: Store, history: History, clock: WallClock) -> None:
    """The end of a step that was cut off by a clean stop too; of a crash the last minute is missing."""
    history.assign_ended(AssignOutcome.WARM, 0.001, TRACE, "default")
    go_on(history, clock, 70)
    crashed = History(store, clock).samples(HOUR_S)[1]
    assert crashed == history.samples(HOUR_S)[1][: len(crashed)]
    assert crashed[0].warm == 1
    history.assign_ended(AssignOutcome.COLD, 0.5, TRACE, "default")
    clock.ms += 4_000
    history.take(GAUGES, is_last=True)
    again = History(store, clock)
    assert again.samples(HOUR_S) == history.samples(HOUR_S)
    assert again.samples(DAY_S) == history.samples(DAY_S)
    assert counts(again.samples(HOUR_S)[1])[-1] == (0, 1, 0)
    assert [sum(column) for column in zip(*counts(again.samples(DAY_S)[1]), strict=True)] == [1, 1, 0]


async def cancelled(history: History) -> None:
    keeping = asyncio.create_task(history.run(lambda: GAUGES))
    await asyncio.sleep(0)
    history.assign_ended(AssignOutcome.UNAVAILABLE, 30.0, None, "default")
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


def test_whoever_stops_it_gets_a_last_sample(store: Store, history: History, clock: WallClock) -> None:
    asyncio.run(cancelled(history))
    assert counts(History(store, clock).samples(HOUR_S)[1]) == [(0, 0, 1)]


def test_an_hour_of_fine_steps_and_a_day_of_coarse_ones_are_kept_and_no_more(
    store: Store, history: History, clock: WallClock
) -> None:
    go_on(history, clock, 30 * 3_600)
    fine, coarse = history.samples(HOUR_S), history.samples(HOUR_S + 1)
    assert (fine[0], len(fine[1])) == (10, 360)
    assert (coarse[0], len(coarse[1])) == (120, 30)
    assert len(history.samples(DAY_S)[1]) == 720
    assert stored(store) == (360, 720)


def test_what_happened_in_fine_steps_adds_up_in_coarse_ones(history: History, clock: WallClock) -> None:
    for _ in range(24):
        history.assign_ended(AssignOutcome.WARM, 0.0004, TRACE, "default")
        history.assign_ended(AssignOutcome.COLD, 0.4, TRACE, "default")
        history.assign_ended(AssignOutcome.REPEAT, 0.0001, None, "default")
        history.assign_ended(AssignOutcome.STORE_FAILED, 0.1, None, "default")
        history.assign_ended(AssignOutcome.ABANDONED, 0.1, None, "default")
        go_on(history, clock, 10)
    coarse = history.samples(DAY_S)[1]
    assert counts(coarse) == [(1, 1, 1), (12, 12, 12)]
    assert coarse[1].p50_ms == pytest.approx(0.4, rel=0.03)
    assert coarse[1].p99_ms == pytest.approx(400, rel=0.03)


@pytest.mark.parametrize("took_s", [0.0, 1e-6, 0.00031, 0.35, 60.0, 86_400.0])
def test_a_duration_is_told_to_within_three_percent(history: History, clock: WallClock, took_s: float) -> None:
    history.assign_ended(AssignOutcome.WARM, took_s, TRACE, "default")
    go_on(history, clock, 10)
    sample = history.samples(HOUR_S)[1][-1]
    assert sample.p50_ms == sample.p99_ms == pytest.approx(took_s * 1000, rel=0.03, abs=0.002)


def test_one_slow_assign_in_a_hundred_is_not_the_half_of_them(history: History, clock: WallClock) -> None:
    for number in range(200):
        history.assign_ended(AssignOutcome.WARM, 1.0 if number % 50 == 0 else 0.001, TRACE, "default")
    go_on(history, clock, 10)
    sample = history.samples(HOUR_S)[1][-1]
    assert sample.p50_ms == pytest.approx(1, rel=0.03)
    assert sample.p99_ms == pytest.approx(1000, rel=0.03)


def test_a_clock_that_is_put_back_leaves_no_sample_of_the_future(
    store: Store, history: History, clock: WallClock
) -> None:
    """Time runs one way in what is told."""
    go_on(history, clock, 600)
    clock.ms -= 300_000
    go_on(history, clock, 200)
    for kept in (history, History(store, clock)):
        times = [sample.at_ms for sample in kept.samples(HOUR_S)[1]]
        assert times == sorted(set(times))
        assert max(times) <= clock.ms


def test_what_cannot_be_stored_is_stored_with_what_follows(store: Store, history: History, clock: WallClock) -> None:
    go_on(history, clock, 60)
    before = stored(store)
    store._db.execute("PRAGMA query_only = 1")
    go_on(history, clock, 300)
    store._db.execute("PRAGMA query_only = 0")
    assert stored(store) == before
    history.take(GAUGES, is_last=True)
    assert History(store, clock).samples(HOUR_S) == history.samples(HOUR_S)


def test_all_observers_hear_of_everything() -> None:
    """Of each thing that there is to hear."""
    heard: list[tuple[str, str]] = []
    told = [name for name in vars(Observer) if not name.startswith("_") and name not in {"measure", "joined"}]

    class Ear(Observer):
        """One that overrides all there is to hear, below."""

        def __init__(self, name: str) -> None:
            super().__init__(lambda: 5.0)
            self.name = name

    def hearing(what: str) -> Callable[..., None]:
        return lambda ear, *_args, **_words: heard.append((ear.name, what))

    for what in told:
        setattr(Ear, what, hearing(what))
    both = Observers(Ear("one"), Ear("other"))
    assert both.now() == 5
    both.search_began()
    both.stage_ended("commit", 0.1)
    both.assign_ended(AssignOutcome.WARM, 0.1, TRACE, "default")
    both.call_ended("list", Result.DONE, 0.1)
    both.probe_ended(answered=True)
    both.came_up(0.1, "default")
    both.events_ended()
    both.committed([], 0.1)
    both.commit_failed(0.1)
    both.delivery_ended(Delivery.TAKEN)
    both.waiting_for_webhook(3)
    assert heard == [(name, what) for what in told for name in ("one", "other")]
