"""Who leads, and until when it may write: each replica by its own clock, and no two clocks compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.cluster_api import ModelApi

from worker_orchestrator.errors import StoreError
from worker_orchestrator.store.cluster import election
from worker_orchestrator.store.cluster.calls import Answer, Call, Create, Kind, Patch, Verdict
from worker_orchestrator.store.cluster.election import LASTS_S, RENEW_EVERY_S, WRITES_FOR_S, Replica, Standing
from worker_orchestrator.store.cluster.terms import Term

NAME = "worker-orchestrator-leader"
WALL = datetime(2026, 12, 2, 12, tzinfo=UTC)
ANNA, BEN = Replica("anna-1", NAME, "http://10.0.0.1:9092"), Replica("ben-1", NAME)


class Candidate:
    """A replica, with its own clock, and the server."""

    def __init__(self, api: ModelApi, known: Replica, now: float = 0.0) -> None:
        self.api, self.known, self.now, self.standing = api, known, now, Standing()

    def look(self) -> None:
        self.standing = election.seen(self.standing, self.known, self.api.find(Kind.LEASE, NAME), self.now)

    def call(self) -> Call | None:
        return election.next_call(self.standing, self.known, self.now, WALL)

    def stand(self, *, took_s: float = 0.0) -> Answer | None:
        """Look, and send what is to be sent now; the answer comes after `took_s`."""
        self.look()
        call, sent_at = self.call(), self.now
        if call is None:
            return None
        answer = self.api.carry_out(call)
        self.now += took_s
        self.standing = election.answered(self.standing, self.known, answer, sent_at, self.now)
        return answer

    @property
    def term(self) -> Term | None:
        return self.standing.term(self.known)

    @property
    def may_write(self) -> bool:
        return self.standing.may_write(self.now)


def a_leader(api: ModelApi, known: Replica = ANNA) -> Candidate:
    """One that has waited, since a Lease that is not there may have been removed."""
    candidate = Candidate(api, known)
    candidate.look()
    candidate.now += LASTS_S
    candidate.stand()
    assert candidate.may_write
    return candidate


def test_the_first_replica_leads_in_the_first_term() -> None:
    leader = a_leader(ModelApi())
    assert leader.term == Term(1, "anna-1")


def test_where_there_is_no_lease_there_may_be_a_leader_that_has_not_seen_that_yet() -> None:
    candidate = Candidate(ModelApi(), ANNA, now=1000.0)
    candidate.look()
    candidate.now += LASTS_S - 0.001
    assert candidate.call() is None
    candidate.now += 0.001
    assert isinstance(candidate.call(), Create)


def test_nothing_is_sent_before_the_first_look() -> None:
    assert Candidate(ModelApi(), ANNA, now=1000.0).call() is None


def test_a_leader_says_where_it_is_and_since_when_in_the_digits_that_kubernetes_takes() -> None:
    api = ModelApi()
    leader = a_leader(api)
    call = Candidate(ModelApi(), ANNA)
    call.look()
    call.now = LASTS_S
    made = election.next_call(call.standing, ANNA, call.now, WALL.astimezone(timezone(timedelta(hours=2))))
    assert isinstance(made, Create)
    assert made.body["metadata"] == {"name": NAME, "annotations": {election.ADDRESS: ANNA.address, election.AFTER: ""}}
    assert made.body["spec"] == {
        "holderIdentity": "anna-1", "leaseDurationSeconds": 6, "leaseTransitions": 1,
        "acquireTime": "2026-12-02T12:00:00.000000Z", "renewTime": "2026-12-02T12:00:00.000000Z",
    }  # fmt: skip
    assert leader.standing.seat is not None
    assert (leader.standing.seat.holder, leader.standing.seat.address) == ("anna-1", ANNA.address)


def test_a_renewal_keeps_the_term_and_when_it_began() -> None:
    leader = a_leader(ModelApi())
    leader.now += RENEW_EVERY_S
    call = leader.call()
    assert isinstance(call, Patch)
    assert call.body["spec"]["leaseTransitions"] == 1
    assert "acquireTime" not in call.body["spec"]
    leader.stand()
    assert leader.term == Term(1, "anna-1")
    assert leader.standing.renewed_at == leader.now


def test_a_renewal_is_seen_by_others_also_if_the_wall_clock_stands_still() -> None:
    api = ModelApi()
    leader, other = a_leader(api), Candidate(api, BEN)
    other.look()
    leader.now += 3.0
    leader.stand()
    other.now += LASTS_S
    assert other.stand() is None


def test_the_time_of_a_leader_counts_from_when_its_renewal_was_sent() -> None:
    leader = a_leader(ModelApi())
    leader.now += 1.0
    leader.stand(took_s=3.0)
    leader.now += WRITES_FOR_S - 3.0 - 0.001
    assert leader.may_write
    leader.now += 0.001
    assert not leader.may_write


def test_a_renewal_without_an_answer_gives_no_time() -> None:
    api = ModelApi()
    leader = a_leader(api)
    sent_at = leader.now
    leader.now += 1.0
    leader.standing = election.answered(leader.standing, ANNA, Answer(Verdict.UNKNOWN), leader.now, leader.now)
    assert leader.standing.renewed_at == sent_at


def test_a_renewal_that_landed_without_an_answer_is_found_and_leads_on_in_its_term() -> None:
    api = ModelApi()
    leader = a_leader(api)
    leader.now += 1.0
    call = election.next_call(leader.standing, ANNA, leader.now, WALL + timedelta(seconds=1))
    assert call is not None
    api.carry_out(call)
    leader.stand()
    assert leader.term == Term(1, "anna-1")
    assert leader.standing.renewed_at == leader.now


def test_another_one_takes_over_once_it_saw_the_lease_unchanged_for_long_enough() -> None:
    api = ModelApi()
    a_leader(api)
    other = Candidate(api, BEN, now=500.0)
    assert other.stand() is None
    other.now += LASTS_S - 0.001
    assert other.stand() is None
    other.now += 0.001
    other.stand()
    assert other.term == Term(2, "ben-1")


def test_each_renewal_that_is_seen_begins_the_wait_anew() -> None:
    api = ModelApi()
    leader, other = a_leader(api), Candidate(api, BEN)
    other.look()
    for second in range(1, 20):
        leader.now += RENEW_EVERY_S
        call = election.next_call(leader.standing, ANNA, leader.now, WALL + timedelta(seconds=second))
        assert call is not None
        leader.standing = election.answered(leader.standing, ANNA, api.carry_out(call), leader.now, leader.now)
        other.now += RENEW_EVERY_S
        assert other.stand() is None


def test_of_two_that_take_over_at_once_one_does() -> None:
    api = ModelApi()
    a_leader(api)
    others = [Candidate(api, BEN), Candidate(api, Replica("carl-1", NAME))]
    for other in others:
        other.look()
        other.now += LASTS_S
    calls = [other.call() for other in others]
    assert [api.carry_out(call).verdict for call in calls if call is not None] == [Verdict.DONE, Verdict.CONFLICT]


def test_a_leader_that_sees_another_one_leads_no_more() -> None:
    api = ModelApi()
    leader = a_leader(api)
    other = Candidate(api, BEN)
    other.look()
    other.now += LASTS_S
    other.stand()
    leader.look()
    assert leader.term is None
    assert not leader.may_write
    assert leader.call() is None


def test_a_leader_that_was_silent_for_too_long_begins_a_new_term() -> None:
    """Another one may have led in between, and given the Lease back."""
    leader = a_leader(ModelApi())
    leader.now += WRITES_FOR_S
    assert not leader.may_write
    leader.stand()
    assert leader.term == Term(2, "anna-1")


def test_a_term_that_met_a_later_one_begins_anew_above_that() -> None:
    leader = a_leader(ModelApi())
    leader.standing = leader.standing.ended(epoch=41)
    assert leader.term is None
    leader.stand()
    assert leader.term == Term(42, "anna-1")


def test_a_term_that_ends_for_another_reason_is_followed_by_the_next() -> None:
    leader = a_leader(ModelApi())
    leader.standing = leader.standing.ended()
    leader.stand()
    assert leader.term == Term(2, "anna-1")


def test_a_term_that_was_ended_does_not_begin_again_by_a_renewal_that_was_under_way() -> None:
    """It would give its generations a second time."""
    api = ModelApi()
    anna = a_leader(api)
    call, sent_at = anna.call(), anna.now
    assert call is not None
    answer = api.carry_out(call)
    anna.standing = anna.standing.ended()
    anna.standing = election.answered(anna.standing, anna.known, answer, sent_at, anna.now)
    assert (anna.term, anna.may_write) == (None, False)
    anna.stand()
    assert anna.term == Term(2, ANNA.leader)


def test_a_leader_whose_lease_somebody_removed_makes_another_one_at_once() -> None:
    api = ModelApi()
    leader, other = a_leader(api), Candidate(api, BEN)
    other.look()
    api.remove(Kind.LEASE, NAME)
    other.now += 1.0
    assert other.stand() is None
    leader.now += 1.0
    leader.look()
    assert leader.term is None
    leader.stand()
    assert leader.term == Term(2, "anna-1")
    assert other.stand() is None


def test_a_removed_lease_does_not_take_epochs_back() -> None:
    api = ModelApi()
    a_leader(api)
    other = Candidate(api, BEN)
    other.look()
    api.remove(Kind.LEASE, NAME)
    other.look()
    other.now += LASTS_S
    other.stand()
    assert other.term == Term(2, "ben-1")


def test_a_clean_stop_lets_the_next_one_begin_at_once() -> None:
    api = ModelApi()
    leader, other = a_leader(api), Candidate(api, BEN)
    other.look()
    call = election.resignation(leader.standing, ANNA)
    assert call is not None
    assert api.carry_out(call).verdict is Verdict.DONE
    other.stand()
    assert other.term == Term(2, "ben-1")


def test_who_does_not_lead_has_nothing_to_give_back() -> None:
    api = ModelApi()
    a_leader(api)
    other = Candidate(api, BEN)
    other.look()
    assert election.resignation(other.standing, BEN) is None
    assert election.resignation(Standing(renewed_at=1.0), BEN) is None


def test_a_lease_that_cannot_be_read_is_told() -> None:
    found = {"metadata": {"name": NAME, "resourceVersion": "1"}, "spec": {"leaseTransitions": "seven"}}
    with pytest.raises(StoreError, match="cannot be read"):
        election.seen(Standing(), ANNA, found, 0.0)


def test_a_lease_without_a_spec_has_no_holder() -> None:
    found = {"metadata": {"name": NAME, "resourceVersion": "1"}}
    standing = election.seen(Standing(), ANNA, found, 0.0)
    assert isinstance(election.next_call(standing, ANNA, 0.0, WALL), Patch)


TURNS = st.tuples(st.floats(0, 6), st.integers(0, 1), st.sampled_from(["stand", "stand", "look", "unheard"]))


@given(st.lists(TURNS, max_size=30), st.tuples(st.floats(0.85, 1.15), st.floats(0.85, 1.15)))
def test_no_two_replicas_may_write_at_once(turns: list[tuple[float, int, str]], rates: tuple[float, float]) -> None:
    """Clocks that run a seventh too fast or too slowly, looks at any time, and answers that get lost."""
    api, at_s = ModelApi(), 0.0
    replicas = [Candidate(api, Replica(f"replica-{number}", NAME)) for number in range(2)]
    for wait_s, number, what in [(0.0, 0, "look"), (10.0, 0, "stand"), (0.0, 1, "look"), *turns]:
        at_s += wait_s
        for each, rate in zip(replicas, rates, strict=True):
            each.now = at_s * rate
        replica = replicas[number]
        if what == "look":
            replica.look()
        elif what == "stand":
            replica.stand()
        elif (call := replica.call()) is not None:
            api.carry_out(call)
        assert sum(each.may_write for each in replicas) <= 1
