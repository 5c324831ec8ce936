"""From pods and Leases back to machines: what a new leader begins with.

The table in `objects.py` says what a pod and a Lease mean together. Both must carry the term of the new leader by then, or
an older one might still change what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from worker_orchestrator.core import reasons
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.store.cluster.calls import Kind, Steps, together
from worker_orchestrator.store.cluster.ledger import Ledger
from worker_orchestrator.store.cluster.objects import Assignment, Pod, assignment_of, pod_of, recorded

__all__ = ["Recovered", "recovered", "take_over"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """The machines, by id; Leases that are not in force; and machines whose project has no Lease any more.

    `doubles`: pods with the name of a project's machine whose own pod is gone. Their creates came late.
    """

    machines: Mapping[str, Machine]
    left_over: list[Assignment]
    unrecorded: list[Machine]
    doubles: list[Pod]


def recovered(pods: Mapping[str, Pod], leases: Iterable[Assignment]) -> Recovered:
    """What these pods, by name, and Leases say together. What is free has to answer a probe before anybody gets it.

    Of several Leases that name one machine whose pod is gone, the one of the latest term counts, and in a term the last
    assignment: a takeover puts its term on all that there are, and who assigns knows that what was before is over. So any
    other one came late, or is of a transaction of which nobody was told.
    """
    left_over, by_project, named = list[Assignment](), dict[str, Assignment](), set[str]()
    for lease in sorted(leases, key=lambda lease: (-lease.term.epoch, -lease.machine.generation)):
        pod = pods.get(lease.machine.id)
        is_gone = not lease.is_of(pod) and lease.machine.id not in named
        if is_gone or (pod is not None and lease.is_in_force(pod)):
            by_project[lease.project] = lease
        else:
            left_over.append(lease)
        named.add(lease.machine.id)
    unrecorded = list(_unrecorded(pods, by_project))
    left_over += [by_project.pop(project) for project in _projects(unrecorded) if project in by_project]
    gone = {lease.machine.id for lease in by_project.values() if not lease.is_of(pods.get(lease.machine.id))}
    held = [_without_pod(each.machine) if each.machine.id in gone else each.machine for each in by_project.values()]
    doubles = [pods[name] for name in sorted(gone & pods.keys()) if pods[name].says.project is None]
    owned = {machine.id: machine for machine in (*held, *unrecorded)}
    free = {pod.name: _free(pod) for pod in pods.values() if pod.name not in owned}
    apart = {machine.id: machine for machine in _apart(owned.values())}
    return Recovered(free | apart, left_over, unrecorded, doubles)


def take_over(ledger: Ledger) -> Steps[list[Machine]]:
    """Make all that is there ours, and read it. From then on no older leader can change any of it.

    Pods come first: what an older leader does with a Lease after that cannot come into force, since its pod is ours. Leases
    that came late are removed before the others get our term, since by their terms they are told from those.
    """
    pods = yield from ledger.read_all(Kind.POD)
    yield from together(ledger.fence_pod(pod) for pod in map(pod_of, pods))
    found = yield from ledger.read_all(Kind.LEASE)
    leases = list(map(assignment_of, found))
    yield from _fence_pods_of(ledger, leases)
    late = {lease.uid: lease for lease in recovered(ledger.pods, leases).left_over}
    yield from together(ledger.remove_late_lease(lease) for lease in late.values())
    fenced = yield from together(ledger.fence_lease(lease) for lease in leases if lease.uid not in late)
    yield from _fence_pods_of(ledger, [lease for lease in fenced if lease is not None])
    result = recovered(ledger.pods, list(ledger.leases.values()))
    yield from together(ledger.remove_lease(lease.name) for lease in result.left_over)
    yield from together(ledger.remove_pod(pod.name) for pod in result.doubles)
    yield from together(ledger.make_lease(machine) for machine in result.unrecorded)
    return [result.machines[machine_id] for machine_id in sorted(result.machines)]


def _fence_pods_of(ledger: Ledger, leases: Iterable[Assignment]) -> Steps[None]:
    """Put our term on the pods of these Leases that the listing did not show."""
    unseen = {lease.machine.id for lease in leases} - ledger.pods.keys()
    yield from together(ledger.fenced_pod(name) for name in sorted(unseen))


def _without_pod(machine: Machine) -> Machine:
    """A project's machine whose pod is gone: it is told so, and gets another one when it asks again.

    Nobody can see whether that project had been told of the machine. It may have been, so it counts as its own.
    """
    if machine.gone:
        return machine
    reason = f"{reasons.GONE_AT_START} {reasons.FILES_GONE}"
    return replace(machine, state=State.FAILED, host="", port=None, gone=True, reason=reason)


def _projects(machines: Iterable[Machine]) -> list[str]:
    return [machine.project for machine in machines if machine.project is not None]


def _unrecorded(pods: Mapping[str, Pod], by_project: Mapping[str, Assignment]) -> Iterator[Machine]:
    """The last assignment of each project that has a machine by what a pod says, and no Lease that says otherwise.

    A Lease of an earlier assignment whose pod is gone says nothing: it came late, when somebody had removed the right one.
    """
    newest: dict[str, Machine] = {}
    for pod in pods.values():
        machine, project = recorded(pod), pod.says.project
        if machine is None or project is None:
            continue
        lease = by_project.get(project)
        if lease is not None and (
            lease.is_of(pods.get(lease.machine.id)) or lease.machine.generation >= machine.generation
        ):
            continue
        if project not in newest or newest[project].generation < machine.generation:
            newest[project] = machine
    yield from newest.values()


def _free(pod: Pod) -> Machine:
    """A pod that no project has. One that says otherwise had a project that has a later machine, so that had left it.

    One that is dirty is not cleaned any more, but removed: nobody knows how far its cleaning had come.
    """
    is_stopping = pod.says.is_stopping or pod.says.is_dirty or pod.says.project is not None
    state, reason = (State.STOPPING, reasons.RELEASED) if is_stopping else (State.STARTING, reasons.TAKEN_OVER)
    return Machine(pod.name, pod.pool, pod.template, state, None, None, pod.says.generation, reason=reason)


def _apart(machines: Iterable[Machine]) -> Iterator[Machine]:
    """These machines, of which no two have one address: of what has ended, unseen, the address goes to another one."""
    taken: set[tuple[str, int]] = set()
    for machine in sorted(machines, key=lambda machine: -machine.generation):
        addresses = {(machine.host, port) for port in machine.host_ports} if not machine.gone else set()
        yield replace(machine, host="", port=None, ports=()) if addresses & taken else machine
        taken |= addresses
