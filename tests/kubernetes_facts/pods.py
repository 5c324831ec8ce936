"""Questions that take nodes: how soon pods run, what they say when they cannot, what becomes of them without their node."""

from __future__ import annotations

import statistics
import time
from typing import Any

from tests.kubernetes_facts.asked import question
from tests.kubernetes_facts.cluster import Cluster, pod, until


def _status(cluster: Cluster, path: str) -> dict[str, Any]:
    return dict(cluster.ask("GET", path).body.get("status", {}))


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((one for one in status.get("conditions", []) if one["type"] == kind), {})


@question("Create → Ready, the image being there", "nodes")
def create_ready(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        took = []
        for number in range(10):
            began = time.monotonic()
            cluster.ask("POST", f"{place}/pods", pod(f"p{number}", cluster.image))
            cluster.ready(place, f"p{number}")
            took.append(time.monotonic() - began)
            cluster.ask("DELETE", f"{place}/pods/p{number}", gracePeriodSeconds="0")
        return f"{statistics.median(took):.2f} s (median of 10; {min(took):.2f} to {max(took):.2f})"


@question("The same, bound to its node by `nodeName`, past the scheduler", "nodes")
def create_ready_bound(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        took, node = [], cluster.nodes()[0]
        for number in range(10):
            began = time.monotonic()
            cluster.ask("POST", f"{place}/pods", pod(f"p{number}", cluster.image, nodeName=node))
            cluster.ready(place, f"p{number}")
            took.append(time.monotonic() - began)
            cluster.ask("DELETE", f"{place}/pods/p{number}", gracePeriodSeconds="0")
        return f"{statistics.median(took):.2f} s (median of 10; {min(took):.2f} to {max(took):.2f})"


@question("A `hostPort` that is taken on every node that fits", "nodes")
def host_port_scheduler(cluster: Cluster) -> str:
    node = cluster.nodes()[0]
    port = {"ports": [{"containerPort": 8080, "hostPort": 31999}]}
    with cluster.namespace() as place:
        selector = {"kubernetes.io/hostname": node}
        for name in ("one", "two"):
            cluster.ask("POST", f"{place}/pods", pod(name, cluster.image, container=port, nodeSelector=selector))
            until(lambda: _status(cluster, f"{place}/pods/one").get("phase") == "Running")
        until(lambda: _condition(_status(cluster, f"{place}/pods/two"), "PodScheduled"))
        status = _status(cluster, f"{place}/pods/two")
        scheduled = _condition(status, "PodScheduled")
        return f"the scheduler: {status['phase']}, {_said(scheduled)}"


@question("The same, bound to the node by `nodeName`", "nodes")
def host_port_kubelet(cluster: Cluster) -> str:
    node = cluster.nodes()[0]
    port = {"ports": [{"containerPort": 8080, "hostPort": 31999}]}
    with cluster.namespace() as place:
        for name in ("one", "two"):
            cluster.ask("POST", f"{place}/pods", pod(name, cluster.image, container=port, nodeName=node))
            until(lambda: _status(cluster, f"{place}/pods/one").get("phase") == "Running")
        until(lambda: _status(cluster, f"{place}/pods/two").get("phase") != "Pending", 20)
        status = _status(cluster, f"{place}/pods/two")
        return f"the kubelet: {status['phase']}, `{status.get('reason')}`: “{status.get('message')}”"


@question("More memory than any node has", "nodes")
def unschedulable(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        greedy = {"resources": {"requests": {"memory": "9000Gi"}}}
        cluster.ask("POST", f"{place}/pods", pod("one", cluster.image, container=greedy))
        after = until(lambda: _condition(_status(cluster, f"{place}/pods/one"), "PodScheduled"), 30)
        scheduled = _condition(_status(cluster, f"{place}/pods/one"), "PodScheduled")
        return f"after {after or 0:.1f} s {_said(scheduled)}"


@question("An image that is not there, with `imagePullPolicy: Never`", "nodes")
def image_never(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        missing = {"imagePullPolicy": "Never", "image": "no-such-image:1"}
        cluster.ask("POST", f"{place}/pods", pod("one", cluster.image, container=missing))
        return _waiting(cluster, f"{place}/pods/one", {"ContainerCreating", ""})


@question("An image name that is none", "nodes")
def image_invalid(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        wrong = {"image": "No Such Image"}
        made = cluster.ask("POST", f"{place}/pods", pod("one", cluster.image, container=wrong))
        if made.status != 201:
            return str(made)
        return _waiting(cluster, f"{place}/pods/one", {"ContainerCreating", ""})


def _waiting(cluster: Cluster, path: str, not_yet: set[str]) -> str:
    def state() -> dict[str, Any]:
        containers = _status(cluster, path).get("containerStatuses", [])
        return dict(containers[0]["state"].get("waiting", {})) if containers else {}

    after = until(lambda: state().get("reason", "") not in not_yet, 30)
    said, status = state(), _status(cluster, path)
    ready = _condition(status, "Ready")
    return (
        f"after {after or 0:.1f} s {status['phase']}, `containerStatuses[0].state.waiting` `{said.get('reason')}`: "
        f"“{said.get('message')}”; Ready {ready.get('status')}, `{ready.get('reason')}`"
    )


@question("A command that is not in the image", "nodes")
def command_missing(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        cluster.ask("POST", f"{place}/pods", pod("one", cluster.image, container={"command": ["/no/such/program"]}))
        path = f"{place}/pods/one"
        until(lambda: _status(cluster, path).get("phase") == "Failed", 30)
        status = _status(cluster, path)
        state = status["containerStatuses"][0]["state"]
        kind, told = next(iter(state.items()))
        words = _one_line(told.get("message"))
        return f"{status['phase']}, `{kind}` `{told.get('reason')}`, exit code {told.get('exitCode')}: “{words}”"


def _one_line(text: str | None) -> str:
    words = " ".join(str(text).split())
    return words if len(words) <= 160 else words[:160] + "…"


@question("A container that ended by itself (exit code 3)", "nodes")
def container_ended(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        cluster.ask("POST", f"{place}/pods", pod("one", cluster.image, container={"command": ["sh", "-c", "exit 3"]}))
        path = f"{place}/pods/one"
        until(lambda: _status(cluster, path).get("phase") == "Failed", 30)
        status = _status(cluster, path)
        ended = status["containerStatuses"][0]["state"].get("terminated", {})
        ready = _condition(status, "Ready")
        return (
            f"{status['phase']}, `terminated` `{ended.get('reason')}`, exit code {ended.get('exitCode')}; "
            f"Ready {ready.get('status')}, `{ready.get('reason')}`"
        )


@question("Delete of a running pod that does not heed SIGTERM, 5 s of grace", "nodes")
def delete_running(cluster: Cluster) -> str:
    with cluster.namespace() as place:
        cluster.ask("POST", f"{place}/pods", pod("one", cluster.image, terminationGracePeriodSeconds=5))
        path = f"{place}/pods/one"
        cluster.ready(place, "one")
        began = time.monotonic()
        cluster.ask("DELETE", path)
        not_ready = until(lambda: _condition(_status(cluster, path), "Ready").get("status") != "True", 200)
        gone = until(lambda: cluster.ask("GET", path).status == 404, 200)
        total = time.monotonic() - began
        return f"not Ready after {not_ready or 0:.1f} s, gone after {total:.1f} s" if gone is not None else "stays"


def _said(condition: dict[str, Any]) -> str:
    """What a condition says of why it is not so."""
    return f"{condition['type']} {condition['status']}, `{condition.get('reason')}`: “{condition.get('message')}”"
