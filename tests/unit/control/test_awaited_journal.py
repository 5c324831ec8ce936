"""The journal of a leader among replicas: what is told, and what is undone, while a cluster is being written to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace
from tests.unit.store.cluster.driving import ME, OURS, Cluster, free

from worker_orchestrator.control.deciding.awaited_journal import AwaitedJournal
from worker_orchestrator.control.deciding.effects import Effects
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Cause, Change, Holding, State
from worker_orchestrator.errors import CommitFailed, NotSupported
from worker_orchestrator.store.cluster.calls import Answer, Call, Kind
from worker_orchestrator.store.cluster.terms import generation_before
from worker_orchestrator.store.replicas.taking import Steward
from worker_orchestrator.store.replicas.term_store import TermStore
from worker_orchestrator.telemetry.request_id import REQUEST_ID


@dataclass
class Noted(Effects):
    """What follows a commit here: notes."""

    stored: list[Cause] = field(default_factory=list)
    undid: list[Cause] = field(default_factory=list)
    looks_at: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def committed(self, changes: Sequence[Change], requests: Sequence[str], took_s: float) -> None:
        self.stored += [change.cause for change in changes]

    def undone(self, changes: Sequence[Change], failure: CommitFailed) -> None:
        self.undid += [change.cause for change in changes]

    def look_at(self, machine_id: str) -> None:
        self.looks_at.append(machine_id)

    def diverged(self, why: str) -> None:
        self.said.append(why)


class Leader:
    """One term with these free machines. While `gate` is closed the cluster answers nothing."""

    def __init__(self, *names: str) -> None:
        self.cluster, self.leads, self.gate = Cluster(), True, asyncio.Event()
        self.gate.set()
        self.cluster.has(*names)
        self.store = TermStore(self.cluster.ledger, Steward(self._answer, lambda: self.leads))
        machines = [free(name) for name in names]
        self.store.begin(machines, "", 0)
        self.fleet = Fleet(ME, generation=generation_before(OURS.epoch))
        self.fleet.load(self.store.machines(), (), 0.0)
        self.effects, self.defect = Noted(), Defect()
        self.journal = AwaitedJournal(self.fleet, self.store, self.effects, self.defect, lambda: 0, Observer())

    async def _answer(self, call: Call) -> Answer:
        await self.gate.wait()
        return self.cluster._carry_out(call)

    def assign(self, name: str, project: str) -> None:
        self.fleet.generation += 1
        before = self.fleet.machines[name]
        after = replace(before, holding=Holding(project), generation=self.fleet.generation)
        self.fleet.apply(before, after, Cause.ASSIGNED, 0.0)
        self.journal.attribute()

    def release(self, name: str) -> None:
        before = self.fleet.machines[name]
        self.fleet.apply(before, replace(before, holding=None), Cause.RELEASED, 0.0)
        self.journal.attribute()

    async def asking(self, request: str, name: str, project: str) -> None:
        """A request for this machine, until it is told that it has it. Raises CommitFailed."""
        REQUEST_ID.set(request)
        self.assign(name, project)
        await self.journal.durable()


async def many_turns() -> None:
    """All that can happen while the cluster does not answer; a time would not do on a busy computer."""
    for _ in range(100):
        await asyncio.sleep(0)


def played(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(5):
            await story()

    asyncio.run(limited())


def test_an_assignment_is_told_once_it_stands_in_the_cluster() -> None:
    async def story() -> None:
        leader = Leader("w1")
        leader.gate.clear()
        asked = asyncio.create_task(leader.asking("one", "w1", "anna"))
        await many_turns()
        assert not asked.done(), "nothing stands in the cluster yet"
        assert leader.fleet.pending, "and who looks can see that"
        assert leader.journal.as_stored()["w1"].project is None
        leader.gate.set()
        await asked
        lease = leader.cluster.lease("anna")
        assert lease is not None
        assert lease.is_in_force(leader.cluster.pod("w1"))
        assert leader.effects.stored == [Cause.ASSIGNED]
        assert [one.project for one in leader.store.machines()] == ["anna"]
        assert leader.store.event_range()[1] == generation_before(OURS.epoch) + 1

    played(story)


def test_what_needs_no_write_is_stored_in_the_same_turn() -> None:
    async def story() -> None:
        leader = Leader()
        leader.fleet.apply(None, free("w2", State.STARTING), Cause.CREATED, 0.0)
        assert leader.journal.flush()
        assert leader.effects.stored == [Cause.CREATED]
        assert leader.cluster.sent == []

    played(story)


def test_what_is_decided_while_a_batch_is_written_comes_into_the_next() -> None:
    async def story() -> None:
        leader = Leader("w1", "w2")
        leader.gate.clear()
        first = asyncio.create_task(leader.asking("one", "w1", "anna"))
        await many_turns()
        second = asyncio.create_task(leader.asking("two", "w2", "ben"))
        await many_turns()
        leader.gate.set()
        await first
        assert not second.done()
        await second
        await leader.journal.drain()
        assert await leader.journal.settled()
        assert leader.cluster.lease("ben") is not None
        assert leader.effects.said == []

    played(story)


def test_a_pod_that_is_gone_is_told_to_its_request_and_to_no_other() -> None:
    async def story() -> None:
        leader = Leader("w1", "w2", "w3")
        leader.cluster.api.remove(Kind.POD, "w1")
        leader.gate.clear()
        lost = asyncio.create_task(leader.asking("one", "w1", "anna"))
        kept = asyncio.create_task(leader.asking("two", "w2", "ben"))
        await many_turns()
        leader.release("w1")  # what was decided since, on what is refused
        later = asyncio.create_task(leader.asking("three", "w3", "carla"))
        await many_turns()
        leader.gate.set()
        with pytest.raises(CommitFailed, match="Its pod does not exist any more"):
            await lost
        await kept
        await later
        assert leader.effects.undid == [Cause.ASSIGNED, Cause.RELEASED]
        assert leader.effects.looks_at == ["w1"]
        projects = {one.id: one.project for one in leader.fleet.machines.values()}
        assert projects == {"w1": None, "w2": "ben", "w3": "carla"}
        assert {one.id: one.project for one in leader.store.machines()} == projects
        assert leader.cluster.lease("anna") is None
        assert leader.effects.said == []

    played(story)


def test_a_leader_whose_time_is_over_tells_nothing_and_writes_nothing() -> None:
    async def story() -> None:
        leader = Leader("w1", "w2")
        await leader.asking("one", "w1", "anna")
        leader.cluster.sent.clear()
        leader.gate.clear()
        asked = asyncio.create_task(leader.asking("two", "w2", "ben"))
        await many_turns()
        leader.leads = False
        leader.gate.set()
        with pytest.raises(CommitFailed, match="does not know whether this was stored"):
            await asked
        assert len(leader.cluster.sent) == 1, "what was on its way when it looked at the clock"
        assert leader.defect.is_found
        told: list[BaseException | None] = []
        leader.journal.reply_soon(told.append)
        await many_turns()
        assert isinstance(told[0], CommitFailed), "what it remembers may be another's by now"
        with pytest.raises(CommitFailed, match="leads no more"):
            await leader.journal.drain()

    played(story)


def test_what_needs_no_write_is_not_stored_either_once_its_time_is_over() -> None:
    async def story() -> None:
        leader = Leader()
        leader.fleet.apply(None, free("w2", State.STARTING), Cause.CREATED, 0.0)
        leader.leads = False
        assert not leader.journal.flush()
        assert leader.effects.stored == []
        assert leader.store.machines() == []
        assert leader.defect.is_found, "this replica stands by"

    played(story)


def test_what_would_end_with_the_leader_is_refused() -> None:
    async def story() -> None:
        with pytest.raises(NotSupported, match="sizes cannot be changed"):
            Leader().store.commit((), {"pool.default": "{}"}, 0)

    played(story)
