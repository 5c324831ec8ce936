"""What a pod uses: by the metrics API where the cluster has one, else by the files of its control groups, read from inside.

What neither tells is None. The metrics are those of the kubelet, some seconds old, and know the processor and memory only.
Source: https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.extras import Usage
from worker_orchestrator.engines.kubernetes import counted
from worker_orchestrator.engines.kubernetes.calls import reading, status_of
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.commands import KubernetesCommands
from worker_orchestrator.engines.kubernetes.pods import Pod
from worker_orchestrator.engines.kubernetes.template import WORKER
from worker_orchestrator.engines.samples import Sample, Samples, fits
from worker_orchestrator.errors import EngineError, EngineRejected

__all__ = ["KubernetesStats", "quantity"]

_PAUSE_S: Final = 0.2
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(n|u|m|[KMGTPE]i|[kMGTPE])?")
_UNITS: Final = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 1e3,
    **{letter: 1000.0 ** (power + 2) for power, letter in enumerate("MGTPE")},
    **{f"{letter}i": 1024.0 ** (power + 1) for power, letter in enumerate("KMGTPE")},
}  # fmt: skip
_NOTHING: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE})
"""No such API, no right to it, or who measures does not answer."""


class KubernetesStats(KubernetesCommands):
    """The measurements of pods."""

    def __init__(self, client: Client, owner: str, options: Mapping[str, DockerOptions]) -> None:
        super().__init__(client, owner, options)
        self._samples = Samples()

    async def stats(self, machine_id: str) -> Usage:
        pod = await self._own(machine_id, running=True)
        told = await self._told_by_metrics(pod)
        return told or await self._counted(machine_id, pod)

    async def _told_by_metrics(self, pod: Pod) -> Usage | None:
        """None where the cluster does not measure, or has not measured this pod yet."""
        name = pod["metadata"]["name"]
        path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{self._client.namespace}/pods/{name}"
        try:
            with reading("read the metrics of a pod"):
                metrics: Any = await self._client.call("GET", path)
                used: Any = next((each["usage"] for each in metrics["containers"] if each["name"] == WORKER), {})
                cpu, memory = quantity(used.get("cpu")), quantity(used.get("memory"))
        except EngineError as error:
            if status_of(error) in _NOTHING:
                return None
            raise
        return Usage(
            cpu_percent=None if cpu is None else 100 * cpu,
            cpu_seconds=None,
            memory_bytes=None if memory is None else round(memory),
            memory_limit_bytes=_limit_of(pod),
            processes=None,
            received_bytes=None,
            sent_bytes=None,
        )

    async def _counted(self, machine_id: str, pod: Pod) -> Usage:
        uid = pod["metadata"]["uid"]
        files, now = await self._read(machine_id)
        before = self._samples.of(uid)
        if now is not None and not fits(before, now):
            before = now
            await asyncio.sleep(_PAUSE_S)
            files, now = await self._read(machine_id)
        if now is not None:
            self._samples.remember(uid, now)
        share = (
            (now.cpu_s - before.cpu_s) / (now.taken_s - before.taken_s)
            if now and before and fits(before, now)
            else None
        )
        processes = counted.number(files, counted.PROCESSES)
        received, sent = _traffic(files.get(counted.TRAFFIC[0], ""))
        return Usage(
            cpu_percent=None if share is None else 100 * share,
            cpu_seconds=None if now is None else now.cpu_s,
            memory_bytes=counted.memory(files),
            memory_limit_bytes=_limit_of(pod) or counted.memory_limit(files),
            processes=None if processes is None or processes < 2 else processes - 1,  # the shell that reads
            received_bytes=received,
            sent_bytes=sent,
        )

    async def _read(self, machine_id: str) -> tuple[Mapping[str, str], Sample | None]:
        """What the files say, and how much was computed. Nothing without a shell in the image."""
        files = await self._contents(machine_id, counted.USAGE)
        cpu_s = counted.cpu_seconds(files)
        return files, Sample(asyncio.get_running_loop().time(), cpu_s) if cpu_s else None

    async def _contents(self, machine_id: str, names: Sequence[str]) -> Mapping[str, str]:
        """Those of these files of the pod that are there; none without a shell in the image. Raises EngineError."""
        try:
            _, output = await self._ask(machine_id, "measure a pod", counted.READ, *names)
        except EngineRejected as error:
            if status_of(error):
                raise
            return {}
        return counted.contents(output)


def quantity(text: Any) -> float | None:
    """A quantity of Kubernetes as a number; None if it is none."""
    match = _QUANTITY.fullmatch(str(text))
    return float(match[1]) * _UNITS[match[2] or ""] if match else None


def _limit_of(pod: Pod) -> int | None:
    containers = (pod.get("spec") or {}).get("containers") or ()
    limits = next(
        (((each.get("resources") or {}).get("limits") or {}) for each in containers if each["name"] == WORKER), {}
    )
    limit = quantity(limits.get("memory"))
    return None if limit is None else round(limit)


def _traffic(devices: str) -> tuple[int | None, int | None]:
    """What all networks but the loopback have received and sent; None if that is not known."""
    lines = [line.partition(":") for line in devices.splitlines() if ":" in line]
    columns = [rest.split() for name, _, rest in lines if name.strip() != "lo"]
    if not lines or any(len(each) < 9 or not (each[0] + each[8]).isdigit() for each in columns):
        return None, None
    return sum(int(each[0]) for each in columns), sum(int(each[8]) for each in columns)
