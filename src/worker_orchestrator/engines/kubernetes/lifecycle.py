"""The life of pods: made, asked to end, removed. Every write is safe to repeat under the same machine id.

A pod's end is its removal: nothing is started again in one that ended, so `stop` removes it, with time to end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.calls import is_missing, looking, status_of, writing
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.host_ports import HostPorts
from worker_orchestrator.engines.kubernetes.listing import host_port_of
from worker_orchestrator.engines.kubernetes.pods import Pod, list_pods
from worker_orchestrator.engines.kubernetes.reach import runs
from worker_orchestrator.engines.kubernetes.template import Template
from worker_orchestrator.engines.kubernetes.watching import KubernetesWatching
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, OutcomeUnknown

__all__ = ["KubernetesLifecycle"]

FORCED_AFTER_S: Final = 60.0
"""A pod whose node does not say that it ended, so long after its time to end, is taken off the record: nobody else would do
so, ever."""
KILLED_AFTER_S: Final = 1
"""The least time to end that leaves it to the kubelet to say that a pod has ended. With 0 it may run on, unseen."""
_TOLD_AFTER_S: Final = 15.0
"""For the kubelet to say so."""
_FORGOTTEN_AFTER_S: Final = 3600.0
_MOST_TRIES: Final = 5
"""Nodes change pods as well, so the version that was read may be old by the time of the removal."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0


class KubernetesLifecycle(KubernetesWatching):
    """Makes and removes pods."""

    def __init__(self, client: Client, owner: str, options: Mapping[str, DockerOptions]) -> None:
        super().__init__(client, owner, options)
        self._templates: dict[tuple[str, str], Template] = {}  # by pool and fingerprint
        self._host_ports: HostPorts | None = None
        self._forced_at: dict[str, float] = {}  # by uid: when (loop time) what we asked to end is taken off by force

    async def create(self, machine: Machine) -> bool:
        """A pod is only accepted: that it runs is shown by a listing."""
        template = self._templates.get((machine.pool, machine.template))
        if template is None:
            raise EngineRejected(f"The template {machine.template} of {machine.id} is no longer known.")
        pod = template.pod(self._owner, machine, await self._host_port(machine))
        if self.in_term is not None:
            pod = self.in_term.stamped(pod)
        try:
            with writing("create pods"):
                made = await self._client.call("POST", self._client.pods(), body=pod)
        except EngineRejected as error:
            if status_of(error) != HTTPStatus.CONFLICT:
                raise
            made = await self._find(machine)
        if self.in_term is not None:
            self.in_term.heard(made)
        return False

    async def _host_port(self, machine: Machine) -> int | None:
        """The port of its node for this machine; None if it is reached at its pod. Raises EngineError."""
        if self._host_ports is None:
            return None
        now = asyncio.get_running_loop().time
        if not self._host_ports.is_informed:
            as_of = now()
            with looking("list pods"):
                self._keep_host_ports((await list_pods(self._client))[0], as_of)
        return self._host_ports.of(machine.id, now())

    def _keep_host_ports(self, pods: Iterable[Pod], as_of: float) -> None:
        """Take note of the ports of all our pods, by a listing that was begun at this loop time."""
        if self._host_ports is not None:
            ports = {pod["metadata"]["name"]: host_port_of(pod.get("spec") or {}) for pod in pods}
            self._host_ports.keep({name: port for name, port in ports.items() if port}, as_of)

    async def _find(self, machine: Machine) -> Pod:
        """What has the name of this machine: an earlier create may have landed. Raises EngineError."""
        pod = await self._pod(machine.id)
        if pod is None:
            raise EngineUnavailable(f"The pod {machine.id} was removed at this moment.")
        if not self._is_ours(pod, machine.id):
            raise EngineRejected(f"Another pod has the name {machine.id}, and this service did not make it.")
        if pod["metadata"].get("deletionTimestamp"):
            raise EngineUnavailable(f"The former pod {machine.id} is still being removed.")
        return pod

    async def restart(self, machine_id: str, *, stop_first: bool = False) -> None:  # noqa: ARG002 # it never is
        pod = await self._pod(machine_id)
        if pod is None:
            raise EngineRejected(f"{machine_id} has no pod that could be restarted.")
        raise EngineRejected(f"The pod {machine_id} cannot be started again in place: Kubernetes has no call for that.")

    async def stop(self, machine_id: str, grace_s: float) -> None:
        """The kubelet sends the image's STOPSIGNAL, else SIGTERM, after whole seconds SIGKILL, also if we are gone then."""
        pod = await self._delete(machine_id, max(KILLED_AFTER_S, math.ceil(grace_s)))
        if pod is None:
            return
        now, pause_s = asyncio.get_running_loop().time, _FIRST_PAUSE_S
        deadline = now() + grace_s + _TOLD_AFTER_S
        while now() < deadline:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
            left = await self._pod(machine_id)
            if left is None or left["metadata"]["uid"] != pod["metadata"]["uid"] or not runs(left):
                return
        raise OutcomeUnknown(f"The node of {machine_id} has not said that its pod ended.")

    async def destroy(self, machine_id: str) -> bool:
        """False until it is gone: the kubelet says when it has ended."""
        return await self._delete(machine_id, KILLED_AFTER_S) is None

    async def _delete(self, machine_id: str, grace_s: int) -> Pod | None:
        """Ask for the end of our pod of this machine; None if there is none. Raises EngineError."""
        for _ in range(_MOST_TRIES):
            pod = await self._pod(machine_id)
            if pod is None or not self._is_ours(pod, machine_id):
                return None
            uid = pod["metadata"]["uid"]
            conditions = {"uid": uid}
            if self.in_term is not None:
                conditions["resourceVersion"] = self.in_term.version_of(pod)
            options = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": self._grace_s(uid, grace_s),
                "preconditions": conditions,
            }
            try:
                with writing("delete pods"):
                    await self._client.call("DELETE", self._client.pods(machine_id), body=options)
            except EngineRejected as error:
                is_changed = status_of(error) == HTTPStatus.CONFLICT
                if is_missing(error) or (is_changed and self.in_term is None):  # this one, by its uid, is gone
                    return None
                if not is_changed:
                    raise
            else:
                return pod
        raise EngineUnavailable(f"The pod {machine_id} changes all the time, so it was not removed.")

    def _grace_s(self, uid: str, grace_s: int) -> int:
        """The time to end that is asked for: none if it was asked before, and its node has not said so for too long."""
        now = asyncio.get_running_loop().time()
        self._forget_removed(now)
        if now > self._forced_at.get(uid, math.inf):
            return 0
        # Whoever gives less time than somebody before means it.
        self._forced_at[uid] = min(self._forced_at.get(uid, math.inf), now + grace_s + FORCED_AFTER_S)
        return grace_s

    def _forget_removed(self, now: float) -> None:
        """What was asked for long ago is gone, or was forced to be."""
        old = [uid for uid, forced_at in self._forced_at.items() if now - forced_at > _FORGOTTEN_AFTER_S]
        for uid in old:
            del self._forced_at[uid]
