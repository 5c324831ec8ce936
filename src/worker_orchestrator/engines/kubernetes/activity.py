"""Whether a pod is used: what it received, sent and computed, and whether a connection to it is open, as seen from inside.

Each reading is one shell of the worker, which reads files of the kernel and ends. What is run by `exec` reaches a pod past
its network, so readings are no traffic. Without a shell nothing is known, which counts as use: such a machine is never idle.
"""

from __future__ import annotations

import asyncio

from worker_orchestrator.core.activity import Counters
from worker_orchestrator.engines.docker.proc_counters import connections_in, traffic_in
from worker_orchestrator.engines.kubernetes import counted
from worker_orchestrator.engines.kubernetes.listing import port_of
from worker_orchestrator.engines.kubernetes.pods import Pod
from worker_orchestrator.engines.kubernetes.stats import KubernetesStats
from worker_orchestrator.engines.kubernetes.template import WORKER

__all__ = ["KubernetesActivity"]


class KubernetesActivity(KubernetesStats):
    """Reads of a pod what shows its use."""

    async def counters(self, machine_id: str, *, cpu: bool) -> Counters:
        pod = await self._own(machine_id, running=True)
        files = await self._contents(machine_id, (*counted.TRAFFIC, *(counted.CPU if cpu else ())))
        devices, netstat, snmp6 = (files.get(name, "") for name in counted.TRAFFIC)
        traffic = traffic_in(devices, netstat, snmp6) if netstat else None
        received, sent = traffic or (None, None)
        now = asyncio.get_running_loop().time()
        return Counters(now, received, sent, counted.cpu_seconds(files) if cpu else None, run=_run_of(pod))

    async def is_connected(self, machine_id: str) -> bool | None:
        pod = await self._own(machine_id, running=True)
        files = await self._contents(machine_id, counted.TABLES)
        port = port_of(pod.get("spec") or {})
        if port is None or not files:
            return None
        return bool(connections_in("\n".join(files.values()), {port}))


def _run_of(pod: Pod) -> str:
    """The one run of its container: it is never started again."""
    every = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((str(each.get("containerID") or "") for each in every if each.get("name") == WORKER), "") or str(
        pod["metadata"]["uid"]
    )
