"""One write after the other, whatever happens to it on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.unit.store.cluster.driving import ME, OLD, OURS, Cluster, a_body, free, held

from worker_orchestrator.core.machine import Holding, Machine, State
from worker_orchestrator.store.cluster.calls import (
    Answer,
    Call,
    Create,
    Delete,
    Kind,
    Outdated,
    Patch,
    Read,
    Steps,
    Verdict,
)
from worker_orchestrator.store.cluster.ledger import GONE, Ledger
from worker_orchestrator.store.cluster.objects import Saying, lease_name
from worker_orchestrator.store.cluster.terms import Term

LATER = Term(8, "the next one")
ANNA = held()
LEASE = lease_name(ME, "anna")

Happens = Callable[[Call], Answer | None]


def a_cluster(*pods: str) -> Cluster:
    cluster = Cluster()
    cluster.has(*(pods or ("worker-1",)))
    return cluster


def with_lease() -> Cluster:
    cluster = a_cluster()
    cluster.run(cluster.ledger.make_lease(ANNA))
    cluster.run(cluster.ledger.say(ANNA))
    cluster.sent.clear()
    return cluster


def unheard(cluster: Cluster) -> Happens:
    """The call lands, and its answer gets lost."""

    def happens(call: Call) -> Answer:
        cluster.api.carry_out(call)
        return Answer(Verdict.UNKNOWN)

    return happens


def lost(_: Call) -> Answer:
    """The call gets lost."""
    return Answer(Verdict.UNKNOWN)


def refused(_: Call) -> Answer:
    return Answer(Verdict.REFUSED, message="Quota.")


def by(cluster: Cluster, term: Term, steps: Callable[[Ledger], Steps[object]]) -> Happens:
    """Another leader comes first."""

    def happens(_: Call) -> None:
        other = Cluster(term)
        other.api = cluster.api
        for name in cluster.api.of(Kind.POD):
            other.run(other.ledger.fenced_pod(name))
        for name in cluster.api.of(Kind.LEASE):
            lease = other.run(other.ledger.read_lease(name))
            assert lease is not None
            other.run(other.ledger.fence_lease(lease))
        other.run(steps(other.ledger))

    return happens


def nothing(_: Ledger) -> Steps[None]:
    yield from ()


# what a pod says


def test_a_pod_is_written_with_the_version_that_was_last_heard_of() -> None:
    cluster = a_cluster()
    cluster.touch("worker-1")
    cluster.ledger.note_pod(cluster.found(Kind.POD, "worker-1"))
    assert cluster.run(cluster.ledger.say(ANNA)) == ""
    assert [type(call) for call in cluster.sent] == [Patch]


def test_a_node_that_wrote_first_costs_one_look() -> None:
    cluster = a_cluster()
    cluster.touch("worker-1")
    assert cluster.run(cluster.ledger.say(ANNA)) == ""
    assert [type(call) for call in cluster.sent] == [Patch, Read, Patch]
    assert cluster.pod("worker-1").says == Saying.of(ANNA)


def test_a_watch_that_lags_behind_costs_one_look() -> None:
    cluster = a_cluster()
    before = cluster.found(Kind.POD, "worker-1")
    cluster.run(cluster.ledger.say(ANNA))
    cluster.ledger.note_pod(before)
    assert cluster.run(cluster.ledger.say(free(generation=ANNA.generation))) == ""
    assert cluster.pod("worker-1").says == Saying(None, ANNA.generation)


def test_what_a_watch_tells_of_another_term_is_not_taken_for_ours() -> None:
    cluster = Cluster()
    cluster.has("worker-1", term=OLD)
    assert cluster.ledger.pods == {}


def test_an_answer_that_got_lost_is_not_written_twice() -> None:
    cluster = a_cluster()
    cluster.happens = {0: unheard(cluster), 1: lost}
    assert cluster.run(cluster.ledger.say(ANNA)) == ""
    assert [type(call) for call in cluster.sent] == [Patch, Read, Read]


def test_a_write_that_got_lost_is_sent_again() -> None:
    cluster = a_cluster()
    cluster.happens = {0: lost}
    assert cluster.run(cluster.ledger.say(ANNA)) == ""
    assert cluster.pod("worker-1").says == Saying.of(ANNA)


def test_a_pod_that_is_gone_says_nothing() -> None:
    cluster = a_cluster()
    cluster.api.remove(Kind.POD, "worker-1")
    assert cluster.run(cluster.ledger.say(ANNA)) == GONE
    cluster.sent.clear()
    assert cluster.run(cluster.ledger.say(ANNA)) == GONE
    assert cluster.sent == [], "that is known by then"


def test_another_pod_of_that_name_is_not_ours_to_write() -> None:
    cluster = a_cluster()
    cluster.api.remove(Kind.POD, "worker-1")
    other = Cluster()
    other.api = cluster.api
    other.has("worker-1")
    assert cluster.run(cluster.ledger.say(ANNA)) == GONE
    assert cluster.pod("worker-1").says == Saying()


def test_what_the_server_refuses_is_told() -> None:
    cluster = a_cluster()
    cluster.happens = {0: refused}
    assert cluster.run(cluster.ledger.say(ANNA)) == "Quota."


def test_a_refusal_after_a_write_that_may_still_land_is_no_refusal() -> None:
    cluster = a_cluster()
    cluster.happens = {0: lost, 2: refused}
    with pytest.raises(Outdated, match="not known whether it was written"):
        cluster.run(cluster.ledger.say(ANNA))


@pytest.mark.parametrize("term", [LATER, Term(7, "one of the same epoch")])
def test_a_leader_that_meets_another_one_stops(term: Term) -> None:
    cluster = a_cluster()
    made = Cluster(term)
    made.api = cluster.api
    cluster.api.change(Kind.POD, "worker-1", {"metadata": {"annotations": {"worker-orchestrator/term": str(term)}}})
    with pytest.raises(Outdated, match="Another leader writes") as error:
        cluster.run(cluster.ledger.say(ANNA))
    assert error.value.epoch == term.epoch, "the next term has to be above that"
    assert cluster.pod("worker-1").says == Saying()


def test_a_pod_that_somebody_put_back_is_not_written() -> None:
    cluster = a_cluster()
    cluster.api.change(Kind.POD, "worker-1", {"metadata": {"annotations": {"worker-orchestrator/term": str(OLD)}}})
    with pytest.raises(Outdated, match="put back"):
        cluster.run(cluster.ledger.say(ANNA))


def test_a_leader_that_was_stopped_and_wakes_changes_nothing_that_its_successor_has() -> None:
    """Its write was decided and is sent after all of the takeover: the version that it names is of its own term."""
    cluster = a_cluster()
    cluster.happens = {0: by(cluster, LATER, nothing)}
    with pytest.raises(Outdated):
        cluster.run(cluster.ledger.say(ANNA))
    assert cluster.pod("worker-1").says == Saying()


# pods that are made and removed


def test_a_pod_is_made_in_our_term() -> None:
    cluster = Cluster()
    assert cluster.run(cluster.ledger.make_pod("worker-1", a_body("worker-1"))) == ""
    assert cluster.pod("worker-1").term == OURS
    assert cluster.ledger.pods["worker-1"].version == cluster.pod("worker-1").version


@pytest.mark.parametrize("how", [unheard, lambda _: lost])
def test_a_pod_is_made_once_whatever_becomes_of_the_answer(how: Callable[[Cluster], Happens]) -> None:
    cluster = Cluster()
    cluster.happens = {0: how(cluster)}
    assert cluster.run(cluster.ledger.make_pod("worker-1", a_body("worker-1"))) == ""
    assert "worker-1" in cluster.ledger.pods


def test_a_pod_that_is_refused_is_not_known() -> None:
    cluster = Cluster()
    cluster.happens = {0: refused}
    assert cluster.run(cluster.ledger.make_pod("worker-1", a_body("worker-1"))) == "Quota."
    assert cluster.ledger.pods == {}


def test_another_leaders_pod_of_that_name_is_not_taken_for_ours() -> None:
    cluster = Cluster()
    cluster.has("worker-1", term=OLD)
    with pytest.raises(Outdated):
        cluster.run(cluster.ledger.make_pod("worker-1", a_body("worker-1")))


@pytest.mark.parametrize("happens", [None, lost])
def test_a_pod_is_removed_as_it_was_read(happens: Happens | None) -> None:
    cluster = a_cluster()
    if happens is not None:
        cluster.happens = {0: happens}
    cluster.touch("worker-1")
    cluster.run(cluster.ledger.remove_pod("worker-1"))
    assert cluster.api.find(Kind.POD, "worker-1") is None
    assert cluster.ledger.pods == {}


def test_a_removal_whose_answer_got_lost_removes_no_other_pod() -> None:
    cluster = a_cluster()

    def made_again(call: Call) -> Answer:
        cluster.api.carry_out(call)
        other = Cluster()
        other.api = cluster.api
        other.has("worker-1")
        return Answer(Verdict.UNKNOWN)

    cluster.happens = {0: made_again}
    cluster.run(cluster.ledger.remove_pod("worker-1"))
    assert cluster.api.find(Kind.POD, "worker-1") is not None


def test_what_is_gone_or_not_known_needs_no_removal() -> None:
    cluster = a_cluster()
    cluster.ledger.forget_pod("worker-1")
    cluster.run(cluster.ledger.remove_pod("worker-1"))
    assert cluster.sent == []


def test_an_old_leader_removes_no_pod_that_its_successor_has_given_away() -> None:
    cluster = a_cluster()
    cluster.happens = {0: by(cluster, LATER, lambda ledger: ledger.say(held(generation=8 * 2**30 + 1)))}
    with pytest.raises(Outdated):
        cluster.run(cluster.ledger.remove_pod("worker-1"))
    assert cluster.pod("worker-1").says.project == "anna"


# Leases


def test_a_lease_is_made_without_a_look() -> None:
    cluster = a_cluster()
    assert cluster.run(cluster.ledger.make_lease(ANNA)) == ""
    assert [type(call) for call in cluster.sent] == [Create]


@pytest.mark.parametrize("how", [unheard, lambda _: lost])
def test_a_lease_is_made_once_whatever_becomes_of_the_answer(how: Callable[[Cluster], Happens]) -> None:
    cluster = a_cluster()
    cluster.happens = {0: how(cluster)}
    assert cluster.run(cluster.ledger.make_lease(ANNA)) == ""
    assert cluster.ledger.leases[LEASE].machine == ANNA


@pytest.mark.parametrize("verdict", [Verdict.REFUSED, Verdict.MISSING])
def test_a_lease_that_is_refused_is_told(verdict: Verdict) -> None:
    cluster = a_cluster()
    cluster.happens = {0: lambda _: Answer(verdict)}
    assert cluster.run(cluster.ledger.make_lease(ANNA)) == "Kubernetes refused it."


def test_a_lease_of_an_older_term_that_came_late_is_removed_with_preconditions() -> None:
    """Its pod was never patched, and carries our term by then."""
    cluster = Cluster()
    cluster.has("worker-1", term=OLD)
    cluster.run(Ledger(ME, OLD).make_lease(replace(ANNA, generation=1)))
    cluster.has("worker-2")
    ours = replace(ANNA, id="worker-2")
    assert cluster.run(cluster.ledger.make_lease(ours)) == ""
    assert cluster.writes == [
        (Create, Kind.LEASE), (Patch, Kind.POD), (Delete, Kind.LEASE), (Create, Kind.LEASE),
    ]  # fmt: skip
    assert cluster.pod("worker-1").term == OURS
    assert cluster.lease("anna") is not None
    assert cluster.ledger.leases[LEASE].machine == ours


def test_a_late_lease_of_a_pod_that_is_gone_is_removed_as_well() -> None:
    cluster = a_cluster("worker-2")
    cluster.run(Ledger(ME, OLD).make_lease(replace(ANNA, generation=1)))
    assert cluster.run(cluster.ledger.make_lease(replace(ANNA, id="worker-2"))) == ""


def test_an_assignment_in_force_that_was_not_known_is_not_touched() -> None:
    cluster = Cluster()
    cluster.has("worker-1", term=OLD)
    other = Cluster(OLD)
    other.api = cluster.api
    other.ledger.note_pod(cluster.found(Kind.POD, "worker-1"))
    first = replace(ANNA, generation=1)
    other.run(other.ledger.make_lease(first))
    other.run(other.ledger.say(first))
    cluster.has("worker-2")
    with pytest.raises(Outdated, match="anna has worker-1"):
        cluster.run(cluster.ledger.make_lease(replace(ANNA, id="worker-2")))
    lease = cluster.lease("anna")
    assert lease is not None
    assert lease.machine == first


def changed(machine: Machine = ANNA) -> Machine:
    return replace(machine, holding=Holding("anna", '{"a":1}'))


@pytest.mark.parametrize("how", [lambda _: None, unheard, lambda _: lost])
def test_a_lease_says_what_is_new_whatever_becomes_of_the_answer(how: Callable[[Cluster], Happens | None]) -> None:
    cluster = with_lease()
    happens = how(cluster)
    if happens is not None:
        cluster.happens = {0: happens}
    assert cluster.run(cluster.ledger.keep_lease(changed())) == ""
    lease = cluster.lease("anna")
    assert lease is not None
    assert lease.machine == changed()


def test_a_lease_that_somebody_wrote_to_is_read_and_written_again() -> None:
    cluster = with_lease()
    cluster.api.change(Kind.LEASE, LEASE, {"metadata": {"labels": {"team": "a"}}})
    assert cluster.run(cluster.ledger.keep_lease(changed())) == ""
    assert [type(call) for call in cluster.sent] == [Patch, Read, Patch]


def test_a_lease_that_somebody_removed_is_made_again() -> None:
    cluster = with_lease()
    cluster.api.remove(Kind.LEASE, LEASE)
    assert cluster.run(cluster.ledger.keep_lease(changed())) == ""
    lease = cluster.lease("anna")
    assert lease is not None
    assert lease.machine == changed()


def test_news_that_the_server_refuses_are_told() -> None:
    cluster = with_lease()
    cluster.happens = {0: refused}
    assert cluster.run(cluster.ledger.keep_lease(changed())) == "Quota."


def test_an_old_leader_says_nothing_new_in_a_lease_of_its_successor() -> None:
    cluster = with_lease()
    cluster.happens = {0: by(cluster, LATER, nothing)}
    with pytest.raises(Outdated):
        cluster.run(cluster.ledger.keep_lease(changed()))
    lease = cluster.lease("anna")
    assert lease is not None
    assert lease.machine == ANNA


def test_an_old_leader_ends_no_assignment_of_its_successor() -> None:
    cluster = with_lease()
    cluster.happens = {0: by(cluster, LATER, nothing)}
    with pytest.raises(Outdated):
        cluster.run(cluster.ledger.remove_lease(LEASE))
    assert cluster.lease("anna") is not None


@pytest.mark.parametrize("how", [lambda _: None, unheard, lambda _: lost])
def test_a_lease_is_removed_whatever_becomes_of_the_answer(how: Callable[[Cluster], Happens | None]) -> None:
    cluster = with_lease()
    happens = how(cluster)
    if happens is not None:
        cluster.happens = {0: happens}
    cluster.run(cluster.ledger.remove_lease(LEASE))
    assert cluster.lease("anna") is None
    assert cluster.ledger.leases == {}


def test_a_lease_that_is_not_known_needs_no_removal() -> None:
    cluster = a_cluster()
    cluster.run(cluster.ledger.remove_lease(LEASE))
    assert cluster.sent == []


# what an older leader left


def test_a_pod_that_came_late_becomes_ours() -> None:
    cluster = Cluster()
    cluster.has("worker-1", term=OLD)
    cluster.run(cluster.ledger.admit(cluster.pod("worker-1")))
    assert cluster.pod("worker-1").term == OURS
    assert "worker-1" in cluster.ledger.pods


def test_a_pod_that_came_late_and_has_a_project_makes_the_leader_read_all_anew() -> None:
    cluster = Cluster()
    cluster.has("worker-1", term=OLD)
    other = Cluster(OLD)
    other.api = cluster.api
    other.ledger.note_pod(cluster.found(Kind.POD, "worker-1"))
    other.run(other.ledger.say(ANNA))
    with pytest.raises(Outdated, match="anna has worker-1"):
        cluster.run(cluster.ledger.admit(cluster.pod("worker-1")))


def test_a_pod_that_went_before_it_could_become_ours_is_no_matter() -> None:
    cluster = Cluster()
    cluster.has("worker-1", term=OLD)
    late = cluster.pod("worker-1")
    cluster.api.remove(Kind.POD, "worker-1")
    cluster.run(cluster.ledger.admit(late))
    assert cluster.ledger.pods == {}


def test_nothing_is_put_back_to_an_older_term() -> None:
    cluster = Cluster(OLD)
    cluster.has("worker-1", term=OURS)
    with pytest.raises(Outdated, match="Another leader"):
        cluster.run(cluster.ledger.fence_pod(cluster.pod("worker-1")))


@pytest.mark.parametrize("kind", list(Kind))
def test_who_may_not_read_cannot_lead(kind: Kind) -> None:
    cluster = a_cluster()
    cluster.happens = {0: refused, 1: refused, 2: refused}
    with pytest.raises(Outdated, match="Quota"):
        cluster.run(cluster.ledger.read_all(kind))
    read = cluster.ledger.read_pod if kind is Kind.POD else cluster.ledger.read_lease
    with pytest.raises(Outdated, match="Quota"):
        cluster.run(read("worker-1"))


def test_all_is_read_again_until_it_is_known() -> None:
    cluster = a_cluster("worker-1", "worker-2")
    cluster.happens = {0: lost}
    assert len(cluster.run(cluster.ledger.read_all(Kind.POD))) == 2


def test_what_is_stopping_says_so() -> None:
    cluster = a_cluster()
    assert cluster.run(cluster.ledger.say(free(state=State.STOPPING))) == ""
    assert cluster.pod("worker-1").says.is_stopping


def test_a_lease_that_somebody_removed_meanwhile_is_made_again() -> None:
    cluster = with_lease()

    def removes(_: Call) -> Answer:
        cluster.api.remove(Kind.LEASE, LEASE)
        return Answer(Verdict.UNKNOWN)

    cluster.happens = {0: removes}
    cluster.run(cluster.ledger.remove_lease(LEASE))
    assert cluster.lease("anna") is None
    cluster.run(cluster.ledger.keep_lease(ANNA))
    assert cluster.lease("anna") is not None
