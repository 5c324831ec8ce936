"""The words: what a machine may become, and what may take it from its project."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.build import OWNER, a_machine, an_instance

from worker_orchestrator.core.action import Clean, Create, Destroy, Outcome, Park, Restart, Result, Stop, Unpark
from worker_orchestrator.core.configuration import Configuration, Stage
from worker_orchestrator.core.instance import Instance, Snapshot, Status, Verdict
from worker_orchestrator.core.lease import EndsBy
from worker_orchestrator.core.machine import GIVES_UP_PROJECT, TRANSITIONS, Cause, Change, Holding, Machine, State
from worker_orchestrator.core.reasons import NEW, PARK_REFUSED, UNPARKED, UNPARKED_FOR_CHECK
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.settings.settings import DEFAULT_POOL

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED
SLEEPING, PARKED = State.SLEEPING, State.PARKED
STATES = [None, *State]
LEGAL = {
    (None, STARTING),
    (None, READY),
    (STARTING, STARTING),
    (STARTING, READY),
    (STARTING, STOPPING),
    (STARTING, FAILED),
    (READY, READY),
    (READY, STARTING),
    (READY, PARKED),
    (READY, SLEEPING),
    (READY, STOPPING),
    (READY, FAILED),
    (PARKED, STARTING),
    (PARKED, STOPPING),
    (PARKED, FAILED),
    (SLEEPING, SLEEPING),
    (SLEEPING, STARTING),
    (SLEEPING, STOPPING),
    (SLEEPING, FAILED),
    (STOPPING, None),
    (FAILED, FAILED),
    (FAILED, STARTING),
    (FAILED, STOPPING),
    (FAILED, None),
}
ILLEGAL = sorted(set(product(STATES, STATES)) - LEGAL - {(None, None)}, key=str)


def in_state(state: State | None, beside: State | None = None) -> Machine | None:
    """A machine in this state, which comes from or goes to another one; a project has it if one of them is SLEEPING."""
    if state is None:
        return None
    is_held = SLEEPING in {state, beside} and state not in {STOPPING, PARKED}
    return a_machine(state=state, project="p" if is_held else None)


# states


def test_the_table_holds_all_legal_moves() -> None:
    """Twenty-four moves there are, out of seven places."""
    assert {(old, new) for old, followers in TRANSITIONS.items() for new in followers} == LEGAL
    assert set(TRANSITIONS) == set(STATES)


@pytest.mark.parametrize(("old", "new"), sorted(LEGAL, key=str))
def test_a_legal_move_can_be_made(old: State | None, new: State | None) -> None:
    """A move of the table is a change."""
    ends = (old, new) == (SLEEPING, STOPPING)
    change = Change(in_state(old, new), in_state(new, old), Cause.RELEASED if ends else Cause.FAILED)
    assert (change.before, change.after) == (in_state(old, new), in_state(new, old))


@pytest.mark.parametrize(("old", "new"), ILLEGAL)
def test_an_illegal_move_stops_the_process(old: State | None, new: State | None) -> None:
    """A move that is not in the table never reaches the store."""
    with pytest.raises(AssertionError, match=rf"^w1: {old} may not become {new} \(answered\)$"):
        Change(in_state(old, new), in_state(new, old), Cause.ANSWERED)


def test_nothing_never_becomes_nothing() -> None:
    """A change is about a machine."""
    with pytest.raises(AssertionError, match=r"^a change has a machine before, after or both$"):
        Change(None, None, Cause.FORGOTTEN)


def test_a_change_is_about_one_machine() -> None:
    """One record never turns into another one's."""
    with pytest.raises(AssertionError, match=r"^a change is about one machine$"):
        Change(a_machine("w1"), a_machine("w2"), Cause.ANSWERED)


def test_nothing_expires_without_a_deadline() -> None:
    """It says which one, in data: the words of the reason are for people."""
    held, over = a_machine(project="p"), a_machine(state=STOPPING)
    with pytest.raises(AssertionError, match=r"^w1: no deadline ended it$"):
        Change(held, over, Cause.EXPIRED)
    assert Change(held, over, Cause.EXPIRED, deadline=EndsBy.TTL).deadline is EndsBy.TTL
    assert Change(held, over, Cause.RELEASED).deadline is None


def test_a_change_knows_its_machine_as_it_is_then() -> None:
    """After the change if there is something left, else before it."""
    before, after = a_machine(), a_machine(reason="later")
    assert Change(before, after, Cause.RETIRED).machine is after
    assert Change(None, after, Cause.CREATED).machine is after
    failed = a_machine(state=FAILED)
    assert Change(failed, None, Cause.FORGOTTEN).machine is failed


def test_a_stopping_machine_has_no_project() -> None:
    """Whoever stops it took it from its project first."""
    with pytest.raises(AssertionError, match=r"^w1: a stopping machine has no project$"):
        a_machine(state=STOPPING, project="p")


@pytest.mark.parametrize("state", [STARTING, READY, SLEEPING, STOPPING])
def test_only_a_failed_machine_is_gone(state: State) -> None:
    """What is known not to exist cannot start, serve, sleep or stop."""
    with pytest.raises(AssertionError, match=r"^w1: only a failed machine may be gone$"):
        a_machine(state=state, gone=True, project="p" if state is SLEEPING else None)
    assert a_machine(state=FAILED, gone=True).gone


# projects


def test_four_causes_take_a_machine_from_its_project() -> None:
    """Neither age nor death is abandonment, unless the project or the operator set a deadline."""
    assert {Cause.RELEASED, Cause.DESTROYED, Cause.WITHDRAWN, Cause.EXPIRED} == GIVES_UP_PROJECT


@pytest.mark.parametrize("cause", sorted(GIVES_UP_PROJECT))
@pytest.mark.parametrize("after", [STARTING, READY, STOPPING, FAILED])
def test_release_destroy_and_withdrawal_give_up_the_project(cause: Cause, after: State) -> None:
    """Into whatever state the machine goes then."""
    deadline = EndsBy.TTL if cause is Cause.EXPIRED else None
    change = Change(a_machine(project="p"), a_machine(state=after), cause, deadline=deadline)
    assert change.machine.project is None


@pytest.mark.parametrize("cause", sorted(set(Cause) - GIVES_UP_PROJECT))
def test_no_other_cause_takes_a_machine_from_its_project(cause: Cause) -> None:
    """What holds a project keeps it."""
    with pytest.raises(AssertionError, match=f"^w1: {cause} may not take it from project p$"):
        Change(a_machine(project="p"), a_machine(), cause)


@pytest.mark.parametrize("cause", sorted(Cause))
def test_no_cause_passes_a_machine_from_one_project_to_another(cause: Cause) -> None:
    """It is free in between."""
    with pytest.raises(AssertionError, match=f"^w1: {cause} may not take it from project p$"):
        Change(a_machine(project="p"), a_machine(project="q"), cause)


def test_a_machine_whose_container_vanished_may_be_forgotten_with_its_project() -> None:
    """Its files are gone, and its project asks for another one."""
    lost = a_machine(state=FAILED, project="p", gone=True)
    assert Change(lost, None, Cause.FORGOTTEN).after is None


def test_a_failed_machine_whose_container_is_there_is_not_forgotten_with_its_project() -> None:
    """Its files are somebody's work."""
    kept = a_machine(state=FAILED, project="p")
    with pytest.raises(AssertionError, match=r"^w1: forgotten may not take it from project p$"):
        Change(kept, None, Cause.FORGOTTEN)


@pytest.mark.parametrize("cause", sorted(set(Cause) - GIVES_UP_PROJECT - {Cause.FORGOTTEN}))
def test_a_lost_machine_is_taken_from_its_project_only_by_being_forgotten(cause: Cause) -> None:
    """That a container vanished is no reason for anything else."""
    lost = a_machine(state=FAILED, project="p", gone=True)
    with pytest.raises(AssertionError, match=f"^w1: {cause} may not take it from project p$"):
        Change(lost, None, cause)


@pytest.mark.parametrize("cause", [Cause.ASSIGNED, Cause.ADOPTED])
def test_two_causes_give_a_machine_to_a_project(cause: Cause) -> None:
    """Somebody asked for it, or it was found to be theirs."""
    assert Change(a_machine(), a_machine(project="p"), cause).machine.project == "p"
    assert Change(None, a_machine(project="p"), cause).machine.project == "p"


@pytest.mark.parametrize("cause", sorted(set(Cause) - {Cause.ASSIGNED, Cause.ADOPTED}))
def test_no_other_cause_gives_a_machine_to_a_project(cause: Cause) -> None:
    """Nobody gets a machine by accident."""
    with pytest.raises(AssertionError, match=f"^w1: {cause} may not give it to project p$"):
        Change(a_machine(), a_machine(project="p"), cause)
    with pytest.raises(AssertionError, match=f"^w1: {cause} may not give it to project p$"):
        Change(None, a_machine(project="p"), cause)


@pytest.mark.parametrize("cause", sorted(set(Cause) - {Cause.EXPIRED}))
@pytest.mark.parametrize("after", [STARTING, READY, FAILED])
def test_a_machine_may_change_and_stay_with_its_project(cause: Cause, after: State) -> None:
    """Its state and its project are two things."""
    assert Change(a_machine(project="p"), a_machine(state=after, project="p"), cause).machine.project == "p"


def test_a_handover_gives_a_machine_to_a_project() -> None:
    """Only an assignment is one; finding out whose it is, is none."""
    free, held = a_machine(), a_machine(project="p")
    assert Change(free, held, Cause.ASSIGNED).hands_over
    assert not Change(free, held, Cause.ADOPTED).hands_over
    assert not Change(free, free, Cause.ASSIGNED).hands_over
    assert not Change(held, free, Cause.RELEASED).hands_over
    assert not Change(a_machine(state=STOPPING), None, Cause.FORGOTTEN).hands_over


# machines


@pytest.mark.parametrize(
    "holder", [{"project": "p"}, {"configuration": Configuration(Stage.LOST, "d", is_certain=True)}]
)
def test_a_parked_machine_is_free_and_clean(holder: dict[str, Any]) -> None:
    """Whoever gets it must find nothing of anybody else."""
    assert a_machine(state=PARKED).state is PARKED
    with pytest.raises(AssertionError, match=r"^w1: a parked machine (has no project|is clean)$"):
        a_machine(state=PARKED, **holder)


@pytest.mark.parametrize("reason", [UNPARKED, UNPARKED_FOR_CHECK, PARK_REFUSED])
def test_the_reason_of_a_starting_machine_says_that_it_was_parked(reason: str) -> None:
    """That is stored, so the next run of the service lets its container go on as well."""
    assert a_machine(state=STARTING, reason=reason).is_unparking
    assert not a_machine(state=STARTING, reason=reason, project="p").is_unparking
    assert not a_machine(state=READY, reason=reason).is_unparking
    assert not a_machine(state=STARTING, reason=NEW).is_unparking


def test_idle_and_coming_need_a_state_and_no_project() -> None:
    """Idle is READY without a project; coming is STARTING without one."""
    machines = [a_machine(state=state) for state in State if state is not SLEEPING]
    machines += [a_machine(state=state, project="p") for state in (STARTING, READY, SLEEPING, FAILED)]
    assert [machine for machine in machines if machine.is_idle] == [a_machine(state=READY)]
    assert [machine for machine in machines if machine.is_coming] == [a_machine(state=STARTING)]


def test_leaving_is_what_is_being_removed() -> None:
    """It makes room soon. What a project holds stays, even failed; what is gone has left."""
    machines = [a_machine(state=state) for state in State if state is not SLEEPING]
    machines += [a_machine(state=state, project="p") for state in (STARTING, READY, SLEEPING, FAILED)]
    machines += [a_machine(state=FAILED, gone=True), a_machine(state=FAILED, project="p", gone=True)]
    leaving = [machine for machine in machines if machine.is_leaving]
    assert leaving == [a_machine(state=STOPPING), a_machine(state=FAILED)]


def test_a_machine_is_a_value() -> None:
    """A decision makes a new one and never changes the old one."""
    machine = a_machine()
    with pytest.raises(AttributeError):
        machine.project = "p"  # type: ignore[misc]  # that it is refused is the point
    assert replace(machine, holding=Holding("p")) != machine == a_machine()


def test_a_machine_begins_with_nothing() -> None:
    """No project, no generation, no host, no reason, no evidence."""
    assert Machine("w1", "pool", "t", STARTING, None) == Machine(
        "w1", "pool", "t", STARTING, None, holding=None, generation=0, host="", gone=False, reason="", evidence=""
    )
    assert Holding("p") == Holding("p", metadata="")


def test_a_machine_says_whose_it_is_and_what_they_said() -> None:
    """Both come and go together."""
    free, held = a_machine(), a_machine(project="p", metadata="{}")
    assert (free.project, free.metadata) == (None, "")
    assert (held.project, held.metadata) == ("p", "{}")
    assert held == replace(free, holding=Holding("p", "{}"))
    assert replace(held, holding=None) == free


def test_each_action_names_its_machine() -> None:
    """One action per machine at a time: the id is what they are told apart by."""
    assert [
        action.machine_id
        for action in (
            Create(a_machine("w1")),
            Restart("w2"),
            Destroy("w3"),
            Stop("w4", "a"),
            Clean("w5"),
            Park("w6"),
            Unpark("w7"),
        )
    ] == ["w1", "w2", "w3", "w4", "w5", "w6", "w7"]


# words that others read: the store, the API, the log


def test_the_words_of_the_vocabulary() -> None:
    """These stand in stores and logs: a changed word is a changed format."""
    assert [state.value for state in State] == ["starting", "ready", "parked", "sleeping", "stopping", "failed"]
    assert [status.value for status in Status] == [
        "created",
        "pending",
        "running",
        "paused",
        "exited",
        "terminating",
        "unknown",
    ]
    assert [cause.value for cause in Cause] == [
        "created",
        "adopted",
        "moved",
        "answered",
        "assigned",
        "released",
        "withdrawn",
        "restarted",
        "revived",
        "slept",
        "asleep",
        "woken",
        "parked",
        "unparked",
        "failed",
        "obstructed",
        "retired",
        "destroyed",
        "removed",
        "forgotten",
        "annotated",
        "kept",
        "expiring",
        "expired",
        "configuring",
        "configured",
        "setup_failed",
        "unconfigured",
        "cleaned",
    ]
    assert [stage.value for stage in Stage] == ["writing", "done", "failed", "lost"]
    assert [result.value for result in Result] == [
        "done",
        "unavailable",
        "rejected",
        "obstructed",
        "port taken",
        "unknown",
    ]
    assert DEFAULT_POOL == "default"


def test_what_holds_where_nothing_is_said() -> None:
    """The defaults of what is handed to the core."""
    pool = PoolSpec("t")
    assert pool == PoolSpec("t", min_idle=2, max_idle=None, recycle=False, paused=False, problem="", pending=False)
    assert Spec({}) == Spec(
        {},
        max_machines=100,
        first_port=9093,
        last_port=65535,
        start_timeout_s=60.0,
        verify_after_s=1.0,
        evidence_s=600.0,
    )
    assert Snapshot(0.0, {}) == Snapshot(0.0, {}, busy=frozenset(), evidence={})
    assert Verdict("w1", 0.0, answered=True).detail == ""
    assert Outcome(Result.DONE) == Outcome(Result.DONE, "", "")
    assert an_instance() == Instance(
        "w1", OWNER, DEFAULT_POOL, "template-1", Status.RUNNING, "", address=None, port=None, killed=False, detail=""
    )
