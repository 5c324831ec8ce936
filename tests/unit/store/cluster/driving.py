"""Takes steps against a model of the API server. A test may have something else happen in the place of a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from tests.simulation.cluster_api import ModelApi
from tests.unit.core.build import a_machine

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.kubernetes.template import MACHINE, OWNER, POOL, TEMPLATE
from worker_orchestrator.store.cluster.calls import Answer, Call, Create, Delete, Kind, Patch, Steps
from worker_orchestrator.store.cluster.ledger import Ledger
from worker_orchestrator.store.cluster.objects import Assignment, Pod, assignment_of, lease_name, pod_of
from worker_orchestrator.store.cluster.terms import Term

__all__ = ["ME", "OLD", "OURS", "Cluster", "free", "held"]

T = TypeVar("T")
ME: Final = "owner-1"
OLD: Final = Term(6, "the former one")
OURS: Final = Term(7, "us")

Happens = Callable[[Call], Answer | None]
"""Called in the place of one call. What it returns is the answer; None: the server answers."""


class Cluster:
    """One namespace, and its leader. `happens` is what is to happen at the calls to come, by their number from now on."""

    def __init__(self, term: Term = OURS) -> None:
        self.api = ModelApi()
        self.ledger = Ledger(ME, term)
        self.sent: list[Call] = []
        self.happens: dict[int, Happens] = {}

    def has(self, *pods: str, term: Term = OURS) -> None:
        """There are these free pods, made in this term, and the leader has heard of those of its own."""
        for name in pods:
            self.run(Ledger(ME, term).make_pod(name, a_body(name)))
            self.ledger.note_pod(self.found(Kind.POD, name))
        self.sent.clear()

    def run(self, steps: Steps[T]) -> T:
        """Take these steps to their end."""
        answers: tuple[Answer, ...] | None = None
        while True:
            try:
                calls = next(steps) if answers is None else steps.send(answers)
            except StopIteration as end:
                result: T = end.value
                return result
            answers = tuple(map(self._carry_out, calls))

    def _carry_out(self, call: Call) -> Answer:
        happens = self.happens.pop(len(self.sent), None)
        self.sent.append(call)
        answer = None if happens is None else happens(call)
        return self.api.carry_out(call) if answer is None else answer

    @property
    def writes(self) -> list[tuple[type[Call], Kind]]:
        """What was sent that changes something, in order."""
        return [(type(call), call.kind) for call in self.sent if isinstance(call, Create | Patch | Delete)]

    def found(self, kind: Kind, name: str) -> Mapping[str, Any]:
        found = self.api.find(kind, name)
        assert found is not None, f"there is no {name}"
        return found

    def pod(self, name: str) -> Pod:
        return pod_of(self.found(Kind.POD, name))

    def lease(self, project: str) -> Assignment | None:
        found = self.api.find(Kind.LEASE, lease_name(ME, project))
        return None if found is None else assignment_of(found)

    def touch(self, name: str) -> None:
        """A node writes to this pod."""
        self.api.change(Kind.POD, name, {"status": {"seen": len(self.sent)}})


def a_body(name: str) -> dict[str, Any]:
    known = {OWNER: ME, MACHINE: name, POOL: "default", TEMPLATE: "template-1"}
    return {"metadata": {"name": name, "labels": known, "annotations": known}}


def free(name: str = "worker-1", state: State = State.READY, **fields: Any) -> Machine:
    return a_machine(name, state, port=None, **fields)


def held(name: str = "worker-1", project: str = "anna", generation: int = 7 * 2**30 + 1, **fields: Any) -> Machine:
    return a_machine(name, project=project, generation=generation, **{"port": None, **fields})
