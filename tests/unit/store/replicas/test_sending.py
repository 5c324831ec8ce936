"""Calls as the server gets them, and what its answers mean. The server is the model, behind HTTP."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from tests.unit.engines.kubernetes.fake_server import served, status
from tests.unit.store.cluster.driving import ME, OURS, a_body, held
from tests.unit.store.replicas.model_server import Server

from worker_orchestrator.store.cluster import election
from worker_orchestrator.store.cluster.calls import (
    Answer,
    Call,
    Create,
    Delete,
    Kind,
    Outdated,
    Patch,
    Read,
    ReadAll,
    Verdict,
)
from worker_orchestrator.store.cluster.carrying_out import carry_out
from worker_orchestrator.store.cluster.ledger import Ledger
from worker_orchestrator.store.cluster.objects import pod_of
from worker_orchestrator.store.cluster.transactions import GivePod, MakeLease, Transaction
from worker_orchestrator.store.replicas import taking
from worker_orchestrator.store.replicas.electing import Election
from worker_orchestrator.store.replicas.sending import Sender
from worker_orchestrator.store.replicas.taking import Steward


def test_an_assignment_is_made_by_two_requests_and_no_read() -> None:
    async def work() -> None:
        server, ledger = Server(), Ledger(ME, OURS)
        async with served(server.answer) as client:
            sender = Sender(client, ME)
            steward = Steward(sender.answer, lambda: True)
            assert not await steward.take(ledger.make_pod("worker-1", a_body("worker-1")))
            server.sent.clear()
            machine = held()
            assert not await steward.take(carry_out(ledger, Transaction((), (MakeLease(machine), GivePod(machine)))))
            assert [(method, kind) for method, _, kind in server.sent] == [
                ("POST", "application/json"),
                ("PATCH", "application/merge-patch+json"),
            ]
            assert (await sender.answer(ReadAll(Kind.LEASE))).items
            (pod,) = (await sender.answer(ReadAll(Kind.POD))).items
            assert pod_of(pod).says.project == machine.project

    asyncio.run(work())


def test_what_the_server_says_of_names_and_versions() -> None:
    async def work() -> None:
        server = Server()
        async with served(server.answer) as client:
            answer = Sender(client, ME).answer
            made = await answer(Create(Kind.POD, "worker-1", a_body("worker-1")))
            uid, version = (made.found["metadata"][key] for key in ("uid", "resourceVersion"))
            again = await answer(Create(Kind.POD, "worker-1", a_body("worker-1")))
            change = {"metadata": {"annotations": {"a": "b"}}}
            done = await answer(Patch(Kind.POD, "worker-1", version, change))
            stale = await answer(Patch(Kind.POD, "worker-1", version, change))
            other = await answer(Delete(Kind.POD, "worker-1", "other", done.found["metadata"]["resourceVersion"]))
            gone = await answer(Delete(Kind.POD, "worker-1", uid, done.found["metadata"]["resourceVersion"]))
            missing = await answer(Read(Kind.POD, "worker-1"))
            verdicts = [each.verdict for each in (made, again, done, stale, other, gone, missing)]
            assert verdicts == ["done", "taken", "done", "conflict", "conflict", "done", "missing"]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("code", "verdict"), [(403, "refused"), (422, "refused"), (500, "unknown"), (503, "unknown"), (401, "unknown")]
)
def test_what_may_have_happened_is_unknown_and_what_is_refused_says_why(code: int, verdict: str) -> None:
    async def work() -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return status(code, "These words.")

        async with served(answer) as client:
            told = await Sender(client, ME).answer(Read(Kind.POD, "worker-1"))
            assert (told.verdict, told.message) == (verdict, "These words.")

    asyncio.run(work())


def test_a_server_that_hangs_or_talks_nonsense_is_unknown() -> None:
    async def work() -> None:
        async def hang(_: web.Request) -> web.StreamResponse:
            await asyncio.sleep(30)
            raise AssertionError

        async def nonsense(_: web.Request) -> web.StreamResponse:
            return web.json_response([])

        async with served(hang) as client:
            assert (await Sender(client, ME).answer(Read(Kind.POD, "a"), 0.05)).verdict is Verdict.UNKNOWN
        async with served(nonsense) as client:
            assert (await Sender(client, ME).answer(Read(Kind.POD, "a"))).verdict is Verdict.UNKNOWN
            assert (await Sender(client, ME).answer(ReadAll(Kind.POD))).verdict is Verdict.UNKNOWN

    asyncio.run(work())


def test_a_leader_whose_time_is_over_sends_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "FIRST_PAUSE_S", 0.001)

    async def work() -> None:
        sent, may_write = list[Call](), True

        async def answer(call: Call) -> Answer:
            nonlocal may_write
            sent.append(call)
            may_write = len(sent) < 3
            return Answer(Verdict.UNKNOWN)

        steward = Steward(answer, lambda: may_write)
        with pytest.raises(Outdated, match="is over"):
            await steward.take(Ledger(ME, OURS).read_all(Kind.POD))
        assert len(sent) == 3

    asyncio.run(work())


def test_one_replica_leads_and_another_one_as_soon_as_that_resigns() -> None:
    async def work() -> None:
        server, now = Server(), 0.0
        async with served(server.answer) as client:
            anna, ben = (
                Election(election.Replica(name, "leader", f"http://{name}"), Sender(client, ME).answer, lambda: now)
                for name in ("anna", "ben")
            )
            await anna._stand()
            now += election.LASTS_S
            await anna._stand()
            await ben._stand()
            assert anna.term is not None
            assert anna.leads_in(anna.term)
            assert (ben.term, ben.leader, anna.leader) == (None, "http://anna", "")
            await anna.resign()
            assert anna.term is None
            await ben._stand()
            term = await ben.next_term()
            assert (term.epoch, term.leader) == (2, "ben")
            now += election.WRITES_FOR_S
            assert ben.term is None, "it was not renewed"

    asyncio.run(work())


def test_a_seat_is_given_back_also_if_a_renewal_was_on_its_way() -> None:
    async def work() -> None:
        server, now = Server(), 0.0
        async with served(server.answer) as client:
            sender = Sender(client, ME)
            anna = Election(election.Replica("anna", "leader", "http://anna"), sender.answer, lambda: now)
            await anna._stand()
            now += election.LASTS_S
            await anna._stand()
            server.api.change(Kind.LEASE, "leader", {"spec": {"renewTime": "2026-12-02T12:00:00.000001Z"}})
            await anna.resign()
            found = server.api.find(Kind.LEASE, "leader")
            assert found is not None
            assert found["spec"]["holderIdentity"] == ""

    asyncio.run(work())


def test_who_waits_for_a_seat_looks_when_it_may_be_over() -> None:
    async def work() -> None:
        server, now = Server(), 0.0
        async with served(server.answer) as client:
            ben = Election(election.Replica("ben", "leader"), Sender(client, ME).answer, lambda: now)
            assert ben._pause_s() == election.RENEW_EVERY_S
            await ben._stand()
            now += election.LASTS_S - 0.25
            assert ben._pause_s() == 0.25

    asyncio.run(work())
