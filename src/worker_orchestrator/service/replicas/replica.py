"""One replica, from its start to its end: it stands by, leads when it is elected, and stands by again when that is over.

It stands in the election all the time. A term ends with its time, with anything that shows that somebody else leads
(`Outdated`), or with the process. Then all that was made for it goes: what a later term begins with is read anew.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import structlog

from worker_orchestrator.control.defect import Defect
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access
from worker_orchestrator.errors import EngineError, InvalidSetting, OrchestratorError, StoreError
from worker_orchestrator.http.previews.hosts import NO_HOSTS, PreviewHosts
from worker_orchestrator.http.server.uvicorn_server import Server
from worker_orchestrator.service import late_key
from worker_orchestrator.service.door import can_run
from worker_orchestrator.service.ending import end_in_time
from worker_orchestrator.service.engine_options import cluster_options
from worker_orchestrator.service.parts import app_of, assemble
from worker_orchestrator.service.process import Process
from worker_orchestrator.service.replicas.answers import Wayside
from worker_orchestrator.service.replicas.leading import Office, open_office, take_office
from worker_orchestrator.service.replicas.standing_by import StandingBy
from worker_orchestrator.service.run_service import run_service
from worker_orchestrator.service.signals import call_on_signal
from worker_orchestrator.service.specification import late_of, spec_of
from worker_orchestrator.service.tracing import traced
from worker_orchestrator.settings.difference import difference
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.cluster import election
from worker_orchestrator.store.cluster.calls import Outdated
from worker_orchestrator.store.cluster.terms import Term
from worker_orchestrator.store.replicas.electing import Election
from worker_orchestrator.store.replicas.sending import Sender

__all__ = ["lease_name", "run_replica"]

PAUSE_S: Final = 2.0
"""After a term that could not begin. Others may be able to lead meanwhile."""

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


def lease_name(owner: str) -> str:
    """The name of the coordination Lease of this owner."""
    return f"worker-orchestrator-leader-{owner}"


async def run_replica(process: Process, answers: Callable[[], None]) -> None:
    """Run until a signal. `answers` is called once it does. Raises InvalidSetting, and the error of a defect."""
    settings = process.settings
    if not settings.replica_address:
        raise InvalidSetting(
            "store is kubernetes, but replica_address is not set. Say where other replicas reach this one, such as "
            f"http://10.0.0.7:{settings.port}."
        )
    _insist_on_spec(settings)
    key = _key(settings)
    options = cluster_options(settings)
    client = Client(find_access(options.kubeconfig, options.context, options.namespace))
    sender = Sender(client, settings.owner)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    standing = Election(election.Replica(name, lease_name(settings.owner), settings.replica_address), sender.answer)
    replica = _Replica(process, standing, sender, key)
    call_on_signal(replica.end, replica.reload)
    tasks = [asyncio.create_task(standing.run(), name="election"), asyncio.create_task(replica.standby.run())]
    for task in tasks:
        task.add_done_callback(replica.has_failed)
    try:
        await replica.run(answers)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await standing.resign()
        await replica.standby.aclose()
        await client.aclose()


def _insist_on_spec(settings: Settings) -> None:
    """Raises InvalidSetting for what no pod can be, before this replica leads."""
    able = {"plans_ports": KubernetesEngine.plans_ports, "restarts_in_place": KubernetesEngine.restarts_in_place}
    spec_of(settings, **able, pauses=False, sees_use=True)


def _key(settings: Settings) -> bytes:
    """The key of configurations, which is never made here: each replica would make another one."""
    file = settings.state_dir.absolute() / late_key.FILE
    is_needed = any(late_of(pool) is not None for pool in settings.pools.values())
    if is_needed and not file.exists():
        raise InvalidSetting(
            f"A pool takes values, and with store kubernetes all replicas need the same key file. Put 32 random bytes into "
            f"{file} of each of them, such as those of `head -c 32 /dev/urandom`."
        )
    return late_key.read_or_go_without(settings.state_dir, makes=False, needed=is_needed)


class _Replica:
    """Whether it leads or not. `end` and `reload` are what signals call."""

    def __init__(self, process: Process, standing: Election, sender: Sender, key: bytes) -> None:
        settings = process.settings
        self._process, self._election, self._sender, self._key = process, standing, sender, key
        previews = PreviewHosts(settings.preview_domain, settings.allow_host)
        has_previews = settings.preview == "on" and can_run()
        wayside = Wayside(settings.standby, settings.root_path, previews if has_previews else NO_HOSTS)
        self.standby = StandingBy(wayside, self._leader, settings.replica_address, settings.max_connections)
        self._serves = False  # as the leader
        self._ending = asyncio.Event()
        self._failure: BaseException | None = None
        self._stop_term: Callable[[], None] = lambda: None
        self._reload_term: Callable[[], object] = lambda: None

    def _leader(self) -> str:
        """The address of the leader; our own only while we serve as that, and not as that of an earlier run."""
        own, leader = self._process.settings.replica_address, self._election.leader
        return own if self._serves else "" if leader == own else leader

    # signals

    def end(self) -> None:
        if not self._ending.is_set():
            self._process.stopping()
            self._ending.set()
        self._stop_term()

    def reload(self) -> None:
        """A standby reads its settings when it takes over."""
        self._reload_term()

    def has_failed(self, task: asyncio.Task[None]) -> None:
        """What runs all the time has ended: unless it was cancelled, that is a defect."""
        if not task.cancelled():
            self._failure = task.exception()
            self.end()

    # the process

    async def run(self, answers: Callable[[], None]) -> None:
        await self.standby.open(self._process.sockets)
        answers()
        while not self._ending.is_set():
            term = await self._unless_ending(self._election.next_term())
            if term is not None:
                await self._lead(term)
        self.standby.close()
        if self._failure is not None:
            raise self._failure

    async def _unless_ending(self, work: Awaitable[_T]) -> _T | None:
        """What this returns; None if the process is to end first."""
        doing, ending = asyncio.ensure_future(work), asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
            return doing.result() if doing.done() else None
        finally:
            for each in (doing, ending):
                each.cancel()
            await asyncio.wait({doing, ending})

    async def _lead(self, term: Term) -> None:
        """Lead in this term, to its end. Raises the error of a defect."""
        try:
            owner = self._process.settings.owner
            office = await self._unless_ending(take_office(term, self._election, self._sender, owner))
            if office is not None:
                await self._serve(office)
        except Outdated as error:
            self._election.end_term(error.epoch)
            _log.warning("leads no more", term=str(term), why=str(error))
        except (EngineError, StoreError) as error:
            _log.error("cannot lead", term=str(term), why=error.message)
            await self._election.resign()
            await self._unless_ending(asyncio.sleep(PAUSE_S))
        finally:
            self._election.stamp = ""

    async def _serve(self, office: Office) -> None:
        settings = await self._settings_now()
        async with open_office(settings, office, self._key) as opened:
            process = self._process
            parts = assemble(settings, self._read_again, opened, b"", process.token, process.tracing)
            office.lost.append(parts.orchestrator.defect.report)
            watch = asyncio.create_task(self._watch(office, parts.orchestrator.defect), name="term")
            app = traced(app_of(parts, process.token), process.tracing)
            ending, hosts = _Ending(self._stands_by), parts.previews.of_server
            begins = partial(self._begins, ending)
            server = Server(app, settings.max_connections, begins, hosts, settings.root_path)
            sockets = [each.dup() for each in process.sockets]
            try:
                await run_service(server, parts, sockets, ending.begin, self._listen)
            finally:
                self._stop_term = self._reload_term = lambda: None
                watch.cancel()
                await asyncio.wait({watch})
                await ending.wait()
                for each in sockets:
                    each.close()
                gc.unfreeze()

    async def _stands_by(self) -> Callable[[], None]:
        """Take connections as one that does not lead; returns what calls off the end of the process, if that goes on."""
        self._serves = False
        if self._ending.is_set():
            return lambda: None
        call_off = end_in_time()
        await self.standby.open(self._process.sockets)
        return call_off

    def _begins(self, ending: _Ending) -> None:
        """The leader's server listens: the other one takes no more, unless the term has ended already."""
        if not ending.has_begun:
            self._serves = True
            self.standby.close()

    def _listen(self, stop: Callable[[], None], reload: Callable[[], object]) -> None:
        self._stop_term, self._reload_term = stop, reload
        if self._ending.is_set():
            stop()

    async def _watch(self, office: Office, defect: Defect) -> None:
        await self._election.over(office.term)
        defect.report(Outdated("The time of this leader is over."))

    def _read_again(self) -> Settings:
        """The settings as they are now. Raises InvalidSetting for what no replica could lead with."""
        wanted = self._process.read_again()
        _insist_on_spec(wanted)
        _key(wanted)
        return wanted

    async def _settings_now(self) -> Settings:
        """The settings as they are now, but for what needs a restart; as they were at the start if they cannot be read."""
        before = self._process.settings
        try:
            wanted = await asyncio.to_thread(self._read_again)
        except OrchestratorError as error:
            _log.error("settings not read, so it leads with those of its start", why=error.message)
            return before
        stays = {change.name: getattr(before, change.name) for change in difference(before, wanted).needs_restart}
        return dataclasses.replace(wanted, **stays)


class _Ending:
    """The end of a term, which has a limit: what does not end in it ends with the process, and may not go on as a leader.

    `stand_by` is what comes after it.
    """

    def __init__(self, stand_by: Callable[[], Awaitable[Callable[[], None]]]) -> None:
        self._stand_by = stand_by
        self._begun: asyncio.Future[Callable[[], None]] | None = None

    @property
    def has_begun(self) -> bool:
        return self._begun is not None

    def begin(self) -> None:
        self._begun = asyncio.ensure_future(self._stand_by())

    async def wait(self) -> None:
        """Return when the term has ended, and its limit holds no more."""
        if self._begun is None:
            self.begin()
        assert self._begun is not None, "it has begun"
        (await self._begun)()
