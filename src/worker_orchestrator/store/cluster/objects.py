"""How machines and assignments stand in pods and Leases.

A machine is its pod. That a project has it stands in a Lease, whole: the machine with its holding, its generation, deadlines
and metadata. The pod says whose it is, so that both have to agree::

    Lease             pod                                      the project
    of generation g   says the same project and generation     has the machine
    of generation g   says something else                      has it not: it was not told so, or it has released it
    of generation g   is gone                                  has a machine whose pod is gone, and is told so
    of generation g   is another one of that name              the same: a create came late, and came twice
    is gone           says a project                           has the machine: somebody else removed the Lease

What is free and not being removed has nothing to be remembered but its generation, and whether something of its last
project's configuration may be left: who leads next probes it again. Both kinds of objects carry the term of who wrote them
last. No Lease has an owner: a node that is drained would remove the pod
and the record with it, and the project would get an empty machine without a word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.kubernetes.listing import labels_of
from worker_orchestrator.engines.kubernetes.template import MACHINE, OWNER, POOL, PREFIX, TEMPLATE, label_value
from worker_orchestrator.errors import StoreError
from worker_orchestrator.store.cluster.terms import NO_TERM, Term

__all__ = [
    "ASSIGNMENT", "GENERATION", "PROJECT", "STATE", "TERM", "Assignment", "Pod", "Saying", "assignment_of", "lease_body",
    "lease_changes", "lease_name", "pod_body", "pod_changes", "pod_of", "recorded", "term_changes",
]  # fmt: skip

TERM: Final = f"{PREFIX}term"
PROJECT: Final = f"{PREFIX}project"
GENERATION: Final = f"{PREFIX}generation"
ASSIGNMENT: Final = f"{PREFIX}assignment"
POD_UID: Final = f"{PREFIX}pod-uid"
STATE: Final = f"{PREFIX}state"
"""A label, for people and for what must not be handed out. Any other free machine has none."""
_SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_STOPPING: Final = "stopping"
_DIRTY: Final = "dirty"
_ASSIGNED: Final = "assigned"
_HASH_CHARS: Final = 32
_machine_of: Final = msgspec.json.Decoder(Machine).decode


class Saying(msgspec.Struct, frozen=True):
    """What a pod says of its machine: which project has it (None: none), in which generation, and whether it is to end.

    `is_dirty`: no project has it, and what one configured it with may be there.
    """

    project: str | None = None
    generation: int = 0
    is_stopping: bool = False
    is_dirty: bool = False

    @classmethod
    def of(cls, machine: Machine) -> Saying:
        """What the pod of this machine is to say."""
        is_stopping = machine.state is State.STOPPING
        return cls(machine.project, machine.generation, is_stopping, machine.is_dirty and not is_stopping)

    @property
    def state(self) -> str | None:
        """The label that says so; None for a free machine that may be handed out."""
        if self.project is not None:
            return _ASSIGNED
        return _STOPPING if self.is_stopping else _DIRTY if self.is_dirty else None


class Pod(msgspec.Struct, frozen=True):
    """What is read of a pod. `machine` is the record of its assignment as that began, as JSON; empty without one."""

    name: str
    uid: str
    version: str
    term: Term
    pool: str
    template: str
    says: Saying
    assignment: str = ""


class Assignment(msgspec.Struct, frozen=True):
    """What is read of a Lease: the machine as its project has it, and the uid of its pod; empty if that was gone already."""

    name: str
    uid: str
    version: str
    term: Term
    machine: Machine
    pod_uid: str

    @property
    def project(self) -> str:
        assert self.machine.holding is not None, f"{self.name}: a Lease is of a project"
        return self.machine.holding.project

    def is_of(self, pod: Pod | None) -> bool:
        """Whether it is about this pod, and not about an earlier one of that name."""
        return pod is not None and (pod.name, pod.uid) == (self.machine.id, self.pod_uid)

    def is_in_force(self, pod: Pod) -> bool:
        """Whether its pod is this one and says the same: then its project has the machine."""
        said = (pod.says.project, pod.says.generation)
        return self.is_of(pod) and said == (self.project, self.machine.generation)


def lease_name(owner: str, project: str) -> str:
    """The name of the Lease of this project: there is one, whatever the pool, so a project has one machine at most."""
    hashed = hashlib.sha256(f"{owner}\n{project}".encode()).hexdigest()[:_HASH_CHARS]
    return f"worker-orchestrator-{hashed}"


def pod_of(pod: Mapping[str, Any]) -> Pod:
    """What we know of a pod. Raises StoreError if what we wrote there cannot be read."""
    metadata, known = pod["metadata"], labels_of(pod)
    try:
        state = known.get(STATE)
        says = Saying(known.get(PROJECT), int(known.get(GENERATION, 0)), state == _STOPPING, state == _DIRTY)
        term = _term_of(known)
    except ValueError as error:
        raise StoreError(f"What stands in the pod {metadata['name']} cannot be read ({error}).") from error
    name, uid, version = metadata["name"], metadata["uid"], metadata["resourceVersion"]
    pool, template = known.get(POOL, ""), known.get(TEMPLATE, "")
    return Pod(name, uid, version, term, pool, template, says, known.get(ASSIGNMENT, ""))


def assignment_of(lease: Mapping[str, Any]) -> Assignment:
    """What we know of a Lease. Raises StoreError if what we wrote there cannot be read."""
    metadata, known = lease["metadata"], labels_of(lease)
    try:
        machine = _machine_of(known.get(ASSIGNMENT, ""))
        term = _term_of(known)
    except ValueError as error:
        raise StoreError(f"What stands in the Lease {metadata['name']} cannot be read ({error}).") from error
    if machine.holding is None:
        raise StoreError(f"The Lease {metadata['name']} names no project.")
    name, uid, version = metadata["name"], metadata["uid"], metadata["resourceVersion"]
    return Assignment(name, uid, version, term, machine, known.get(POD_UID, ""))


def recorded(pod: Pod) -> Machine | None:
    """The assignment of which this pod tells, as it began; None if no project has its machine."""
    return _machine_of(pod.assignment) if pod.says.project is not None else None


def lease_body(owner: str, machine: Machine, pod_uid: str, term: Term) -> dict[str, Any]:
    """The Lease of this assignment, to be made."""
    project = machine.project
    assert project is not None, f"{machine.id}: a Lease is of a project"
    known = {OWNER: owner, MACHINE: machine.id, POOL: machine.pool, PROJECT: project}
    labels = {key: label_value(value) for key, value in known.items()}
    changes = lease_changes(machine, term)
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": lease_name(owner, project),
            "labels": {"app.kubernetes.io/managed-by": "worker-orchestrator", **labels},
            "annotations": {**known, POD_UID: pod_uid, **changes["metadata"]["annotations"]},
        },
        "spec": {"holderIdentity": machine.id, "leaseTransitions": term.epoch},
    }


def lease_changes(machine: Machine, term: Term) -> dict[str, Any]:
    """What is merged into the Lease of this machine when its record changed."""
    record = msgspec.json.encode(machine).decode()
    return {"metadata": {"annotations": {TERM: str(term), GENERATION: str(machine.generation), ASSIGNMENT: record}}}


def pod_body(body: Mapping[str, Any], term: Term) -> dict[str, Any]:
    """This pod, to be made in this term."""
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), TERM: str(term)}}}


def pod_changes(machine: Machine, term: Term) -> dict[str, Any]:
    """What is merged into the pod of this machine, so that it says whose it is, or that it is free or to be removed."""
    project = machine.project
    labels: dict[str, str | None] = {PROJECT: None, STATE: Saying.of(machine).state}
    annotations: dict[str, str | None] = {
        TERM: str(term),
        GENERATION: str(machine.generation),
        PROJECT: project,
        ASSIGNMENT: None,
        _SAFE_TO_EVICT: None,
    }
    if project is not None:
        labels[PROJECT] = label_value(project)
        annotations |= {ASSIGNMENT: msgspec.json.encode(machine).decode(), _SAFE_TO_EVICT: "false"}
    return {"metadata": {"labels": labels, "annotations": annotations}}


def term_changes(term: Term) -> dict[str, Any]:
    """What is merged into anything, so that nothing that was sent in an earlier term can change it any more."""
    return {"metadata": {"annotations": {TERM: str(term)}}}


def _term_of(known: Mapping[str, str]) -> Term:
    return Term.parse(known[TERM]) if TERM in known else NO_TERM
