"""What a pod says of its machine, for every status that a cluster reports."""

from __future__ import annotations

from typing import Any

import pytest

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.base import INSTANCES, EndOf
from worker_orchestrator.engines.kubernetes.listing import instance_of, is_copy, is_lost
from worker_orchestrator.engines.kubernetes.watching import sign_of

UID = "fc9b4f48-0a6b-4f5e-9e56-3b1b0c1f2a3d"
RUNS = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
READY = [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]


def a_pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    known = {"owner": "me", "machine": "worker-1", "pool": "web", "template": "t1"}
    return {
        "metadata": {
            "name": "worker-1",
            "uid": UID,
            "labels": {f"worker-orchestrator/{key}": "hash" for key in known},
            "annotations": {f"worker-orchestrator/{key}": value for key, value in known.items()},
            **metadata,
        },
        "spec": {
            "containers": [
                {"name": "proxy", "ports": [{"containerPort": 1}]},
                {"name": "worker", "ports": [{"containerPort": 8080}]},
            ]
        },
        "status": {"podIP": "10.0.0.7", **status},
    }


def of_worker(state: dict[str, Any], phase: str = "Running", **more: Any) -> dict[str, Any]:
    statuses = [{"name": "proxy", "state": RUNS}, {"name": "worker", "state": state}]
    return {"phase": phase, "containerStatuses": statuses, "conditions": READY, **more}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return of_worker({"waiting": {"reason": reason, "message": message}}, "Pending", podIP="")


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def test_a_running_pod_is_an_instance_with_its_address_and_what_its_annotations_say_in_full() -> None:
    assert instance_of(a_pod(of_worker(RUNS))) == Instance(
        "worker-1", "me", "web", "t1", Status.RUNNING, UID, "10.0.0.7", 8080, host="10.0.0.7"
    )


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient memory.",
}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"phase": "Pending", "conditions": [UNSCHEDULABLE]},
            "No node has room for it: 0/3 nodes are available: 3 Insuff",
        ),
        ({"phase": "Pending", "conditions": [UNSCHEDULABLE], "nominatedNodeName": "n1"}, ""),
        ({"phase": "Pending"}, ""),
        (waiting("ContainerCreating"), ""),
        (
            {"phase": "Failed", "reason": "OutOfcpu", "message": "no cpu"},
            "The node did not take it (OutOfcpu): no cpu.",
        ),
    ],
)
def test_a_pod_without_a_place_is_pending_and_no_fault_of_its_image(status: dict[str, Any], said: str) -> None:
    instance = instance_of(a_pod(status))
    assert (instance.status, instance.address, instance.port) == (Status.PENDING, None, None)
    assert instance.unplaced.startswith(said) if said else instance.unplaced == ""


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "CreateContainerConfigError"]
)
def test_what_the_kubelet_will_not_start_has_ended_in_the_kubelets_words(reason: str) -> None:
    instance = instance_of(a_pod(waiting(reason, 'image "a:1" is not there')))
    assert instance.status is Status.EXITED
    assert instance.detail == f'The kubelet does not start it ({reason}): image "a:1" is not there.'
    assert not instance.killed


@pytest.mark.parametrize(
    ("status", "by", "detail"),
    [
        (of_worker(ended(3), "Failed"), (False, False), "The container exited with code 3."),
        (of_worker(ended(0, "Completed"), "Succeeded"), (False, False), "The container exited with code 0."),
        (of_worker(ended(1)), (False, False), "The container exited with code 1."),  # while a sidecar goes on
        (of_worker(ended(137, "OOMKilled"), "Failed"), (False, True), "memory"),
        (of_worker(ended(137), "Failed"), (True, False), "killed from outside"),
        (
            of_worker(ended(137), "Failed", reason="Evicted", message="low on disk"),
            (True, False),
            "(Evicted): low on disk.",
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}, (True, False), "(Evicted): low on disk."),
        (
            of_worker(ended(128, "ContainerCannotRun", "no such file"), "Failed"),
            (False, False),
            "cannot run: no such file.",
        ),
        (
            {"phase": "Failed", "initContainerStatuses": [{"name": "init", "state": ended(2)}]},
            (False, False),
            "before its worker ran: init exited with code 2.",
        ),
    ],
)
def test_an_end_has_its_cause_and_who_caused_it(status: dict[str, Any], by: tuple[bool, bool], detail: str) -> None:
    instance = instance_of(a_pod(status))
    assert instance.status is Status.EXITED
    assert (instance.killed, instance.out_of_memory) == by
    assert detail in instance.detail


def test_a_pod_that_is_being_removed_is_terminating_whatever_it_does() -> None:
    pod = a_pod(of_worker(RUNS), deletionTimestamp="2026-01-01T00:00:00Z")
    assert instance_of(pod).status is Status.TERMINATING
    assert instance_of(pod, 3.0).status is Status.TERMINATING


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (of_worker(RUNS), "fine"),
        (of_worker(RUNS, conditions=[{"type": "Ready", "status": "False"}, READY[1]]), "lost"),
        (of_worker(RUNS, conditions=[{"type": "Ready", "status": "Unknown"}, READY[1]]), "lost"),
        (
            of_worker(
                RUNS, conditions=[{"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"}, READY[1]]
            ),
            "fine",
        ),
        (
            of_worker(
                RUNS,
                conditions=[{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "False"}],
            ),
            "fine",
        ),
        (of_worker(RUNS, reason="NodeLost"), "lost"),
        ({"phase": "Unknown"}, "lost"),
    ],
)
def test_a_pod_whose_node_does_not_report_is_told_from_one_that_is_not_ready(status: dict[str, Any], says: str) -> None:
    assert is_lost(a_pod(status)) is (says == "lost")


def test_a_lost_pod_is_unknown_since_then_and_keeps_its_address() -> None:
    instance = instance_of(a_pod(of_worker(RUNS)), 12.5)
    assert (instance.status, instance.unreachable_since, instance.address) == (Status.UNKNOWN, 12.5, "10.0.0.7")


@pytest.mark.parametrize(
    ("before", "after", "sign"),
    [
        (None, Status.PENDING, INSTANCES),
        (Status.PENDING, Status.RUNNING, INSTANCES),
        (Status.RUNNING, Status.TERMINATING, "worker-1"),
        (Status.RUNNING, Status.UNKNOWN, "worker-1"),
        (Status.UNKNOWN, Status.RUNNING, "worker-1"),
        (Status.RUNNING, Status.EXITED, EndOf("worker-1")),
        (Status.RUNNING, None, EndOf("worker-1")),
        (Status.EXITED, None, None),
        (Status.RUNNING, Status.RUNNING, None),
    ],
)
def test_a_watch_says_who_serves_no_longer_or_again(
    before: Status | None, after: Status | None, sign: str | None
) -> None:
    def instance(status: Status | None) -> Instance | None:
        return None if status is None else Instance("worker-1", "me", "web", "t1", status)

    said = sign_of(instance(before), instance(after))
    assert (said, type(said)) == (sign, type(sign))


@pytest.mark.parametrize("beside", ["containerStatuses", "initContainerStatuses"])
def test_a_worker_runs_whatever_containers_beside_it_do(beside: str) -> None:
    """A sidecar that somebody's webhook put there crashes again and again."""
    crashes = {"name": "sidecar", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    status = of_worker(RUNS)
    status[beside] = [crashes, *status.get(beside, [])]
    assert instance_of(a_pod(status)).status is Status.RUNNING


def test_what_somebody_made_of_a_pod_is_not_its_machine() -> None:
    assert not is_copy(a_pod(of_worker(RUNS)))
    assert is_copy(a_pod(of_worker(RUNS), name="debug-of-worker-1"))
