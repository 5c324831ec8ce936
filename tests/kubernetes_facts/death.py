"""A kubelet that dies, as all others see it. The nodes are documents only, which this program renews until it stops.

So no real node has to die, and there need not be one: what is asked is what the controllers do.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from tests.kubernetes_facts.asked import question
from tests.kubernetes_facts.cluster import MERGE, Cluster, pod, until

_RENEWED_S: Final = 5.0
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_TABLE: Final = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


class _Kubelets:
    """Three nodes in name only: with one of three dead, the controllers still believe in the network."""

    def __init__(self, cluster: Cluster) -> None:
        self.names: Final = [f"facts-{secrets.token_hex(2)}-{number}" for number in range(3)]
        self.alive: Final = set(self.names)
        self._cluster: Final = cluster
        self._ended: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._renew, daemon=True)

    def start(self) -> None:
        for name in self.names:
            taints = [{"key": "facts", "value": "1", "effect": "NoSchedule"}]
            node = {"metadata": {"name": name}, "spec": {"taints": taints}}
            made = self._cluster.ask("POST", "/api/v1/nodes", node)
            assert made.status == 201, made
            lease = {"metadata": {"name": name}, "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}}
            self._cluster.ask("POST", _LEASES, lease)
            self._report(name)
        self._thread.start()
        assert until(lambda: set(self.names) <= set(self._cluster.nodes()), 30) is not None

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        for name in self.names:
            self._cluster.ask("DELETE", f"/api/v1/nodes/{name}")
            self._cluster.ask("DELETE", f"{_LEASES}/{name}")

    def _renew(self) -> None:
        while not self._ended.wait(_RENEWED_S):
            for name in tuple(self.alive):
                now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
                self._cluster.ask("PATCH", f"{_LEASES}/{name}", {"spec": {"renewTime": now}}, kind=MERGE)

    def _report(self, name: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
        }
        ready |= {"lastHeartbeatTime": now, "lastTransitionTime": now}
        path = f"/api/v1/nodes/{name}/status"
        self._cluster.ask("PATCH", path, {"status": {"conditions": [ready]}}, kind=MERGE)


@contextlib.contextmanager
def _kubelets(cluster: Cluster) -> Iterator[_Kubelets]:
    kubelets = _Kubelets(cluster)
    try:
        kubelets.start()
        yield kubelets
    finally:
        kubelets.stop()


def _running(cluster: Cluster, place: str, name: str, node: str, **spec: Any) -> str:
    """A pod that its kubelet says is ready.

    Returns: its path.
    """
    cluster.ask("POST", f"{place}/pods", pod(name, cluster.image, nodeName=node, **spec))
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds]
    container = {"name": "main", "image": "x", "imageID": "x", "ready": True, "restartCount": 0, "started": True}
    container["state"] = {"running": {"startedAt": now}}
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": [container], "startTime": now}
    said = cluster.ask("PATCH", f"{place}/pods/{name}/status", {"status": status}, kind=MERGE)
    assert said.status == 200, said
    return f"{place}/pods/{name}"


def _condition(cluster: Cluster, path: str) -> dict[str, Any]:
    conditions = cluster.ask("GET", path).body["status"]["conditions"]
    return next(dict(one) for one in conditions if one["type"] == "Ready")


@question("A kubelet dies: when its pods are not Ready any more, and what they look like")
def kubelet_death(cluster: Cluster) -> str:
    with _kubelets(cluster) as kubelets, cluster.namespace() as place:
        node = kubelets.names[0]
        path = _running(cluster, place, "stays", node, tolerations=[{"operator": "Exists"}])
        kubelets.alive.discard(node)
        began = time.monotonic()
        until(lambda: _condition(cluster, f"/api/v1/nodes/{node}")["status"] != "True", 150)
        node_after = time.monotonic() - began
        until(lambda: _condition(cluster, path)["status"] != "True", 30)
        pod_after = time.monotonic() - began
        told = _condition(cluster, f"/api/v1/nodes/{node}")
        status = cluster.ask("GET", path).body["status"]
        conditions = ", ".join(f"{one['type']} {one['status']}" for one in status["conditions"])
        shown = " ".join(map(str, cluster.ask("GET", path, headers=_TABLE).body["rows"][0]["cells"][1:3]))
        return (
            f"the node's Ready is {told['status']} (`{told['reason']}`: “{told['message']}”) after {node_after:.0f} s, "
            f"its pod's after {pod_after:.0f} s: phase {status['phase']}, {conditions}, containers "
            f"{'ready' if status['containerStatuses'][0]['ready'] else 'not ready'}; `kubectl get` shows {shown}"
        )


@question("The same: what is deleted, by whom")
def kubelet_death_deletes(cluster: Cluster) -> str:
    with _kubelets(cluster) as kubelets, cluster.namespace() as place:
        node = kubelets.names[0]
        stays = _running(cluster, place, "stays", node, tolerations=[{"operator": "Exists"}])
        usual = _running(cluster, place, "usual", node)
        limited = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
        goes = _running(cluster, place, "goes", node, tolerations=[{**limited, "tolerationSeconds": 5}])
        kubelets.alive.discard(node)
        until(lambda: "deletionTimestamp" in cluster.ask("GET", goes).body["metadata"], 180)
        gone = cluster.ask("GET", goes)
        reasons = [one["reason"] for one in gone.body["status"]["conditions"] if one["type"] == "DisruptionTarget"]
        deleted = cluster.ask("DELETE", stays)
        time.sleep(3)
        shown = " ".join(map(str, cluster.ask("GET", stays, headers=_TABLE).body["rows"][0]["cells"][1:3]))
        spec = cluster.ask("GET", f"/api/v1/nodes/{node}").body["spec"]
        taints = ", ".join(f"`{one['key']}:{one['effect']}`" for one in spec["taints"] if one["key"] != "facts")
        given = cluster.ask("GET", usual).body["spec"]["tolerations"]
        added = ", ".join(f"`{one['key']}` for {one.get('tolerationSeconds')} s" for one in given)
        forced = cluster.ask("DELETE", stays, gracePeriodSeconds="0")
        return (
            f"taints: {taints}. Every pod is given tolerations: {added}. When that is over it is deleted, and stays as it "
            f"is, with `deletionTimestamp`{''.join(f', condition DisruptionTarget `{one}`' for one in reasons)}. One that "
            f"tolerates everything is not. Delete: {deleted.status}, and it stays, shown as {shown}; with 0 s of grace: "
            f"{forced.status}, then {cluster.ask('GET', stays).status}"
        )
