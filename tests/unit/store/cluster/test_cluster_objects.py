"""What stands in pods and Leases, as `kubectl` shows it and as it is read back."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.store.cluster.driving import ME, OURS, Cluster, a_body, free, held

from worker_orchestrator.core.configuration import UNKNOWN
from worker_orchestrator.core.lease import Lease, Terms
from worker_orchestrator.core.machine import Holding, State
from worker_orchestrator.errors import StoreError
from worker_orchestrator.store.cluster.calls import Kind
from worker_orchestrator.store.cluster.objects import (
    ASSIGNMENT,
    GENERATION,
    PROJECT,
    STATE,
    TERM,
    Saying,
    assignment_of,
    lease_body,
    lease_name,
    pod_of,
    recorded,
)
from worker_orchestrator.store.cluster.terms import NO_TERM

LONG = "a.project~with:characters@that+a=label,never-takes" * 2
WHOLE = held(
    project=LONG,
    holding=Holding(LONG, '{"branch":"main"}', Lease(Terms(ttl=60.0), 1.5, 2.5)),
    host="10.0.0.7",
    port=9092,
    reason="It was assigned to the project.",
)


def as_listed(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "uid": "uid-1", "resourceVersion": "12"}}


def test_a_lease_has_the_whole_machine_of_its_project() -> None:
    read = assignment_of(as_listed(lease_body(ME, WHOLE, "uid-7", OURS)))
    assert (read.machine, read.project, read.term, read.uid, read.version) == (WHOLE, LONG, OURS, "uid-1", "12")
    assert read.pod_uid == "uid-7"


def test_a_lease_tells_its_story_to_kubectl() -> None:
    body = lease_body(ME, held(), "uid-7", OURS)
    assert (body["apiVersion"], body["kind"]) == ("coordination.k8s.io/v1", "Lease")
    assert body["spec"] == {"holderIdentity": "worker-1", "leaseTransitions": 7}
    assert body["metadata"]["labels"][PROJECT] == "anna"
    assert body["metadata"]["annotations"][PROJECT] == "anna"


def test_no_lease_has_an_owner() -> None:
    """A node that is drained would remove it with the pod."""
    assert "ownerReferences" not in lease_body(ME, held(), "uid-7", OURS)["metadata"]


def test_what_a_label_does_not_take_is_there_as_a_hash_and_in_full() -> None:
    metadata = lease_body(ME, WHOLE, "uid-7", OURS)["metadata"]
    assert len(metadata["labels"][PROJECT]) == 32
    assert metadata["annotations"][PROJECT] == LONG


def test_the_name_of_a_lease_is_that_of_one_project_of_one_owner() -> None:
    names = {lease_name("a", "b"), lease_name("a", "c"), lease_name("b", "b"), lease_name("b", LONG)}
    assert len(names) == 4
    assert all(len(name) <= 63 and name == name.lower() for name in names)


def test_the_pool_is_no_part_of_the_name_so_a_project_has_one_machine_over_all_pools() -> None:
    other = replace(held(), pool="gpu")
    assert (
        lease_body(ME, other, "uid-7", OURS)["metadata"]["name"]
        == lease_body(ME, held(), "uid-7", OURS)["metadata"]["name"]
    )


def test_a_pod_says_which_project_has_its_machine() -> None:
    cluster = Cluster()
    cluster.has("worker-1")
    cluster.run(cluster.ledger.say(held()))
    pod = cluster.pod("worker-1")
    assert (pod.says, pod.term) == (Saying("anna", held().generation), OURS)
    assert recorded(pod) == held()
    metadata = cluster.found(Kind.POD, "worker-1")["metadata"]
    assert metadata["labels"][STATE] == "assigned"
    assert metadata["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_a_pod_that_is_free_again_keeps_nothing_but_its_generation() -> None:
    cluster = Cluster()
    cluster.has("worker-1")
    before = cluster.found(Kind.POD, "worker-1")["metadata"]
    cluster.run(cluster.ledger.say(held()))
    cluster.run(cluster.ledger.say(free(generation=held().generation)))
    after = cluster.found(Kind.POD, "worker-1")["metadata"]
    assert after["labels"] == before["labels"]
    assert after["annotations"] == {**before["annotations"], GENERATION: str(held().generation)}
    assert recorded(cluster.pod("worker-1")) is None


@pytest.mark.parametrize(
    ("machine", "state"),
    [
        (free(), None),
        (held(), "assigned"),
        (free(state=State.STOPPING), "stopping"),
        (free(state=State.STOPPING, configuration=UNKNOWN), "stopping"),
        (free(state=State.STARTING, configuration=UNKNOWN), "dirty"),
    ],
)
def test_the_label_says_what_must_not_be_handed_out(machine: Any, state: str | None) -> None:
    assert Saying.of(machine).state == state


def test_what_was_made_before_there_were_terms_is_of_none() -> None:
    pod = pod_of(as_listed(a_body("worker-1")))
    assert (pod.term, pod.says, pod.pool, pod.template) == (NO_TERM, Saying(), "default", "template-1")


@pytest.mark.parametrize("annotation", [TERM, GENERATION])
def test_a_pod_that_somebody_edited_is_told_by_name(annotation: str) -> None:
    body = a_body("worker-1")
    body["metadata"]["annotations"] = {**body["metadata"]["annotations"], annotation: "seven"}
    with pytest.raises(StoreError, match="the pod worker-1 cannot be read"):
        pod_of(as_listed(body))


@pytest.mark.parametrize("text", ["", "{}", "no JSON"])
def test_a_lease_that_somebody_edited_is_told_by_name(text: str) -> None:
    body = lease_body(ME, held(), "uid-7", OURS)
    body["metadata"]["annotations"][ASSIGNMENT] = text
    with pytest.raises(StoreError, match=f"the Lease {lease_name(ME, 'anna')} cannot be read"):
        assignment_of(as_listed(body))


def test_a_lease_of_no_project_is_refused() -> None:
    body = lease_body(ME, held(), "uid-7", OURS)
    body["metadata"]["annotations"][ASSIGNMENT] = body["metadata"]["annotations"][ASSIGNMENT].replace(
        '"holding":{"project":"anna","metadata":"","lease":null}', '"holding":null'
    )
    with pytest.raises(StoreError, match="names no project"):
        assignment_of(as_listed(body))
