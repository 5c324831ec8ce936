"""What all parts of the engine share: the cluster, our owner, the pools, and how a machine's pod is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from worker_orchestrator.engines.docker.pool_options import PoolOptions
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.calls import is_missing, reading
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.in_term import InTerm
from worker_orchestrator.engines.kubernetes.listing import labels_of
from worker_orchestrator.engines.kubernetes.pods import Pod
from worker_orchestrator.engines.kubernetes.template import MACHINE, OWNER, WORKER
from worker_orchestrator.errors import EngineRejected, NotRunning

__all__ = ["KubernetesReach", "runs", "while_it_runs"]


class KubernetesReach:
    """One namespace of one cluster, for one owner. `options` are those of each pool, by its name."""

    def __init__(self, client: Client, owner: str, options: Mapping[str, DockerOptions]) -> None:
        self._client, self._owner = client, owner
        self.owners = {owner}
        self._pools = PoolOptions(options)
        self.in_term: InTerm | None = None  # of a leader among replicas; None: this service is alone

    async def aclose(self) -> None:
        await self._client.aclose()

    def _is_ours(self, pod: Pod, machine_id: str) -> bool:
        known = labels_of(pod)
        return known.get(MACHINE) == machine_id and known.get(OWNER) in self.owners

    async def _pod(self, name: str) -> Pod | None:
        """The pod of this name, whoever made it; None if there is none. Raises EngineUnavailable, EngineRejected."""
        try:
            with reading("read pods"):
                pod: Pod = await self._client.call("GET", self._client.pods(name))
        except EngineRejected as error:
            if is_missing(error):
                return None
            raise
        return pod

    async def _own(self, machine_id: str, *, running: bool) -> Pod:
        """Our pod of this machine. Raises NotRunning where there is none, or with `running` none whose worker runs."""
        pod = await self._pod(machine_id)
        if pod is None or not self._is_ours(pod, machine_id):
            raise NotRunning(f"There is no pod of {machine_id}.")
        if running and not runs(pod):
            raise NotRunning(f"The worker of {machine_id} does not run.")
        return pod


def runs(pod: Mapping[str, Any]) -> bool:
    """Whether the worker's container runs, as far as its node has told."""
    every = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(each.get("name") == WORKER and "running" in (each.get("state") or {}) for each in every)


@contextmanager
def while_it_runs(machine_id: str, what: str) -> Iterator[None]:
    """As `reading`, for what needs a pod: that it is not there any more is no fault of the call."""
    try:
        with reading(what):
            yield
    except EngineRejected as error:
        if is_missing(error):
            raise NotRunning(f"There is no pod of {machine_id}.") from error
        raise
