"""What holds for pods of workers: whom they reach, who reaches them, and that nobody evicts them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from tests.unit.deploy.manifests import BASE, EVERYTHING, WAYS, one

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.template import make_template

OWN: Final = {"base": "worker-orchestrator", "everything": "workers"}
"""The namespace of the workers."""


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a connection: a pod in a namespace, or an address without one."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.0.0.9"

    @property
    def is_pod(self) -> bool:
        return bool(self.namespace)


def a_worker() -> dict[str, Any]:
    """A pod as the engine makes it."""
    machine = Machine("worker-1-aaaaaaaaa", "default", "t", State.STARTING, None)
    return make_template(DockerOptions("my/worker:1")).pod("me", machine)


def worker(way: str) -> Place:
    return Place(OWN[way], a_worker()["metadata"]["labels"])


def service(way: str) -> Place:
    labels = one(WAYS[way], "Deployment")["spec"]["template"]["metadata"]["labels"]
    return Place("worker-orchestrator", labels)


DNS: Final = Place("kube-system", {"k8s-app": "kube-dns"})
STRANGER: Final = Place("strangers", {"app": "any"})
APPS: Final = Place("apps", {"app": "builder"})
API_SERVERS: Final = [
    Place(address=each) for each in ("10.96.0.1", "172.18.0.2", "192.168.1.1", "100.64.0.1", "fd00::1")
]
METADATA: Final = Place(address="169.254.169.254")
OUTSIDE: Final = [Place(address="93.184.216.34"), Place(address="2606:2800:220:1::1")]


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector, of what is used here, takes these labels."""
    known = {"Exists": lambda key: key in labels, "DoesNotExist": lambda key: key not in labels}
    of_labels = (selector.get("matchLabels") or {}).items() <= labels.items()
    return of_labels and all(known[each["operator"]](each["key"]) for each in selector.get("matchExpressions") or ())


def is_meant(peer: Mapping[str, Any], place: Place, own: str) -> bool:
    """Whether a peer of a policy in the namespace `own` means this place."""
    if "ipBlock" in peer:
        address, block = ipaddress.ip_address(place.address), peer["ipBlock"]
        inside = [address in ipaddress.ip_network(each) for each in (block["cidr"], *block.get("except", ()))]
        return inside[0] and not any(inside[1:])
    if not place.is_pod or not selects(peer.get("podSelector") or {}, place.labels):
        return False
    if "namespaceSelector" not in peer:
        return place.namespace == own
    return selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": place.namespace})


def reaches(way: str, source: Place, target: Place, port: int = 443) -> bool:
    """Whether the policy lets `source` connect to this TCP port of `target`; one of them is a worker, or both."""
    policy, own = one(WAYS[way], "NetworkPolicy")["spec"], OWN[way]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}

    def passes(rules: list[dict[str, Any]], key: str, other: Place) -> bool:
        return any(
            any(is_meant(peer, other, own) for peer in rule[key])
            and ("ports" not in rule or port in {each["port"] for each in rule["ports"]})
            for rule in rules
        )

    def is_worker(place: Place) -> bool:
        return place.namespace == own and selects(policy["podSelector"], place.labels)

    assert is_worker(source) or is_worker(target)
    out = not is_worker(source) or passes(policy["egress"], "to", target)
    return out and (not is_worker(target) or passes(policy["ingress"], "from", source))


@pytest.mark.parametrize("way", WAYS)
def test_workers_reach_neither_each_other_nor_the_api_server_nor_the_service(way: str) -> None:
    assert not reaches(way, worker(way), worker(way), 8080)
    assert not reaches(way, worker(way), service(way), 9092)
    for target in (*API_SERVERS, METADATA, STRANGER):
        assert not reaches(way, worker(way), target)


@pytest.mark.parametrize("way", WAYS)
def test_not_even_what_is_let_in_from_another_worker_gets_in(way: str) -> None:
    """The one rule would do alone, if the other were changed."""
    policy = one(WAYS[way], "NetworkPolicy")["spec"]
    assert not any(is_meant(peer, worker(way), OWN[way]) for rule in policy["ingress"] for peer in rule["from"])


@pytest.mark.parametrize("way", WAYS)
def test_workers_can_look_up_names_and_nothing_else_there(way: str) -> None:
    assert reaches(way, worker(way), DNS, 53)
    assert not reaches(way, worker(way), DNS, 9153)


def test_addresses_outside_are_reached_only_where_that_is_chosen() -> None:
    for target in OUTSIDE:
        assert not reaches("base", worker("base"), target)
        assert reaches("everything", worker("everything"), target)


def test_more_can_be_let_out_and_in() -> None:
    database = Place(address="10.9.9.9")
    assert reaches("everything", worker("everything"), database, 5432)
    assert not reaches("everything", worker("everything"), database, 22)
    assert reaches("everything", APPS, worker("everything"), 8080)
    assert not reaches("base", APPS, worker("base"), 8080)


@pytest.mark.parametrize("way", WAYS)
def test_the_service_reaches_workers_and_strangers_do_not(way: str) -> None:
    assert reaches(way, service(way), worker(way), 8080)
    assert not reaches(way, STRANGER, worker(way), 8080)


def test_callers_in_the_namespace_of_the_service_reach_workers() -> None:
    assert reaches("base", Place("worker-orchestrator", {"app": "builder"}), worker("base"), 8080)
    assert reaches("everything", Place("worker-orchestrator", {"app": "builder"}), worker("everything"), 8080)


@pytest.mark.parametrize("way", WAYS)
def test_no_worker_is_evicted_and_the_service_may_be(way: str) -> None:
    """For bare pods Kubernetes heeds only a whole `minAvailable`, and allows as many evictions as there are pods beyond it.

    Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/#arbitrary-controllers-and-selectors
    """
    budget = one(WAYS[way], "PodDisruptionBudget")
    assert budget["metadata"].get("namespace", "worker-orchestrator") == OWN[way]
    assert budget["spec"].keys() == {"minAvailable", "selector"}
    assert (
        budget["spec"]["minAvailable"] > 10_000
    )  # the most that max_machines can be, for many services in one namespace
    assert selects(budget["spec"]["selector"], worker(way).labels)
    assert not selects(budget["spec"]["selector"], service(way).labels)


def test_the_two_ways_differ_in_what_was_chosen() -> None:
    """Else one of them would test nothing."""
    assert one(BASE, "NetworkPolicy")["spec"] != one(EVERYTHING, "NetworkPolicy")["spec"]
