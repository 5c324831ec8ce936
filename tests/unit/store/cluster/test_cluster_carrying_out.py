"""One transaction: all of it stands, or nothing, or this leader stops because it cannot know."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.store.cluster.driving import ME, Cluster, free, held

from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.store.cluster.calls import Answer, Call, Create, Delete, Kind, Outdated, Patch, Read, Verdict
from worker_orchestrator.store.cluster.carrying_out import carry_out
from worker_orchestrator.store.cluster.ledger import GONE, Ledger
from worker_orchestrator.store.cluster.objects import Saying, lease_name
from worker_orchestrator.store.cluster.terms import Term
from worker_orchestrator.store.cluster.transactions import transactions

FIRST = 7 * 2**30 + 1


def a_cluster(*assigned: Machine, names: tuple[str, ...] = ("worker-1", "worker-2")) -> Cluster:
    cluster = Cluster()
    cluster.has(*names)
    for machine in assigned:
        store(cluster, Change(free(machine.id), machine, Cause.ASSIGNED))
    cluster.sent.clear()
    return cluster


def store(cluster: Cluster, *changes: Change) -> str:
    (transaction,) = transactions(changes)
    return cluster.run(carry_out(cluster.ledger, transaction))


def given_to(machine: Machine, project: str, generation: int = FIRST) -> Change:
    return Change(machine, replace(machine, holding=Holding(project), generation=generation), Cause.ASSIGNED)


def released(machine: Machine, state: State = State.STOPPING) -> Change:
    return Change(machine, replace(machine, holding=None, state=state), Cause.RELEASED)


def refused(_: object) -> Answer:
    return Answer(Verdict.REFUSED, message="Quota.")


def test_an_assign_is_two_writes_and_no_read() -> None:
    cluster = a_cluster()
    assert store(cluster, given_to(free(), "anna")) == ""
    assert [(type(call), call.kind) for call in cluster.sent] == [(Create, Kind.LEASE), (Patch, Kind.POD)]
    lease = cluster.lease("anna")
    assert lease is not None
    assert lease.is_in_force(cluster.pod("worker-1"))


def test_a_release_is_two_writes_and_no_read() -> None:
    cluster = a_cluster(held())
    assert store(cluster, released(held())) == ""
    assert [(type(call), call.kind) for call in cluster.sent] == [(Patch, Kind.POD), (Delete, Kind.LEASE)]
    assert cluster.pod("worker-1").says == Saying(None, FIRST, is_stopping=True)
    assert cluster.lease("anna") is None


def test_a_machine_whose_pod_went_is_not_given_and_nothing_is_left_of_it() -> None:
    cluster = a_cluster()
    cluster.api.remove(Kind.POD, "worker-1")
    assert store(cluster, given_to(free(), "anna")) == GONE
    assert cluster.lease("anna") is None
    assert store(cluster, given_to(free("worker-2"), "anna", FIRST + 1)) == ""


def test_of_a_lease_that_may_still_come_nobody_is_told_that_nothing_stands() -> None:
    """Its create was not answered and sent again: it may land when the second one has been removed."""
    cluster = a_cluster()
    cluster.api.remove(Kind.POD, "worker-1")
    cluster.happens = {0: lambda _: Answer(Verdict.UNKNOWN)}
    with pytest.raises(Outdated, match="A Lease may come late"):
        store(cluster, given_to(free(), "anna"))
    assert cluster.lease("anna") is None
    assert store(cluster, given_to(free("worker-2"), "anna", FIRST + 1)) == ""
    assert not cluster.ledger.may_come_late(lease_name(ME, "anna")), "this one was answered"


def test_a_project_whose_lease_is_refused_gets_nothing() -> None:
    cluster = a_cluster()
    cluster.happens = {0: refused}
    assert store(cluster, given_to(free(), "anna")) == "Quota."
    assert cluster.pod("worker-1").says == Saying()


def test_of_two_projects_that_get_machines_together_both_do_or_none() -> None:
    cluster = a_cluster(held())
    cluster.api.remove(Kind.POD, "worker-2")
    back = released(held(), State.READY)
    assert back.after is not None
    linked = given_to(back.after, "ben", FIRST + 2)
    other = given_to(free("worker-2"), "anna", FIRST + 3)
    with pytest.raises(Outdated, match="Some of it was written"):
        store(cluster, back, linked, other)


def test_what_is_gone_is_free() -> None:
    cluster = a_cluster(held())
    cluster.api.remove(Kind.POD, "worker-1")
    assert store(cluster, released(held())) == ""
    assert cluster.lease("anna") is None


def test_a_release_that_is_refused_leaves_the_project_its_machine() -> None:
    cluster = a_cluster(held())
    cluster.happens = {0: refused}
    assert store(cluster, released(held())) == "Quota."
    lease = cluster.lease("anna")
    assert lease is not None
    assert lease.is_in_force(cluster.pod("worker-1"))


def test_what_a_project_says_is_one_write() -> None:
    cluster = a_cluster(held())
    after = replace(held(), holding=Holding("anna", "{}"))
    assert store(cluster, Change(held(), after, Cause.ANNOTATED)) == ""
    assert [(type(call), call.kind) for call in cluster.sent] == [(Patch, Kind.LEASE)]


def test_a_project_that_gets_another_machine_has_one_lease() -> None:
    gone = held(state=State.FAILED, gone=True)
    cluster = a_cluster(held())
    cluster.api.remove(Kind.POD, "worker-1")
    change = given_to(free("worker-2"), "anna", FIRST + 1)
    assert store(cluster, Change(gone, None, Cause.FORGOTTEN), change) == ""
    lease = cluster.lease("anna")
    assert lease is not None
    assert lease.machine == change.after
    assert not any(isinstance(call, Read) for call in cluster.sent)


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_lease_that_somebody_removed_is_no_proof_that_a_leader_still_leads(is_gone: bool) -> None:  # noqa: FBT001 # a case
    """It is made again, and then the pod has to say whose it is: only that shows a later leader."""
    cluster = a_cluster(held())
    cluster.api.remove(Kind.LEASE, lease_name(ME, "anna"))
    if is_gone:
        cluster.api.remove(Kind.POD, "worker-1")
    else:
        later = Ledger(ME, Term(8, "the next one"))
        cluster.run(later.fenced_pod("worker-1"))
    with pytest.raises(Outdated, match=r"confirm|Another leader"):
        store(cluster, Change(held(), replace(held(), holding=Holding("anna", '{"a":1}')), Cause.ANNOTATED))


def test_what_changes_nothing_is_not_sent() -> None:
    cluster = a_cluster()
    starting = free(state=State.STARTING)
    assert store(cluster, Change(starting, free(), Cause.ANSWERED)) == ""
    assert cluster.sent == []


def test_a_pod_that_is_not_known_is_not_given() -> None:
    cluster = a_cluster()
    cluster.ledger.forget_pod("worker-1")
    assert store(cluster, given_to(free(), "anna")) == GONE
    assert cluster.sent == []


def test_a_pod_that_took_the_name_in_between_is_not_given() -> None:
    """Its create came late, and came twice: the Lease names the first one by its uid."""
    cluster = a_cluster()

    def takes_the_name(call: Call) -> Answer:
        answer = cluster.api.carry_out(call)
        cluster.api.remove(Kind.POD, "worker-1")
        cluster.has("worker-1")
        cluster.ledger.forget_pod("worker-1")
        cluster.ledger.note_pod(cluster.found(Kind.POD, "worker-1"))
        return answer

    cluster.happens = {0: takes_the_name}
    assert store(cluster, given_to(free(), "anna")) == GONE
    assert cluster.pod("worker-1").says == Saying()
    assert cluster.lease("anna") is None
