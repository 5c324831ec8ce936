"""The API document, line by line, on pods: with the tests that `tests/integration/test_document_api.py` has for Docker.

Where the cluster has no nodes, a fake kubelet runs the pods (`tests/nodes/fake_kubelet.py`). Workers are at ports of nodes,
since the document's addresses differ by their ports.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from tests.contract.kubernetes_world import IMAGE
from tests.integration import test_document_api as document
from tests.integration.docker_command import a_name
from tests.integration.running import Running, at_hand
from tests.integration.waiting import eventually
from tests.nodes.fake_kubelet import NODE

from worker_orchestrator.engines.kubernetes.calls import Refusal
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access

pytestmark = pytest.mark.cluster

PORT: Final = 8080
SERVES: Final = f"mkdir -p /tmp/www; echo ok >/tmp/www/index.html; exec httpd -f -p {PORT} -h /tmp/www"
FLAGS: Final = (
    "--engine", "kubernetes", "--image", IMAGE, "--worker-port", str(PORT), "--pod-address", "node", "--max-machines", "6",
    "--assign-timeout", "20",
)  # fmt: skip
NOT_ON_PODS: Final = {
    "test_assign_answers_as_documented": "below: the address is that of a node",
    "test_the_listing_answers_as_documented": "below: the address is that of a node",
    "test_containers_of_others_are_never_touched": "has Docker's commands; the contract of engines says the same",
    "test_a_worker_gets_the_documented_environment": "takes commands; there is no host.docker.internal",
    "test_a_worker_reaches_a_service_of_the_host": "there is no host.docker.internal",
    "test_a_worker_is_published_on_both_loopback_addresses": "pods are on nodes",
    "test_names_and_origins_can_be_allowed": "has no worker",
    "test_the_document_holds_without_docker": "is about memory",
    "test_blocks_of_ports_do_not_overlap": "is about tests",
}
"""With the reason."""


def _in_the_document() -> dict[str, Any]:
    every = {name: test for name, test in vars(document).items() if name.startswith("test_")}
    assert not NOT_ON_PODS.keys() - every.keys()
    return {name: test for name, test in every.items() if name not in NOT_ON_PODS}


globals().update(_in_the_document(), _as_it_was=document._as_it_was)


class Cluster:
    """One namespace, asked from outside of any event loop."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def call(self, method: str, path: str, body: Any = None) -> Any:
        async def ask() -> Any:
            client = Client(find_access(namespace=self.namespace))
            try:
                return await client.call(method, path, body=body)
            finally:
                await client.aclose()

        return asyncio.run(ask())

    def pod(self, name: str) -> Any:
        """None where there is none, or it is on its way out."""
        try:
            found = self.call("GET", f"/api/v1/namespaces/{self.namespace}/pods/{name}")
        except Refusal:
            return None
        return None if found["metadata"].get("deletionTimestamp") else found


@dataclass(slots=True)
class _OnPods(Running):
    """Nothing of it is in Docker."""

    def close(self) -> None:
        if self.process is not None:
            self.end()
        self.ports.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A namespace of its own, on nodes that run pods or say so."""
    cluster = Cluster(a_name("document"))
    kubelet = None
    if not cluster.call("GET", "/api/v1/nodes")["items"]:
        kubelet = subprocess.Popen([sys.executable, "-m", "tests.nodes.fake_kubelet"], stdout=subprocess.DEVNULL)
    cluster.call("POST", "/api/v1/namespaces", {"metadata": {"name": cluster.namespace}})
    try:
        yield cluster
    finally:
        cluster.call("DELETE", f"/api/v1/namespaces/{cluster.namespace}")
        if kubelet is not None:
            eventually(lambda: not cluster.call("GET", "/api/v1/pods")["items"], "the pods are gone", within_s=60)
            kubelet.terminate()
            kubelet.wait()
            cluster.call("DELETE", f"/api/v1/nodes/{NODE}")


@pytest.fixture(scope="module")
def api(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two idle machines, six at most, as on Docker."""
    folder: Path = tmp_path_factory.mktemp("on-pods")
    template = {"spec": {"containers": [{"name": "worker", "command": ["sh", "-c", SERVES]}]}}
    (folder / "pod.json").write_text(json.dumps(template))
    flags = (
        *FLAGS,
        "--namespace",
        cluster.namespace,
        "--pod-template",
        str(folder / "pod.json"),
        "--stop-timeout",
        "1",
    )
    service = _OnPods(folder, flags)
    at_hand.append(service)
    try:
        service.start().await_idle(2, within_s=120)
        yield service
    finally:
        at_hand.remove(service)
        service.close()


@pytest.fixture(autouse=True)
def _pods_for_containers(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the document's tests look at a container, they see the pod."""

    def inspect(_: str, name: str) -> Any:
        return {"Id": cluster.pod(name)["metadata"]["uid"]}

    def docker(*words: str, check: bool = True) -> Any:
        assert words[:2] == ("container", "inspect"), words
        assert not check
        return SimpleNamespace(failed=cluster.pod(words[2]) is None)

    monkeypatch.setattr(document, "docker_json", inspect)
    monkeypatch.setattr(document, "docker", docker)


def test_assign_answers_as_documented_but_for_the_address(api: Running, cluster: Cluster) -> None:
    """200 with ip, port, url and containerId, and the URL answers at once."""
    answer = api.get(f"/{document.PROJECT}")
    assert answer.status == 200
    machine = answer.json
    assert list(machine) == ["ip", "port", "url", "containerId"]
    assert document.MACHINE_ID.fullmatch(machine["containerId"])
    pod = cluster.pod(machine["containerId"])
    assert machine["ip"] == pod["status"]["hostIP"]
    assert machine["port"] == pod["spec"]["containers"][0]["ports"][0]["hostPort"]
    assert api.ports.first <= machine["port"] <= api.ports.last
    assert machine["url"] == f"http://{machine['ip']}:{machine['port']}"
    with urllib.request.urlopen(machine["url"], timeout=5) as page:
        assert page.status == 200


def test_the_listing_answers_as_documented_but_for_the_address(api: Running, cluster: Cluster) -> None:
    """Its container ids are the first 12 characters of uids."""
    mine = api.assign(document.PROJECT)
    machines = api.machines()
    assert len(machines) >= 2
    for machine in machines:
        keys = ["id", "containerId", "ip", "port", "isUsed", "assignedProject", "url"]
        assert list(machine) == keys
        pod = cluster.pod(machine["id"])
        assert pod["metadata"]["uid"].startswith(machine["containerId"])
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{3}", machine["containerId"])
        assert machine["ip"] == pod["status"]["hostIP"]
        assert machine["isUsed"] is (machine["assignedProject"] is not None)
    used = [machine for machine in machines if machine["isUsed"]]
    assert [(machine["assignedProject"], machine["id"]) for machine in used] == [
        (document.PROJECT, mine["containerId"])
    ]
    assert used[0]["url"] == mine["url"]
