"""The service as the chart and the base install it: what it may do, how it is asked, and what is secret."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.deploy.manifests import BASE, DEPLOY, EVERYTHING, WAYS, one

from worker_orchestrator.http.monitoring import Monitoring
from worker_orchestrator.service.ending import END_S
from worker_orchestrator.settings.loading import load

CHART = DEPLOY / "helm" / "worker-orchestrator"
BASES = [DEPLOY / "kustomize" / name for name in ("base", "replicas")]
every_way = pytest.mark.parametrize("manifests", WAYS.values(), ids=list(WAYS))


def pod_of(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = one(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def container_of(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    container: dict[str, Any]
    (container,) = pod_of(manifests)["containers"]
    return container


def test_what_is_in_the_tree_was_made_from_this_chart() -> None:
    """If it was not: `make deploy`."""
    digests = json.loads((DEPLOY / "rendered" / "digests.json").read_text())
    files = [each for folder in (CHART, *BASES) for each in folder.rglob("*") if each.is_file()]
    files += [DEPLOY / "kustomize" / "service-monitor" / "servicemonitor.yaml"]
    files += [each for each in (DEPLOY / "rendered").iterdir() if each.name != "digests.json"]
    assert {str(each.relative_to(DEPLOY)): hashlib.sha256(each.read_bytes()).hexdigest() for each in files} == digests


@pytest.mark.parametrize("folder", BASES, ids=lambda folder: folder.name)
def test_a_base_has_every_file_of_its_folder(folder: Path) -> None:
    named = set(yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"])
    assert named == {each.name for each in folder.iterdir()} - {"kustomization.yaml"}


def test_the_chart_has_the_version_of_the_service() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == project["version"]
    assert container_of(BASE)["image"].endswith(f":{project['version']}")


@every_way
def test_there_is_one_process_and_never_two(manifests: list[dict[str, Any]]) -> None:
    spec = one(manifests, "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > END_S


@every_way
def test_the_service_is_restricted(manifests: list[dict[str, Any]]) -> None:
    """Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    pod, container = pod_of(manifests), container_of(manifests)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all(volume.keys() & {"configMap", "persistentVolumeClaim", "emptyDir"} for volume in pod["volumes"])
    assert not any("hostPort" in port for port in container["ports"])


@every_way
def test_its_settings_are_ones_that_the_service_takes(manifests: list[dict[str, Any]], tmp_path: Path) -> None:
    container = container_of(manifests)
    config = tmp_path / "orchestrator.toml"
    config.write_text(one(manifests, "ConfigMap")["data"]["orchestrator.toml"])
    variables = {each["name"]: each.get("value", "x" * 32) for each in container["env"]}
    settings = load({}, variables, config)
    assert settings.engine == "kubernetes"
    assert settings.port == container["ports"][0]["containerPort"]
    assert str(settings.state_dir) in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert Path(variables["ORCHESTRATOR_CONFIG"]).name == config.name
    assert settings.namespace == one(manifests, "Role")["metadata"].get("namespace", "")


@every_way
def test_probes_ask_what_answers_without_a_token(manifests: list[dict[str, Any]]) -> None:
    container = container_of(manifests)
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {each["path"] for each in asked.values()} == Monitoring.PROBES
    assert asked["readiness"]["path"] == "/readyz"
    assert all(each["port"] == container["ports"][0]["name"] for each in asked.values())


@every_way
def test_the_token_is_only_referred_to(manifests: list[dict[str, Any]]) -> None:
    (token,) = [each for each in container_of(manifests)["env"] if each["name"] == "ORCHESTRATOR_TOKEN"]
    assert token.keys() == {"name", "valueFrom"}
    assert token["valueFrom"].keys() == {"secretKeyRef"}
    assert all(each["kind"] != "Secret" for each in manifests)
    assert yaml.safe_load((CHART / "values.yaml").read_text())["token"].keys() == {"secret", "key"}


@every_way
def test_the_service_leads_to_the_pod_even_while_it_can_give_no_machine(manifests: list[dict[str, Any]]) -> None:
    service, labels = (
        one(manifests, "Service")["spec"],
        one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"],
    )
    assert service["selector"].items() <= labels.items()
    assert service["publishNotReadyAddresses"] is True
    assert service["ports"][0]["targetPort"] == container_of(manifests)["ports"][0]["name"]


def test_prometheus_is_told_only_on_request() -> None:
    assert all(each["kind"] != "ServiceMonitor" for each in BASE)
    monitor, token = one(EVERYTHING, "ServiceMonitor"), container_of(EVERYTHING)["env"][-1]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == token["valueFrom"]["secretKeyRef"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["port"] in {each["name"] for each in one(EVERYTHING, "Service")["spec"]["ports"]}
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= one(EVERYTHING, "Service")["metadata"]["labels"].items()
    )
    component = yaml.safe_load((DEPLOY / "kustomize" / "service-monitor" / "kustomization.yaml").read_text())
    assert component["kind"] == "Component"
    assert component["resources"] == ["servicemonitor.yaml"]


def test_prometheus_gets_the_alerts_only_on_request() -> None:
    assert all(each["kind"] != "PrometheusRule" for each in BASE)
    assert one(EVERYTHING, "PrometheusRule")["spec"] == yaml.safe_load(
        (DEPLOY / "prometheus" / "rules.yaml").read_text()
    )
