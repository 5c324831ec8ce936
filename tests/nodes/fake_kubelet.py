"""A node that runs nothing: its kubelet says of each pod that it runs, and one server of this computer answers for all.

It is the node of all namespaces. Pods that no node has are bound to it, as a scheduler does, and are Ready after `--takes`
seconds, with an address of their own in 127.0.0.0/8, where each request is answered with 200. Pods that are to be deleted
are gone at once. The node reports as long as this runs. `--log` gets a line for each pod that is Ready: its name, and the
seconds of CLOCK_MONOTONIC at which the API server had acknowledged it.

usage: python -m tests.nodes.fake_kubelet [--takes SECONDS] [--ports 8080] [--log FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Any, Final

import msgspec

from worker_orchestrator.engines.kubernetes.calls import Refusal
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access

__all__ = ["HOST", "NODE", "FakeKubelet"]

NODE: Final = "fake-node"
HOST: Final = "127.0.0.1"
_REPORTS_EVERY_S: Final = 10.0
_WATCH_S: Final = 300
_ROOM: Final = {"cpu": "100000", "memory": "1000Ti", "pods": "100000"}
_REPLY: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nok\n"
_PODS: Final = "/api/v1/pods"
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _in_seconds() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeKubelet:
    """`takes_s`: from the time that it hears of a pod until that is Ready."""

    def __init__(self, client: Client, *, takes_s: float, log: IO[str]) -> None:
        self._client, self._takes_s, self._log = client, takes_s, log
        self._seen = set[str]()  # uids of those that were taken, or are on their way out
        self._leaving = set[str]()
        self._addresses = (f"127.{1 + n // 62_500}.{n // 250 % 250}.{n % 250 + 1}" for n in itertools.count())
        self._busy = set[asyncio.Task[None]]()
        self._ports = dict[int, asyncio.Server]()

    async def run(self) -> None:
        """For ever."""
        await self._report()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_reporting())
            tasks.create_task(self._follow())

    async def serve(self, *ports: int) -> None:
        """Answer at these ports of all addresses of pods, and at those of the node as pods ask for them."""
        for port in ports:
            if port not in self._ports:
                self._ports[port] = await asyncio.start_server(_answer, "0.0.0.0", port, backlog=1024)

    def close(self) -> None:
        for task in self._busy:
            task.cancel()
        for server in self._ports.values():
            server.close()

    # the node

    async def _report(self) -> None:
        """As a kubelet makes its node: with room, and Ready."""
        with suppress(Refusal):  # it is there
            await self._client.call("POST", "/api/v1/nodes", body={"metadata": {"name": NODE}})
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": _in_seconds()}
        status = {
            "capacity": _ROOM, "allocatable": _ROOM, "conditions": [condition | {"lastHeartbeatTime": _in_seconds()}],
            "addresses": [{"type": "InternalIP", "address": HOST}],
        }  # fmt: skip
        await self._client.call("PATCH", f"/api/v1/nodes/{NODE}/status", body={"status": status})
        # It was tainted when it was made, since it was not Ready.
        await self._client.call("PATCH", f"/api/v1/nodes/{NODE}", body={"spec": {"taints": None}})

    async def _keep_reporting(self) -> None:
        lease = {"metadata": {"name": NODE}, "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40}}
        with suppress(Refusal):
            await self._client.call("POST", _LEASES, body=lease)
        while True:
            await self._client.call("PATCH", f"{_LEASES}/{NODE}", body={"spec": {"renewTime": _now()}})
            await asyncio.sleep(_REPORTS_EVERY_S)

    # its pods

    async def _follow(self) -> None:
        while True:
            listed = await self._client.call("GET", _PODS)
            for pod in listed["items"]:
                self._take(pod)
            version = listed["metadata"]["resourceVersion"]
            params = [("watch", "1"), ("resourceVersion", version), ("timeoutSeconds", str(_WATCH_S))]
            with suppress(Refusal):
                async with self._client.stream(_PODS, params) as lines:
                    while line := await lines.readuntil(b"\n") if not lines.at_eof() else b"":
                        event = msgspec.json.decode(line)
                        if event["type"] in {"ADDED", "MODIFIED"}:
                            self._take(event["object"])

    def _take(self, pod: dict[str, Any]) -> None:
        uid, is_leaving = pod["metadata"]["uid"], bool(pod["metadata"].get("deletionTimestamp"))
        known = self._leaving if is_leaving else self._seen
        is_meant = pod["spec"].get("nodeName", NODE) == NODE and not pod["spec"].get("nodeSelector")
        if uid in known or not is_meant:
            return
        known.add(uid)
        task = asyncio.create_task(self._end(pod) if is_leaving else self._start(pod))
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _start(self, pod: dict[str, Any]) -> None:
        begun_at, name = time.monotonic(), pod["metadata"]["name"]
        with suppress(Refusal):  # it is gone meanwhile
            if not pod["spec"].get("nodeName"):
                target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
                binding = {"metadata": {"name": name, "uid": pod["metadata"]["uid"]}, "target": target}
                await self._client.call("POST", _path(pod, "/binding"), body=binding)
            await self.serve(*_node_ports(pod))
            await asyncio.sleep(max(0.0, begun_at + self._takes_s - time.monotonic()))
            body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": _ready(pod, next(self._addresses))}
            await self._client.call("PATCH", _path(pod, "/status"), body=body)
            print(name, time.monotonic(), file=self._log, flush=True)

    async def _end(self, pod: dict[str, Any]) -> None:
        at_once = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        with suppress(Refusal):
            await self._client.call("DELETE", _path(pod), body=at_once)


def _path(pod: dict[str, Any], part: str = "") -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}{part}"


def _node_ports(pod: dict[str, Any]) -> list[int]:
    every = [port for each in pod["spec"]["containers"] for port in each.get("ports") or ()]
    return [int(port["hostPort"]) for port in every if port.get("hostPort")]


def _ready(pod: dict[str, Any], address: str) -> dict[str, Any]:
    """What a kubelet says of a pod of which every container runs."""
    now = _in_seconds()
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running", "hostIP": HOST, "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds],
        "containerStatuses": [
            {
                "name": each["name"], "image": each["image"], "imageID": f"fake://{each['image']}", "ready": True,
                "restartCount": 0, "started": True, "containerID": f"fake://{pod['metadata']['uid']}",
                "state": {"running": {"startedAt": now}},
            }
            for each in pod["spec"]["containers"]
        ],
    }  # fmt: skip


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Each request of a connection, none of which has a body."""
    with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(_REPLY)
            await writer.drain()
    writer.close()


async def _main(chosen: argparse.Namespace) -> None:
    client = Client(find_access())
    with open(chosen.log, "a") if chosen.log else sys.stdout as log:  # noqa: ASYNC230, PTH123 # a few lines
        kubelet = FakeKubelet(client, takes_s=chosen.takes, log=log)
        try:
            await kubelet.serve(*map(int, chosen.ports.split(",")))
            await kubelet.run()
        finally:
            kubelet.close()
            await client.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A node that runs nothing.")
    parser.add_argument("--takes", type=float, default=0.0)
    parser.add_argument("--ports", default="8080")
    parser.add_argument("--log", default="")
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(parser.parse_args()))
