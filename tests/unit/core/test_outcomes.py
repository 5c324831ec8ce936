"""What comes back from the world between two listings: verdicts of probes and outcomes of actions."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.core.build import NEW, World, a_fleet, a_machine, a_spec, assert_indexes_hold, with_one

from worker_orchestrator.core import reasons
from worker_orchestrator.core.action import Action, Create, Destroy, Restart, Result
from worker_orchestrator.core.brake import Failure, fail_machine
from worker_orchestrator.core.commands import destroy, restart
from worker_orchestrator.core.due_actions import follow_up, still_wanted
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.instance import Status, Verdict
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.core.outcomes import apply_verdict, is_awaited, patience_s, start_deadline
from worker_orchestrator.core.sizing import new_machine
from worker_orchestrator.core.waiting_line import goes_stale, is_verified
from worker_orchestrator.settings.settings import DEFAULT_POOL

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED


# probes


def test_a_starting_machine_that_answers_is_ready() -> None:
    """And idle, if nobody waits."""
    world = World()
    machine_id = world.start()
    before = world[machine_id]
    world.answer(machine_id)
    assert world[machine_id] == replace(before, state=READY, reason="The worker answered.")
    assert world.last_change().cause is Cause.ANSWERED
    assert world.idle == [machine_id]


def test_a_machine_that_becomes_ready_goes_to_whoever_waits() -> None:
    """In the same decision that makes it idle."""
    world = World()
    world.assign("p")
    machine_id = world.up()
    assert world.causes(machine_id) == [Cause.CREATED, Cause.ANSWERED, Cause.ASSIGNED]
    assert world[machine_id].project == "p"
    assert world.watch(machine_id).since == world.now


def test_a_restarted_machine_that_answers_is_ready_for_its_project() -> None:
    """Nobody else gets it."""
    world = World(fleet=a_fleet(a_machine(state=STARTING, project="p")))
    world.assign("q")
    world.answer("w1")
    assert world["w1"] == a_machine(project="p", reason="The worker answered.")
    assert world.line == ["q"]


def test_an_answer_is_remembered_with_the_begin_of_its_probe() -> None:
    """How long the probe took is no merit."""
    world = World(fleet=a_fleet(a_machine()))
    world.miss("w1")
    world.answer("w1", begun_at=world.now - 0.25)
    assert (world.watch("w1").verified_at, world.watch("w1").misses) == (world.now - 0.25, 0)
    assert world.fleet.pending == []


def patience(world: World, machine_id: str) -> float:
    return patience_s(world.fleet, world.spec, world[machine_id], world.now)


def answered(world: World, machine_id: str, took_s: float) -> None:
    world.now += took_s
    verdict = Verdict(machine_id, world.now - took_s, answered=True, took_s=took_s)
    apply_verdict(world.fleet, world.spec, verdict, world.now)


def test_a_starting_worker_has_what_is_left_of_its_start_for_an_answer() -> None:
    world = World()
    machine_id = world.start()
    assert patience(world, machine_id) == world.spec.start_timeout_s
    world.now += 45.0
    assert patience(world, machine_id) == 15.0
    world.now += 14.5
    assert patience(world, machine_id) == 1.0
    world.now += 500.0
    assert patience(world, machine_id) == 1.0


def test_a_starting_worker_must_have_answered_a_start_time_out_after_it_last_changed() -> None:
    """Counted from when it was recorded, released or restarted, not from now."""
    world = World()
    machine_id = world.begin()
    begun_at = world.now
    world.now += 50.0
    assert start_deadline(world.fleet, world.spec, world[machine_id]) == begun_at + 60.0
    assert start_deadline(world.fleet, replace(world.spec, start_timeout_s=5.0), world[machine_id]) == begun_at + 5.0
    world.answer(machine_id)
    world.assign("p")
    world.now += 7.0
    world.release(machine_id)
    assert world[machine_id].state is STARTING
    assert start_deadline(world.fleet, world.spec, world[machine_id]) == world.now + 60.0


def test_an_acknowledged_restart_has_a_start_time_out_of_its_own() -> None:
    """However long it waited for its turn."""
    world = with_one(a_machine(state=STARTING, project="p"), Status.EXITED)
    world.now += 500.0
    world.restarted("w1")
    assert start_deadline(world.fleet, world.spec, world["w1"]) == world.now + 60.0


@pytest.mark.parametrize("project", [None, "p"])
@pytest.mark.parametrize("state", [STARTING, READY, FAILED])
def test_only_the_answer_of_a_starting_machine_is_awaited(state: State, project: str | None) -> None:
    """Whether it starts for a project or for the pool. Nothing that is READY or FAILED becomes ready by an answer."""
    world = World(fleet=a_fleet(a_machine(state=state, project=project)))
    assert is_awaited(world.fleet, world["w1"]) is (state is STARTING)
    assert not is_awaited(a_fleet(a_machine(state=STOPPING)), a_machine(state=STOPPING))


def test_no_answer_is_awaited_until_a_requested_restart_has_happened() -> None:
    """What answers before is about to be stopped."""
    world = with_one(a_machine(project="p"))
    restart(world.fleet, world["w1"], world.now)
    assert world["w1"].state is STARTING
    assert not is_awaited(world.fleet, world["w1"])
    world.apply_outcome(Restart("w1", stop_first=True), Result.UNAVAILABLE)
    assert not is_awaited(world.fleet, world["w1"])
    world.apply_outcome(Restart("w1", stop_first=True), Result.DONE)
    assert is_awaited(world.fleet, world["w1"])


def test_while_nobody_knows_how_long_it_takes_a_worker_is_asked_for_as_long_as_its_pool_lets_it_start() -> None:
    world = World(fleet=a_fleet(a_machine()))
    world.wants(start_timeout_s=25.0)
    assert patience(world, "w1") == 25.0


def test_a_worker_that_was_slow_once_is_asked_with_patience_until_it_is_quick_again() -> None:
    world = World(fleet=a_fleet(a_machine()))
    assert patience(world, "w1") == 60.0  # nobody knows yet
    answered(world, "w1", 8.0)
    assert patience(world, "w1") == 16.0
    answered(world, "w1", 0.01)
    assert patience(world, "w1") == 8.0
    answered(world, "w1", 6.0)
    assert patience(world, "w1") == 12.0
    for _ in range(4):
        answered(world, "w1", 0.01)
    assert patience(world, "w1") == 1.0
    answered(world, "w1", 59.0)
    assert patience(world, "w1") == 60.0
    world.spec = replace(world.spec, start_timeout_s=0.5)
    assert patience(world, "w1") == 1.0
    world.watch("w1").verified_at = None
    assert patience(world, "w1") == 1.0


def test_an_answer_that_took_long_is_fresh_from_its_end() -> None:
    """It is handed out at once, and not asked for as long again."""
    world = World(fleet=a_fleet(a_machine()))
    answered(world, "w1", 8.0)
    world.now += 1.0
    assert is_verified(world.fleet, world.spec, world["w1"], world.now)
    world.now += 0.01
    assert not is_verified(world.fleet, world.spec, world["w1"], world.now)


def test_a_probe_begun_before_the_machine_last_changed_hands_proves_nothing() -> None:
    """Whatever it found, it found of another life."""
    world = World(fleet=a_fleet(a_machine(project="p")))
    world.now += 60.0
    world.release("w1")
    world.answer("w1", begun_at=world.now - 0.001)
    assert world["w1"].state is STARTING
    assert world.watch("w1").verified_at is None
    world.miss("w1", begun_at=world.now - 0.001)
    assert world.watch("w1").misses == 0
    world.answer("w1", begun_at=world.now)
    assert world["w1"].state is READY


def test_an_answer_to_a_probe_begun_before_only_the_project_changed_is_fresh() -> None:
    """It is the same worker in the same life. That it did not answer then proves nothing of what it does now."""
    world = World(fleet=a_fleet(a_machine()))
    world.now += 60.0
    begun_at = world.now - 0.001
    world.assign("p")
    world.miss("w1", begun_at=begun_at)
    assert world.watch("w1").misses == 0
    verdict = Verdict("w1", begun_at, answered=None)
    apply_verdict(world.fleet, world.spec, verdict, world.now)
    assert world.watch("w1").verified_at is None
    world.answer("w1", begun_at=begun_at)
    assert world.watch("w1").verified_at == begun_at
    assert is_verified(world.fleet, world.spec, world["w1"], world.now)


def test_an_answer_from_before_a_machine_was_ready_is_not() -> None:
    """A restart lies in between."""
    world = World(fleet=a_fleet(a_machine(state=STARTING)))
    begun_at = world.now
    world.now += 1.0
    world.answer("w1")
    world.assign("p")
    world.watch("w1").verified_at = None
    world.answer("w1", begun_at=begun_at)
    assert world.watch("w1").verified_at is None


def test_an_idle_machine_goes_stale_when_half_of_the_time_is_over_for_which_its_answer_counts() -> None:
    """So that another answer may be in before that."""
    world = World(fleet=a_fleet(a_machine()))
    assert goes_stale(world.fleet, world.spec, world["w1"], world.now)
    world.answer("w1")
    world.now += 0.5
    assert not goes_stale(world.fleet, world.spec, world["w1"], world.now)
    world.now += 0.001
    assert goes_stale(world.fleet, world.spec, world["w1"], world.now)


def test_the_verdict_on_a_forgotten_machine_is_ignored() -> None:
    """It came too late."""
    world = World()
    world.answer("w9")
    world.miss("w9")
    assert world.fleet.pending == []


def test_an_idle_machine_that_misses_three_probes_in_a_row_failed() -> None:
    """Two may be bad luck."""
    world = World(fleet=a_fleet(a_machine()))
    world.miss("w1")
    world.miss("w1")
    assert world.idle == ["w1"]
    world.miss("w1", detail="connection refused")
    assert world["w1"] == a_machine(state=FAILED, reason="The worker stopped answering: connection refused.")


def test_an_answer_in_between_begins_the_count_anew() -> None:
    """In a row means in a row."""
    world = World(fleet=a_fleet(a_machine()))
    for _ in range(3):
        world.miss("w1")
        world.miss("w1")
        world.answer("w1")
    assert world.idle == ["w1"]


def test_a_probe_of_which_nobody_can_tell_is_no_verdict() -> None:
    """However many there are: unknown is not absent."""
    world = World(fleet=a_fleet(a_machine()))
    for _ in range(10):
        world.wonder("w1")
    assert world.idle == ["w1"]
    assert world.watch("w1").missed_at is None
    assert world.watch("w1").verified_at is None


def test_a_probe_of_which_nobody_can_tell_ends_the_row_of_misses() -> None:
    """What kept us from asking may have caused the two before it."""
    world = World(fleet=a_fleet(a_machine()))
    for _ in range(3):
        world.miss("w1")
        world.miss("w1")
        world.wonder("w1")
    assert world.idle == ["w1"]


def test_a_starting_machine_of_which_nobody_can_tell_goes_on_starting() -> None:
    """Past its start time-out too: it may have come up long ago."""
    world = World()
    machine_id = world.start()
    world.now += world.spec.start_timeout_s + 5.0
    world.wonder(machine_id)
    world.tick()
    assert world[machine_id].state is STARTING
    world.miss(machine_id, detail="connection refused")
    world.tick()
    assert world[machine_id].reason == "The worker did not answer within 60 s of its start: connection refused."


def test_an_idle_machine_that_stops_answering_soon_raises_the_brake() -> None:
    """One that served long does not."""
    world = World()
    early, late = world.up(), world.up()
    for _ in range(3):
        world.miss(early)
    assert world.brake.reason == f"Machine {early} failed. The worker stopped answering: nothing listens."
    world.pool.image_brake = None
    world.now += 60.0
    for _ in range(3):
        world.miss(late)
    assert world.pool.image_brake is None


@pytest.mark.parametrize("state", [READY, STARTING])
def test_a_probe_never_fails_an_assigned_machine(state: State) -> None:
    """Its worker may be busy with the project's own work."""
    world = World(fleet=a_fleet(a_machine(state=state, project="p")))
    for _ in range(10):
        world.miss("w1")
    assert world["w1"] == a_machine(state=state, project="p")


def test_a_starting_machine_may_miss_any_number_of_probes() -> None:
    """It has its start time-out. When it missed one last, and why, is remembered."""
    world = World()
    machine_id = world.start()
    for _ in range(10):
        world.now += 1.0
        world.miss(machine_id, begun_at=world.now - 0.5, detail="connection refused")
    assert world[machine_id].state is STARTING
    watch = world.watch(machine_id)
    assert (watch.missed_at, watch.missed_why, watch.misses) == (world.now - 0.5, "connection refused", 10)


@pytest.mark.parametrize("state", [STOPPING, FAILED])
def test_no_probe_brings_back_a_machine_on_its_way_out(state: State) -> None:
    """What fails or stops is not idle because it still answers."""
    world = World(fleet=a_fleet(a_machine(state=state)))
    world.answer("w1")
    for _ in range(3):
        world.miss("w1")
    assert world["w1"] == a_machine(state=state)


# a create


@pytest.mark.parametrize("result", [Result.DONE, Result.UNAVAILABLE, Result.UNKNOWN])
def test_a_create_that_may_have_worked_changes_nothing(result: Result) -> None:
    """A tick looks a moment later, and asks again if need be: also what is done may not be listed at once."""
    world = World()
    machine_id = world.begin()
    before = world[machine_id]
    world.created(machine_id, result)
    assert world[machine_id] == before
    assert len(world.fleet.pending) == 1
    assert world.watch(machine_id).not_before == world.now + 1.0


def test_a_rejected_create_fails_the_machine() -> None:
    """Again will not help. It raises the brake, and its container is removed, if there is one."""
    world = World()
    machine_id = world.begin()
    before = world[machine_id]
    world.created(machine_id, Result.REJECTED, "no such command", "the last line")
    assert world[machine_id] == replace(before, state=FAILED, reason="no such command.", evidence="the last line")
    assert world.brake.level == 1


def test_a_create_whose_port_is_taken_is_tried_on_the_next_one() -> None:
    """The refused port is left alone, the machine keeps its id and its start time-out."""
    world = World()
    machine_id = world.begin()
    before, since = world[machine_id], world.watch(machine_id).since
    world.now += 5.0
    world.created(machine_id, Result.PORT_TAKEN, "port 9093 is in use")
    assert world[machine_id] == replace(before, port=9094, reason="port 9093 is in use.")
    assert world.last_change() == Change(before, world[machine_id], Cause.MOVED)
    assert world.fleet.refused_ports == {9093: world.now + 60.0}
    assert world.watch(machine_id).since == since
    assert world.pool.image_brake is None
    assert_indexes_hold(world.fleet)


def test_a_taken_port_means_nothing_where_the_engine_plans_ports() -> None:
    """There is none of ours to change."""
    world = World(spec=a_spec(first_port=None))
    machine_id = world.begin()
    before = world[machine_id]
    world.created(machine_id, Result.PORT_TAKEN)
    assert world[machine_id] == before
    assert world.fleet.refused_ports == {}


def test_a_machine_with_a_port_of_ours_where_the_engine_plans_ports_stops_the_process() -> None:
    """There is no range to give it another one from: the record is of another engine."""
    world = World(fleet=a_fleet(a_machine(state=STARTING)), spec=a_spec(first_port=None))
    with pytest.raises(AssertionError, match=r"^the engine plans its addresses itself$"):
        world.created("w1", Result.PORT_TAKEN)


def test_the_outcome_of_a_create_that_was_planned_otherwise_is_ignored() -> None:
    """The machine was moved to another port meanwhile."""
    world = World()
    machine_id = world.begin()
    planned = Create(world[machine_id])
    world.created(machine_id, Result.PORT_TAKEN)
    moved = world[machine_id]
    world.apply_outcome(planned, Result.REJECTED)
    assert world[machine_id] == moved


@pytest.mark.parametrize("result", list(Result))
def test_the_outcome_of_a_create_whose_machine_moved_on_is_ignored(result: Result) -> None:
    """It serves already, or it is to go: the tick compares it with what is there."""
    world = World()
    for action in (world.answer, world.destroy):
        machine_id = world.begin()
        planned = Create(world[machine_id])
        action(machine_id)
        moved_on = world[machine_id]
        world.apply_outcome(planned, result)
        assert world[machine_id] == moved_on
        world.apply_outcome(Create(moved_on), result)
        assert world[machine_id] == moved_on


@pytest.mark.parametrize("action", [Create(a_machine("w9", STARTING)), Restart("w9"), Destroy("w9")])
@pytest.mark.parametrize("result", list(Result))
def test_the_outcome_for_a_forgotten_machine_is_ignored(action: Action, result: Result) -> None:
    """An orphan's removal, for one."""
    world = World()
    world.apply_outcome(action, result)
    assert world.fleet.pending == []


# a restart


def restarting() -> World:
    return World(fleet=a_fleet(a_machine(state=STARTING, project="p")))


def test_an_acknowledged_restart_is_noted() -> None:
    """From then on, exited means that it exited again."""
    world = restarting()
    world.restarted("w1")
    assert world.watch("w1").restart_acknowledged
    assert world["w1"].state is STARTING


@pytest.mark.parametrize("result", [Result.UNAVAILABLE, Result.UNKNOWN])
def test_a_restart_that_may_have_worked_changes_nothing(result: Result) -> None:
    """The next tick looks."""
    world = restarting()
    world.restarted("w1", result)
    watch = world.watch("w1")
    assert (watch.restart_acknowledged, watch.tries, watch.not_before) == (False, 0, world.now + 1.0)
    assert world["w1"].state is STARTING


def test_a_refused_restart_is_put_off_and_given_up_in_the_end() -> None:
    """Then the machine failed, and keeps its project."""
    world = restarting()
    pauses = []
    for _ in range(6):
        world.restarted("w1", Result.REJECTED, "no such program")
        pauses.append(world.watch("w1").not_before - world.now)
    assert pauses == [0.0, 10.0, 30.0, 60.0, 120.0, 240.0]
    assert world["w1"].state is STARTING
    world.restarted("w1", Result.REJECTED, "no such program")
    assert world["w1"] == a_machine(state=FAILED, project="p", reason=reasons.restart_failed("no such program"))
    assert world.watch("w1").since == world.now
    assert world.pool.image_brake is None


@pytest.mark.parametrize(
    "machine",
    [
        a_machine(project="p"),
        a_machine(state=FAILED, project="p"),
        a_machine(state=STARTING),
        a_machine(state=STOPPING),
    ],
)
@pytest.mark.parametrize("result", list(Result))
def test_the_outcome_of_a_restart_whose_machine_moved_on_is_ignored(machine: Machine, result: Result) -> None:
    """It answered, failed, or was released meanwhile."""
    world = World(fleet=a_fleet(machine))
    world.restarted("w1", result)
    assert world["w1"] == machine
    assert (world.watch("w1").restart_acknowledged, world.watch("w1").tries) == (False, 0)


# a destroy


@pytest.mark.parametrize("state", [STOPPING, FAILED])
def test_an_acknowledged_removal_is_noted(state: State) -> None:
    """A listing begun later shows whether it is true."""
    world = World(fleet=a_fleet(a_machine(state=state)))
    world.destroyed("w1")
    assert world.watch("w1").destroyed_at == world.now
    assert world["w1"] == a_machine(state=state)


@pytest.mark.parametrize("result", [Result.UNAVAILABLE, Result.UNKNOWN])
def test_a_removal_that_may_have_worked_is_not_noted(result: Result) -> None:
    """It is asked for again soon."""
    world = World(fleet=a_fleet(a_machine(state=STOPPING)))
    world.destroyed("w1", result)
    watch = world.watch("w1")
    assert (watch.destroyed_at, watch.tries, watch.not_before) == (None, 0, world.now + 1.0)


@pytest.mark.parametrize("result", [Result.REJECTED, Result.OBSTRUCTED, Result.PORT_TAKEN])
def test_a_refused_removal_is_put_off(result: Result) -> None:
    """It is tried for as long as it takes, ever more seldom, whatever the engine refuses it for."""
    world = World(fleet=a_fleet(a_machine(state=STOPPING)))
    world.destroyed("w1", result)
    assert world.watch("w1").not_before == world.now + 1.0
    world.destroyed("w1", result)
    assert world.watch("w1").not_before == world.now + 2.0
    assert world.watch("w1").destroyed_at is None


def test_tries_of_a_restart_are_none_of_the_removal() -> None:
    world = World(fleet=a_fleet(a_machine(project="p")))
    world.watch("w1").tries = 6
    world.destroy("w1")
    world.destroyed("w1", Result.REJECTED)
    assert world.watch("w1").not_before == world.now + 1.0


# a new machine and its port


def test_a_new_machine_is_on_record_before_anything_is_done() -> None:
    """With its pool, template and port."""
    world = World()
    machine = new_machine(world.fleet, world.spec, DEFAULT_POOL, NEW, "w7", world.now)
    assert machine == Machine("w7", DEFAULT_POOL, NEW, STARTING, 9093, reason=reasons.NEW) == world["w7"]
    assert world.last_change() == Change(None, machine, Cause.CREATED)


def test_ports_are_given_one_after_the_other_and_again_last() -> None:
    """A freed one is not the next."""
    world = World(spec=a_spec(first_port=9093, last_port=9095))
    ids = [world.begin(), world.begin()]
    assert [world[machine_id].port for machine_id in ids] == [9093, 9094]
    fail_machine(world.fleet, world.spec, world[ids[0]], world.now, Failure(FailureKind.VANISHED, "", gone=True))
    assert [world[world.begin()].port for _ in range(2)] == [9095, 9093]
    assert world.fleet.last_port == 9093


def test_ports_go_on_after_a_restart_of_the_service() -> None:
    """The last one given is stored."""
    world = World()
    world.begin()
    world.crash()
    assert world[world.begin()].port == 9094


def test_without_a_free_port_there_is_no_new_machine() -> None:
    """Which is noted, until one is free again."""
    world = World(spec=a_spec(first_port=9093, last_port=9093))
    first = world.begin()
    assert new_machine(world.fleet, world.spec, DEFAULT_POOL, NEW, "w7", world.now) is None
    assert world.pool.out_of_ports
    assert (world.fleet.slots_held, len(world.fleet.pending), world.fleet.last_port) == (1, 1, 9093)
    fail_machine(world.fleet, world.spec, world[first], world.now, Failure(FailureKind.VANISHED, "", gone=True))
    assert new_machine(world.fleet, world.spec, DEFAULT_POOL, NEW, "w8", world.now) is not None
    assert not world.pool.out_of_ports


def test_a_refused_port_is_left_alone_for_sixty_seconds() -> None:
    """Whoever had it may have let it go by then."""
    world = World(spec=a_spec(first_port=9093, last_port=9094))
    first = world.begin()
    world.created(first, Result.PORT_TAKEN)
    assert world[first].port == 9094
    world.now += 59.999
    assert new_machine(world.fleet, world.spec, DEFAULT_POOL, NEW, "w7", world.now) is None
    world.now += 0.001
    machine = new_machine(world.fleet, world.spec, DEFAULT_POOL, NEW, "w7", world.now)
    assert machine is not None
    assert machine.port == 9093
    assert world.fleet.refused_ports == {}


def test_where_the_engine_plans_ports_a_machine_has_none() -> None:
    """Its address comes from the engine."""
    world = World(spec=a_spec(first_port=None))
    assert [world[world.begin()].port for _ in range(2)] == [None, None]
    assert not world.pool.out_of_ports
    assert world.fleet.last_port is None


def test_more_machines_than_the_limit_stop_the_process() -> None:
    """Whoever begins one must have counted."""
    world = World(spec=a_spec(max_machines=1))
    world.begin()
    with pytest.raises(AssertionError, match=r"^1 machines of 1$"):
        world.begin()


# what a change asks of the engine


def asked(change: Change, **watch: float) -> Action | None:
    fleet = a_fleet(*([] if change.after is None else [change.after]))
    if change.after is not None:
        fleet.watches[change.after.id].not_before = watch.get("not_before", 0.0)
    return follow_up(fleet, change, now=1000.0)


def test_a_new_machine_is_to_be_created() -> None:
    """So is one that got another port."""
    starting = a_machine(state=STARTING)
    moved = replace(starting, port=9094)
    assert asked(Change(None, starting, Cause.CREATED)) == Create(starting)
    assert asked(Change(starting, moved, Cause.MOVED)) == Create(moved)


def test_a_machine_that_starts_anew_runs_already() -> None:
    """A released one and a revived one need nothing but a probe."""
    starting = a_machine(state=STARTING)
    assert asked(Change(a_machine(project="p"), starting, Cause.RELEASED)) is None
    held = replace(starting, holding=Holding("p"))
    assert asked(Change(a_machine(state=FAILED, project="p"), held, Cause.REVIVED)) is None


def test_an_exited_machine_is_to_be_restarted_unless_that_is_put_off() -> None:
    """The tick asks again when it is due."""
    change = Change(a_machine(project="p"), a_machine(state=STARTING, project="p"), Cause.RESTARTED)
    assert asked(change) == Restart("w1")
    assert asked(change, not_before=1000.0) == Restart("w1")
    assert asked(change, not_before=1000.001) is None


@pytest.mark.parametrize("cause", [Cause.RELEASED, Cause.DESTROYED, Cause.RETIRED])
def test_a_stopping_machine_is_to_be_destroyed(cause: Cause) -> None:
    """Whatever the reason."""
    assert asked(Change(a_machine(), a_machine(state=STOPPING), cause)) == Destroy("w1")


def test_a_failed_machine_is_to_be_destroyed_unless_a_project_holds_it() -> None:
    """What holds a project is never destroyed; what is gone need not be."""
    assert asked(Change(a_machine(), a_machine(state=FAILED), Cause.FAILED)) == Destroy("w1")
    assert asked(Change(a_machine(project="p"), a_machine(state=FAILED, project="p"), Cause.FAILED)) is None
    assert asked(Change(a_machine(), a_machine(state=FAILED, gone=True), Cause.FAILED)) is None


def test_other_changes_ask_nothing_of_the_engine() -> None:
    """Assignments live in the store."""
    assert asked(Change(a_machine(), a_machine(project="p"), Cause.ASSIGNED)) is None
    assert asked(Change(a_machine(state=STARTING), a_machine(), Cause.ANSWERED)) is None
    assert asked(Change(a_machine(state=STOPPING), None, Cause.FORGOTTEN)) is None


# whether an action is still right


@pytest.mark.parametrize(
    ("machine", "wanted"),
    [
        (a_machine(state=STARTING), {Create}),
        (a_machine(state=STARTING, project="p"), {Restart}),
        (a_machine(), set()),
        (a_machine(project="p"), set()),
        (a_machine(state=STOPPING), {Destroy}),
        (a_machine(state=FAILED), {Destroy}),
        (a_machine(state=FAILED, project="p"), set()),
    ],
)
def test_an_action_is_right_for_its_machine_as_it_is_now(machine: Machine, wanted: set[type[Action]]) -> None:
    """What holds a project is never destroyed, and only that is restarted in place."""
    fleet = a_fleet(machine)
    actions: list[Action] = [Create(machine), Restart("w1"), Destroy("w1")]
    assert {type(action) for action in actions if still_wanted(fleet, action)} == wanted


def test_a_create_is_wanted_only_as_it_was_planned() -> None:
    """The machine has another port now."""
    fleet = a_fleet(a_machine(state=STARTING, port=9094))
    assert not still_wanted(fleet, Create(a_machine(state=STARTING)))


def test_what_is_not_on_record_is_destroyed_only_if_it_was_ours() -> None:
    """A tombstone says so. Nothing else is done to it."""
    fleet = a_fleet(tombstones=["w1"])
    assert still_wanted(fleet, Destroy("w1"))
    assert not still_wanted(fleet, Destroy("w2"))
    assert not still_wanted(fleet, Create(a_machine(state=STARTING)))
    assert not still_wanted(fleet, Restart("w1"))


def test_what_a_project_had_is_asked_to_end_first_and_what_was_idle_is_not() -> None:
    """Also after the service was killed meanwhile: of one that was somebody's once, nobody knows how far it got."""
    world = World(fleet=a_fleet(a_machine("w1", project="p"), a_machine("w2", port=9094)))
    for machine_id in ("w1", "w2"):
        destroy(world.fleet, world[machine_id], world.now)
    actions = [follow_up(world.fleet, change, world.now) for change in world.fleet.take_pending()]
    assert actions == [Destroy("w1", gently=True, pool="default"), Destroy("w2")]
    assert world.tick().actions == actions
    stopping = [a_machine("w1", state=STOPPING, generation=7), a_machine("w2", state=STOPPING, port=9094)]
    assert World(fleet=a_fleet(*stopping)).tick().actions == [Destroy("w1", gently=True, pool="default"), Destroy("w2")]
    assert not a_fleet(a_machine(generation=7)).watches["w1"].ends_gently


def test_what_shall_go_at_once_is_not_asked() -> None:
    world = World(fleet=a_fleet(a_machine("w1", project="p"), a_machine("w2", port=9094)))
    destroy(world.fleet, world["w1"], world.now, at_once=True)
    assert world.fleet.hurried == ["w1"]
    assert follow_up(world.fleet, world.fleet.take_pending()[0], world.now) == Destroy("w1")
    destroy(world.fleet, world["w1"], world.now, at_once=True)
    destroy(world.fleet, world["w2"], world.now, at_once=True)
    assert world.fleet.hurried == ["w1"], "each is hurried once, and an idle one has no time anyway"


def test_a_destroy_that_was_taken_back_leaves_no_hurry() -> None:
    world = World(fleet=a_fleet(a_machine("w1", project="p")))
    destroy(world.fleet, world["w1"], world.now)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert not world.watch("w1").ends_gently
