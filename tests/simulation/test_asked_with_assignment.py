"""What a project asks for with an assignment is stored with it: no kill leaves a machine without its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.lease import Terms
from worker_orchestrator.core.machine import Cause, Change, Machine
from worker_orchestrator.core.spec import PoolSpec

TTL = Terms(ttl=3600)
SAID = '{"owner": "ada"}'
OTHER = PoolSpec(None, pending=True, min_idle=1, terms=Terms(idle_timeout=60, max_age=100))

Way = Callable[[Small], Awaitable[Machine]]


def commits_of(small: Small, monkeypatch: pytest.MonkeyPatch) -> list[list[Change]]:
    """The changes of each commit from now on."""
    seen: list[list[Change]] = []
    commit = small.store.commit

    def watched(changes: Sequence[Change], meta: Mapping[str, object], at_ms: int) -> None:
        commit(changes, meta, at_ms)
        if changes:
            seen.append(list(changes))

    monkeypatch.setattr(small.store, "commit", watched)
    return seen


async def ask(small: Small, **more: Any) -> Machine:
    return (await small.assign_machine("p", **{"terms": TTL, "metadata": SAID, **more})).machine


async def a_machine_that_has_just_answered(small: Small) -> Machine:
    return await ask(small)


async def a_machine_that_must_be_probed(small: Small) -> Machine:
    small.fleet.hears_events = False
    return await ask(small)


async def a_machine_that_is_made_for_it(small: Small) -> Machine:
    for number in range(4):
        await small.assign(f"o{number}")
    assert not small.idle, "the fifth one is being made"
    return await ask(small)


async def the_machine_of_another_project(small: Small) -> Machine:
    for number in range(5):
        await small.assign(f"o{number}")
    waiting = asyncio.create_task(ask(small))
    await small.until(lambda: small.fleet.waiting)
    await small.orchestrator.release("o1")
    return await waiting


@pytest.mark.parametrize(
    "way",
    [
        a_machine_that_has_just_answered,
        a_machine_that_must_be_probed,
        a_machine_that_is_made_for_it,
        the_machine_of_another_project,
    ],
)
def test_it_is_stored_with_the_assignment(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        commits = commits_of(small, monkeypatch)
        machine = await way(small)
        assert (machine.project, machine.metadata) == ("p", SAID)
        assert machine.lease is not None
        assert machine.lease.terms == TTL
        of_p = [
            change
            for commit in commits
            for change in commit
            if change.after is not None and change.after.project == "p"
        ]
        assert [change.cause for change in of_p] == [Cause.ASSIGNED], "nothing is stored afterwards"
        assert of_p[0].after == machine
        assert not small.fleet.asked

    lived(story, slow_s=0.5)


def test_the_first_client_of_a_project_decides_and_what_a_later_one_asks_for_comes_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await small.assign("o")
        commits = commits_of(small, monkeypatch)
        first = asyncio.create_task(ask(small))
        await small.until(lambda: small.fleet.waiting)
        second = asyncio.create_task(ask(small, terms=Terms(max_age=50), metadata="{}"))
        third = asyncio.create_task(small.assign("p"))
        await asyncio.sleep(1)
        await small.orchestrator.release("o")
        await asyncio.gather(first, second, third)
        causes = [
            change.cause for commit in commits for change in commit if change.after and change.after.project == "p"
        ]
        assert causes == [Cause.ASSIGNED, Cause.ANNOTATED, Cause.KEPT]
        own = small.fleet.of_project("p")
        assert own is not None
        assert own.metadata == "{}"
        assert own.lease is not None
        assert own.lease.terms == Terms(ttl=3600, max_age=50)

    lived(story, min_idle=1, max_machines=1)


def test_who_hangs_up_in_line_leaves_nothing_for_the_next_client_of_the_project() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        await small.assign("o")

        async def hung_up() -> None:
            await asyncio.sleep(1)

        with pytest.raises(asyncio.CancelledError):
            await small.orchestrator.assign_machine("p", None, hung_up, metadata=SAID, terms=TTL)
        assert not small.fleet.asked
        waiting = asyncio.create_task(small.assign("p"))
        await small.until(lambda: small.fleet.waiting)
        await small.orchestrator.release("o")
        machine = await waiting
        assert (machine.metadata, machine.lease) == ("", None)

    lived(story, min_idle=1, max_machines=1)


def test_it_is_within_what_the_pool_allows_and_adds_to_what_it_says() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(3)
        assigned = await small.orchestrator.assign_machine("p", "other", terms=Terms(ttl=5, idle_timeout=0))
        lease = assigned.machine.lease
        assert lease is not None
        assert lease.terms == Terms(ttl=5, max_age=100)
        none = (await small.orchestrator.assign_machine("q", "default", terms=Terms(ttl=0))).machine
        assert none.lease is None

    lived(story, beside={"other": OTHER})


def test_what_is_asked_for_a_machine_that_the_project_has_is_noted() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        before = await small.assign("p")
        machine = await ask(small)
        assert (machine.id, machine.generation, machine.metadata) == (before.id, before.generation, SAID)
        assert machine.lease is not None
        assert machine.lease.terms == TTL
        assert small.fleet.of_project("p") == machine

    lived(story)
