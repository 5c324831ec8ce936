"""Whole replicas in one process, on the model of the API server: who leads, who takes over, and what users see of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.unit.engines.kubernetes.fake_server import served
from tests.unit.service.replicas.cluster import Cluster, hello

from worker_orchestrator.engines.kubernetes import kubeconfig
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.service import late_key
from worker_orchestrator.service.process import Process
from worker_orchestrator.service.replicas import replica
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.cluster import election
from worker_orchestrator.store.cluster.calls import Create, Kind


@dataclass
class Running:
    """One replica: its port, what is to be called to end it, and its task."""

    port: int
    end: Callable[[], None]
    reload: Callable[[], object]
    task: asyncio.Task[None]
    settings: Settings

    async def stop(self) -> None:
        self.end()
        await asyncio.wait_for(self.task, 10)


class Bed:
    """A cluster, and replicas on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, worker_port: int) -> None:
        self.cluster, self.session = Cluster(), aiohttp.ClientSession()
        self._patch, self._folder, self._worker_port = monkeypatch, folder, worker_port
        self.min_idle = 1
        # The last leader gave the seat back, so the first one that stands leads at once.
        name = replica.lease_name("us")
        metadata = {"name": name, "annotations": {election.ADDRESS: ""}}
        seat = {"metadata": metadata, "spec": {"leaseTransitions": 1, "holderIdentity": ""}}
        self.cluster.api.carry_out(Create(Kind.LEASE, name, seat))

    async def start(self, **more: str | None) -> Running:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        given = {
            "engine": "kubernetes",
            "store": "kubernetes",
            "owner": "us",
            "replica_address": f"http://127.0.0.1:{port}",
        }
        given |= {
            "image": "a",
            "worker_port": str(self._worker_port),
            "port": str(port),
            "state_dir": str(self._folder),
        }
        wanted = {**given, "min_idle": str(self.min_idle), **more}
        settings = load({name: value for name, value in wanted.items() if value is not None}, {})
        calls = list[Any]()
        self._patch.setattr(replica, "call_on_signal", lambda *both: calls.extend(both))
        answers = asyncio.Event()
        process = Process(settings, self._again(settings), [listener], "", b"", None, lambda: None)
        task = asyncio.create_task(replica.run_replica(process, answers.set))
        task.add_done_callback(lambda _: answers.set())
        task.add_done_callback(lambda _: listener.close())
        await answers.wait()
        if task.done():
            await task
        end, reload = calls
        return Running(port, end, reload, task, settings)

    def _again(self, settings: Settings) -> Callable[[], Settings]:
        return lambda: replace(settings, min_idle=self.min_idle)

    async def ask(self, running: Running, method: str, path: str) -> tuple[int, Any]:
        async with self.session.request(method, f"http://127.0.0.1:{running.port}{path}") as response:
            return response.status, await response.json()

    async def machine(self, running: Running, project: str = "a") -> tuple[str, int]:
        while True:
            status, told = await self.ask(running, "PUT", f"/v1/projects/{project}/machine")
            if status in {200, 201}:
                return told["id"], told["generation"]
            assert status == 503, told  # a term may end on a busy computer, and then another one begins
            await asyncio.sleep(0.05)

    async def leads(self, running: Running) -> None:
        address = f"http://127.0.0.1:{running.port}"
        while self.seat()["metadata"]["annotations"][election.ADDRESS] != address:  # noqa: ASYNC110 # a Lease has no events
            await asyncio.sleep(0.01)

    def seat(self) -> Any:
        return self.cluster.api.find(Kind.LEASE, replica.lease_name("us"))


@asynccontextmanager
async def bed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> AsyncIterator[Bed]:
    monkeypatch.setattr(election, "LASTS_S", 3.0)
    monkeypatch.setattr(election, "WRITES_FOR_S", 2.0)
    monkeypatch.setattr(election, "RENEW_EVERY_S", 0.1)
    async with AsyncExitStack() as stack:
        workers = web.ServerRunner(web.Server(hello), shutdown_timeout=0.1)
        await workers.setup()
        stack.push_async_callback(workers.cleanup)
        site = web.TCPSite(workers, "0.0.0.0", 0)  # all of the loopback network
        await site.start()
        made = Bed(monkeypatch, folder, site._server.sockets[0].getsockname()[1])  # type: ignore[union-attr] # it was started
        stack.push_async_callback(made.session.close)
        client = await stack.enter_async_context(served(made.cluster.answer))
        for module in (replica, kubeconfig):
            monkeypatch.setattr(module, "find_access", lambda *_: client.access)
        yield made


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, see: Callable[[Bed], Any]) -> None:
    async def work() -> None:
        async with bed(monkeypatch, folder) as made:
            await see(made)

    asyncio.run(asyncio.wait_for(work(), 60))


def test_a_project_keeps_its_machine_whoever_leads_and_whoever_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def see(made: Bed) -> None:
        first = await made.start()
        own = await made.machine(first)
        second = await made.start()
        assert await made.machine(second) == own, "it is passed on"
        epoch = made.seat()["spec"]["leaseTransitions"]
        made.min_idle = 3
        await first.stop()
        await made.leads(second)
        assert await made.machine(second) == own
        other = await made.machine(second, "b")
        assert other[0] != own[0]
        assert other[1] > (epoch + 1) * 2**30 > own[1]
        while len(made.cluster.api.of(Kind.POD)) < 5:  # noqa: ASYNC110 # two projects, and three by the settings as they are now
            await asyncio.sleep(0.02)
        status, _ = await made.ask(second, "DELETE", "/v1/projects/a/machine")
        assert status == 200
        await second.stop()
        assert made.seat()["spec"]["holderIdentity"] == ""
        leases = made.cluster.api.of(Kind.LEASE)
        assert len(leases) == 1, "that of b"

    run(monkeypatch, tmp_path, see)


def test_one_that_leads_no_more_stands_by_and_leads_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def see(made: Bed) -> None:
        only = await made.start()
        own = await made.machine(only)
        epoch = made.seat()["spec"]["leaseTransitions"]
        elsewhere = {"spec": {"holderIdentity": "another", "leaseTransitions": epoch + 1}}
        made.cluster.api.change(Kind.LEASE, replica.lease_name("us"), elsewhere)
        while (await made.ask(only, "GET", "/readyz"))[0] == 200:  # noqa: ASYNC110 # probes have no events
            await asyncio.sleep(0.02)
        assert (await made.ask(only, "GET", "/livez"))[0] == 200
        assert await made.machine(only) == own, "held until it leads again"
        assert made.seat()["spec"]["leaseTransitions"] == epoch + 2
        await only.stop()

    run(monkeypatch, tmp_path, see)


def test_what_would_end_with_the_leader_is_refused_and_settings_are_reloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def see(made: Bed) -> None:
        only = await made.start()
        await made.machine(only)
        url = f"http://127.0.0.1:{only.port}/v1"
        async with made.session.patch(f"{url}/pools/default", json={"min_idle": 2}) as response:
            assert (response.status, "sizes cannot be changed" in await response.text()) == (501, True)
        async with made.session.post(f"{url}/keys", json={"name": "a", "rights": ["read"]}) as response:
            assert response.status in {400, 501}
        made.min_idle = 2
        only.reload()
        while len(made.cluster.api.of(Kind.POD)) < 3:  # noqa: ASYNC110 # a project's, and two
            await asyncio.sleep(0.02)
        await only.stop()

    run(monkeypatch, tmp_path, see)


def test_a_replica_has_to_know_where_it_is_and_the_key_of_values(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def see(made: Bed) -> None:
        with pytest.raises(InvalidSetting, match="replica_address is not set"):
            await made.start(replica_address=None)
        with pytest.raises(InvalidSetting, match="on_expiry is sleep for the pool default, but the engine kubernetes"):
            await made.start(on_expiry="sleep", ttl="1h")
        values = {"late_dir": "/run/values", "on_release": "recycle"}
        with pytest.raises(InvalidSetting, match=r"all replicas need the same key file\. Put 32 random bytes into"):
            await made.start(**values)
        file = tmp_path / late_key.FILE
        file.write_bytes(b"k" * 32)
        file.chmod(0o600)
        running = await made.start(**values)
        await running.stop()

    run(monkeypatch, tmp_path, see)
