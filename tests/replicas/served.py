"""Kills and stops leaders of whole services under load, and judges as `run.py` does: nothing lost, nothing doubled.

Three times `orchestrator serve --store kubernetes` with machines on a node that is not there (`kubelet.py`), on the cluster
that KUBECONFIG names. Clients are users: they ask any of the three by HTTP, and one that does not lead passes it on.

usage: python -m tests.replicas.served [--kills N] [--stops N] [--standby forward|redirect|refuse] [--logs FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import aiohttp
from tests.integration.docker_command import a_name
from tests.integration.waiting import PortBlock
from tests.replicas.kubelet import Kubelet
from tests.replicas.run import (
    CLIENTS,
    REPLICAS,
    STOPPED_S,
    Clients,
    Judge,
    compare,
    tell,
    until_written,
)

from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access
from worker_orchestrator.service.replicas.replica import lease_name
from worker_orchestrator.store.cluster.election import ADDRESS
from worker_orchestrator.store.replicas.sending import Sender

IDLE: Final = 12
MACHINES: Final = 60
_ANSWERS_WITHIN_S: Final = 15.0
"""A replica holds what it is asked while nobody leads."""
_PAUSE_S: Final = 0.03


class Users(Clients):
    """As `Clients`, by the API. A machine's generation is that of its project's assignment."""

    async def _assign(self, session: aiohttp.ClientSession, project: str) -> None:
        answer = await self._call(session, "PUT", project, {200, 201})
        if answer is not None:
            is_new = project not in self._judge.told
            self._judge.assigned(project, (answer["id"], answer["generation"]))
            self._judge.count["assigned" if is_new else "repeated"] += 1
            self._judge.writes += is_new

    async def _ask(self, session: aiohttp.ClientSession, path: str) -> Any:
        """A release. That there is nothing to release says that an earlier one, without an answer, was carried out."""
        _, _, project = path.partition("/")
        return await self._call(session, "DELETE", project, {200, 404})

    async def _call(self, session: aiohttp.ClientSession, method: str, project: str, good: set[int]) -> Any:
        port = random.choice(self._ports)
        url = f"http://127.0.0.1:{port}/v1/projects/{project}/machine"
        await asyncio.sleep(_PAUSE_S)
        try:
            async with session.request(method, url) as response:
                if response.status in good:
                    return await response.json()
                self._judge.count[f"status {response.status}"] += 1
                if response.status not in {503, 504}:
                    self._judge.wrong.append(f"{method} {project}: {response.status} {await response.text()}")
        except aiohttp.ClientConnectorError:
            return None  # nobody listens there, so it was not asked for
        except (aiohttp.ClientError, TimeoutError):
            self._judge.count["unanswered"] += 1
            return None
        await asyncio.sleep(0.05)
        return None


class Services:
    """The processes, by port."""

    def __init__(self, ports: list[int], words: list[str], logs: Path) -> None:
        self._words, self._logs = words, logs
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for port in ports:
            self.start(port)

    def start(self, port: int) -> None:
        own = [
            "--port",
            str(port),
            "--replica-address",
            f"http://127.0.0.1:{port}",
            "--state-dir",
            f"{self._logs}/{port}",
        ]
        with (self._logs / f"{port}.log").open("ab") as log:
            self._processes[port] = subprocess.Popen(
                [sys.executable, "-m", "worker_orchestrator", "serve", *self._words, *own], stderr=log
            )

    def send(self, port: int, number: signal.Signals) -> None:
        self._processes[port].send_signal(number)
        if number in {signal.SIGKILL, signal.SIGTERM}:
            self._processes[port].wait()

    def ended(self) -> list[int]:
        return [port for port, process in self._processes.items() if process.poll() is not None]

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


async def leading(client: Client, owner: str) -> int | None:
    """The port of the replica that has the seat."""
    lease = await client.call("GET", client.leases(lease_name(owner)))
    if not lease["spec"].get("holderIdentity"):
        return None
    return int(lease["metadata"]["annotations"][ADDRESS].rpartition(":")[2])


async def meet(services: Services, client: Client, owner: str, judge: Judge, number: signal.Signals) -> float:
    """Send this to the leader. Returns how long nothing was written then."""
    while (port := await leading(client, owner)) is None:  # noqa: ASYNC110 # a Lease has no events here
        await asyncio.sleep(0.1)
    services.send(port, number)
    await asyncio.sleep(0.1)  # what was on its way is answered
    took_s = 0.1 + await until_written(judge)
    if number in {signal.SIGKILL, signal.SIGTERM}:
        services.start(port)
    else:
        await asyncio.sleep(max(0.0, STOPPED_S - took_s))
        services.send(port, signal.SIGCONT)
    await asyncio.sleep(random.uniform(0.2, 2.0))
    judge.wrong += [f"the replica on port {each} ended by itself" for each in services.ended()]
    return took_s


async def run(chosen: argparse.Namespace) -> int:
    namespace, owner, ports = a_name("served"), a_name("owner"), PortBlock.claim()
    numbers = [ports.first + each for each in range(REPLICAS)]
    worker_port = ports.first + REPLICAS
    client, judge = Client(find_access(namespace=namespace)), Judge()
    deeds = [signal.SIGKILL] * chosen.kills + [signal.SIGSTOP] * chosen.stops + [signal.SIGTERM] * chosen.ends
    random.shuffle(deeds)
    took: dict[signal.Signals, list[float]] = {deed: [] for deed in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)}
    words = ["--engine", "kubernetes", "--store", "kubernetes", "--owner", owner, "--namespace", namespace, "--standby",
             chosen.standby, "--image", "worker:1", "--worker-port", str(worker_port), "--min-idle", str(IDLE),
             "--max-machines", str(MACHINES), "--log-format", "json"]  # fmt: skip
    await client.call("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})
    kubelet = asyncio.create_task(Kubelet(client, worker_port).run())
    services, users = Services(numbers, words, chosen.logs), Users(numbers, judge)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWERS_WITHIN_S)) as session:
            asking = [asyncio.create_task(users.run(session, number)) for number in range(CLIENTS)]
            await until_written(judge)
            begun_at = time.monotonic()
            for deed in deeds:
                took[deed].append(await meet(services, client, owner, judge, deed))
                if judge.wrong:
                    break
            users.is_over = True
            await asyncio.gather(*asking)
        print(f"{time.monotonic() - begun_at:.0f} s")
        await compare(Sender(client, owner), judge)
    finally:
        services.close()
        kubelet.cancel()
        await asyncio.wait({kubelet})
        await client.call("DELETE", client.pods(), body={"gracePeriodSeconds": 0})
        await client.call("DELETE", f"/api/v1/namespaces/{namespace}")
        await client.aclose()
    return tell(took, judge)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills and stops leaders of services that share the cluster store.")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--stops", type=int, default=2)
    parser.add_argument("--ends", type=int, default=2, help="how often the leader is told to end (SIGTERM)")
    parser.add_argument("--standby", default="forward")
    parser.add_argument("--logs", type=Path, default=None)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chosen.logs = chosen.logs or Path(folder)
        chosen.logs.mkdir(parents=True, exist_ok=True)
        sys.exit(asyncio.run(run(chosen)))


if __name__ == "__main__":
    main()
