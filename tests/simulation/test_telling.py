"""What clients are told is true, in the turn in which something else happens as well."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.simulation.small import Small, lived
from tests.simulation.virtual import VirtualLoop, virtual_time

from worker_orchestrator.control.deciding.seats import SearchResult, Seats
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.errors import CommitFailed, NoMachineAvailable
from worker_orchestrator.http.document import Document, Request
from worker_orchestrator.settings.settings import DEFAULT_POOL


class Disk:
    """Refuses to store what has one of these causes."""

    def __init__(self, small: Small, monkeypatch: pytest.MonkeyPatch, *causes: Cause) -> None:
        self._causes, self._commit = causes, small.store.commit
        monkeypatch.setattr(small.store, "commit", self.commit)

    def commit(self, changes: Sequence[Change], meta: Mapping[str, object], at_ms: int) -> None:
        if any(change.cause in self._causes for change in changes):
            raise CommitFailed("The change could not be stored (disk full), so it was not made.")
        self._commit(changes, meta, at_ms)


@pytest.mark.parametrize("found_s", [0.4, 0.5, 0.6])
@pytest.mark.parametrize("is_first", [True, False])
def test_whoever_waits_is_told_of_the_machine_or_the_search_is_given_up(found_s: float, *, is_first: bool) -> None:
    """Also where both happen in one turn: a machine that nobody was told of would be kept by nobody for ever."""

    async def story(loop: VirtualLoop) -> None:
        seats, given_up, found = Seats(), list[str](), asyncio.Event()

        async def sit() -> SearchResult:
            seat = seats.join("p")
            try:
                return await seats.wait(seat, None, 0.5)
            finally:
                if seats.leave(seat):
                    given_up.append("p")

        async def search() -> SearchResult:
            await found.wait()
            return SearchResult(Machine("w1", "default", "t", State.READY, 9093, Holding("p"), 1), None)

        seats.open("p", "default", 0, search())
        if is_first:
            loop.call_later(found_s, found.set)
        told = asyncio.create_task(sit())
        await asyncio.sleep(0)
        if not is_first:
            loop.call_later(found_s, found.set)
        await asyncio.wait({told})
        is_told = not isinstance(told.exception(), TimeoutError)
        assert is_told != (given_up == ["p"])
        assert is_told or found_s >= 0.5
        await seats.aclose()

    with virtual_time() as loop:
        loop.run_until_complete(story(loop))


def test_who_comes_while_the_service_stops_is_answered_at_once() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await small.assign("p")
        small.orchestrator.turn_all_away()
        begun_at = asyncio.get_running_loop().time()
        with pytest.raises(NoMachineAvailable, match="stopping"):
            await small.assign("q")
        assert asyncio.get_running_loop().time() - begun_at < 0.1
        assert (await small.assign("p")).project == "p"

    lived(story, min_idle=1, max_machines=1)


def test_after_a_defect_nobody_is_told_of_what_is_not_stored() -> None:
    async def story(loop: VirtualLoop) -> None:
        small = Small(loop, min_idle=1)
        running = asyncio.create_task(small.orchestrator.run())
        await small.await_idle(1)
        small.orchestrator.defect.report(RuntimeError("a defect"))
        told: list[Machine | BaseException] = []
        assert small.orchestrator.short_way.assign("p", DEFAULT_POOL, told.append)
        for ask in (
            small.assign("p"),
            small.orchestrator.release_of("p"),
            small.orchestrator.machines(),
            small.orchestrator.machine_of("p"),
        ):
            with pytest.raises(CommitFailed, match="stops because of a defect"):
                await ask
        assert [type(one) for one in told] == [CommitFailed]
        with pytest.raises(RuntimeError, match="a defect"):
            await running
        assert [machine.project for machine in small.store.machines()] == [None]
        small.store.close()
        await small.engine.aclose()

    with virtual_time() as loop:
        loop.run_until_complete(story(loop))


def test_of_two_that_say_something_of_their_machine_at_once_the_last_word_is_kept() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        said = ['{"a": "1"}', '{"b": "2"}']
        given = await asyncio.gather(*(small.assign_machine("p", metadata=word) for word in said))
        assert [one.machine.metadata for one in given] == said
        own = small.fleet.of_project("p")
        assert own is not None
        assert own.metadata == said[-1]

    lived(story, min_idle=1)


def test_where_what_is_said_of_a_machine_cannot_be_kept_its_project_is_told_that_it_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await small.assign("p")
        Disk(small, monkeypatch, Cause.ANNOTATED)
        with pytest.raises(CommitFailed) as told:
            await small.assign_machine("p", metadata="{}")
        own = small.fleet.of_project("p")
        assert own is not None
        assert told.value.message.startswith(f"{own.id} belongs to p, but its metadata could not be stored. Try again.")

    lived(story, min_idle=1)


def test_head_tells_only_of_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        Disk(small, monkeypatch, Cause.ASSIGNED)
        document = Document(small.orchestrator, "localhost")

        async def ask(method: str) -> int:
            async def never(*_: Any) -> Any:
                await asyncio.Event().wait()

            return (await document.answer(Request(method, "/p", None, never, never))).status

        assert await asyncio.gather(*map(ask, ["GET", "HEAD"])) == [503, 404]
        monkeypatch.undo()
        assert await ask("GET") == await ask("HEAD") == 200

    lived(story, min_idle=1)
