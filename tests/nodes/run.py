"""What must hold on three nodes with one service: many at once, nodes killed, cut off and drained, a server that is away.

It needs the cluster that KUBECONFIG names, from where its pods can be reached. The acts `killed` and `cut` also need a
command in NODE: `$NODE kill 2` powers off the second node for good, `$NODE cut 3` and `$NODE heal 3` pull and put its
cable. So `killed` is the last act. Node n is named by CLUSTER_NODES, `node1,node2,node3` by default.

usage: python -m tests.nodes.run [ACT…]
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.contract.tcp_proxy import How, TcpProxy
from tests.nodes.service import COMMAND, IMAGE, Service, until

from worker_orchestrator.engines.kubernetes.kubeconfig import find_access

NODES: Final = os.environ.get("CLUSTER_NODES", "node1,node2,node3").split(",")
AWAY_S: Final = 60.0
_NOTICED_WITHIN_S: Final = 120.0
_WARM_WITHIN_S: Final = 120.0


def node(deed: str, number: int) -> None:
    subprocess.run([*os.environ["NODE"].split(), deed, str(number)], check=True)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


async def warm(service: Service, count: int) -> None:
    async def is_warm() -> bool:
        return await service.idle() >= count

    await until(is_warm, f"{count} are idle", _WARM_WITHIN_S)


async def assigned(service: Service, project: str) -> dict[str, Any]:
    status, machine = await service.ask("PUT", f"/v1/projects/{project}/machine")
    assert status in {200, 201}, (project, status, machine)
    return dict(machine)


async def eighty() -> None:
    """80 requests at once, 20 projects with 4 each: one machine per project, every reply agreeing."""
    async with Service("--min-idle", "20", "--max-machines", "60") as service:
        await warm(service, 20)
        for how, first in (("warm", 0), ("half of them cold", 20)):
            projects = [f"project-{first + number}" for number in range(20)] * 4
            begun_at = time.monotonic()
            replies = await asyncio.gather(*(service.ask("GET", f"/{project}") for project in projects))
            took_s = time.monotonic() - begun_at
            assert all(status == 200 for status, _ in replies), replies
            told = {project: set[str]() for project in projects}
            for project, (_, reply) in zip(projects, replies, strict=True):
                told[project].add(str(sorted(reply.items())))
            assert all(len(each) == 1 for each in told.values()), told
            of = {each["project"]: each["id"] for each in await service.machines() if each.get("project")}
            assert len(set(of.values())) == len(of) == first + 20, of
            print(f"eighty ({how}): 80 replies in {took_s:.2f} s, 20 projects with a machine each")


async def burst() -> None:
    """20 at once on an empty pool, in turns with 20 raw pods to Ready."""
    ours, raw = list[float](), list[float]()
    async with Service("--min-idle", "0", "--max-machines", "60", "--assign-timeout", "110") as service:
        for turn in range(3):
            raw.append(await _raw_pods(service, 20))
            begun_at = time.monotonic()
            projects = [f"burst-{turn}-{number}" for number in range(20)]
            await asyncio.gather(*(assigned(service, project) for project in projects))
            ours.append(time.monotonic() - begun_at)
            print(f"burst: 20 at once in {ours[-1]:.1f} s, 20 raw pods in {raw[-1]:.1f} s")
            await asyncio.gather(*(service.ask("DELETE", f"/{project}") for project in projects))
            await _until_gone(service)
    ratio = statistics.median(ours) / statistics.median(raw)
    print(f"burst: ratio of the medians {ratio:.2f}")


async def _raw_pods(service: Service, count: int) -> float:
    """Seconds from the first create until all of them are Ready, as a watch of their own kind would show it."""
    spec = _worker_spec()
    begun_at = time.monotonic()
    names = [f"raw-{number}" for number in range(count)]
    bodies = [{"metadata": {"name": name, "labels": {"raw": "yes"}}, "spec": spec} for name in names]
    await asyncio.gather(*(service.client.call("POST", service.client.pods(), body=body) for body in bodies))

    async def are_ready() -> bool:
        pods = (await service.pods()).values()
        return sum(_is_ready(pod) for pod in pods if pod["metadata"]["name"].startswith("raw-")) == count

    await until(are_ready, "raw pods are Ready", 120, pause_s=0.02)
    took_s = time.monotonic() - begun_at
    await service.client.call(
        "DELETE", service.client.pods(), [("labelSelector", "raw=yes")], {"gracePeriodSeconds": 1}
    )
    await _until_gone(service)
    return took_s


def _worker_spec() -> dict[str, Any]:
    """Without a probe of the kubelet: Ready is then as early as it can be, when the container runs."""
    container = {"name": "worker", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", COMMAND]}
    return {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions") or ())


async def _until_gone(service: Service) -> None:
    async def are_gone() -> bool:
        return not await service.pods()

    await until(are_gone, "the pods are gone", 120, pause_s=0.2)


async def patch() -> None:
    """A warm assign, in turns with a bare merge patch of a pod: medians of 100."""
    ours, bare = list[float](), list[float]()
    async with Service("--min-idle", "20", "--max-machines", "60") as service:
        await warm(service, 20)
        spec = {**_worker_spec(), "nodeSelector": {"no": "node"}}
        await service.client.call("POST", service.client.pods(), body={"metadata": {"name": "bare"}, "spec": spec})
        path = service.client.pods("bare")
        for number in range(100):
            begun_at = time.monotonic()
            await service.client.call("PATCH", path, body={"metadata": {"annotations": {"n": str(number)}}})
            bare.append(time.monotonic() - begun_at)
            if number % 20 == 0:
                for each in range(number - 20, number):
                    if each >= 0:
                        await service.ask("DELETE", f"/warm-{each}")
                await warm(service, 20)
            begun_at = time.monotonic()
            status, reply = await service.ask("GET", f"/warm-{number}")
            ours.append(time.monotonic() - begun_at)
            assert status == 200, reply
    p50 = statistics.median(ours) / statistics.median(bare)
    print(
        f"patch: warm assign {ms(statistics.median(ours))}, bare merge patch {ms(statistics.median(bare))}; ratio {p50:.2f}"
    )


async def away() -> None:
    """The API server is away for 60 s: nothing is declared gone, nobody loses a machine."""
    server = find_access().server.removeprefix("https://")
    for how in (How.REFUSES, How.SILENT):
        async with TcpProxy(f"tcp://{server}") as proxy, Service(
            "--min-idle", "3", "--max-machines", "20", server=f"https://127.0.0.1:{proxy.port}"
        ) as service:  # fmt: skip
            await warm(service, 3)
            had = {project: await assigned(service, project) for project in ("anna", "ben")}
            before = set(await service.pods())
            proxy.behave(how)
            await asyncio.sleep(AWAY_S)
            proxy.behave(How.WELL)
            begun_at = time.monotonic()
            now = {project: await assigned(service, project) for project in had}
            took_s = time.monotonic() - begun_at
            assert {p: m["id"] for p, m in now.items()} == {p: m["id"] for p, m in had.items()}, (had, now)
            await warm(service, 1)
            assert set(await service.pods()) >= {machine["id"] for machine in had.values()}
            gone = before - set(await service.pods())
            assert not gone, f"{gone} were removed"
            print(
                f"away ({how.value}, {AWAY_S:g} s): both projects have theirs after {took_s:.2f} s, no pod was removed"
            )


async def _assign_many(service: Service, count: int, node_in_question: str) -> dict[str, list[str]]:
    """Assign so many projects. Returns them by node; one at least is on that in question."""
    by_node: dict[str, list[str]] = {name: [] for name in NODES}
    for number in range(count):
        project = f"project-{number}"
        machine = await assigned(service, project)
        pod = (await service.pods())[machine["id"]]
        by_node[pod["spec"]["nodeName"]].append(project)
    assert by_node[node_in_question], by_node
    return by_node


async def _machines_of(service: Service, projects: list[str]) -> dict[str, dict[str, Any]]:
    of = {each["project"]: each for each in await service.machines() if each.get("project")}
    return {project: of[project] for project in projects if project in of}


async def cut() -> None:
    """A node is cut off for 60 s and healed: every assigned machine is the same, and runs."""
    async with Service("--min-idle", "6", "--max-machines", "40") as service:
        await warm(service, 6)
        by_node = await _assign_many(service, 9, NODES[2])
        projects = [project for each in by_node.values() for project in each]
        before = await _machines_of(service, projects)
        node("cut", 3)
        try:
            begun_at = time.monotonic()
            await asyncio.sleep(AWAY_S)
        finally:
            node("heal", 3)
        during = await _machines_of(service, projects)
        assert {p: m["id"] for p, m in during.items()} == {p: m["id"] for p, m in before.items()}, during
        print(
            f"cut: states of its projects after {AWAY_S:g} s: {sorted({during[p]['state'] for p in by_node[NODES[2]]})}"
        )

        async def all_serve() -> bool:
            now = await _machines_of(service, projects)
            return all(m["state"] == "assigned" and m["id"] == before[p]["id"] for p, m in now.items()) and len(
                now
            ) == len(before)

        healed_at = time.monotonic()
        await until(all_serve, "all serve again", _NOTICED_WITHIN_S, pause_s=0.5)
        for project in projects:
            assert (await assigned(service, project))["id"] == before[project]["id"]
        print(f"cut: all {len(projects)} have their machines, {time.monotonic() - healed_at:.1f} s after the heal "
              f"({time.monotonic() - begun_at:.0f} s after the cut)")  # fmt: skip


async def drained() -> None:
    """A drained node: its projects are told, and none gets an empty machine without a word."""
    async with Service("--min-idle", "6", "--max-machines", "40") as service:
        await warm(service, 6)
        by_node = await _assign_many(service, 9, NODES[1])
        lost = by_node[NODES[1]]
        before = await _machines_of(service, lost)
        words = [
            "kubectl",
            "drain",
            NODES[1],
            "--force",
            "--delete-emptydir-data",
            "--ignore-daemonsets",
            "--timeout=180s",
        ]
        drain = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await drain.communicate()
        try:
            assert drain.returncode == 0, said.decode()

            async def are_told() -> bool:
                now = await _machines_of(service, lost)
                return all(machine["state"] == "failed" for machine in now.values()) and len(now) == len(lost)

            await until(are_told, "the projects' machines are FAILED", _NOTICED_WITHIN_S)
            told = (await _machines_of(service, lost))[lost[0]]["reason"]
            after = {project: await assigned(service, project) for project in lost}
            assert all(after[project]["id"] != before[project]["id"] for project in lost)
            assert all(after[project]["generation"] > before[project]["generation"] for project in lost)
            print(f"drained: {len(lost)} projects are told {told!r}, and get another one when they ask")
        finally:
            words = ["kubectl", "uncordon", NODES[1]]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)  # noqa: ASYNC221 # nothing else happens


async def killed() -> None:
    """A node is killed: idle machines are replaced elsewhere, projects keep theirs, which are told to be out of reach."""
    async with Service("--min-idle", "6", "--max-machines", "40") as service:
        await warm(service, 6)
        by_node = await _assign_many(service, 9, NODES[1])
        await warm(service, 6)
        dead = NODES[1]
        before = await _machines_of(service, by_node[dead])
        node("kill", 2)
        begun_at = time.monotonic()

        async def is_replaced() -> bool:
            pods = await service.pods()
            idle = [each for each in await service.machines() if each["state"] == "idle"]
            return sum(bool(pods[each["id"]]["spec"]["nodeName"] != dead) for each in idle if each["id"] in pods) >= 6

        await until(is_replaced, "six are idle on other nodes", 2 * _NOTICED_WITHIN_S, pause_s=0.5)
        print(f"killed: six are idle on the other nodes after {time.monotonic() - begun_at:.0f} s")
        await asyncio.sleep(max(0.0, 75 - (time.monotonic() - begun_at)))
        now = await _machines_of(service, by_node[dead])
        assert {p: m["id"] for p, m in now.items()} == {p: m["id"] for p, m in before.items()}, now
        said = {project: await service.ask("GET", f"/{project}") for project in by_node[dead]}
        print(f"killed: projects on it keep their machines; an assign says {next(iter(said.values()))}")


ACTS: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    act.__name__: act for act in (eighty, burst, patch, away, cut, drained, killed)
}


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # it is a text file
    failed = list[str]()
    for name in sys.argv[1:] or list(ACTS):
        try:
            asyncio.run(ACTS[name]())  # type: ignore[arg-type] # a coroutine
        except (AssertionError, Exception) as error:  # noqa: BLE001 # the other acts are tried all the same
            print(f"{name}: {type(error).__name__}: {error}")
            failed.append(name)
    sys.exit(f"Failed: {', '.join(failed)}." if failed else 0)


if __name__ == "__main__":
    main()
