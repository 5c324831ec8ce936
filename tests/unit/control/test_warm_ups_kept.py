"""How long machines take to warm up: known again after a crash, and called an assumption while nobody has seen it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from worker_orchestrator.control.deciding.forecasts import Demands
from worker_orchestrator.control.reading.plans import PlanOfPool
from worker_orchestrator.control.reading.standing import follows
from worker_orchestrator.control.telling.arrivals import ArrivalRecord
from worker_orchestrator.core.demand import Demand, Forecast
from worker_orchestrator.core.plan import Plan, Question, Row
from worker_orchestrator.core.replay import Replayed, Span
from worker_orchestrator.http.v1.plans import planned
from worker_orchestrator.store.store import Store

NOW_MS = 1_700_000_000_000


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as opened:
        yield opened


def opened(store: Store) -> Demands:
    """What a run of the service knows when it starts."""
    return Demands(ArrivalRecord(store.arrivals, lambda: NOW_MS), lambda: NOW_MS)


def test_a_time_to_warm_is_stored_as_soon_as_a_crash_would_lose_it(store: Store) -> None:
    demands = opened(store)
    assert not demands.would_be_lost()
    demands.of("web").note_warm_up(1.34)
    assert demands.would_be_lost(), "also of a pool that nobody came to yet"
    demands.save(with_learned=True)
    assert not demands.would_be_lost()
    assert opened(store).of("web").warm_s == 1.34
    assert not opened(store).would_be_lost()


def test_only_what_changed_much_is_stored_at_once(store: Store) -> None:
    demands = opened(store)
    demands.of("web").note_warm_up(1.0)
    demands.save(with_learned=True)
    demands.of("web").note_warm_up(1.2)
    assert not demands.would_be_lost()
    demands.of("web").note_warm_up(3.0)
    assert demands.would_be_lost()
    demands.save(with_learned=False)
    assert demands.would_be_lost()


def test_what_could_not_be_stored_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    demands = opened(store)
    demands.of("web").note_warm_up(1.0)
    with monkeypatch.context() as patched:
        patched.setattr(store.arrivals, "keep", lambda *_: False)
        demands.save(with_learned=True)
        assert demands.would_be_lost()
    demands.save(with_learned=True)
    assert not demands.would_be_lost()


def test_a_time_that_nobody_has_measured_is_called_assumed() -> None:
    demand = Demand()
    assert (demand.warm_s, demand.is_warm_s_assumed) == (5.0, True)
    demand.step(1e9, [1e9 - 1])
    found = demand.forecast(0.99, can_park=False)
    assert found.is_warm_s_assumed
    assert ", 5 s to warm (assumed: no machine was seen to start yet), so " in follows(found)
    demand.note_warm_up(1.34)
    assert not demand.forecast(0.99, can_park=False).is_warm_s_assumed
    assert "assumed" not in follows(Forecast(2, 0, 2, 1.2, 3.1))


def test_a_plan_says_that_a_time_is_assumed() -> None:
    row = Row(1, 0, Replayed(20, 20, 0.0, 0.0, 1.0, 0.0, 1, 0))
    question = Question(0.99, 5.0, 1, is_warm_s_assumed=True)
    found = PlanOfPool(question, Span(0.0, 0.0, 7200.0), Plan((row,), None))
    said = planned("web", found).sentence
    assert "replayed with 5 s until a new machine answers, which is assumed: none was seen to start yet." in said
    measured = PlanOfPool(replace(question, is_warm_s_assumed=False), found.span, found.plan)
    assert "assumed" not in planned("web", measured).sentence
