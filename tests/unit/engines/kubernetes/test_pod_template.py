"""The pod of a machine: what the settings make of it, what an operator may add, and what is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.logs import _given
from worker_orchestrator.engines.kubernetes.promises import refuse_unkept
from worker_orchestrator.engines.kubernetes.template import dropped, label_value, make_template
from worker_orchestrator.errors import EngineRejected

PLAIN = DockerOptions(
    "my/worker:1", worker_port=8080, env={"B": "2", "A": "1"}, pids_limit=2048, log_limit=30 * 1024**2
)
KEPT: dict[str, Any] = {
    "image": "other:1", "worker_port": 81, "env": {"A": "2"}, "memory": 64 * 1024**2, "cpus": 0.5, "cap_drop": ("NET_RAW",),
    "allow_sudo": True, "read_only": True, "user": "1000:100", "runtime": "gvisor",
    "pod_template": {"spec": {"nodeSelector": {"disk": "ssd"}}}, "late_dir": "/run/late",
}  # fmt: skip
REFUSED: dict[str, Any] = {
    "ports": (("http", 80),), "network": "net", "outbound": "host", "insecure_shared_network": True, "ready": "healthcheck",
    "pids_limit": 100, "log_limit": 1024, "late_post": "/configure", "parked": 1,
}  # fmt: skip


def a_machine(machine_id: str = "worker-1700000000000-abcdefghi", pool: str = "web") -> Machine:
    return Machine(machine_id, pool, "t1", State.STARTING, None)


def spec(options: DockerOptions) -> Any:
    return make_template(options).body["spec"]


def worker(options: DockerOptions) -> Any:
    return spec(options)["containers"][0]


def with_template(template: Any) -> DockerOptions:
    return replace(PLAIN, pod_template=template)


def test_a_pod_has_its_machines_name_and_labels_and_is_never_restarted() -> None:
    pod = make_template(PLAIN).pod("me", a_machine())
    assert (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) == ("v1", "Pod", "worker-1700000000000-abcdefghi")
    assert pod["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "worker-orchestrator",
        "worker-orchestrator/owner": "me",
        "worker-orchestrator/machine": "worker-1700000000000-abcdefghi",
        "worker-orchestrator/pool": "web",
        "worker-orchestrator/template": "t1",
    }
    assert pod["metadata"]["annotations"]["worker-orchestrator/ready"] == "http"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert (pod["spec"]["automountServiceAccountToken"], pod["spec"]["enableServiceLinks"]) == (False, False)
    assert [each["key"] for each in pod["spec"]["tolerations"] if "tolerationSeconds" not in each] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]


def test_what_a_label_cannot_hold_is_in_it_as_a_hash_and_in_full_in_the_annotation() -> None:
    long = "o" * 64
    metadata = make_template(PLAIN).pod(long, a_machine())["metadata"]
    assert metadata["annotations"]["worker-orchestrator/owner"] == long
    assert metadata["labels"]["worker-orchestrator/owner"] == label_value(long)
    assert len(label_value(long)) == 32
    assert label_value("a" * 63) == "a" * 63
    assert label_value("-a") != "-a"


def test_the_settings_become_fields_of_the_worker() -> None:
    options = replace(PLAIN, **{**KEPT, "pod_template": None})
    assert worker(options) == {
        "name": "worker",
        "image": "other:1",
        "env": [{"name": "A", "value": "2"}],
        "ports": [{"containerPort": 81, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "67108864", "cpu": "500m"}},
        "securityContext": {
            "allowPrivilegeEscalation": True,
            "capabilities": {"drop": ["NET_RAW"]},
            "readOnlyRootFilesystem": True,
            "runAsUser": 1000,
            "runAsGroup": 100,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "late", "mountPath": "/run/late"}],
    }
    assert spec(options)["runtimeClassName"] == "gvisor"
    assert spec(options)["volumes"] == [
        {"name": "tmp", "emptyDir": {"medium": "Memory"}},
        {"name": "late", "emptyDir": {"medium": "Memory", "sizeLimit": "16777216"}},
    ]
    assert worker(PLAIN)["securityContext"] == {"allowPrivilegeEscalation": False}
    assert worker(replace(PLAIN, worker_port=None))["ports"][0]["containerPort"] == 9092


@pytest.mark.parametrize("name", KEPT)
def test_every_option_that_changes_a_pod_changes_the_template(name: str) -> None:
    assert make_template(replace(PLAIN, **{name: KEPT[name]})).fingerprint != make_template(PLAIN).fingerprint


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_pod_cannot_keep_is_refused(name: str) -> None:
    refuse_unkept(PLAIN)
    with pytest.raises(EngineRejected):
        refuse_unkept(replace(PLAIN, **{name: REFUSED[name]}))


def test_no_option_is_forgotten_here() -> None:
    """How a worker is asked is in its annotations, and no matter of the template."""
    assert {*KEPT, *REFUSED, "ready_path", "ready_port"} == {field.name for field in fields(DockerOptions)}


def test_a_user_by_name_and_a_runtime_that_is_no_class_are_refused() -> None:
    with pytest.raises(EngineRejected, match="--user is web"):
        make_template(replace(PLAIN, user="web"))
    with pytest.raises(EngineRejected, match="RuntimeClass"):
        refuse_unkept(replace(PLAIN, runtime="My_Runtime"))


def test_an_operators_template_is_merged_over_ours() -> None:
    made = make_template(
        with_template(
            {
                "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
                "spec": {
                    "nodeSelector": {"disk": "ssd"},
                    "tolerations": [{"key": "gpu", "operator": "Exists"}],
                    "volumes": [{"name": "cache", "emptyDir": {}}],
                    "containers": [
                        {
                            "name": "worker",
                            "command": ["serve"],
                            "env": [{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                            "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                            "resources": {"requests": {"cpu": "100m"}},
                            "ports": [{"containerPort": 8080, "name": "http"}],
                        },
                        {"name": "proxy", "image": "proxy:1"},
                    ],
                },
            }
        )
    ).body
    ours, proxy = made["spec"]["containers"]
    assert (ours["image"], ours["command"], proxy) == ("my/worker:1", ["serve"], {"name": "proxy", "image": "proxy:1"})
    assert [each["name"] for each in ours["env"]] == ["A", "B", "SECRET"]
    assert ours["ports"] == [{"containerPort": 8080, "protocol": "TCP", "name": "http"}]
    assert ours["resources"] == {"requests": {"cpu": "100m"}}
    assert [each["key"] for each in made["spec"]["tolerations"]][2:] == ["gpu"]
    assert made["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert made["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "worker-orchestrator", "team": "a"}
    assert made["metadata"]["annotations"] == {"note": "b"}


@pytest.mark.parametrize(
    ("template", "place"),
    [
        ({"metadata": {"name": "a"}}, "metadata.name"),
        ({"metadata": {"finalizers": ["a"]}}, "metadata.finalizers"),
        ({"metadata": {"labels": {"worker-orchestrator/owner": "you"}}}, "metadata.labels[worker-orchestrator/owner]"),
        ({"metadata": {"annotations": {"worker-orchestrator/pool": "p"}}}, "metadata.annotations"),
        ({"spec": {"restartPolicy": "Always"}}, "spec.restartPolicy"),
        ({"spec": {"automountServiceAccountToken": True}}, "spec.automountServiceAccountToken"),
        ({"spec": {"hostNetwork": True}}, "spec.hostNetwork"),
        ({"spec": {"volumes": [{"name": "s", "hostPath": {"path": "/"}}]}}, "spec.volumes[].hostPath"),
        (
            {"spec": {"containers": [{"name": "x", "securityContext": {"privileged": True}}]}},
            "securityContext.privileged",
        ),
        ({"spec": {"containers": [{"name": "worker", "image": "other"}]}}, "spec.containers[worker].image"),
        (
            {"spec": {"containers": [{"name": "worker", "env": [{"name": "A", "value": "3"}]}]}},
            "spec.containers[worker].env[A].value",
        ),
        (
            {"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}},
            "spec.securityContext.seccompProfile",
        ),
        ({"spec": {"containers": "none"}}, "spec.containers"),
        ({"kind": "Job"}, "kind"),
        ({"spec": {1: 2}}, "the key 1 in spec"),
    ],
)
def test_what_is_ours_or_the_nodes_cannot_be_changed_and_says_so(template: Any, place: str) -> None:
    with pytest.raises(EngineRejected) as refused:
        make_template(with_template(template))
    assert place in refused.value.message


def test_what_is_set_to_what_it_is_anyway_is_no_change() -> None:
    same = with_template({"spec": {"hostNetwork": False, "containers": [{"name": "worker", "image": "my/worker:1"}]}})
    assert make_template(same).body["spec"]["containers"] == spec(PLAIN)["containers"]


def test_what_a_server_dropped_is_found_by_its_place() -> None:
    sent = {"spec": {"containers": [{"name": "a", "new": 1, "off": False, "none": []}]}}
    assert dropped(sent, sent) == ""
    assert dropped(sent, {"spec": {"containers": [{"name": "a", "more": 2}]}}) == "spec.containers[].new"
    assert dropped(sent, {"spec": {"containers": [{"name": "a", "new": 1}]}}) == ""
    assert dropped(sent, {}) == "spec"


def test_what_a_webhook_puts_before_ours_is_not_taken_for_it() -> None:
    sent = {"env": [{"name": "A", "value": "1"}], "args": ["a", "b"]}
    first = {"name": "HOST", "valueFrom": {"fieldRef": {}}}
    assert dropped(sent, {"env": [first, {"name": "A", "value": "1"}], "args": ["a", "b"]}) == ""
    assert dropped(sent, {"env": [first], "args": ["a", "b"]}) == "env[]"
    assert dropped(sent, {"env": [{"name": "A", "value": "1"}], "args": ["a"]}) == "args[]"


def test_a_worker_gets_the_values_of_its_variables_as_they_are() -> None:
    """The kubelet makes one `$` of two, and puts other variables in for `$(NAME)`."""
    options = DockerOptions("my/worker:1", env={"A": "pa$$word", "B": "$(A)", "C": "$1"})
    (worker,) = make_template(options).body["spec"]["containers"]
    assert [each["value"] for each in worker["env"]] == ["pa$$$$word", "$$(A)", "$$1"]
    assert _given({"spec": {"containers": [worker]}}) == options.env
