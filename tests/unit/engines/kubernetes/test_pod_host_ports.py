"""Pods that are reached from outside, at a port of their node that we choose."""

from __future__ import annotations

import pytest
from tests.unit.engines.kubernetes.fake_server import a_pod

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.host_ports import HostPorts
from worker_orchestrator.engines.kubernetes.listing import instance_of
from worker_orchestrator.engines.kubernetes.template import make_template
from worker_orchestrator.errors import EngineObstructed

OPTIONS = DockerOptions(
    image="i", worker_port=8080, pod_template={"spec": {"containers": [{"name": "proxy", "image": "p"}]}}
)


def test_each_machine_has_a_port_of_its_own_and_keeps_it() -> None:
    """Until a listing shows that it is gone."""
    ports = HostPorts(range(9000, 9003))
    given = {name: ports.of(name, 1.0) for name in ("a", "b", "c")}
    assert sorted(given.values()) == [9000, 9001, 9002]
    assert {name: ports.of(name, 1.0) for name in given} == given
    with pytest.raises(EngineObstructed, match="All 3 ports"):
        ports.of("d", 1.0)
    ports.keep({"a": given["a"], "b": given["b"]}, 2.0)
    assert ports.of("d", 3.0) == given["c"]


def test_a_port_is_kept_for_a_machine_that_no_listing_can_show_yet() -> None:
    """Since it was given after that listing had begun."""
    ports = HostPorts(range(9000, 9003))
    given = ports.of("a", 5.0)
    ports.keep({}, 4.0)
    assert given not in {ports.of("b", 6.0), ports.of("c", 6.0)}
    ports.keep({}, 7.0)
    assert len({ports.of(name, 8.0) for name in ("d", "e", "f")}) == 3


def test_a_port_that_was_taken_is_not_tried_again_by_the_next_machine() -> None:
    """Where there are others."""
    ports = HostPorts(range(9000, 19_000))
    assert len({HostPorts(range(9000, 19_000)).of(f"worker-{n}", 1.0) for n in range(50)}) > 45
    assert ports.of("worker-1", 1.0) == ports.of("worker-1", 1.0)


def test_the_port_of_the_node_leads_to_the_worker_and_to_no_sidecar() -> None:
    """And that is its address from then on."""
    template = make_template(OPTIONS, on_nodes=True)
    assert template.fingerprint != make_template(OPTIONS).fingerprint
    pod = template.pod("me", Machine("w1", "default", "t", State.STARTING, None), 9123)
    worker, proxy = pod["spec"]["containers"]
    assert worker["ports"] == [{"containerPort": 8080, "protocol": "TCP", "hostPort": 9123}]
    assert "ports" not in proxy
    shown = a_pod("w1")
    shown["spec"], shown["status"]["hostIP"] = pod["spec"], "10.1.0.4"
    instance = instance_of(shown)
    assert (instance.address, instance.host, instance.port) == ("10.1.0.4", "10.1.0.4", 9123)
