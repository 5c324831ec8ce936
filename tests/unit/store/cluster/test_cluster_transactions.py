"""Which writes store a change of the core, and in which order."""

from __future__ import annotations

from msgspec.structs import replace
from tests.unit.store.cluster.driving import free, held

from worker_orchestrator.core.configuration import UNKNOWN
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.store.cluster.transactions import (
    EndLease,
    FreePod,
    GivePod,
    KeepLease,
    MakeLease,
    Write,
    transactions,
)


def given_to(machine: Machine, project: str, generation: int) -> Change:
    return Change(machine, replace(machine, holding=Holding(project), generation=generation), Cause.ASSIGNED)


def released(machine: Machine, state: State = State.STOPPING) -> Change:
    return Change(machine, replace(machine, holding=None, state=state), Cause.RELEASED)


def after(change: Change) -> Machine:
    assert change.after is not None
    return change.after


def only(*changes: Change) -> list[Write]:
    """The writes of these changes, which are one transaction."""
    (found,) = transactions(changes)
    assert found.changes == changes
    return list(found.writes)


def test_an_assignment_is_two_writes_and_the_lease_comes_first() -> None:
    change = given_to(free(), "anna", 1)
    assert only(change) == [MakeLease(after(change)), GivePod(after(change))]


def test_a_release_frees_the_pod_before_its_lease_ends() -> None:
    change = released(held())
    assert only(change) == [FreePod(after(change)), EndLease("anna")]


def test_what_a_project_says_of_its_machine_is_one_write() -> None:
    machine = held()
    change = Change(machine, replace(machine, holding=Holding("anna", "{}")), Cause.ANNOTATED)
    assert only(change) == [KeepLease(after(change))]


def test_a_machine_that_fails_stays_in_the_lease_of_its_project() -> None:
    machine = held()
    change = Change(machine, replace(machine, state=State.FAILED, reason="It exited."), Cause.FAILED)
    assert only(change) == [KeepLease(after(change))]


def test_what_is_free_and_starts_answers_or_fails_is_not_written() -> None:
    new = free(state=State.STARTING)
    assert only(Change(None, new, Cause.CREATED)) == []
    assert only(Change(new, free(), Cause.ANSWERED)) == []
    assert only(Change(free(), free(state=State.FAILED), Cause.FAILED)) == []


def test_what_is_to_be_removed_says_so_once() -> None:
    stopping = free(state=State.STOPPING)
    assert only(Change(free(), stopping, Cause.RETIRED)) == [FreePod(stopping)]
    assert only(Change(stopping, None, Cause.FORGOTTEN)) == []


def test_a_machine_that_was_made_and_destroyed_at_once_says_that_it_is_to_be_removed() -> None:
    new, stopping = free(state=State.STARTING), free(state=State.STOPPING)
    assert only(Change(None, new, Cause.CREATED), Change(new, stopping, Cause.DESTROYED)) == [FreePod(stopping)]


def test_a_pod_says_that_it_is_dirty_until_it_is_clean() -> None:
    dirty = free(state=State.STARTING, configuration=UNKNOWN)
    before = held(state=State.FAILED, configuration=UNKNOWN)
    assert FreePod(replace(before, holding=None, state=State.STOPPING)) in only(released(before))
    clean = replace(dirty, configuration=None)
    assert only(Change(dirty, clean, Cause.CLEANED)) == [FreePod(clean)]


def test_a_machine_whose_pod_is_gone_needs_none_to_be_forgotten() -> None:
    gone = held(state=State.FAILED, gone=True)
    assert only(Change(gone, None, Cause.RELEASED)) == [EndLease("anna")]


def test_a_project_that_gets_another_machine_has_its_name_free_first() -> None:
    gone = held(state=State.FAILED, gone=True)
    change = given_to(free("worker-2"), "anna", 9)
    writes = only(Change(gone, None, Cause.FORGOTTEN), change)
    assert writes == [EndLease("anna"), MakeLease(after(change)), GivePod(after(change))]


def test_a_machine_that_goes_from_hand_to_hand_is_never_free_in_between() -> None:
    back = released(held(), State.READY)
    change = given_to(after(back), "ben", 9)
    assert only(back, change) == [MakeLease(after(change)), GivePod(after(change)), EndLease("anna")]


def test_what_nobody_was_told_of_is_not_written() -> None:
    change = given_to(free(), "anna", 1)
    back = Change(after(change), free(generation=1), Cause.WITHDRAWN)
    assert only(change, back) == []


def test_a_project_that_comes_again_to_the_same_machine_has_a_new_lease() -> None:
    back = released(held(generation=4), State.READY)
    change = given_to(after(back), "anna", 9)
    assert only(back, change) == [EndLease("anna"), MakeLease(after(change)), GivePod(after(change))]


def test_changes_with_nothing_in_common_do_not_wait_for_each_other() -> None:
    one, other = given_to(free(), "anna", 1), given_to(free("worker-2"), "ben", 2)
    assert [found.changes for found in transactions([one, other])] == [(one,), (other,)]


def test_changes_that_are_linked_by_a_third_one_are_one_transaction() -> None:
    back = released(held(), State.READY)
    elsewhere = released(held("worker-2", "ben", 3))
    change = given_to(after(back), "ben", 9)
    (found,) = transactions([back, elsewhere, change])
    assert found.changes == (back, elsewhere, change)
    assert found.writes == (
        FreePod(after(elsewhere)), EndLease("ben"), MakeLease(after(change)), GivePod(after(change)), EndLease("anna"),
    )  # fmt: skip


def test_nothing_is_written_for_nothing() -> None:
    assert transactions([]) == []
