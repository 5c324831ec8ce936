"""Machines as bare pods in one namespace: one pod per machine, named after it, found again by its labels.

Raw JSON over aiohttp. Only `client.py` knows how calls reach the server, `kubeconfig.py` which server that is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from worker_orchestrator.core.instance import Instance
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.base import Identity, Listing
from worker_orchestrator.engines.docker import template as docker
from worker_orchestrator.engines.docker.pool_options import naming_pool
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.activity import KubernetesActivity
from worker_orchestrator.engines.kubernetes.calls import is_missing, looking, status_of, writing
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.files import KubernetesFiles
from worker_orchestrator.engines.kubernetes.host_ports import HostPorts
from worker_orchestrator.engines.kubernetes.late import KubernetesLate
from worker_orchestrator.engines.kubernetes.lifecycle import KubernetesLifecycle
from worker_orchestrator.engines.kubernetes.listing import labels_of
from worker_orchestrator.engines.kubernetes.logs import KubernetesLogs
from worker_orchestrator.engines.kubernetes.pods import KnownPods, list_pods
from worker_orchestrator.engines.kubernetes.promises import refuse_unkept
from worker_orchestrator.engines.kubernetes.template import (
    MACHINE,
    OWNER,
    READY,
    READY_PATH,
    Template,
    dropped,
    label_value,
    make_template,
)
from worker_orchestrator.engines.kubernetes.terminal import KubernetesTerminals
from worker_orchestrator.engines.probe import NOTHING, PROBE_TIMEOUT_S, REFUSED, http_probe, tcp_probe
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineRejected, EngineUnavailable, OutcomeUnknown

__all__ = ["KubernetesEngine"]

_NATIVE_ID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{3}|[0-9a-f]{4}(?:-[0-9a-f]{4}){2}-[0-9a-f]{12})")
"""A uid, or its first twelve characters, which are shown."""
_TRIED_AS: Final = "worker-0-template"
"""The name of a pod that is never made. A machine's id has more digits."""
_NO_DRY_RUN: Final = "does not support dry run"
"""What an admission webhook says that cannot be asked without doing anything."""


class KubernetesEngine(
    KubernetesLifecycle, KubernetesLogs, KubernetesLate, KubernetesTerminals, KubernetesFiles, KubernetesActivity
):
    """One namespace of a cluster, for one owner: what it shows and says here, all else in the classes that it is made of."""

    plans_ports = False
    restarts_in_place = False

    def __init__(
        self, client: Client, owner: str, options: Mapping[str, DockerOptions], host_ports: range | None = None
    ) -> None:
        """`options` are those of each pool, by its name. `host_ports`: of nodes, if pods are reached there."""
        super().__init__(client, owner, options)
        self._host_ports = None if host_ports is None else HostPorts(host_ports)
        self._known: Mapping[str, Mapping[str, str]] = {}  # labels and annotations by machine id, of the last listing
        self._known_pods = KnownPods()
        self._tried: set[str] = set()  # fingerprints that the server took, when asked without doing it

    def is_native_id(self, text: str) -> bool:
        return _NATIVE_ID.fullmatch(text) is not None

    def take_options(self, options: Mapping[str, DockerOptions]) -> frozenset[str]:
        """Take these options of the pools, by name, for all that is made from now on. Returns the pools with other ones."""
        return self._pools.configure(options)

    def progress(self, pool: str) -> str:  # noqa: ARG002 # nodes pull images, when a pod comes to them
        return ""

    async def ping(self) -> None:
        with looking("answer"):
            await self._client.call("GET", "/version")

    async def identity(self) -> Identity:
        """The namespace: another cluster, or another namespace of the same name, has another id."""
        with looking(f"read the namespace {self._client.namespace}"):
            namespace = await self._client.call("GET", f"/api/v1/namespaces/{self._client.namespace}")
            uid = str(namespace["metadata"]["uid"])
        return Identity(uid, marked=await self._is_marked())

    async def _is_marked(self) -> bool:
        try:
            with looking("read configmaps"):
                await self._client.call("GET", f"{self._marks}/{self._mark}")
        except EngineError as error:
            if is_missing(error) or status_of(error) == HTTPStatus.FORBIDDEN:
                return False
            raise
        return True

    @property
    def _marks(self) -> str:
        return f"/api/v1/namespaces/{self._client.namespace}/configmaps"

    @property
    def _mark(self) -> str:
        return f"worker-orchestrator-{label_value(self._owner).lower()}"

    async def _leave_mark(self) -> None:
        """See to it that the namespace says that it is ours. Without the right to, its own id has to do."""
        labels = {OWNER: label_value(self._owner), "app.kubernetes.io/managed-by": "worker-orchestrator"}
        mark = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self._mark, "labels": labels}}
        try:
            with writing("create configmaps"):
                await self._client.call("POST", self._marks, body=mark)
        except EngineRejected as error:
            if status_of(error) not in {HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN}:
                raise

    async def remove_mark(self) -> None:
        """Remove the mark, for `down`. Absent is success. Raises EngineError."""
        try:
            with writing("delete configmaps"):
                await self._client.call("DELETE", f"{self._marks}/{self._mark}")
        except EngineRejected as error:
            if status_of(error) not in {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN}:
                raise

    async def template(self, pool: str, *, fetch: bool = True) -> str:  # noqa: ARG002 # there is nothing to fetch
        """The server is asked whether it would take such a pod: what it does not know or not allow is refused here."""
        options = self._pools.chosen(pool)
        with naming_pool(pool):
            refuse_unkept(options)
            template = make_template(options, on_nodes=self._host_ports is not None)
            await self._try(pool, template)
        self._templates[pool, template.fingerprint] = template
        return template.fingerprint

    async def _try(self, pool: str, template: Template) -> None:
        """Ask the server whether it would take a pod of this template, once. Raises EngineError if not."""
        if template.fingerprint in self._tried:
            await self.ping()
            return
        await self._leave_mark()
        tried = Machine(_TRIED_AS, pool, template.fingerprint, State.STARTING, None)
        pod = template.pod(self._owner, tried, None if self._host_ports is None else self._host_ports.first)
        try:
            with writing("create pods"):
                made = await self._client.call("POST", self._client.pods(), [("dryRun", "All")], pod)
        except EngineObstructed:
            return  # what stands in the way now is no fault of the template
        except OutcomeUnknown as error:  # it would not have been carried out
            raise EngineUnavailable(error.message) from error
        except EngineRejected as error:
            if _NO_DRY_RUN not in error.message:
                raise
        else:
            if unknown := dropped(pod, made):
                raise EngineRejected(
                    f"This Kubernetes does not know {unknown} of a pod, and would drop it. Leave it out of pod_template."
                )
        self._tried.add(template.fingerprint)

    async def list(self) -> Listing:
        as_of = asyncio.get_running_loop().time()
        with looking("list pods"):
            pods, _ = await list_pods(self._client, self._known_pods)
            instances = self._instances(pods)
            if self.in_term is not None:
                await self.in_term.listed(pod for pod in pods if labels_of(pod).get(OWNER) == self._owner)
            self._keep_host_ports(pods, as_of)
            known = [labels_of(pod) for pod in pods]
            self._known = {each[MACHINE]: each for each in known if each.get(OWNER) in self.owners}
        return Listing(as_of, instances)

    async def probe(
        self,
        machine: Machine,
        instance: Instance | None = None,
        limit_s: float = PROBE_TIMEOUT_S,
        *,
        closely: bool = False,
    ) -> str | None:
        if instance is None or instance.address is None or instance.port is None:
            return f"{NOTHING}, since its pod has no address{' yet' if instance is None or instance.address is None else ''}"
        options = self._options_of(machine)
        address, port = instance.address, instance.port
        if options.ready == "tcp":
            missing = await tcp_probe(address, port, limit_s)
        else:
            missing = await http_probe(address, port, options.ready_path, limit_s=limit_s, closely=closely)
        if missing is None:
            return None
        hint = "does the worker listen on 0.0.0.0" + ("" if options.worker_port else ", and is --worker-port right")
        if missing.startswith(REFUSED):
            return f"{missing} of {address}; {hint}?"
        is_silent = missing.startswith("no ")
        what = "addresses of pods" if self._host_ports is None else "ports of nodes"
        return f"{missing} of {address}; are {what} reached from here?" if is_silent else missing

    def _options_of(self, machine: Machine) -> DockerOptions:
        """What this process made of its template is asked as it was made for; after a restart, as its pool is now."""
        made = self._templates.get((machine.pool, machine.template))
        if made:
            return made.options
        known = self._known.get(machine.id, {})
        asked = {docker.READY: known.get(READY, ""), docker.READY_PATH: known.get(READY_PATH, "")}
        return self._pools.of_machine(machine.pool, asked)
