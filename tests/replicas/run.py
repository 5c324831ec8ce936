"""Kills and stops leaders under load on the cluster that KUBECONFIG names, and judges: nothing lost, nothing doubled.

Three replicas (`replica.py`) are processes of their own, in a namespace of their own that needs no node. Clients assign and
release, each for projects of its own, and know what they were told. `kill -9` and SIGSTOP meet whoever leads. After each,
the time to the next write that is acknowledged is measured.

usage: python -m tests.replicas.run [--kills N] [--stops N]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from tests.integration.docker_command import a_name
from tests.integration.waiting import PortBlock

from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access
from worker_orchestrator.store.cluster.calls import Kind, ReadAll
from worker_orchestrator.store.cluster.objects import assignment_of, pod_of
from worker_orchestrator.store.cluster.recovery import recovered
from worker_orchestrator.store.replicas.sending import Sender

REPLICAS: Final = 3
CLIENTS: Final = 6
WRITES_WITHIN_S: Final = 10.0
_GIVES_UP_S: Final = 60.0
_ANSWERS_WITHIN_S: Final = 2.0
STOPPED_S: Final = 8.0
"""Longer than another replica waits before it takes over."""

Told = tuple[str, int]
"""Machine and generation."""


@dataclass
class Judge:
    """What clients were told, and what is wrong with it. `writes`: when something was acknowledged that was written."""

    told: dict[str, Told] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    count: Counter[str] = field(default_factory=Counter)
    writes: int = 0

    def assigned(self, project: str, told: Told) -> None:
        had = self.told.get(project)
        if had is not None and had != told:
            self.wrong.append(f"{project} had {had}, and was told {told}: lost")
        holders = [other for other, (machine, _) in self.told.items() if machine == told[0] and other != project]
        if unasked := [other for other in holders if other not in self.asked]:
            self.wrong.append(f"{told[0]} is told to {project}, and {unasked} has it: doubled")
        self.told[project] = told


class Clients:
    """Everybody who asks, at whatever replica."""

    def __init__(self, ports: list[int], judge: Judge) -> None:
        self._ports, self._judge, self.is_over = ports, judge, False

    async def run(self, session: aiohttp.ClientSession, number: int) -> None:
        projects = [f"project-{number}-{each}" for each in range(4)]
        while not self.is_over:
            project = random.choice(projects)
            if project in self._judge.told and random.random() < 0.4:
                await self._release(session, project)
            else:
                await self._assign(session, project)

    async def _assign(self, session: aiohttp.ClientSession, project: str) -> None:
        answer = await self._ask(session, f"assign/{project}")
        if answer is not None:
            self._judge.assigned(project, (answer["machine"], answer["generation"]))
            self._judge.count["assigned" if answer["is_new"] else "repeated"] += 1
            self._judge.writes += answer["is_new"]

    async def _release(self, session: aiohttp.ClientSession, project: str) -> None:
        """From the question on nobody knows whether it has its machine; without an answer it goes on asking."""
        self._judge.asked.add(project)
        deadline = time.monotonic() + _GIVES_UP_S
        while await self._ask(session, f"release/{project}") is None:
            if time.monotonic() > deadline:
                self._judge.wrong.append(f"{project} cannot be released")
                return
        del self._judge.told[project]
        self._judge.asked.discard(project)
        self._judge.count["released"] += 1
        self._judge.writes += 1

    async def _ask(self, session: aiohttp.ClientSession, path: str) -> Any:
        for port in random.sample(self._ports, len(self._ports)):
            try:
                async with session.post(f"http://127.0.0.1:{port}/{path}") as response:
                    if response.status == 200:
                        return await response.json()
            except aiohttp.ClientConnectorError:
                continue  # nobody listens there, so it was not asked for
            except (aiohttp.ClientError, TimeoutError):
                self._judge.count["unanswered"] += 1
                return None
        self._judge.count["refused"] += 1
        await asyncio.sleep(0.05)
        return None


class Replicas:
    """The processes, by port."""

    def __init__(self, ports: list[int], owner: str, namespace: str) -> None:
        self._owner, self._namespace = owner, namespace
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for port in ports:
            self.start(port)

    def start(self, port: int) -> None:
        words = (f"{port}-{time.time_ns()}", str(port), self._owner, self._namespace)
        self._processes[port] = subprocess.Popen([sys.executable, "-m", "tests.replicas.replica", *words])

    async def leader(self, session: aiohttp.ClientSession) -> int | None:
        for port in self._processes:
            try:
                async with session.get(f"http://127.0.0.1:{port}/state") as response:
                    if (await response.json())["leads"]:
                        return port
            except (aiohttp.ClientError, TimeoutError):
                continue
        return None

    def send(self, port: int, number: signal.Signals) -> None:
        self._processes[port].send_signal(number)
        if number is signal.SIGKILL:
            self._processes[port].wait()

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


async def until_written(judge: Judge) -> float:
    """Seconds until the next write is acknowledged."""
    before, begun_at = judge.writes, time.monotonic()
    while judge.writes == before and time.monotonic() < begun_at + _GIVES_UP_S:  # noqa: ASYNC110 # it is measured
        await asyncio.sleep(0.01)
    return time.monotonic() - begun_at


async def meet(replicas: Replicas, session: aiohttp.ClientSession, judge: Judge, number: signal.Signals) -> float:
    """Send this to the leader. Returns how long nothing was written then."""
    while (port := await replicas.leader(session)) is None:  # noqa: ASYNC110 # processes have no events
        await asyncio.sleep(0.1)
    replicas.send(port, number)
    await asyncio.sleep(0.1)  # what was on its way is answered
    took_s = 0.1 + await until_written(judge)
    if number is signal.SIGKILL:
        replicas.start(port)
    else:
        await asyncio.sleep(max(0.0, STOPPED_S - took_s))
        replicas.send(port, signal.SIGCONT)
    await asyncio.sleep(random.uniform(0.2, 2.0))
    return took_s


async def compare(sender: Sender, judge: Judge) -> None:
    """What a new leader would read, with what clients were told."""
    pods, leases = [(await sender.answer(ReadAll(kind))).items for kind in (Kind.POD, Kind.LEASE)]
    known = recovered({pod.name: pod for pod in map(pod_of, pods)}, list(map(assignment_of, leases))).machines
    truth = {machine.project: (machine.id, machine.generation) for machine in known.values() if machine.project}
    for project, told in judge.told.items():
        if project not in judge.asked and truth.get(project) != told:
            judge.wrong.append(f"{project} was told {told}, and the cluster has {truth.get(project)}")


async def run(kills: int, stops: int) -> int:
    namespace, owner, ports = a_name("replicas"), a_name("owner"), PortBlock.claim()
    numbers = [ports.first + each for each in range(REPLICAS)]
    client, judge = Client(find_access(namespace=namespace)), Judge()
    deeds = [signal.SIGKILL] * kills + [signal.SIGSTOP] * stops
    random.shuffle(deeds)
    took: dict[signal.Signals, list[float]] = {signal.SIGKILL: [], signal.SIGSTOP: []}
    await client.call("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})
    replicas, clients = Replicas(numbers, owner, namespace), Clients(numbers, judge)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWERS_WITHIN_S)) as session:
            asking = [asyncio.create_task(clients.run(session, number)) for number in range(CLIENTS)]
            await until_written(judge)
            for deed in deeds:
                took[deed].append(await meet(replicas, session, judge, deed))
                if judge.wrong:
                    break
            clients.is_over = True
            await asyncio.gather(*asking)
        await compare(Sender(client, owner), judge)
    finally:
        replicas.close()
        now = {"gracePeriodSeconds": 0}
        await client.call("DELETE", client.pods(), body=now)
        await client.call("DELETE", f"/api/v1/namespaces/{namespace}")
        await client.aclose()
    return tell(took, judge)


def tell(took: dict[signal.Signals, list[float]], judge: Judge) -> int:
    """Print what was seen. Returns whether anything is wrong with it."""
    for deed, times in took.items():
        if times:
            late = sum(each > WRITES_WITHIN_S for each in times)
            print(f"{deed.name} {len(times)}: written again after {statistics.median(times):.1f} s (median), "
                  f"{max(times):.1f} s at most; later than {WRITES_WITHIN_S:g} s: {late}")  # fmt: skip
            judge.wrong += (
                [f"{late} times nothing was written within {WRITES_WITHIN_S:g} s of {deed.name}"] if late else []
            )
    print(", ".join(f"{count} {what}" for what, count in sorted(judge.count.items())))
    print("\n".join(judge.wrong) or "Nothing was lost, and nothing doubled.")
    return bool(judge.wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills and stops leaders of the cluster store under load.")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--stops", type=int, default=2)
    chosen = parser.parse_args()
    sys.exit(asyncio.run(run(chosen.kills, chosen.stops)))


if __name__ == "__main__":
    main()
