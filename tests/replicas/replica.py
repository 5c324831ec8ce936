"""A replica as a process of its own: the election and the store of `store/replicas` on a real API server, behind HTTP.

What it decides is a small stand-in for the core, as in `tests/simulation/cluster_replica.py`: it keeps some free pods, gives
them to projects, and removes those that are released. The pods need no nodes: each counts as one that serves.

usage: python -m tests.replicas.replica NAME PORT OWNER NAMESPACE
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any, Final

from aiohttp import web
from msgspec.structs import replace

from worker_orchestrator.clock import Clock
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access
from worker_orchestrator.engines.kubernetes.template import MACHINE, OWNER, POOL, TEMPLATE
from worker_orchestrator.store.cluster import election
from worker_orchestrator.store.cluster.calls import Outdated
from worker_orchestrator.store.cluster.carrying_out import carry_out
from worker_orchestrator.store.cluster.ledger import Ledger
from worker_orchestrator.store.cluster.recovery import take_over
from worker_orchestrator.store.cluster.terms import Term, generation_before
from worker_orchestrator.store.cluster.transactions import transactions
from worker_orchestrator.store.replicas.electing import Election
from worker_orchestrator.store.replicas.sending import Sender
from worker_orchestrator.store.replicas.taking import Steward

FREE: Final = 12
TICK_S: Final = 0.05
SPEC: Final = {"containers": [{"name": "worker", "image": "worker:1"}], "nodeSelector": {"no": "node"}}


class Office:
    """One term: what its leader knows, and how it stores what it decides."""

    def __init__(self, term: Term, owner: str, steward: Steward) -> None:
        self.ledger, self._steward = Ledger(owner, term), steward
        self.machines: dict[str, Machine] = {}
        self._generation = generation_before(term.epoch)
        self._busy = set[str]()
        self._new_id = Clock().machine_id

    async def begin(self) -> None:
        self.machines = {machine.id: machine for machine in await self._steward.take(take_over(self.ledger))}

    def of_project(self, project: str) -> Machine | None:
        return next((machine for machine in self.machines.values() if machine.project == project), None)

    async def assign(self, project: str) -> Machine | None:
        own = self.of_project(project)
        if own is not None:
            return own
        machine = next((one for one in self.machines.values() if self._is_free(one)), None)
        if machine is None:
            return None
        self._generation += 1
        after = replace(machine, state=State.READY, holding=Holding(project), generation=self._generation)
        return after if await self._stored(Change(machine, after, Cause.ASSIGNED)) else None

    async def release(self, project: str) -> bool:
        own = self.of_project(project)
        if own is None:
            return True
        return await self._stored(Change(own, replace(own, holding=None, state=State.STOPPING), Cause.RELEASED))

    async def _stored(self, change: Change) -> bool:
        self._busy.add(change.machine.id)
        (transaction,) = transactions([change])
        why = await self._steward.take(carry_out(self.ledger, transaction))
        self._busy.discard(change.machine.id)
        if not why and change.after is not None:
            self.machines[change.machine.id] = change.after
        return not why

    def _is_free(self, machine: Machine) -> bool:
        return machine.holding is None and machine.state is not State.STOPPING and machine.id not in self._busy

    async def keep(self) -> None:
        """Make what is missing, and remove what was released."""
        while True:
            for machine in [one for one in self.machines.values() if one.state is State.STOPPING]:
                await self._steward.take(self.ledger.remove_pod(machine.id))
                del self.machines[machine.id]
            while sum(map(self._is_free, self.machines.values())) < FREE:
                name = self._new_id()
                known = {OWNER: self.ledger.owner, MACHINE: name, POOL: "default", TEMPLATE: "t1"}
                metadata = {"name": name, "labels": known, "annotations": known}
                why = await self._steward.take(self.ledger.make_pod(name, {"metadata": metadata, "spec": SPEC}))
                assert not why, why
                self.machines[name] = Machine(name, "default", "t1", State.STARTING, None)
            await asyncio.sleep(TICK_S)


class Replica:
    """The process: it stands in the election, and answers while it leads."""

    def __init__(self, name: str, port: int, owner: str, client: Client) -> None:
        self._port, self._owner = port, owner
        sender = Sender(client, owner)
        self._answer = sender.answer
        known = election.Replica(name, f"{owner}-leader", f"http://127.0.0.1:{port}")
        self._election = Election(known, sender.answer)
        self._office: Office | None = None
        self._locks: dict[str, asyncio.Lock] = {}

    async def run(self) -> None:
        server = web.ServerRunner(web.Server(self._reply))
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", self._port).start()
        standing = asyncio.create_task(self._election.run())
        while not standing.done():
            term = await self._election.next_term()
            office = Office(term, self._owner, Steward(self._answer, lambda: self._election.leads_in(term)))  # noqa: B023
            try:
                await office.begin()
                self._office = office
                await office.keep()
            except Outdated as error:
                self._end(office, error)
        await standing

    def _end(self, office: Office, error: Outdated) -> None:
        if self._office in {office, None}:
            self._office = None
            self._election.end_term(error.epoch)

    async def _reply(self, request: web.BaseRequest) -> web.StreamResponse:
        office, (_, wish, *project) = self._office, request.path.split("/")
        if wish == "state":
            return web.json_response({"leads": office is not None and self._election.term is not None})
        if office is None or self._election.term is None:
            return web.json_response({"leader": self._election.leader}, status=503)
        async with self._locks.setdefault(project[0], asyncio.Lock()):
            try:
                return await self._carry_out(office, wish, project[0])
            except Outdated as error:
                self._end(office, error)
                return web.json_response({"why": str(error)}, status=503)

    async def _carry_out(self, office: Office, wish: str, project: str) -> web.Response:
        if wish == "release":
            is_done = await office.release(project)
            return web.json_response({}, status=200 if is_done else 503)
        had = office.of_project(project)
        machine = await office.assign(project)
        if machine is None or not self._election.leads_in(
            office.ledger.term
        ):  # what is in memory is guarded by the clock alone
            return web.json_response({}, status=503)
        told: dict[str, Any] = {"machine": machine.id, "generation": machine.generation, "is_new": had is None}
        return web.json_response(told)


async def main(name: str, port: str, owner: str, namespace: str) -> None:
    client = Client(find_access(namespace=namespace))
    try:
        await Replica(name, int(port), owner, client).run()
    finally:
        await client.aclose()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
