"""The journal, when what stores breaks: whoever waits hears of it, and the process stops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import pytest
from msgspec.structs import replace
from tests.unit.core.build import a_fleet, a_machine

from worker_orchestrator.control.deciding.journal import SETTLES_S, Journal
from worker_orchestrator.core.machine import Cause, Change, State
from worker_orchestrator.errors import CommitFailed
from worker_orchestrator.store.store import Store


class Broken(Store):
    """Fails in a way that nobody expects of a database."""

    def commit(self, changes: Iterable[Change], meta: Mapping[str, object], at_ms: int) -> None:
        raise MemoryError


async def decide(store: Store) -> tuple[Journal, list[str]]:
    """A journal with one decision that is not stored yet, and what it says when it stops."""
    fleet, said = a_fleet(), list[str]()
    journal = Journal(fleet, store, asyncio.get_running_loop().time, lambda: 0)
    journal.on_diverged = said.append
    fleet.apply(None, a_machine(), Cause.CREATED, 0.0)
    return journal, said


def others_came(journal: Journal) -> None:
    """A moment ago, so that it is worth while to wait for more."""
    journal._flushed_at = asyncio.get_running_loop().time()


def test_who_waits_for_a_decision_hears_of_a_defect_and_the_process_stops() -> None:
    async def story() -> None:
        journal, said = await decide(Broken(None))
        with pytest.raises(MemoryError):
            await asyncio.wait_for(journal.durable(), 5)
        assert said == ["a decision was neither stored nor undone: MemoryError()"]

    asyncio.run(story())


def test_a_hook_that_fails_is_a_defect_too() -> None:
    async def story() -> None:
        journal, said = await decide(Store(None))

        def fail(_: list[Change]) -> None:
            raise AssertionError("an invariant")

        journal.on_committed.append(fail)
        with pytest.raises(AssertionError, match="an invariant"):
            await asyncio.wait_for(journal.durable(), 5)
        assert len(said) == 1

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
            told: list[object] = []
            journal.then(lambda failure, told=told: told.append(failure and type(failure)))  # type: ignore[misc]
            assert told == []
            await asyncio.sleep(0.01)
            assert told == said

    asyncio.run(story())


def test_who_comes_alone_is_told_before_the_turn_is_over() -> None:
    async def story() -> None:
        for store, said in ((Store(None), [None]), (Broken(None), [MemoryError])):
            journal, _ = await decide(store)
            told: list[object] = []
            journal.then(lambda failure, told=told: told.append(failure and type(failure)))  # type: ignore[misc]
            assert told == said

    asyncio.run(story())


def test_who_has_no_task_and_waits_for_nothing_is_told_a_turn_later() -> None:
    async def story() -> None:
        journal, _ = await decide(Store(None))
        await journal.durable()
        told: list[object] = []
        journal.then(told.append)
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

        journal.then(fail)
        journal.then(told.append)
        await journal.durable()
        assert (told, said) == ([None], [])

    asyncio.run(story())


def test_decisions_that_come_in_turns_after_one_another_share_a_commit() -> None:
    """As long as each turn brings more, and at most four."""

    async def story() -> None:
        journal, _ = await decide(Store(None))
        batches: list[int] = []
        journal.on_committed.append(lambda changes: batches.append(len(changes)))
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

        journal.then(fail)
        await journal.durable()
        assert said == ["an invariant does not hold: AssertionError('an invariant')"]
        journal.then(fail)
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
    fleet.apply(ready, replace(ready, project="p", generation=1), Cause.ASSIGNED, 0.0)
    return journal, said


def test_what_a_commit_left_for_later_is_put_in_order_a_moment_after_it() -> None:
    async def story() -> None:
        store = Store(None)
        journal, said = await decide_alone(store)
        await journal.durable()
        assert not store.is_settled
        await asyncio.sleep(20 * SETTLES_S)
        assert store.is_settled
        assert [row[6] for row in store.events()] == ["created", "answered", "assigned"]
        assert said == []

    asyncio.run(story())


def test_what_cannot_be_put_in_order_is_tried_again_after_the_next_commit() -> None:
    async def story() -> None:
        store = Store(None)
        journal, said = await decide_alone(store)
        await journal.durable()
        store._db.execute("PRAGMA query_only = 1")
        await asyncio.sleep(20 * SETTLES_S)
        store._db.execute("PRAGMA query_only = 0")
        assert not store.is_settled
        machine = journal._fleet.machines[a_machine().id]
        journal._fleet.apply(machine, replace(machine, project=None), Cause.RELEASED, 0.0)
        await journal.durable()
        assert [row[6] for row in store.events()][2:] == ["assigned", "released"]
        assert said == []

    asyncio.run(story())


def test_a_defect_while_events_are_put_in_order_stops_the_process() -> None:
    class Unsettled(Store):
        def settle(self) -> bool:
            raise MemoryError

    async def story() -> None:
        journal, said = await decide_alone(Unsettled(None))
        await journal.durable()
        await asyncio.sleep(20 * SETTLES_S)
        assert said == ["events could not be put in order: MemoryError()"]

    asyncio.run(story())


def test_after_a_defect_nothing_is_stored_and_nobody_is_told_that_it_is() -> None:
    async def story() -> None:
        journal, _ = await decide(store := Store(None))
        journal.halt()
        told: list[BaseException | None] = []
        for ask in (journal.then, journal.soon):
            ask(told.append)
        with pytest.raises(CommitFailed, match="stops because of a defect"):
            await asyncio.wait_for(journal.durable(), 5)
        await asyncio.sleep(0)
        assert [type(failure) for failure in told] == [CommitFailed, CommitFailed]
        assert not journal.flush()
        assert store.machines() == []

    asyncio.run(story())
