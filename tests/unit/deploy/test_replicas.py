"""Several replicas as the chart and the base install them: where they reach each other, and what they may do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tests.unit.deploy.manifests import BASE, DEPLOY, EVERYTHING, REPLICAS, one
from tests.unit.deploy.test_manifests import container_of, pod_of
from tests.unit.deploy.test_rights import given

from worker_orchestrator.service.ending import END_S
from worker_orchestrator.settings.loading import load
from worker_orchestrator.store.cluster.calls import Create, Delete, Kind, Patch, Read
from worker_orchestrator.store.replicas.sending import _request

ROLE = DEPLOY / "kustomize" / "replicas" / "role.yaml"


def variables() -> dict[str, str]:
    """As the kubelet makes them."""
    given = {each["name"]: each.get("value", "x" * 32) for each in container_of(REPLICAS)["env"]} | {
        "POD_IP": "10.0.0.7"
    }
    return {name: value.replace("$(POD_IP)", given["POD_IP"]) for name, value in given.items()}


def test_each_replica_says_where_it_is_and_all_have_one_name(tmp_path: Path) -> None:
    config = tmp_path / "orchestrator.toml"
    config.write_text(one(REPLICAS, "ConfigMap")["data"]["orchestrator.toml"])
    settings = load({}, variables(), config)
    assert (settings.store, settings.owner, settings.standby) == ("kubernetes", "worker-orchestrator", "forward")
    assert settings.replica_address == f"http://10.0.0.7:{settings.port}"
    names = [each["name"] for each in container_of(REPLICAS)["env"]]
    assert names.index("POD_IP") < names.index("ORCHESTRATOR_REPLICA_ADDRESS"), "else it stays as it is written"


def test_there_are_three_and_none_has_a_disk() -> None:
    spec = one(REPLICAS, "Deployment")["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > END_S
    assert [volume for volume in pod_of(REPLICAS)["volumes"] if volume["name"] == "state"] == [
        {"name": "state", "emptyDir": {}}
    ]
    assert all(each["kind"] != "PersistentVolumeClaim" for each in REPLICAS)


def test_one_that_hangs_is_left_out_and_one_is_evicted_at_a_time() -> None:
    assert one(REPLICAS, "Service")["spec"]["publishNotReadyAddresses"] is False
    budgets = {each["metadata"]["name"]: each["spec"] for each in REPLICAS if each["kind"] == "PodDisruptionBudget"}
    assert budgets["worker-orchestrator"]["maxUnavailable"] == 1
    labels = one(REPLICAS, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert budgets["worker-orchestrator"]["selector"]["matchLabels"] == labels
    assert "worker-orchestrator" not in {
        each["metadata"]["name"] for each in BASE if each["kind"] == "PodDisruptionBudget"
    }


def test_the_chart_refuses_replicas_that_share_nothing() -> None:
    schema = yaml.safe_load((DEPLOY / "helm" / "worker-orchestrator" / "values.schema.json").read_text())
    assert schema["if"] == {"properties": {"store": {"const": "sqlite"}}}
    assert schema["then"]["properties"]["replicas"] == {"const": 1}


def test_replicas_have_the_rights_of_the_engine_and_of_what_they_store() -> None:
    """The store makes pods and removes them by the engine's rights; what is more is a patch, and all of Leases."""
    alone = given(DEPLOY / "kustomize" / "base" / "role.yaml")
    names = {Kind.POD: "pods", Kind.LEASE: "leases.coordination.k8s.io"}
    used = {(name, verb) for kind, name in names.items() for verb in verbs(kind)}
    assert given(ROLE) == alone | used
    assert {right for right in used if right[0] == "pods"} - alone == {("pods", "patch")}
    everything = one(EVERYTHING, "Role")["rules"]
    assert all("leases" not in rule["resources"] for rule in everything), "one that is alone needs none"


def verbs(kind: Kind) -> set[str]:
    """What calls about this kind need: every one that there is."""
    calls: tuple[Any, ...] = (
        Create(kind, "a", {}), Patch(kind, "a", "1", {}), Delete(kind, "a", "u", "1"), Read(kind, "a"),
    )  # fmt: skip
    methods = {_request(call, f"/{kind}/a")[0] for call in calls}
    assert methods == {"POST", "PATCH", "DELETE", "GET"}
    return {{"POST": "create"}.get(method, method.lower()) for method in methods} | {"list"}
