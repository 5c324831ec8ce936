"""A node that is not there: it takes every pod of a namespace, says that it runs, and ends it when it is to end.

All pods have the address of this computer, and one server answers for all of them, on every address of the loopback network:
each pod has one of its own there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from worker_orchestrator.engines.kubernetes.calls import Refusal
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.pods import Pod, list_pods, watch_pods

__all__ = ["Kubelet"]

NODE: Final = "node-of-tests"


class Kubelet:
    """The node of the namespace of `client`. `port` is the one on which workers answer."""

    def __init__(self, client: Client, port: int) -> None:
        self._client, self._port = client, port
        self._numbers: dict[str, int] = {}  # by uid: which address it has
        self._busy = set[tuple[str, str]]()
        self._tasks = set[asyncio.Task[None]]()

    async def run(self) -> None:
        """Be there until cancelled."""
        runner = web.ServerRunner(web.Server(_hello))
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", self._port).start()  # all of the loopback network
        try:
            while True:
                found, version = await list_pods(self._client)
                for pod in found:
                    self._look(pod)
                with suppress(Refusal, TimeoutError, OSError):
                    async for event in watch_pods(self._client, version):
                        if event is not None and event[0] != "DELETED":
                            self._look(event[1])
        finally:
            await runner.cleanup()

    def _look(self, pod: Pod) -> None:
        uid, is_ending = pod["metadata"]["uid"], bool(pod["metadata"].get("deletionTimestamp"))
        deed = "end" if is_ending else "run"
        if (uid, deed) not in self._busy:
            self._busy.add((uid, deed))
            task = asyncio.create_task(self._end(pod) if is_ending else self._start(pod))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _start(self, pod: Pod) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        path, status = self._client.pods(name, "binding"), self._client.pods(name, "status")
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        with suppress(Refusal):  # it is gone already, or to be
            await self._client.call(
                "POST", path, body={"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            )
            await self._client.call("PATCH", status, body={"status": self._running(uid)})

    def _running(self, uid: str) -> Mapping[str, Any]:
        number = self._numbers.setdefault(uid, len(self._numbers) + 2)
        address = f"127.{number >> 16 & 127 | 1}.{number >> 8 & 255}.{number & 255}"
        conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "ContainersReady", "Ready")]
        state = {"name": "worker", "image": "worker:1", "imageID": "worker:1", "ready": True, "restartCount": 0,
                 "state": {"running": {}}}  # fmt: skip
        addresses = {"podIP": address, "podIPs": [{"ip": address}], "hostIP": "127.0.0.1"}
        return {"phase": "Running", "conditions": conditions, "containerStatuses": [state], **addresses}

    async def _end(self, pod: Pod) -> None:
        metadata = pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        with suppress(Refusal):
            await self._client.call("DELETE", self._client.pods(metadata["name"]), body=options)


async def _hello(_: web.BaseRequest) -> web.StreamResponse:
    return web.json_response({"status": "ok"})
