"""What a leader knows of its pods and Leases, and how it writes one of them.

Every write names the version of an object that carries the leader's own term. A new leader puts its term on all that it
finds before it does anything else, so nothing that an older one has sent, or sends after it was stopped and wakes, matches
any more: neither clocks nor the network have to be trusted for that.

Nodes change pods as well, so a version may be old for no bad reason. Then the object is read, and the write sent again. An
answer that got lost is no answer: the object says whether the write has landed. Both go on until it is known, or until this
leader may not write any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.store.cluster.calls import (
    Answer,
    Create,
    Delete,
    Kind,
    Outdated,
    Patch,
    Read,
    ReadAll,
    Steps,
    Verdict,
)
from worker_orchestrator.store.cluster.objects import (
    Assignment,
    Pod,
    Saying,
    assignment_of,
    lease_body,
    lease_changes,
    lease_name,
    pod_body,
    pod_changes,
    pod_of,
    term_changes,
)
from worker_orchestrator.store.cluster.terms import Term

__all__ = ["GONE", "Ledger"]

GONE: Final = "Its pod does not exist any more."


class Ledger:
    """The pods and Leases of one owner, as the leader of one term knows them."""

    def __init__(self, owner: str, term: Term) -> None:
        self.owner, self.term = owner, term
        self.pods: dict[str, Pod] = {}  # by name, which is that of the machine: each in a version that carries our term
        self.leases: dict[str, Assignment] = {}  # by name, likewise
        self._unheard = set[str]()  # Leases that were sent, last, without an answer

    # what is heard

    def note_pod(self, found: Mapping[str, Any]) -> None:
        """A listing or a watch shows this pod. It may be older than what is known, which costs a call when it is written."""
        pod = pod_of(found)
        known = self.pods.get(pod.name)
        if pod.term == self.term and (known is None or known.uid == pod.uid):
            self.pods[pod.name] = pod

    def forget_pod(self, name: str) -> None:
        """A watch shows that this pod is gone; no other one will ever have its name."""
        self.pods.pop(name, None)

    def _take(self, found: Mapping[str, Any]) -> Pod:
        pod = pod_of(found)
        self._insist(pod.term)
        self.pods[pod.name] = pod
        return pod

    def _take_lease(self, found: Mapping[str, Any]) -> Assignment:
        lease = assignment_of(found)
        self._insist(lease.term)
        self.leases[lease.name] = lease
        return lease

    def _insist(self, term: Term) -> None:
        """Raises Outdated if another leader has written this, and not before this term began."""
        if term != self.term and not term.is_older_than(self.term):
            raise Outdated(f"Another leader writes: {term.leader}.", term.epoch)

    # reading

    def read_all(self, kind: Kind) -> Steps[tuple[Mapping[str, Any], ...]]:
        """All that there are."""
        while True:
            (answer,) = yield (ReadAll(kind),)
            if answer.verdict is Verdict.DONE:
                return answer.items
            if answer.verdict is not Verdict.UNKNOWN:
                raise Outdated(answer.message)

    def read_pod(self, name: str) -> Steps[Pod | None]:
        """This pod as it is now; None if there is none."""
        found = yield from self._read(Kind.POD, name)
        if found is None:
            self.pods.pop(name, None)
            return None
        return self._take(found)

    def read_lease(self, name: str) -> Steps[Assignment | None]:
        """This Lease as it is now; None if there is none."""
        found = yield from self._read(Kind.LEASE, name)
        if found is None:
            self.leases.pop(name, None)
            return None
        return self._take_lease(found)

    def _read(self, kind: Kind, name: str) -> Steps[Mapping[str, Any] | None]:
        while True:
            (answer,) = yield (Read(kind, name),)
            if answer.verdict is Verdict.DONE:
                return answer.found
            if answer.verdict is Verdict.MISSING:
                return None
            if answer.verdict is not Verdict.UNKNOWN:
                raise Outdated(answer.message)

    # our term on what is there

    def fence_pod(self, pod: Pod) -> Steps[Pod | None]:
        """Put our term on this pod. Returns it as it is then; None if it is gone."""
        fenced: Pod | None = pod
        self._insist(pod.term)
        while fenced is not None and fenced.term != self.term:
            (answer,) = yield (Patch(Kind.POD, pod.name, fenced.version, term_changes(self.term)),)
            fenced = self._take(answer.found) if _is_done(answer) else (yield from self.read_pod(pod.name))
        return fenced

    def fence_lease(self, lease: Assignment) -> Steps[Assignment | None]:
        """As `fence_pod`."""
        fenced: Assignment | None = lease
        self._insist(lease.term)
        while fenced is not None and fenced.term != self.term:
            (answer,) = yield (Patch(Kind.LEASE, lease.name, fenced.version, term_changes(self.term)),)
            fenced = self._take_lease(answer.found) if _is_done(answer) else (yield from self.read_lease(lease.name))
        return fenced

    def fenced_pod(self, name: str) -> Steps[Pod | None]:
        """The pod of this name with our term on it; None if there is none."""
        pod = yield from self.read_pod(name)
        return None if pod is None else (yield from self.fence_pod(pod))

    def admit(self, late: Pod) -> Steps[None]:
        """Make ours what an older leader sent and came late. Raises Outdated if a project has it: then all is read anew."""
        pod = yield from self.fence_pod(late)
        if pod is not None and pod.says.project is not None:
            raise Outdated(f"{pod.says.project} has {pod.name}, which was not known.")

    # pods

    def make_pod(self, name: str, body: Mapping[str, Any]) -> Steps[str]:
        """Make this pod, for a machine that is free. Returns why it was refused; empty if it is there."""
        is_certain = True
        while True:
            (answer,) = yield (Create(Kind.POD, name, pod_body(body, self.term)),)
            if _is_done(answer):
                self._take(answer.found)
                return ""
            is_certain = is_certain and answer.verdict is not Verdict.UNKNOWN
            if answer.verdict in {Verdict.REFUSED, Verdict.MISSING}:
                return _refused(answer, is_certain=is_certain)
            pod = yield from self.read_pod(name)
            if pod is not None:
                self._insist_on_own(pod.term)
                return ""  # it had landed

    def say(self, machine: Machine) -> Steps[str]:
        """Have the pod of this machine say whose it is. Returns why it cannot, as when it is gone; empty if it does."""
        wanted, is_certain = Saying.of(machine), True
        pod = self.pods.get(machine.id)
        while pod is not None:
            (answer,) = yield (Patch(Kind.POD, machine.id, pod.version, pod_changes(machine, self.term)),)
            if _is_done(answer):
                self._take(answer.found)
                return ""
            is_certain = is_certain and answer.verdict is not Verdict.UNKNOWN
            if answer.verdict is Verdict.REFUSED:
                return _refused(answer, is_certain=is_certain)
            uid, pod = pod.uid, (yield from self.read_pod(machine.id))
            if pod is None or pod.uid != uid:
                break
            self._insist_on_own(pod.term)
            if pod.says == wanted:
                return ""  # it had landed
        return GONE

    def remove_pod(self, name: str) -> Steps[None]:
        """Remove the pod of this name, as far as it is one of ours. What is gone is success."""
        pod = self.pods.get(name)
        while pod is not None:
            (answer,) = yield (Delete(Kind.POD, name, pod.uid, pod.version),)
            if answer.verdict in {Verdict.DONE, Verdict.MISSING}:
                break
            uid, pod = pod.uid, (yield from self.read_pod(name))
            if pod is None or pod.uid != uid:
                break
            self._insist_on_own(pod.term)
        self.pods.pop(name, None)

    # Leases

    def make_lease(self, machine: Machine) -> Steps[str]:
        """Make the Lease of this assignment. Returns why it was refused; empty if it is there.

        One that has the name and is not in force is removed before. Raises Outdated if one is in force that is not known.
        """
        name, is_certain = lease_name(self.owner, machine.project or ""), True
        pod = self.pods.get(machine.id)
        body = lease_body(self.owner, machine, "" if pod is None else pod.uid, self.term)
        self._unheard.discard(name)
        while True:
            (answer,) = yield (Create(Kind.LEASE, name, body),)
            if _is_done(answer):
                self._take_lease(answer.found)
                return ""
            if answer.verdict is Verdict.UNKNOWN:
                is_certain = False
                self._unheard.add(name)
            if answer.verdict in {Verdict.REFUSED, Verdict.MISSING}:
                return _refused(answer, is_certain=is_certain)
            lease = yield from self.read_lease(name)
            if lease is None:
                continue
            if lease.term == self.term and lease.machine.generation == machine.generation:
                return ""  # it had landed
            yield from self._remove_left_over(lease)

    def may_come_late(self, name: str) -> bool:
        """Whether the Lease of this name may yet be made by a call of `make_lease` that was not answered."""
        return name in self._unheard

    def _remove_left_over(self, lease: Assignment) -> Steps[None]:
        """Remove a Lease that came late. Its pod carries our term by then, so it cannot come into force any more."""
        pod = yield from self.fenced_pod(lease.machine.id)
        if pod is not None and lease.is_in_force(pod):
            raise Outdated(f"{lease.project} has {pod.name}, which was not known.")
        yield from self.remove_lease(lease.name)

    def keep_lease(self, machine: Machine) -> Steps[str]:
        """Have the Lease of this machine say how that is. If somebody removed it, it is made again.

        Raises Outdated if its pod does not show then that this leader still is one: a new Lease does not.
        """
        name, is_certain = lease_name(self.owner, machine.project or ""), True
        lease = self.leases.get(name)
        while lease is not None:
            (answer,) = yield (Patch(Kind.LEASE, name, lease.version, lease_changes(machine, self.term)),)
            if _is_done(answer):
                self._take_lease(answer.found)
                return ""
            is_certain = is_certain and answer.verdict is not Verdict.UNKNOWN
            if answer.verdict is Verdict.REFUSED:
                return _refused(answer, is_certain=is_certain)
            lease = yield from self.read_lease(name)
            if lease is None:
                break
            self._insist_on_own(lease.term)
            if lease.machine == machine:
                return ""  # it had landed
        why = yield from self.make_lease(machine)
        if why:
            return why
        why = yield from self.say(machine)
        if why:
            raise Outdated(f"Somebody removed the Lease of {machine.project}, and its pod does not confirm it: {why}")
        return ""

    def remove_lease(self, name: str) -> Steps[None]:
        """Remove the Lease of this name. What is gone is success, and so is another one that has the name now."""
        lease = self.leases.get(name)
        while lease is not None:
            (answer,) = yield (Delete(Kind.LEASE, name, lease.uid, lease.version),)
            if answer.verdict in {Verdict.DONE, Verdict.MISSING}:
                break
            uid, lease = lease.uid, (yield from self.read_lease(name))
            if lease is None or lease.uid != uid:
                break
        self.leases.pop(name, None)

    def remove_late_lease(self, lease: Assignment) -> Steps[None]:
        """Remove this Lease, which an older leader sent, and whose pod carries our term or is gone."""
        self._insist(lease.term)
        self.leases[lease.name] = lease
        yield from self.remove_lease(lease.name)

    def _insist_on_own(self, term: Term) -> None:
        """Raises Outdated if this was of our term, and is of another one."""
        if term != self.term:
            raise Outdated(f"Somebody put back what was written: it is of the term of {term.leader} again.", term.epoch)


def _is_done(answer: Answer) -> bool:
    return answer.verdict is Verdict.DONE


def _refused(answer: Answer, *, is_certain: bool) -> str:
    """Why it was refused. Raises Outdated if the same was sent before, and may still land."""
    if not is_certain:
        raise Outdated(f"It is not known whether it was written: {answer.message}")
    return answer.message or "Kubernetes refused it."
