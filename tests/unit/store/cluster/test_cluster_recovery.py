"""What a new leader finds, wherever the old one was interrupted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.store.cluster.driving import ME, OLD, OURS, Cluster, free, held

from worker_orchestrator.core import reasons
from worker_orchestrator.core.configuration import UNKNOWN
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.store.cluster.calls import Answer, Call, Create, Kind, Outdated, Patch, ReadAll, Steps, Verdict
from worker_orchestrator.store.cluster.carrying_out import carry_out
from worker_orchestrator.store.cluster.ledger import Ledger
from worker_orchestrator.store.cluster.objects import Assignment, lease_name
from worker_orchestrator.store.cluster.recovery import recovered, take_over
from worker_orchestrator.store.cluster.terms import Term, generation_before
from worker_orchestrator.store.cluster.transactions import transactions

ANNA = held(generation=6 * 2**30 + 1, host="10.0.0.7", port=9092)
LATER = Term(8, "the next one")


class Killed(Exception):
    """The old leader ends here."""


def an_old_leader(*pods: str) -> Cluster:
    cluster = Cluster(OLD)
    cluster.has(*(pods or ("worker-1",)), term=OLD)
    return cluster


def its_successor(cluster: Cluster, term: Term = OURS) -> Cluster:
    successor = Cluster(term)
    successor.api = cluster.api
    return successor


def taken_over(cluster: Cluster) -> dict[str, Machine]:
    """The machines that a new leader finds; the store holds just that then, with nothing left over."""
    successor = its_successor(cluster)
    machines = successor.run(take_over(successor.ledger))
    assert all(successor.pod(name).term == OURS for name in successor.api.of(Kind.POD))
    again = its_successor(cluster, LATER)
    assert again.run(take_over(again.ledger)) == machines
    assert {kind for kind, _ in again.writes} <= {Patch}, "nothing is left to be done"
    return {machine.id: machine for machine in machines}


def store(cluster: Cluster, *changes: Change) -> None:
    for transaction in transactions(changes):
        assert cluster.run(carry_out(cluster.ledger, transaction)) == ""


def assigned(machine: Machine) -> Change:
    return Change(free(machine.id), machine, Cause.ASSIGNED)


def interrupted(cluster: Cluster, number: int, *changes: Change) -> None:
    """Store changes, and be killed before the call of this number."""

    def killed(_: Call) -> Answer:
        raise Killed

    cluster.happens = {len(cluster.sent) + number: killed}
    with pytest.raises(Killed):
        store(cluster, *changes)


def test_what_was_stored_is_found_again_whole() -> None:
    cluster = an_old_leader()
    whole = replace(ANNA, holding=Holding("anna", '{"a":1}'), reason="It was assigned.", evidence="last lines")
    store(cluster, assigned(whole))
    assert taken_over(cluster) == {"worker-1": whole}


def test_what_is_free_has_to_answer_before_anybody_gets_it() -> None:
    cluster = an_old_leader()
    expected = Machine(
        "worker-1", "default", "template-1", State.STARTING, None, reason=reasons.TAKEN_OVER,
    )  # fmt: skip
    assert taken_over(cluster) == {"worker-1": expected}


def test_a_machine_keeps_the_generation_of_its_last_project() -> None:
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    store(cluster, Change(ANNA, replace(ANNA, holding=None), Cause.RELEASED))
    assert taken_over(cluster)["worker-1"].generation == ANNA.generation


def test_what_is_to_be_removed_is_not_used_again() -> None:
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    store(cluster, Change(ANNA, replace(ANNA, holding=None, state=State.STOPPING), Cause.RELEASED))
    machine = taken_over(cluster)["worker-1"]
    assert (machine.state, machine.project) == (State.STOPPING, None)


def test_a_machine_that_was_being_cleaned_is_removed() -> None:
    cluster = an_old_leader()
    dirty = replace(ANNA, configuration=UNKNOWN)
    cluster.run(cluster.ledger.say(replace(dirty, holding=None, state=State.STARTING)))
    assert taken_over(cluster)["worker-1"].state is State.STOPPING


def test_an_assignment_that_came_to_its_lease_only_was_not_made() -> None:
    """Killed between the two writes: nobody was told of it, and its Lease is removed."""
    cluster = an_old_leader()
    interrupted(cluster, 1, assigned(ANNA))
    assert cluster.lease("anna") is not None
    assert taken_over(cluster)["worker-1"].project is None
    assert cluster.lease("anna") is None


def test_a_release_that_came_to_its_pod_only_was_made() -> None:
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    interrupted(cluster, 1, Change(ANNA, replace(ANNA, holding=None, state=State.STOPPING), Cause.RELEASED))
    assert taken_over(cluster)["worker-1"].state is State.STOPPING
    assert cluster.lease("anna") is None


@pytest.mark.parametrize("number", range(3))
def test_a_machine_that_went_from_hand_to_hand_has_one_project(number: int) -> None:
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    back = replace(ANNA, holding=None)
    ben = replace(ANNA, holding=Holding("ben"), generation=ANNA.generation + 1)
    interrupted(cluster, number, Change(ANNA, back, Cause.RELEASED), Change(back, ben, Cause.ASSIGNED))
    expected = ANNA if number < 2 else ben
    assert taken_over(cluster) == {"worker-1": expected}


def test_two_projects_that_swap_their_machines_have_one_each_wherever_that_ends() -> None:
    ben = replace(ANNA, id="worker-2", holding=Holding("ben"), generation=ANNA.generation + 1, host="10.0.0.8")
    for number in range(6):
        cluster = an_old_leader("worker-1", "worker-2")
        store(cluster, assigned(ANNA), assigned(ben))
        one, two = replace(ANNA, holding=None), replace(ben, holding=None)
        changes = [
            Change(ANNA, one, Cause.RELEASED),
            Change(ben, two, Cause.RELEASED),
            Change(one, replace(one, holding=Holding("ben"), generation=ben.generation + 1), Cause.ASSIGNED),
            Change(two, replace(two, holding=Holding("anna"), generation=ben.generation + 2), Cause.ASSIGNED),
        ]
        interrupted(cluster, number, *changes)
        projects = [machine.project for machine in taken_over(cluster).values() if machine.project is not None]
        assert len(set(projects)) == len(projects), f"interrupted before call {number}"


def test_a_project_whose_node_was_drained_is_told_so() -> None:
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    cluster.api.remove(Kind.POD, "worker-1")
    machine = taken_over(cluster)["worker-1"]
    assert (machine.project, machine.state, machine.gone, machine.port) == ("anna", State.FAILED, True, None)
    assert reasons.FILES_GONE in machine.reason


def test_what_was_known_to_be_gone_keeps_its_reason() -> None:
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    gone = replace(ANNA, state=State.FAILED, gone=True, host="", port=None, reason="Its node burned.")
    store(cluster, Change(ANNA, gone, Cause.FAILED))
    cluster.api.remove(Kind.POD, "worker-1")
    assert taken_over(cluster) == {"worker-1": gone}


def test_a_lease_that_somebody_removed_is_made_again() -> None:
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    cluster.api.remove(Kind.LEASE, lease_name(ME, "anna"))
    assert taken_over(cluster) == {"worker-1": ANNA}
    lease = cluster.lease("anna")
    assert lease is not None
    assert lease.machine == ANNA


def test_of_two_pods_that_say_one_project_the_later_one_is_right() -> None:
    """As when somebody removed the Lease in between: it has left the other one, which nobody else gets."""
    cluster = an_old_leader("worker-1", "worker-2")
    later = replace(ANNA, id="worker-2", generation=ANNA.generation + 1)
    cluster.run(cluster.ledger.say(ANNA))
    cluster.run(cluster.ledger.say(later))
    machines = taken_over(cluster)
    assert machines["worker-2"] == later
    assert (machines["worker-1"].project, machines["worker-1"].state) == (None, State.STOPPING)


def test_a_pod_that_took_the_name_of_one_that_is_gone_is_removed() -> None:
    """A create that came late, and came twice: it is not the machine that the project had."""
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    cluster.api.remove(Kind.POD, "worker-1")
    cluster.has("worker-1", term=OLD)
    machine = taken_over(cluster)["worker-1"]
    assert (machine.project, machine.gone) == ("anna", True)
    assert cluster.api.find(Kind.POD, "worker-1") is None


def test_an_earlier_pod_that_still_says_so_does_not_keep_its_project() -> None:
    cluster = an_old_leader("worker-1", "worker-2", "worker-3")
    for number, name in enumerate(("worker-2", "worker-1", "worker-3")):
        generation = ANNA.generation + (0, 2, 1)[number]
        cluster.run(cluster.ledger.say(replace(ANNA, id=name, generation=generation)))
    projects = {machine.id: machine.project for machine in taken_over(cluster).values()}
    assert projects == {"worker-1": "anna", "worker-2": None, "worker-3": None}


def test_a_lease_that_came_late_takes_no_machine_from_a_project() -> None:
    """Two Leases name one machine that is gone: the later generation had it."""
    ben = Assignment(lease_name(ME, "ben"), "uid", "1", OLD, replace(ANNA, holding=Holding("ben"), generation=1), "")
    anna = Assignment(lease_name(ME, "anna"), "uid", "1", OLD, ANNA, "")
    found = recovered({}, [ben, anna])
    assert found.left_over == [ben]
    assert found.machines["worker-1"].project == "anna"


@pytest.mark.parametrize("is_gone", [False, True])
def test_of_leases_that_name_one_pod_that_is_gone_the_last_assignment_counts(is_gone: bool) -> None:  # noqa: FBT001 # a case
    """An older leader, which was stopped and wakes, makes the Lease again of what it thinks that it knows to be gone."""
    cluster = an_old_leader()
    ben = held(project="ben", generation=ANNA.generation + 1)
    store(cluster, assigned(ben))
    late = replace(ANNA, state=State.FAILED, gone=True, reason="It was seen to be gone.") if is_gone else ANNA
    cluster.run(cluster.ledger.make_lease(late))
    cluster.api.remove(Kind.POD, "worker-1")
    (found,) = taken_over(cluster).values()
    assert (found.project, found.gone) == ("ben", True)
    assert cluster.lease("anna") is None


def test_a_lease_of_a_later_assignment_that_came_late_is_told_by_its_term() -> None:
    """The machine was to go from Anna to Ben. The pod did not say so, and the next leader found it with Anna."""
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    successor = its_successor(cluster)
    assert [machine.project for machine in successor.run(take_over(successor.ledger))] == ["anna"]
    cluster.run(cluster.ledger.make_lease(held(project="ben", generation=ANNA.generation + 1)))
    cluster.api.remove(Kind.POD, "worker-1")
    last = its_successor(cluster, LATER)
    (found,) = last.run(take_over(last.ledger))
    assert (found.project, found.gone) == ("anna", True)
    assert cluster.lease("ben") is None


def test_two_machines_that_were_seen_at_one_address_can_be_loaded() -> None:
    """The pod of one had ended unseen, and its address went to the other one: a fleet has each address once."""
    cluster = an_old_leader("worker-1", "worker-2")
    later = replace(ANNA, id="worker-2", holding=Holding("ben"), generation=ANNA.generation + 1)
    store(cluster, assigned(ANNA), assigned(later))
    machines = taken_over(cluster)
    assert (machines["worker-1"].port, machines["worker-2"].port) == (None, 9092)
    fleet = Fleet(ME, generation=generation_before(OURS.epoch))
    fleet.load(machines.values(), (), 0.0)


def test_an_older_leader_that_writes_during_the_takeover_comes_first_or_not_at_all() -> None:
    """Whichever of the calls of the takeover it comes before: what it was told to be stored is what the new leader finds."""
    for number in range(12):
        cluster = an_old_leader("worker-1", "worker-2")
        successor, was_stored = its_successor(cluster), [False]

        def writes(_: Call, cluster: Cluster = cluster, was_stored: list[bool] = was_stored) -> None:
            try:
                store(cluster, assigned(ANNA))
            except Outdated:
                return
            was_stored[0] = True

        successor.happens = {number: writes}
        machines = {machine.id: machine for machine in successor.run(take_over(successor.ledger))}
        assert (machines["worker-1"].project == "anna") is was_stored[0], f"before call {number}"


NEWS = replace(ANNA, holding=Holding("anna", '{"a":1}'))
LEFT = replace(ANNA, holding=None, state=State.STOPPING)


@pytest.mark.parametrize(
    ("change", "after"),
    [(Change(ANNA, NEWS, Cause.ANNOTATED), NEWS), (Change(ANNA, LEFT, Cause.RELEASED), None)],
    ids=["annotate", "release"],
)
@pytest.mark.parametrize("number", range(6))
def test_what_an_older_leader_was_told_to_be_stored_during_a_takeover_is_found(
    number: int, change: Change, after: Machine | None
) -> None:
    """It comes before any call of the takeover: what it did in time is known, and after that it is refused."""
    cluster = an_old_leader()
    store(cluster, assigned(ANNA))
    successor, was_stored = its_successor(cluster), [False]

    def writes(_: Call) -> None:
        try:
            store(cluster, change)
        except Outdated:
            return
        was_stored[0] = True

    successor.happens = {number: writes}
    machines = successor.run(take_over(successor.ledger))
    found = next((machine for machine in machines if machine.project is not None), None)
    assert found in ([after] if was_stored[0] else [ANNA, after])
    lease = successor.lease("anna")
    assert (None if lease is None else lease.machine) == found


def test_a_lease_of_a_pod_that_came_late_is_judged_by_that_pod() -> None:
    """Both were made after the pods were listed."""
    cluster = an_old_leader("worker-2")
    successor = its_successor(cluster)

    def comes_late(call: Call) -> None:
        if isinstance(call, ReadAll) and call.kind is Kind.LEASE:
            cluster.has("worker-1", term=OLD)
            store(cluster, assigned(ANNA))

    successor.happens = dict.fromkeys(range(10), comes_late)
    machines = {machine.id: machine for machine in successor.run(take_over(successor.ledger))}
    assert machines["worker-1"] == ANNA


def test_a_pod_that_nodes_keep_writing_to_becomes_ours() -> None:
    cluster = an_old_leader()
    successor = its_successor(cluster)

    def touched(_: Call) -> None:
        cluster.touch("worker-1")

    successor.happens = {1: touched}
    successor.run(take_over(successor.ledger))
    assert successor.pod("worker-1").term == OURS


def test_answers_that_get_lost_delay_a_takeover_and_change_nothing() -> None:
    for number in range(8):
        cluster = an_old_leader()
        store(cluster, assigned(ANNA))
        successor = its_successor(cluster)
        successor.happens = {number: lambda _: Answer(Verdict.UNKNOWN)}
        assert successor.run(take_over(successor.ledger)) == [ANNA]


def test_who_meets_a_later_leader_does_not_take_over() -> None:
    cluster = an_old_leader()
    its_successor(cluster).run(take_over(Ledger(ME, OURS)))
    late = Cluster(OLD)
    late.api = cluster.api
    leader = its_successor(cluster)
    leader.run(take_over(leader.ledger))
    with pytest.raises(Outdated):
        late.run(take_over(late.ledger))


def test_nothing_is_found_where_nothing_is() -> None:
    assert taken_over(Cluster(OLD)) == {}


def steps_of(leader: Cluster, number: int) -> Steps[str]:
    machine = replace(ANNA, holding=Holding(f"project-{number}"), generation=ANNA.generation + number)
    return carry_out(leader.ledger, transactions([assigned(machine)])[0])


@given(st.lists(st.integers(0, 1), max_size=24))
def test_of_leaders_that_both_believe_one_gives_a_machine_away(turns: list[int]) -> None:
    """An old leader and its successor, whose calls land in any order: the machine has one project, and only that is told."""
    old = an_old_leader()
    new = its_successor(old)
    told: list[int] = []

    def after_takeover() -> Steps[str]:
        machines = yield from take_over(new.ledger)
        if machines[0].project is not None:
            return "It has a project."
        return (yield from steps_of(new, 2))

    running = {0: (old, steps_of(old, 1)), 1: (new, after_takeover())}
    answers: dict[int, tuple[Answer, ...] | None] = {0: None, 1: None}
    for turn in [*turns, *[0, 1] * 12]:
        if turn not in running:
            continue
        leader, steps = running[turn]
        so_far = answers[turn]
        try:
            calls = next(steps) if so_far is None else steps.send(so_far)
        except StopIteration as end:
            told += [turn] if end.value == "" else []
            del running[turn]
        except Outdated:
            del running[turn]
        else:
            assert all(isinstance(call, Create | Patch) or call.kind in Kind for call in calls)
            answers[turn] = tuple(map(leader.api.carry_out, calls))
    assert running == {}
    assert len(told) == 1
    assert new.pod("worker-1").says.project == f"project-{told[0] + 1}"
