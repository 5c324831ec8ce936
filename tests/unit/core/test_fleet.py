"""The fleet in memory: its indexes are always those of its machines, and what was not stored is taken back."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.core.build import NEW, OLD, World, a_fleet, a_machine, a_spec, assert_indexes_hold, indexes

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, Change, Holding, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.reasons import RESTART_REQUESTED
from worker_orchestrator.core.watch import Watch
from worker_orchestrator.settings.settings import DEFAULT_POOL

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED


# looking


def test_only_idle_machines_of_another_template_in_this_pool_are_stale() -> None:
    fleet = a_fleet(a_machine("w1"), a_machine("w2", template=NEW, pool="other", port=9094))
    assert not fleet.has_stale(DEFAULT_POOL, OLD)
    assert fleet.has_stale(DEFAULT_POOL, NEW)
    assert not fleet.has_stale("other", NEW)
    assert fleet.has_stale("other", None)
    fleet.apply(a_machine("w1"), a_machine("w1", project="p", generation=1), Cause.ASSIGNED, 0.0)
    assert not fleet.has_stale(DEFAULT_POOL, NEW)  # its group is empty now


def test_what_is_gone_makes_room_no_more() -> None:
    """Its container does not exist: there is nothing left to remove."""
    fleet = a_fleet(
        a_machine("w1", FAILED, gone=True), a_machine("w2", FAILED, port=9094), a_machine("w3", STOPPING, port=9095)
    )
    assert len(fleet.leaving(DEFAULT_POOL)) == 2


# loading


def test_a_fleet_begins_empty() -> None:
    """Nothing is held, nobody waits, no port was given."""
    fleet = Fleet("owner-1")
    assert (fleet.owner, fleet.generation, fleet.last_port, fleet.slots_held) == ("owner-1", 0, None, 0)
    assert (fleet.machines, fleet.tombstones, fleet.pending, fleet.refused_ports) == ({}, {}, [], {})
    assert Fleet("owner-1", generation=7, last_port=9099).generation == 7
    assert Fleet("owner-1", generation=7, last_port=9099).last_port == 9099


def test_loading_takes_over_machines_and_tombstones() -> None:
    """What the store holds is what the fleet is; nothing of it is left to be stored."""
    machines = [a_machine("w1"), a_machine("w2", STARTING, port=9094)]
    fleet = a_fleet(*machines, tombstones=["w0"], now=5.0)
    assert list(fleet.machines.values()) == machines
    assert fleet.tombstones.keys() == {"w0"}
    assert fleet.pending == []
    assert_indexes_hold(fleet)


def test_deadlines_begin_anew_at_loading() -> None:
    """The process saw nothing of a loaded machine yet, so it counts as unverified and as up since long ago."""
    fleet = a_fleet(a_machine("w1"), a_machine("w2", STARTING, port=9094), now=5.0)
    assert fleet.watches["w1"] == Watch(born=5.0, since=5.0, state_since=5.0, ready_at=-math.inf)
    assert fleet.watches["w2"] == Watch(born=5.0, since=5.0, state_since=5.0)
    assert fleet.watches["w2"].verified_at is None


def test_a_loaded_ready_machine_proves_its_template() -> None:
    """It came up once, before the service restarted. A machine that is still starting proves nothing."""
    assert a_fleet(a_machine(template=NEW)).pool(DEFAULT_POOL).proven_template == NEW
    assert a_fleet(a_machine(state=STARTING)).pool(DEFAULT_POOL).proven_template is None


def test_a_fleet_is_loaded_once() -> None:
    """A second load would be two truths."""
    fleet = a_fleet(a_machine())
    with pytest.raises(AssertionError, match=r"^a fleet is loaded once$"):
        fleet.load([], [], 0.0)


# reading


def test_a_project_finds_its_machine() -> None:
    """And a project without one finds none."""
    fleet = a_fleet(a_machine(project="p"))
    assert fleet.of_project("p") == a_machine(project="p")
    assert fleet.of_project("q") is None


def test_idle_and_coming_machines_are_found_by_pool_and_template() -> None:
    """The one that waited longest comes first."""
    fleet = a_fleet(
        a_machine("w2"),
        a_machine("w1", port=9094),
        a_machine("w3", port=9095, template=NEW),
        a_machine("w4", port=9096, pool="other"),
        a_machine("w5", STARTING, port=9097),
        a_machine("w6", STARTING, port=9098, template=NEW),
        a_machine("w7", port=9099, project="p"),
        a_machine("w8", STARTING, port=9100, project="q"),
    )
    assert list(fleet.idle(DEFAULT_POOL, OLD)) == ["w2", "w1"]
    assert list(fleet.idle(DEFAULT_POOL, NEW)) == ["w3"]
    assert list(fleet.idle("other", OLD)) == ["w4"]
    assert list(fleet.coming(DEFAULT_POOL, OLD)) == ["w5"]
    assert list(fleet.coming(DEFAULT_POOL, NEW)) == ["w6"]
    assert list(fleet.idle(DEFAULT_POOL, None)) == list(fleet.coming(DEFAULT_POOL, None)) == []


def test_stale_are_the_idle_machines_of_every_other_template() -> None:
    """Of this pool only; of all of them where no template is known."""
    fleet = a_fleet(
        a_machine("w1"),
        a_machine("w2", port=9094, template=NEW),
        a_machine("w3", port=9095, template="template-3"),
        a_machine("w4", port=9096, pool="other"),
        a_machine("w5", port=9097),
    )
    assert list(fleet.stale(DEFAULT_POOL, NEW)) == ["w1", "w5", "w3"]
    assert list(fleet.stale(DEFAULT_POOL, OLD)) == ["w2", "w3"]
    assert list(fleet.stale(DEFAULT_POOL, None)) == ["w1", "w5", "w2", "w3"]


def test_stopping_machines_are_counted_by_pool() -> None:
    """They are about to make room."""
    fleet = a_fleet(
        a_machine("w1", STOPPING),
        a_machine("w2", STOPPING, port=9094, pool="other"),
        a_machine("w3", port=1),
        a_machine("w4", port=2, project="p"),
    )
    assert [len(fleet.leaving(name)) for name in (DEFAULT_POOL, "other", "third")] == [1, 1, 0]


@pytest.mark.parametrize("state", list(State))
def test_every_machine_holds_a_slot_and_a_port_until_it_is_known_to_be_gone(state: State) -> None:
    """Unknown is not absent."""
    fleet = a_fleet(a_machine(state=state, project="p" if state is State.SLEEPING else None))
    assert fleet.slots_held == 1
    assert fleet.is_port_taken(9093)


def test_a_machine_that_is_gone_holds_neither_slot_nor_port() -> None:
    """Its record is evidence and nothing else."""
    fleet = a_fleet(a_machine(state=FAILED, gone=True), a_machine("w2"))
    assert fleet.slots_held == 1
    assert fleet.ports == {("", 9093): "w2"}
    assert not a_fleet(a_machine(state=FAILED, gone=True)).is_port_taken(9093)


def test_a_port_that_the_engine_refused_counts_as_taken() -> None:
    """Whoever holds it is none of ours."""
    fleet = a_fleet()
    fleet.refused_ports[9093] = 60.0
    assert fleet.is_port_taken(9093)
    assert not fleet.is_port_taken(9094)


def test_machines_without_a_host_port_have_no_port_in_common() -> None:
    """Where the engine plans addresses, none of ours can clash."""
    fleet = a_fleet(a_machine("w1", port=None), a_machine("w2", port=None))
    assert fleet.ports == {}
    assert_indexes_hold(fleet)


def test_the_same_port_on_two_hosts_is_two_addresses() -> None:
    """An address is a host and a port."""
    fleet = a_fleet(a_machine("w1", host="a"), a_machine("w2", host="b"))
    assert fleet.ports == {("a", 9093): "w1", ("b", 9093): "w2"}
    assert_indexes_hold(fleet)


def test_a_pool_comes_into_being_when_it_is_asked_for() -> None:
    """It is the same one from then on."""
    fleet = a_fleet()
    assert fleet.pool("other") is fleet.pool("other")
    assert fleet.pool("other") is not fleet.pool(DEFAULT_POOL)


# changing


def test_apply_makes_one_move_and_keeps_it_to_be_stored() -> None:
    """What is decided is true at once, and pending until the shell stored it."""
    fleet = a_fleet()
    first = fleet.apply(None, a_machine(state=STARTING), Cause.CREATED, 1.0)
    second = fleet.apply(a_machine(state=STARTING), a_machine(), Cause.ANSWERED, 2.0)
    assert first == Change(None, a_machine(state=STARTING), Cause.CREATED)
    assert fleet.machines == {"w1": a_machine()}
    assert fleet.pending == [first, second]
    assert fleet.take_pending() == [first, second]
    assert fleet.pending == []


def test_a_forgotten_machine_leaves_a_tombstone() -> None:
    """If its container turns up again, we know that it was ours to remove."""
    fleet = a_fleet(a_machine(state=STOPPING))
    fleet.apply(a_machine(state=STOPPING), None, Cause.FORGOTTEN, 1.0)
    assert fleet.tombstones.keys() == {"w1"}
    assert (fleet.machines, fleet.watches, fleet.ports, fleet.slots_held) == ({}, {}, {}, 0)


def test_a_decision_on_an_old_state_stops_the_process() -> None:
    """Whoever decides must have looked at the machine as it is."""
    fleet = a_fleet(a_machine(reason="Its container is being created."))
    with pytest.raises(AssertionError, match=r"^w1: decided on an old state$"):
        fleet.apply(a_machine(), a_machine(state=STOPPING), Cause.DESTROYED, 1.0)
    with pytest.raises(AssertionError, match=r"^w2: decided on an old state$"):
        fleet.apply(a_machine("w2"), a_machine("w2", STOPPING), Cause.DESTROYED, 1.0)


def test_a_second_machine_of_one_id_stops_the_process() -> None:
    """An id is given once."""
    fleet = a_fleet(a_machine())
    with pytest.raises(AssertionError, match=r"^w1: exists already$"):
        fleet.apply(None, a_machine(state=STARTING, port=9094), Cause.CREATED, 1.0)


def test_a_second_machine_of_one_project_stops_the_process() -> None:
    """A project has at most one machine."""
    fleet = a_fleet(a_machine("w1", project="p"), a_machine("w2", port=9094))
    with pytest.raises(AssertionError, match=r"^project p has a machine already$"):
        fleet.apply(a_machine("w2", port=9094), a_machine("w2", port=9094, project="p"), Cause.ASSIGNED, 1.0)
    with pytest.raises(AssertionError, match=r"^project p has a machine already$"):
        a_fleet(a_machine("w1", project="p"), a_machine("w2", port=9094, project="p"))


def test_a_second_machine_on_one_port_stops_the_process() -> None:
    """An address belongs to at most one machine that is not gone."""
    fleet = a_fleet(a_machine("w1"))
    with pytest.raises(AssertionError, match=r"^port 9093 belongs to w1$"):
        fleet.apply(None, a_machine("w2", STARTING), Cause.CREATED, 1.0)


def test_since_is_when_the_state_or_the_project_changed() -> None:
    """A new reason, port or evidence is no new life."""
    fleet = a_fleet(a_machine(state=STARTING), now=1.0)
    starting, watch = a_machine(state=STARTING), fleet.watches["w1"]
    moved = replace(starting, port=9094, reason="port taken")
    fleet.apply(starting, moved, Cause.MOVED, 2.0)
    assert watch.since == 1.0
    ready = replace(moved, state=READY)
    fleet.apply(moved, ready, Cause.ANSWERED, 3.0)
    assert watch.since == 3.0
    held = replace(ready, holding=Holding("p"))
    fleet.apply(ready, held, Cause.ASSIGNED, 4.0)
    assert watch.since == 4.0
    fleet.apply(held, ready, Cause.RELEASED, 5.0)
    assert watch.since == 5.0
    assert watch.born == 1.0
    assert fleet.watches["w1"] is watch


def test_a_new_state_forgets_missed_probes_and_the_next_try() -> None:
    """They were those of the old one. A new project alone forgets nothing."""
    fleet = a_fleet(a_machine(), now=1.0)
    watch = fleet.watches["w1"]
    watch.misses, watch.missed_at, watch.missed_why = 2, 1.5, "refused"
    watch.not_before, watch.restart_acknowledged = 9.0, True
    seen = dataclasses.replace(watch, since=2.0)
    fleet.apply(a_machine(), a_machine(project="p"), Cause.ASSIGNED, 2.0)
    assert watch == seen
    fleet.apply(a_machine(project="p"), a_machine(state=STARTING, project="p"), Cause.RESTARTED, 3.0)
    assert watch == Watch(born=1.0, since=3.0, state_since=3.0, ready_at=-math.inf)


def test_what_was_seen_of_a_machine_survives_its_moves() -> None:
    """A restart that did not help is remembered, and so is when it first came up."""
    fleet = a_fleet(a_machine(), now=1.0)
    watch = fleet.watches["w1"]
    watch.tries, watch.verified_at, watch.destroyed_at = 2, 1.5, 1.7
    fleet.apply(a_machine(), a_machine(state=STARTING), Cause.RELEASED, 2.0)
    assert (watch.tries, watch.verified_at, watch.destroyed_at, watch.ready_at) == (2, 1.5, 1.7, -math.inf)


def test_the_first_answer_is_when_a_machine_came_up() -> None:
    """And what proves its template; a later one proves nothing more."""
    fleet = a_fleet(a_machine(state=STARTING), now=1.0)
    fleet.apply(a_machine(state=STARTING), a_machine(), Cause.ANSWERED, 2.0)
    assert fleet.watches["w1"].ready_at == 2.0
    assert fleet.pool(DEFAULT_POOL).proven_template == OLD
    fleet.pool(DEFAULT_POOL).proven_template = NEW
    fleet.apply(a_machine(), a_machine(state=STARTING), Cause.RELEASED, 3.0)
    fleet.apply(a_machine(state=STARTING), a_machine(), Cause.ANSWERED, 4.0)
    assert fleet.watches["w1"].ready_at == 2.0
    assert fleet.pool(DEFAULT_POOL).proven_template == NEW


def test_an_adopted_ready_machine_came_up() -> None:
    """It serves from the moment that we know of it."""
    fleet = a_fleet()
    fleet.apply(None, a_machine(), Cause.ADOPTED, 2.0)
    assert fleet.watches["w1"].ready_at == 2.0
    assert fleet.pool(DEFAULT_POOL).proven_template == OLD


def test_a_machine_that_comes_up_lets_go_of_its_templates_brake() -> None:
    """The level stays: if it dies soon, the next pause is longer."""
    fleet = a_fleet(a_machine(state=STARTING))
    fleet.pool(DEFAULT_POOL).image_brake = Brake(OLD, 3, 1.0, 5.0, is_on=True, reason="w0: exited", evidence="oops")
    fleet.apply(a_machine(state=STARTING), a_machine(), Cause.ANSWERED, 2.0)
    brake = fleet.pool(DEFAULT_POOL).image_brake
    assert brake == Brake(OLD, 3, 1.0, 2.0, is_on=False, reason="w0: exited", evidence="oops", good_since=2.0)


def test_a_machine_of_another_template_does_not_let_go_of_the_brake() -> None:
    """That the old image works says nothing of the new one."""
    fleet = a_fleet(a_machine(state=STARTING))
    braked = Brake(NEW, 3, 1.0, 5.0, is_on=True, reason="w0: exited")
    fleet.pool(DEFAULT_POOL).image_brake = braked
    fleet.apply(a_machine(state=STARTING), a_machine(), Cause.ANSWERED, 2.0)
    assert fleet.pool(DEFAULT_POOL).image_brake == braked


def test_a_brake_says_why_with_the_last_log_lines() -> None:
    """Where there are none, the reason stands alone."""
    assert Brake(OLD, 1, 0.0, 1.0, is_on=True, reason="w1: exited").explanation() == "w1: exited"
    assert Brake(OLD, 1, 0.0, 1.0, is_on=True, reason="w1: exited", evidence="oops").explanation() == "w1: exited\noops"


# taking back


def test_undo_takes_back_a_whole_batch_in_reverse_order() -> None:
    """A machine that went through several hands is where it was before the first."""
    world = World(fleet=a_fleet(a_machine("w9", project="p")), spec=a_spec(recycle=True, min_idle=1))
    before, was = dict(world.fleet.machines), indexes(world.fleet)
    world.release("w9")
    world.resize()
    world.up()
    assert world.assign("p") == "m2"
    assert len(world.fleet.pending) == 5
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.fleet.machines == before
    assert indexes(world.fleet) == was
    assert world.fleet.pending == []
    assert_indexes_hold(world.fleet)


def test_undo_brings_back_what_was_forgotten() -> None:
    """Without its tombstone: a machine on record is no orphan."""
    fleet = a_fleet(a_machine(state=STOPPING), now=1.0)
    fleet.watches["w1"].destroyed_at = 1.5
    fleet.apply(a_machine(state=STOPPING), None, Cause.FORGOTTEN, 2.0)
    fleet.undo(fleet.take_pending(), 3.0)
    assert fleet.machines == {"w1": a_machine(state=STOPPING)}
    assert fleet.tombstones.keys() == set()
    assert fleet.watches["w1"] == Watch(born=3.0, since=3.0, state_since=3.0)


def test_undo_of_a_restart_gives_the_try_back() -> None:
    """It was never begun: a disk that is full costs a worker none of its three."""
    world = World(fleet=a_fleet(a_machine(project="p")))
    world.instance("w1", Status.EXITED)
    world.tick()
    assert [change.cause for change in world.fleet.pending] == [Cause.RESTARTED]
    assert world.watch("w1").tries == 1
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.watch("w1").tries == 0
    world.release("w1")
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.watch("w1").tries == 0, "of what else is undone none was a try"


def test_of_the_removed_machines_the_last_ones_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on disk: a pool that recycles removes millions of them in a year."""
    monkeypatch.setattr("worker_orchestrator.core.fleet.TOMBSTONES_KEPT", 3)
    fleet = a_fleet(tombstones=["w0"])
    for name in ("w1", "w2", "w3"):
        assert len(fleet.tombstones) <= 3
        fleet.apply(None, a_machine(name, STARTING), Cause.CREATED, 1.0)
        fleet.apply(a_machine(name, STARTING), a_machine(name, STOPPING), Cause.RETIRED, 1.0)
        fleet.apply(a_machine(name, STOPPING), None, Cause.FORGOTTEN, 1.0)
    assert list(fleet.tombstones) == ["w1", "w2", "w3"]


def test_a_template_has_come_up_that_serves_or_was_the_last_to_come_up() -> None:
    """After a restart as well."""
    fleet = a_fleet(
        a_machine(template=OLD), a_machine("w2", template=NEW, port=9094), a_machine("w3", STARTING, port=9095)
    )
    assert fleet.has_come_up(DEFAULT_POOL, NEW)
    assert fleet.has_come_up(DEFAULT_POOL, OLD), "it serves"
    assert not fleet.has_come_up(DEFAULT_POOL, "another")
    fleet = a_fleet(a_machine(project="p", template=OLD), a_machine("w2", project="q", template=NEW, port=9094))
    assert fleet.has_come_up(DEFAULT_POOL, NEW), "it was the last"
    assert not fleet.has_come_up(DEFAULT_POOL, OLD)


def test_undo_of_a_creation_leaves_no_trace() -> None:
    """No action was started for it, so nothing can turn up: it needs no tombstone."""
    fleet = a_fleet(tombstones=["w0"])
    fleet.apply(None, a_machine(state=STARTING), Cause.CREATED, 1.0)
    fleet.undo(fleet.take_pending(), 2.0)
    assert (fleet.machines, fleet.watches, fleet.ports, fleet.slots_held) == ({}, {}, {}, 0)
    assert fleet.tombstones.keys() == {"w0"}


def test_undo_gives_a_machine_back_to_its_project() -> None:
    """A release that could not be stored did not happen, and the machine has had its project since now."""
    world = World(fleet=a_fleet(a_machine(project="p")), now=20.0)
    world.release("w1")
    world.fleet.undo(world.fleet.take_pending(), 30.0)
    assert world["w1"] == a_machine(project="p")
    assert world.watch("w1").since == 30.0


def test_a_generation_is_never_given_twice() -> None:
    """Not even if the assignment that it was given to could not be stored."""
    world = World(fleet=a_fleet(a_machine()))
    world.assign("p")
    world.fleet.undo(world.fleet.take_pending(), world.now)
    world.assign("q")
    assert world["w1"].generation == 2


def test_undo_of_part_of_what_is_pending_stops_the_process() -> None:
    """What came later stands on it."""
    fleet = a_fleet(a_machine())
    fleet.apply(a_machine(), a_machine(project="p"), Cause.ASSIGNED, 1.0)
    with pytest.raises(AssertionError, match=r"^undo what is pending in one go$"):
        fleet.undo([], 2.0)


@given(st.lists(st.integers(0, 99), max_size=30), st.integers(0, 30))
def test_undo_restores_every_index_whatever_was_done(choices: list[int], stored: int) -> None:
    """After any history, the indexes are those of a fleet freshly loaded with the same machines."""
    world = World(spec=a_spec(min_idle=1, max_machines=4), fleet=a_fleet(a_machine("w9", STOPPING, port=9093)))
    machines, was = dict(world.fleet.machines), indexes(world.fleet)
    tombstones = list(world.fleet.tombstones)
    for step, choice in enumerate(choices):
        if step == stored:
            world.fleet.take_pending()
            machines, was, tombstones = dict(world.fleet.machines), indexes(world.fleet), list(world.fleet.tombstones)
        one_step(world, choice)
        assert_indexes_hold(world.fleet)
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.fleet.machines == machines
    assert indexes(world.fleet) == was
    assert list(world.fleet.tombstones) == tombstones
    assert_indexes_hold(world.fleet)


def one_step(world: World, choice: int) -> None:
    """Any legal move of any machine, as far as it clashes with nothing."""
    world.now += 1.0
    machines = sorted(world.fleet.machines.values(), key=lambda machine: machine.id)
    kind, machine = choice // 10, machines[choice % 10 % len(machines)] if machines else None
    if kind < 2 or machine is None:
        world.begin() if world.fleet.slots_held < 4 else None
    elif machine.state is STARTING:
        world.answer(machine.id) if kind < 8 else world.destroy(machine.id)
    elif machine.state is READY and machine.project is None:
        project = f"project of {machine.id}"
        world.fleet.apply(machine, replace(machine, holding=Holding(project)), Cause.ASSIGNED, world.now)
    elif machine.state is READY:
        world.fleet.apply(machine, replace(machine, state=FAILED, gone=kind > 5), Cause.FAILED, world.now)
    elif machine.state is STOPPING:
        world.fleet.apply(machine, None, Cause.FORGOTTEN, world.now)
    else:
        world.destroy(machine.id)


def test_what_is_adopted_has_no_tombstone_any_more() -> None:
    """Whoever adopts it wants it kept, also if it should vanish and turn up again."""
    fleet = a_fleet(tombstones=["w1", "w2"])
    fleet.apply(None, a_machine(project="p", generation=1), Cause.ADOPTED, 1.0)
    assert fleet.tombstones.keys() == {"w2"}


def test_undo_keeps_the_tombstone_of_what_was_removed_before() -> None:
    """It failed and was removed, and then its record could not be forgotten: what lands late is an orphan all the same."""
    fleet = a_fleet(a_machine(state=FAILED))
    gone = a_machine(state=FAILED, gone=True)
    fleet.apply(a_machine(state=FAILED), gone, Cause.REMOVED, 1.0)
    fleet.take_pending()
    fleet.apply(gone, None, Cause.DESTROYED, 2.0)
    fleet.undo(fleet.take_pending(), 3.0)
    assert fleet.machines == {"w1": gone}
    assert fleet.tombstones.keys() == {"w1"}


def test_a_worker_that_belonged_to_a_project_still_ends_gently_after_a_restart_of_the_service() -> None:
    stopping = [a_machine("w1", STOPPING, generation=1), a_machine("w2", STOPPING, port=9094)]
    fleet = a_fleet(*stopping)
    assert [fleet.watches[machine.id].ends_gently for machine in stopping] == [True, False]


def test_an_idle_machine_that_answered_comes_last() -> None:
    world = World()
    first, second = world.up(), world.up()
    world.answer(first)
    assert list(world.fleet.idle(DEFAULT_POOL, OLD)) == [second, first]


def test_an_undone_answer_is_no_new_request_to_restart() -> None:
    """The row says that a restart was requested, until something newer is stored; the engine has done it."""
    world = World(fleet=a_fleet(a_machine("w1", STARTING, project="p", reason=RESTART_REQUESTED)))
    world.watch("w1").restart_requests = 0
    world.answer("w1")
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert (world["w1"].state, world.watch("w1").restart_requests) == (STARTING, 0)


# where machines are found


def test_of_a_pool_that_never_had_a_machine_nothing_is_found() -> None:
    fleet = a_fleet(a_machine())
    assert (fleet.idle("other", OLD), fleet.coming("other", OLD), fleet.leaving("other")) == ({}, {}, {})
    assert (fleet.count_idle("other"), fleet.first_idle("other"), list(fleet.stale("other", None))) == (0, [], [])
    assert (fleet.slots_held_by("other"), fleet.assigned_in("other"), fleet.has_stale("other", OLD)) == (0, 0, False)


def test_machines_are_found_in_their_pool_by_what_they_are() -> None:
    fleet = a_fleet(
        a_machine("w1", port=1),
        a_machine("w2", port=2),
        a_machine("w3", port=3, template=NEW),
        a_machine("w4", State.STARTING, port=4),
        a_machine("w5", State.STOPPING, port=5),
        a_machine("w6", State.FAILED, port=6),
        a_machine("w7", State.FAILED, port=7, gone=True),
        a_machine("w8", State.STOPPING, port=8, pool="other"),
        a_machine("w9", State.STARTING, port=9, project="p"),
    )
    assert list(fleet.idle(DEFAULT_POOL, OLD)) == ["w1", "w2"]
    assert list(fleet.coming(DEFAULT_POOL, OLD)) == ["w4"]
    assert list(fleet.leaving(DEFAULT_POOL)) == ["w5", "w6"]
    assert fleet.all_leaving() == ["w5", "w6", "w8"]
    assert fleet.first_idle(DEFAULT_POOL) == ["w1", "w3"]
    assert fleet.count_idle(DEFAULT_POOL) == 3
    assert (fleet.slots_held_by(DEFAULT_POOL), fleet.slots_held_by("other"), fleet.slots_held) == (7, 1, 8)
    assert (fleet.assigned_in(DEFAULT_POOL), fleet.assigned_in("other")) == (1, 0)


def test_a_template_whose_last_idle_machine_went_leaves_nothing_behind() -> None:
    """So that it stays quick to see that nothing is outdated, however many templates there were."""
    world = World(fleet=a_fleet(a_machine()))
    assert world.fleet.has_stale(DEFAULT_POOL, NEW)
    world.destroy("w1")
    assert not world.fleet.has_stale(DEFAULT_POOL, NEW)
    assert world.fleet.first_idle(DEFAULT_POOL) == []


def test_a_change_of_its_port_moves_a_machine_and_keeps_its_slot() -> None:
    fleet = a_fleet(a_machine(state=State.STARTING))
    moved = replace(fleet.machines["w1"], port=9094)
    fleet.apply(fleet.machines["w1"], moved, Cause.MOVED, 0.0)
    assert fleet.ports == {("", 9094): "w1"}
    elsewhere = replace(moved, host="10.0.0.7")
    fleet.apply(moved, elsewhere, Cause.MOVED, 0.0)
    assert fleet.ports == {("10.0.0.7", 9094): "w1"}
    assert (fleet.slots_held, fleet.slots_held_by(DEFAULT_POOL)) == (1, 1)


# who waits


def test_a_ticket_is_a_place_in_the_order_of_arrival_over_all_pools() -> None:
    fleet = a_fleet()
    for pool, project in (("a", "p"), ("b", "q"), ("a", "r")):
        fleet.join_line(pool, project)
    fleet.join_line("b", "p")
    assert (fleet.pool("a").line, fleet.pool("b").line) == ({"p": 1, "r": 3}, {"q": 2})
    assert fleet.waiting == {"p": "a", "q": "b", "r": "a"}
    fleet.leave_line("p")
    fleet.leave_line("p")
    fleet.join_line("b", "p")
    assert (fleet.pool("a").line, fleet.pool("b").line) == ({"r": 3}, {"q": 2, "p": 4})
