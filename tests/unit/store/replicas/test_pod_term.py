"""The engine of a leader: its pods carry its term, and none is removed that another leader has put its own on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.unit.core.build import a_machine
from tests.unit.engines.kubernetes.fake_server import served
from tests.unit.store.cluster.driving import ME, OLD, OURS, a_body, held
from tests.unit.store.replicas.model_server import Server

from worker_orchestrator.core.machine import State
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.engines.kubernetes.template import make_template
from worker_orchestrator.errors import EngineUnavailable
from worker_orchestrator.store.cluster.calls import Create, Kind, Outdated
from worker_orchestrator.store.cluster.ledger import Ledger
from worker_orchestrator.store.cluster.objects import pod_body, pod_changes, pod_of
from worker_orchestrator.store.cluster.terms import Term
from worker_orchestrator.store.replicas.pod_term import PodTerm
from worker_orchestrator.store.replicas.sending import Sender
from worker_orchestrator.store.replicas.taking import Steward

NEXT = Term(8, "the next one")
OPTIONS = {"default": DockerOptions(image="worker:1")}
TEMPLATE = make_template(OPTIONS["default"])
MACHINE = a_machine("w1", State.STARTING, template=TEMPLATE.fingerprint, port=None)


class Leader:
    """An engine in our term, on the model of the API server. `leads`: whether its time goes on."""

    def __init__(self, server: Server, engine: KubernetesEngine, sender: Sender) -> None:
        self.api, self.engine = server.api, engine
        self.leads, self.lost = True, list[Outdated]()
        self.ledger = Ledger(ME, OURS)
        steward = Steward(sender.answer, lambda: self.leads)
        engine.in_term = PodTerm(self.ledger, steward, lambda: self.leads, self.lost.append)
        engine._templates["default", TEMPLATE.fingerprint] = TEMPLATE

    def made_before(self, name: str) -> None:
        """What an earlier leader had sent lands now."""
        self.api.carry_out(Create(Kind.POD, name, pod_body(a_body(name), OLD)))

    def fenced_by_the_next(self, name: str) -> None:
        self.api.change(Kind.POD, name, {"metadata": {"annotations": {"worker-orchestrator/term": str(NEXT)}}})


@asynccontextmanager
async def leading() -> AsyncIterator[Leader]:
    server = Server()
    async with served(server.answer) as client:
        yield Leader(server, KubernetesEngine(client, ME, OPTIONS), Sender(client, ME))


def test_a_pod_is_made_in_the_term_of_its_leader_which_knows_it_then() -> None:
    async def story() -> None:
        async with leading() as leader:
            await leader.engine.create(MACHINE)
            assert leader.ledger.pods["w1"].term == OURS
            leader.leads = False
            with pytest.raises(EngineUnavailable, match="leads no more"):
                await leader.engine.create(a_machine("w2", State.STARTING, template=TEMPLATE.fingerprint, port=None))
            assert leader.api.find(Kind.POD, "w2") is None

    asyncio.run(story())


def test_a_pod_that_another_leader_has_taken_over_is_not_removed() -> None:
    async def story() -> None:
        async with leading() as leader:
            await leader.engine.create(MACHINE)
            leader.fenced_by_the_next("w1")
            with pytest.raises(EngineUnavailable, match="the next one"):
                await leader.engine.destroy("w1")
            assert leader.api.find(Kind.POD, "w1") is not None

    asyncio.run(story())


def test_a_removal_names_the_version_that_was_read_and_reads_again_where_a_node_was_first() -> None:
    async def story() -> None:
        async with leading() as leader:
            await leader.engine.create(MACHINE)
            read = leader.engine._pod
            touched: list[str] = []

            async def read_and_touched(name: str) -> object:
                found = await read(name)
                if not touched:
                    touched.append(name)
                    leader.api.change(Kind.POD, name, {"status": {"seen": 1}})
                return found

            leader.engine._pod = read_and_touched  # type: ignore[assignment, method-assign] # a node writes in between
            await leader.engine.destroy("w1")
            assert touched
            assert leader.api.find(Kind.POD, "w1") is None

    asyncio.run(story())


def test_what_an_earlier_leader_made_and_came_late_is_removed_unless_a_project_has_it() -> None:
    async def story() -> None:
        async with leading() as leader:
            leader.made_before("w3")
            listing = await leader.engine.list()
            assert "w3" in listing.instances, "as it was when it was listed"
            assert leader.api.find(Kind.POD, "w3") is None
            leader.made_before("w4")
            found = leader.api.find(Kind.POD, "w4")
            assert found is not None
            leader.api.change(Kind.POD, "w4", pod_changes(held("w4"), OLD))
            with pytest.raises(EngineUnavailable, match="leads no more"):
                await leader.engine.list()
            assert len(leader.lost) == 1, "all has to be read anew, in another term"
            left = leader.api.find(Kind.POD, "w4")
            assert left is not None
            assert pod_of(left).says.project == "anna"

    asyncio.run(story())
