"""Settings of the engine whose machines are pods: how they are read, shown, compared, and what does not go with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.service.engine_options import cluster_options, docker_options
from worker_orchestrator.service.specification import spec_of
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.difference import difference
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.pods import as_table, pod_template

TEMPLATE = {"spec": {"nodeSelector": {"disk": "ssd"}}}
PODS: dict[str, Any] = {"engine": "kubernetes"}


def test_a_template_is_a_table_or_a_file_of_json_or_yaml(tmp_path: Path) -> None:
    (tmp_path / "pod.json").write_text('{"spec": {"nodeSelector": {"disk": "ssd"}}}')
    (tmp_path / "pod.yaml").write_text("spec:\n  nodeSelector:\n    disk: ssd\n")
    for given in (TEMPLATE, str(tmp_path / "pod.json"), str(tmp_path / "pod.yaml")):
        assert as_table(pod_template(given)) == TEMPLATE
    assert as_table("") is None


@pytest.mark.parametrize("text", ["[1]", "spec: [", "", "replicas: 3", "spec: {a: 2026-01-01}"])
def test_a_file_of_anything_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(text)
    with pytest.raises(
        InvalidSetting, match=r"--pod-template is '.*pod\.yaml', but must be a table of a pod's metadata and"
    ):
        load({**PODS, "pod_template": str(tmp_path / "pod.yaml")}, {})
    with pytest.raises(InvalidSetting, match="--pod-template"):
        load({**PODS, "pod_template": str(tmp_path / "missing")}, {})


def test_each_pool_has_its_template_which_the_engine_gets_and_nobody_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "o.toml"
    outside = 'engine = "kubernetes"\n[pod_template.spec]\nnodeSelector = { disk = "ssd" }\n[pools.a]\n'
    file.write_text(outside)
    before = load({}, {}, file)
    assert [each.pod_template for each in docker_options(before).values()] == [TEMPLATE, TEMPLATE]
    file.write_text(outside + 'pod_template = { metadata = { labels = { team = "secret" } } }\n')
    after = load({}, {}, file)
    assert docker_options(after)["a"].pod_template == {"metadata": {"labels": {"team": "secret"}}}
    assert difference(before, after).lines() == ["~ pool a, pod_template: (hidden) -> (hidden)"]


@pytest.mark.parametrize("name", ["-a", "A", "a" * 64, "a.b", ""])
def test_a_namespace_has_a_name_that_one_can_have(name: str) -> None:
    with pytest.raises(InvalidSetting, match="--namespace is"):
        load({**PODS, "namespace": name}, {})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"namespace": "a"}, "namespace is for the engine kubernetes, but engine is docker."),
        ({"kube_context": "a", "engine": "memory"}, "kube_context is for the engine kubernetes, but engine is memory."),
        ({"kubeconfig": "/a"}, "kubeconfig is for the engine kubernetes"),
        ({"pod_address": "node"}, "pod_address is for the engine kubernetes"),
        ({"pod_template": TEMPLATE}, "pod_template is for the engine kubernetes"),
        ({"unreachable_grace": "10m"}, "unreachable_grace is for the engine kubernetes"),
        ({**PODS, "docker_host": "tcp://a:1"}, "docker_host is for Docker, but engine is kubernetes."),
        ({**PODS, "publish_address": "127.0.0.1"}, "publish_address is for Docker"),
    ],
)
def test_what_has_no_effect_on_this_engine_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load(given, {})
    assert refused.value.message.startswith(said)


def test_the_grace_of_a_pool_whose_node_is_lost_is_never_over_unless_it_is_set(tmp_path: Path) -> None:
    file = tmp_path / "o.toml"
    file.write_text('engine = "kubernetes"\n[pools.a]\nunreachable_grace = "10m"\n')
    pools = spec_of(load({}, {}, file)).pools
    assert (pools["default"].unreachable_grace_s, pools["a"].unreachable_grace_s) == (0, 600)


def test_commands_that_are_printed_name_the_namespace() -> None:
    chosen = load({**PODS, "namespace": "workers", "kube_context": "a", "kubeconfig": "/k"}, {})
    line = command_line(chosen, "down")
    for words in ("--engine kubernetes", "--namespace workers", "--kube-context a", "--kubeconfig /k"):
        assert words in line


def test_ports_of_nodes_come_from_the_range_of_host_ports() -> None:
    assert cluster_options(load(PODS, {})).host_ports is None
    chosen = load({**PODS, "pod_address": "node", "first_port": "20000", "last_port": "20009"}, {})
    assert cluster_options(chosen).host_ports == range(20_000, 20_010)


@pytest.mark.parametrize("name", ["idle_timeout", "confirm_within"])
def test_deadlines_of_use_need_an_engine_that_sees_use(name: str) -> None:
    chosen = load({**PODS, name: "15m"}, {})
    spec_of(chosen)
    with pytest.raises(InvalidSetting) as refused:
        spec_of(chosen, sees_use=False)
    assert refused.value.message.startswith(
        f"{name} is set for the pool default, but the engine kubernetes cannot tell"
    )
