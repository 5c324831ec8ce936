"""The journal, when what stores breaks: whoever waits hears of it, and the process stops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace
from tests.unit.core.build import a_fleet, a_machine

from worker_orchestrator.control.deciding import journal as journal_module
from worker_orchestrator.control.deciding.effects import Effects
from worker_orchestrator.control.deciding.journal import Journal
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.core.machine import Cause, Change, Holding, State
from worker_orchestrator.errors import CommitFailed
from worker_orchestrator.store.store import Store


class Broken(Store):
    """Fails in a way that nobody expects of a database."""

    def commit(self, changes: Iterable[Change], meta: Mapping[str, object], at_ms: int) -> None:
        raise MemoryError


@dataclass
class Noted(Effects):
    """What follows a commit here: a note. `said` has the reasons for which the service would stop."""

    said: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    breaks: bool = False

    def committed(self, changes: Sequence[Change], requests: Sequence[str], took_s: float) -> None:  # as it is
        if self.breaks:
            raise AssertionError("an invariant")
        self.batches.append(len(changes))

    def undone(self, changes: Sequence[Change], failure: CommitFailed) -> None:
        pass

    def diverged(self, why: str) -> None:
        self.said.append(why)


def journal_of(store: Store, effects: Noted) -> Journal:
    """A journal with one decision that is not stored yet."""
    fleet = a_fleet()
    fleet.apply(None, a_machine(), Cause.CREATED, 0.0)
    return Journal(fleet, store, effects, Defect(), lambda: 0, Observer())


async def decide(store: Store) -> tuple[Journal, list[str]]:
    """As `journal_of`, and what it says when it stops."""
    effects = Noted()
    return journal_of(store, effects), effects.said


def others_came(journal: Journal) -> None:
    """Just now, so that it is worth while to wait for more; for longer than a busy computer needs for a line of a test."""
    journal._flushed_at = asyncio.get_running_loop().time() + 1.0


def test_who_waits_for_a_decision_hears_of_a_defect_and_the_process_stops() -> None:
    async def story() -> None:
        journal, said = await decide(Broken(None))
        with pytest.raises(MemoryError):
            await asyncio.wait_for(journal.durable(), 5)
        assert said == ["a decision was neither stored nor undone: MemoryError()"]

    asyncio.run(story())


def test_an_effect_that_fails_is_a_defect_too() -> None:
    async def story() -> None:
        effects = Noted(breaks=True)
        with pytest.raises(AssertionError, match="an invariant"):
            await asyncio.wait_for(journal_of(Store(None), effects).durable(), 5)
        assert len(effects.said) == 1

    asyncio.run(story())


def test_a_tick_that_stores_raises_what_was_the_matter() -> None:
    async def story() -> None:
        journal, said = await decide(Broken(None))
        with pytest.raises(MemoryError):
            journal.flush()
        assert said == []

    asyncio.run(story())


def test_who_has_no_task_is_told_when_it_is_stored_or_why_not() -> None:
    async def story() -> None:
        for store, said in ((Store(None), [None]), (Broken(None), [MemoryError])):
            journal, _ = await decide(store)
            others_came(journal)
            assert not journal.is_quiet
            told: list[object] = []
            journal.store_later(lambda failure, told=told: told.append(failure and type(failure)))  # type: ignore[misc]
            assert told == []
            await asyncio.sleep(0.01)
            assert told == said

    asyncio.run(story())


def test_who_comes_alone_is_told_before_the_turn_is_over() -> None:
    async def story() -> None:
        for store, said in ((Store(None), [None]), (Broken(None), [MemoryError])):
            journal, _ = await decide(store)
            assert journal.is_quiet
            told: list[object] = []
            journal.store_now(lambda failure, told=told: told.append(failure and type(failure)))  # type: ignore[misc]
            assert told == said

    asyncio.run(story())


def test_who_has_no_task_and_waits_for_nothing_is_told_a_turn_later() -> None:
    async def story() -> None:
        journal, _ = await decide(Store(None))
        await journal.durable()
        told: list[object] = []
        journal.reply_soon(told.append)
        assert told == []
        await asyncio.sleep(0)
        assert told == [None]

    asyncio.run(story())


def test_what_one_reply_cannot_do_keeps_no_other_from_going_out() -> None:
    async def story() -> None:
        journal, said = await decide(Store(None))
        others_came(journal)
        told: list[object] = []

        def fail(_: object) -> None:
            raise RuntimeError("the connection is gone")

        journal.store_later(fail)
        journal.store_later(told.append)
        await journal.durable()
        assert (told, said) == ([None], [])

    asyncio.run(story())


def test_decisions_that_come_in_turns_after_one_another_share_a_commit() -> None:
    """As long as each turn brings more, and at most four."""

    async def story() -> None:
        effects = Noted()
        journal, batches = journal_of(Store(None), effects), effects.batches
        waits = [asyncio.ensure_future(journal.durable())]
        for number in range(12):
            await asyncio.sleep(0)
            journal._fleet.apply(None, a_machine(f"w{number + 10}", port=9200 + number), Cause.CREATED, 0.0)
            waits.append(asyncio.ensure_future(journal.durable()))
        await asyncio.gather(*waits)
        assert sum(batches) == 13
        assert 2 <= max(batches) <= 6

    asyncio.run(story())


def test_an_invariant_that_breaks_in_a_reply_stops_the_process() -> None:
    """Whether the reply waited for the store or not."""

    async def story() -> None:
        journal, said = await decide(Store(None))

        def fail(_: object) -> None:
            raise AssertionError("an invariant")

        journal.store_later(fail)
        await journal.durable()
        assert said == ["an invariant does not hold: AssertionError('an invariant')"]
        journal.reply_soon(fail)
        await asyncio.sleep(0)
        assert len(said) == 2

    asyncio.run(story())


async def decide_alone(store: Store) -> tuple[Journal, list[str]]:
    """As `decide`; what the machine was created by is stored, and what follows will be stored alone."""
    journal, said = await decide(store)
    await journal.durable()
    fleet, ready = journal._fleet, replace(a_machine(), state=State.READY)
    fleet.apply(a_machine(), ready, Cause.ANSWERED, 0.0)
    await journal.durable()
    fleet.apply(ready, replace(ready, holding=Holding("p"), generation=1), Cause.ASSIGNED, 0.0)
    return journal, said


PAUSE_S = 0.2
"""Longer than a busy computer may hold up a test between two steps."""


def test_what_a_commit_left_for_later_is_put_in_order_a_moment_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PERSIST_EVENTS_S", PAUSE_S)

    async def story() -> None:
        store = Store(None)
        journal, said = await decide_alone(store)
        await journal.durable()
        assert store.has_unpersisted_events
        await asyncio.sleep(2 * PAUSE_S)
        assert not store.has_unpersisted_events
        assert [event.cause for event in store.events()] == ["created", "answered", "assigned"]
        assert said == []

    asyncio.run(story())


def test_what_cannot_be_put_in_order_is_tried_again_after_the_next_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PERSIST_EVENTS_S", PAUSE_S)

    async def story() -> None:
        store = Store(None)
        journal, said = await decide_alone(store)
        await journal.durable()
        store._db.execute("PRAGMA query_only = 1")
        await asyncio.sleep(2 * PAUSE_S)
        store._db.execute("PRAGMA query_only = 0")
        assert store.has_unpersisted_events
        machine = journal._fleet.machines[a_machine().id]
        journal._fleet.apply(machine, replace(machine, holding=None), Cause.RELEASED, 0.0)
        await journal.durable()
        assert [event.cause for event in store.events()][2:] == ["assigned", "released"]
        assert said == []

    asyncio.run(story())


def test_a_defect_while_events_are_put_in_order_stops_the_process() -> None:
    class Broken(Store):
        def persist_events(self) -> bool:
            raise MemoryError

    async def story() -> None:
        journal, said = await decide_alone(Broken(None))
        await journal.durable()
        await asyncio.sleep(2 * PAUSE_S)
        assert said == ["events could not be put in order: MemoryError()"]

    asyncio.run(story())


def test_after_a_defect_nothing_is_stored_and_nobody_is_told_that_it_is() -> None:
    async def story() -> None:
        journal, _ = await decide(store := Store(None))
        journal._defect.report(RuntimeError("a defect"))
        told: list[BaseException | None] = []
        for ask in (journal.store_later, journal.store_now, journal.reply_soon):
            ask(told.append)
        with pytest.raises(CommitFailed, match="stops because of a defect"):
            await asyncio.wait_for(journal.durable(), 5)
        await asyncio.sleep(0)
        assert [type(failure) for failure in told] == [CommitFailed] * 3
        assert not journal.flush()
        assert store.machines() == []

    asyncio.run(story())
