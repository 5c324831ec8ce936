"""What people ask of the fleet: assign, release, destroy, and the line of those who wait."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.unit.core.build import NEW, OLD, World, a_fleet, a_machine, a_spec, an_instance, assert_indexes_hold

from worker_orchestrator.core import commands, refusals, waiting_line
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.lease import Asked
from worker_orchestrator.core.machine import Cause, Change, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.spec import PoolSpec
from worker_orchestrator.core.unrecorded import strays
from worker_orchestrator.errors import MachineFailed, MachineNotFound, NoMachineAvailable
from worker_orchestrator.settings.settings import DEFAULT_POOL

STARTING, READY, STOPPING, FAILED = State.STARTING, State.READY, State.STOPPING, State.FAILED


def braked(world: World, *, until: float, template: str = OLD, is_on: bool = True, evidence: str = "") -> None:
    world.pool.image_brake = Brake(template, 1, world.now, until, is_on, "w0: the container exited.", evidence)


def obstacle(world: World) -> str:
    return refusals.why_none_came(world.fleet, world.spec, DEFAULT_POOL)


def withdraw(world: World, broken: str = "") -> None:
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now, broken=broken)


def turn_away(world: World) -> dict[str, NoMachineAvailable]:
    return waiting_line.turn_away(world.fleet, world.spec, world.now)


# assign


def test_a_project_gets_an_idle_machine() -> None:
    """One that knows its project, and says why it changed."""
    world = World(fleet=a_fleet(a_machine()))
    machine = commands.assign(world.fleet, world.spec, "p", world.now, DEFAULT_POOL)
    assert machine == a_machine(project="p", generation=1, reason="It was assigned to the project.") == world["w1"]
    assert world.last_change() == Change(a_machine(), machine, Cause.ASSIGNED)


def test_a_project_keeps_its_machine_however_often_it_asks() -> None:
    """Ten assigns of one project are one machine and one change."""
    world = World(fleet=a_fleet(a_machine("w1"), a_machine("w2", port=9094)))
    assert {world.assign("p") for _ in range(10)} == {"w1"}
    assert len(world.fleet.pending) == 1
    assert world.idle == ["w2"]


def test_each_assignment_has_a_higher_generation() -> None:
    """The generation is a fencing token: it never goes back."""
    world = World(fleet=a_fleet(a_machine("w1"), a_machine("w2", port=9094)))
    world.fleet.generation = 41
    world.assign("p")
    world.assign("q")
    world.assign("p")
    assert (world["w1"].generation, world["w2"].generation, world.fleet.generation) == (42, 43, 43)


def test_the_machine_that_waited_longest_is_given_first() -> None:
    """Idle machines are used in turn."""
    world = World()
    first, second, third = world.up(), world.up(), world.up()
    assert [world.assign("p"), world.assign("q")] == [first, second]
    world.release(first)
    assert [world.assign("r"), world.assign("s")] == [third, first]


def test_one_that_has_just_answered_is_given_before_one_that_would_have_to_be_asked() -> None:
    """So ten thousand idle machines make no assign wait for a probe."""
    world = World()
    first, second, third = world.up(), world.up(), world.up()
    world.now += 10
    world.watch(third).verified_at = world.now - 0.5
    assert world.assign("p") == third
    world.watch(second).verified_at = world.now  # that one came in last
    assert world.assign("q") == second
    assert world.assign("r") == first  # whoever asks for it will ask it
    assert world.line == []


# the short way: what needs no probe


def assign_verified(world: World, project: str = "p") -> str | None:
    """Whatever it says, a machine that is given is given as by `assign`; where none is, nothing has changed."""
    before = dict(world.fleet.machines), world.line, world.fleet.generation, len(world.fleet.pending)
    machine = commands.assign_verified(world.fleet, world.spec, project, world.now, DEFAULT_POOL)
    if machine is None:
        assert before == (world.fleet.machines, world.line, world.fleet.generation, len(world.fleet.pending))
        return None
    assert machine == world[machine.id] == world.fleet.of_project(project)
    assert world.watch(machine.id).since == world.now
    change = world.last_change()
    assert (change.cause, change.after, machine.generation) == (Cause.ASSIGNED, machine, world.fleet.generation)
    return machine.id


@pytest.mark.parametrize(("age_s", "is_given"), [(0.0, True), (1.0, True), (1.001, False)])
def test_a_machine_that_answered_within_a_second_is_given_at_once(age_s: float, *, is_given: bool) -> None:
    world = World()
    machine = world.up()
    world.now += age_s
    assert assign_verified(world) == (machine if is_given else None)


@pytest.mark.parametrize(("age_s", "is_given"), [(15.0, True), (15.001, False)])
def test_for_commands_one_will_do_that_answered_in_the_last_round_of_probes(age_s: float, *, is_given: bool) -> None:
    world = World()
    first, last = world.up(), world.up()
    world.now += age_s
    world.watch(last).verified_at = world.now
    assert commands.assign_verified(world.fleet, world.spec, "p", world.now, asked=Asked("{}")) == world[last]
    given = commands.assign_verified(world.fleet, world.spec, "q", world.now, asked=Asked(for_commands=True))
    assert given == (world[first] if is_given else None)


def test_for_commands_the_last_one_that_answered_will_do_if_the_first_one_is_silent_for_long() -> None:
    world = World()
    _, last = world.up(), world.up()
    world.now += 100.0
    world.watch(last).verified_at = world.now - 14.0
    given = commands.assign_verified(world.fleet, world.spec, "p", world.now, asked=Asked(for_commands=True))
    assert given == world[last]


def test_for_commands_no_earlier_answer_counts_while_the_engine_would_not_tell_of_an_end() -> None:
    world = World()
    world.up()
    world.fleet.hears_events = False
    assert commands.assign_verified(world.fleet, world.spec, "p", world.now, asked=Asked(for_commands=True)) is None


def test_an_answer_counts_for_commands_at_least_as_long_as_for_others() -> None:
    world = World(spec=replace(a_spec(), verify_after_s=20.0))
    machine = world.up()
    world.now += 19.0
    given = commands.assign_verified(world.fleet, world.spec, "p", world.now, asked=Asked(for_commands=True))
    assert given == world[machine]


def test_a_machine_that_never_answered_this_process_is_not_given_at_once() -> None:
    assert assign_verified(World(fleet=a_fleet(a_machine()))) is None


def test_nobody_is_given_anything_at_once_where_nothing_is_idle() -> None:
    assert assign_verified(World()) is None


def test_nobody_overtakes_a_line_by_the_short_way() -> None:
    world = World()
    machine = world.up()
    world.fleet.join_line(DEFAULT_POOL, "first")
    assert assign_verified(world) is None
    world.fleet.leave_line("first")
    assert assign_verified(world) == machine


def test_the_short_way_gives_machines_of_its_pool_alone() -> None:
    other = {"other": PoolSpec(OLD, min_idle=0)}
    world = World(spec=replace(a_spec(), pools={**a_spec().pools, **other}))
    machine = world.up()
    given = commands.assign_verified(world.fleet, world.spec, "p", world.now, "other")
    assert given is None
    world.fleet.join_line("other", "q")  # a line there is no line here
    assert assign_verified(world) == machine


# what is said to have ended


def test_a_machine_that_is_said_to_have_ended_is_not_given() -> None:
    """Whoever asks for one gets the next one, or waits; nothing is decided about it, and nothing stored."""
    world = World()
    first, second = world.up(), world.up()
    world.fleet.take_pending()
    assert world.fleet.doubt(first, world.now)
    assert world.fleet.pending == []
    assert world.assign("p") == second
    assert world.assign("q") is None
    assert world.line == ["q"]


def test_the_last_one_that_answered_is_not_given_either_if_it_is_said_to_have_ended() -> None:
    world = World()
    first, second = world.up(), world.up()
    world.now += 10
    world.watch(second).verified_at = world.now
    world.fleet.doubt(second, world.now)
    assert world.assign("p") == first


def test_a_listing_that_was_begun_later_tells_what_became_of_it() -> None:
    world = World()
    machine = world.up()
    world.fleet.doubt(machine, world.now + 1)
    world.now += 0.5
    world.tick()
    assert waiting_line.next_idle(world.fleet, world.spec, DEFAULT_POOL, world.now) is None
    world.now += 0.5
    world.tick()
    assert world.assign("p") == machine


def test_after_a_doubt_that_a_listing_denied_an_earlier_answer_counts_no_more() -> None:
    """The listing shows that the worker runs. A worker that was told to stop may run for a while and answer nothing."""
    world = World()
    machine = world.up()
    world.fleet.doubt(machine, world.now + 0.1)
    world.now += 0.2
    world.tick()
    assert assign_verified(world) is None
    world.watch(machine).verified_at = world.now
    assert assign_verified(world) == machine


def test_an_answer_at_the_moment_of_the_doubt_counts() -> None:
    world = World()
    machine = world.up()
    world.fleet.doubt(machine, world.now)
    world.watch(machine).verified_at = world.now
    world.tick()
    assert assign_verified(world) == machine


def test_a_doubt_about_a_former_run_of_a_worker_says_nothing_of_the_next_one() -> None:
    world = World()
    machine = world.up()
    world.assign("p")
    world.fleet.doubt(machine, math.inf)
    world.instance(machine, Status.EXITED)
    world.tick()
    assert world[machine].state is STARTING
    assert world.watch(machine).doubted_until == 0.0


def test_only_a_machine_that_serves_can_be_said_to_have_ended() -> None:
    world = World()
    coming = world.begin()
    assert not world.fleet.doubt(coming, world.now)
    assert not world.fleet.doubt("nobody", world.now)
    assert not world.fleet.is_doubted(world[coming])


def test_one_that_is_released_while_it_is_said_to_have_ended_is_asked_first() -> None:
    world = World()
    machine = world.up()
    world.assign("p")
    world.watch(machine).verified_at = world.now
    world.fleet.doubt(machine, world.now)
    world.release(machine)
    assert world[machine].state is STARTING
    assert not world.fleet.is_doubted(world[machine])


# those who wait


def test_with_nothing_idle_a_project_waits_in_line() -> None:
    """Once, however often it asks, in the place that it took first."""
    world = World()
    assert [world.assign(project) for project in ("p", "q", "p")] == [None, None, None]
    assert world.line == ["p", "q"]
    assert world.fleet.pending == []


def test_nobody_overtakes_those_who_wait() -> None:
    """A machine that becomes idle goes to who came first, and a new project queues behind the others."""
    world = World()
    world.assign("p")
    world.assign("q")
    machine_id = world.up()
    assert world[machine_id].project == "p"
    assert world.line == ["q"]
    world.fleet.apply(None, a_machine("w9", port=80), Cause.ADOPTED, world.now)
    assert world.assign("r") is None
    assert world.line == ["q", "r"]


def test_a_project_whose_machine_is_restarted_waits_for_it() -> None:
    """It has one, so it does not stand in line for another."""
    world = World(fleet=a_fleet(a_machine(state=STARTING, project="p"), a_machine("w2", port=9094)))
    assert world.assign("p") is None
    assert world.line == []
    assert world.idle == ["w2"]


def test_a_project_whose_machine_failed_is_told_so() -> None:
    """Its files are somebody's work: only release or destroy gives them up, and a restart may bring it back."""
    failed = a_machine(state=FAILED, project="p", reason="It exited again.")
    world = World(fleet=a_fleet(failed, a_machine("w2", port=9094)))
    with pytest.raises(MachineFailed) as refused:
        world.assign("p")
    assert refused.value.message == (
        "The machine w1 of this project failed. It exited again. "
        "Its files are kept: repair them with `orchestrator cp` and run `orchestrator restart p`, or release or "
        "destroy the machine to get a new one."
    )
    assert world.fleet.pending == []
    assert world.line == []


def test_a_project_whose_machine_vanished_gets_a_new_one() -> None:
    """The old one is forgotten in the same decision, without a tombstone: should it turn up, its files are in it."""
    lost = a_machine(state=FAILED, project="p", gone=True)
    world = World(fleet=a_fleet(lost, a_machine("w2", port=9094)))
    assert world.assign("p") == "w2"
    assert [change.cause for change in world.fleet.pending] == [Cause.FORGOTTEN, Cause.ASSIGNED]
    assert world.fleet.tombstones.keys() == set()
    world.instance("w1")
    world.instance("w2")
    assert world.tick().actions == []
    assert strays(world.fleet, world.listing()) == [an_instance("w1")]
    assert_indexes_hold(world.fleet)


def test_a_project_whose_machine_vanished_waits_like_any_other() -> None:
    """When nothing is idle."""
    world = World(fleet=a_fleet(a_machine(state=FAILED, project="p", gone=True)))
    assert world.assign("p") is None
    assert world.line == ["p"]
    assert world.fleet.of_project("p") is None


def test_an_idle_machine_of_another_pool_is_not_given() -> None:
    """A pool is asked for by name."""
    world = World(fleet=a_fleet(a_machine(pool="other")))
    world.spec = replace(world.spec, pools={**world.spec.pools, "other": world.spec.pools[DEFAULT_POOL]})
    assert world.assign("p") is None
    machine = commands.assign(world.fleet, world.spec, "q", world.now, "other")
    assert machine is not None
    assert machine.id == "w1"


# an older template


def test_an_idle_machine_of_an_older_template_is_not_given() -> None:
    """Whoever rebuilt the image wants the new one."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=NEW))
    assert world.assign("p") is None
    assert world.line == ["p"]


def test_an_older_template_serves_while_the_current_one_does_not_come_up() -> None:
    """Better an old machine than none. One of the current template still comes first."""
    world = World(fleet=a_fleet(a_machine("w1"), a_machine("w2", port=9094, template=NEW)), spec=a_spec(template=NEW))
    braked(world, until=world.now + 60.0, template=NEW)
    assert [world.assign("p"), world.assign("q")] == ["w2", "w1"]


def test_an_older_template_does_not_serve_for_the_failures_of_another() -> None:
    """The brake on an image that nobody wants any more says nothing of the current one."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=NEW))
    braked(world, until=world.now + 60.0, template="template-3")
    assert world.assign("p") is None


def test_an_older_template_does_not_serve_once_the_current_one_came_up() -> None:
    """A brake that was let go holds nobody back."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=NEW))
    braked(world, until=world.now, template=NEW, is_on=False)
    assert world.assign("p") is None
    assert world.idle == ["w1"]


def test_machines_serve_while_the_engine_cannot_say_what_to_run() -> None:
    """The image is missing, but what runs, runs."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=None, problem="No such image."))
    assert world.assign("p") == "w1"


def test_machines_wait_for_the_engine_to_find_out_what_to_run() -> None:
    """Until then nobody knows whether they are of an older template."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=None, pending=True))
    assert world.assign("p") is None
    assert world.line == ["p"]


# when nothing can come


def test_a_project_is_refused_while_the_brake_holds_and_nothing_is_coming() -> None:
    """With the reason, the last log lines and the time to wait."""
    world = World()
    braked(world, until=world.now + 7.5, evidence="no such file")
    with pytest.raises(NoMachineAvailable) as refused:
        world.assign("p")
    assert refused.value.message == "w0: the container exited.\nno such file"
    assert refused.value.retry_after_s == 7.5
    assert world.line == []


def test_a_project_waits_when_something_is_coming_in_spite_of_the_brake() -> None:
    """It may be the one that comes up."""
    world = World()
    world.begin()
    braked(world, until=world.now + 7.5)
    assert world.assign("p") is None


def test_what_is_coming_of_another_template_is_nothing_to_wait_for() -> None:
    """It will not be given to anybody."""
    world = World()
    world.begin(NEW)
    braked(world, until=world.now + 7.5)
    with pytest.raises(NoMachineAvailable):
        world.assign("p")


def test_a_project_waits_from_the_moment_when_the_brake_ends() -> None:
    """The next attempt is due."""
    world = World()
    braked(world, until=world.now)
    assert world.assign("p") is None
    braked(world, until=world.now + 0.001)
    with pytest.raises(NoMachineAvailable):
        world.assign("q")


def test_the_brake_on_another_template_refuses_nobody() -> None:
    """Whoever repaired the image need not wait for the broken one."""
    world = World(spec=a_spec(template=NEW))
    braked(world, until=world.now + 300.0, template=OLD)
    assert world.assign("p") is None
    assert world.line == ["p"]


def test_a_project_is_refused_when_there_is_nothing_to_run() -> None:
    """With the engine's own words, and ten seconds to wait."""
    world = World(spec=a_spec(template=None, problem="No such image: worker:v1."))
    with pytest.raises(NoMachineAvailable) as refused:
        world.assign("p")
    assert (refused.value.message, refused.value.retry_after_s) == ("No such image: worker:v1.", 10.0)


def test_a_project_waits_while_the_engine_finds_out_what_to_run() -> None:
    """An image is being pulled."""
    world = World(spec=a_spec(template=None, pending=True, problem="No such image."))
    assert world.assign("p") is None


def test_a_refused_project_that_has_a_machine_still_gets_it() -> None:
    """The brake is on new machines."""
    world = World(fleet=a_fleet(a_machine(project="p")))
    braked(world, until=world.now + 300.0)
    assert world.assign("p") == "w1"


def test_the_line_is_emptied_when_nothing_can_come() -> None:
    """Each project hears the same reason; the next time there is nobody left."""
    world = World()
    world.assign("p")
    world.assign("q")
    assert turn_away(world) == {}
    braked(world, until=world.now + 4.0)
    away = turn_away(world)
    assert list(away) == ["p", "q"]
    assert {(error.message, error.retry_after_s) for error in away.values()} == {("w0: the container exited.", 4.0)}
    assert world.line == []
    assert turn_away(world) == {}


def test_only_the_line_in_which_nothing_can_come_is_emptied() -> None:
    """A pool's brake is its own."""
    world = World()
    world.spec = replace(world.spec, pools={**world.spec.pools, "other": world.spec.pools[DEFAULT_POOL]})
    world.assign("p")
    commands.assign(world.fleet, world.spec, "q", world.now, "other")
    braked(world, until=world.now + 4.0)
    assert list(turn_away(world)) == ["p"]
    assert list(world.fleet.pool("other").line) == ["q"]


def test_nobody_is_turned_away_from_an_old_machine_that_may_serve() -> None:
    """The failure that trips the brake is what makes older machines serve."""
    world = World(fleet=a_fleet(a_machine()), spec=a_spec(template=NEW))
    world.assign("p")
    world.assign("q")
    braked(world, until=world.now + 4.0, template=NEW)
    assert list(turn_away(world)) == ["q"]
    assert world["w1"].project == "p"
    assert world.watch("w1").since == world.now


def test_a_pool_that_is_not_wanted_any_more_turns_nobody_away() -> None:
    """Its last machines are still on record, and nobody stands in its line."""
    world = World(fleet=a_fleet(a_machine(pool="other")))
    assert turn_away(world) == {}


def test_whoever_leaves_the_line_is_forgotten() -> None:
    """The others move up; what is made for it becomes idle. Whoever never waited may leave too."""
    world = World()
    world.assign("p")
    world.assign("q")
    waiting_line.leave_line(world.fleet, "p")
    waiting_line.leave_line(world.fleet, "r")
    assert world.line == ["q"]
    first, second = world.up(), world.up()
    assert (world[first].project, world[second].project) == ("q", None)


# what stood in the way


def test_nothing_stands_in_the_way_by_itself() -> None:
    """A start that takes its time has no obstacle to name."""
    assert obstacle(World()) == ""


def test_the_missing_image_stands_in_the_way() -> None:
    """Or whatever the engine said."""
    assert obstacle(World(spec=a_spec(template=None, problem="No such image."))) == "No such image."


def test_the_brake_stands_in_the_way_until_something_came_up() -> None:
    """Even between two attempts."""
    world = World()
    braked(world, until=world.now - 1.0, evidence="no such file")
    assert obstacle(world) == "w0: the container exited.\nno such file"
    braked(world, until=world.now, is_on=False)
    assert obstacle(world) == ""


def test_the_brake_on_another_template_stands_in_nobodys_way() -> None:
    """It is not what people waited for."""
    world = World(spec=a_spec(template=NEW))
    braked(world, until=world.now + 60.0, template=OLD)
    assert obstacle(world) == ""


def test_the_limit_stands_in_the_way() -> None:
    """Once all machines are in use, and not before."""
    world = World(fleet=a_fleet(a_machine(project="p")), spec=a_spec(max_machines=2))
    assert obstacle(world) == ""
    world.begin()
    assert obstacle(world) == (
        "All 2 machines (max_machines) are in use. Release one, or allow more with `orchestrator scale --limit N`."
    )


def test_used_up_ports_stand_in_the_way() -> None:
    """With the range, so that people know what to change."""
    world = World(spec=a_spec(first_port=9093, last_port=9093))
    world.begin()
    world.wants(min_idle=2)
    world.resize()
    assert obstacle(world) == (
        "No host port from 9093 to 9093 is free. Free some, or serve with a wider range (--first-port, --last-port)."
    )


# release


def test_a_released_machine_passes_through_starting() -> None:
    """It is idle only once it answered again."""
    world = World(fleet=a_fleet(a_machine(project="p", generation=3)))
    released = world.release("w1")
    assert released == a_machine(state=STARTING, generation=3, reason="The project released it.") == world["w1"]
    assert world.last_change().cause is Cause.RELEASED
    assert world.idle == []


@pytest.mark.parametrize(("age_s", "state"), [(0.0, READY), (1.0, READY), (1.001, STARTING)])
def test_a_machine_that_answered_within_a_second_is_idle_at_once(age_s: float, state: State) -> None:
    """The second is included."""
    world = World(fleet=a_fleet(a_machine(project="p")))
    world.answer("w1")
    world.now += age_s
    released = world.release("w1")
    assert released == a_machine(state=state, reason="The project released it.")


def test_a_machine_that_missed_a_probe_since_is_not_idle_at_once() -> None:
    """The last word counts."""
    world = World(fleet=a_fleet(a_machine(project="p")))
    world.answer("w1")
    world.now += 0.5
    world.miss("w1")
    released = world.release("w1")
    assert released is not None
    assert released.state is STARTING


def test_a_released_machine_goes_to_whoever_waits_longest() -> None:
    """In the same decision, if it may be idle at once; release tells whose it is then."""
    world = World(fleet=a_fleet(a_machine(project="p")))
    world.assign("q")
    world.assign("r")
    world.answer("w1")
    released = world.release("w1")
    assert released is not None
    assert (released.project, released.generation) == ("q", 1)
    assert world.causes("w1") == [Cause.RELEASED, Cause.ASSIGNED]
    assert world.line == ["r"]


def test_a_recycled_machine_is_destroyed() -> None:
    """Nothing of one project reaches the next."""
    world = World(fleet=a_fleet(a_machine(project="p")), spec=a_spec(recycle=True))
    world.answer("w1")
    assert world.release("w1") == a_machine(state=STOPPING, reason="The project released it.")
    assert world.last_change().cause is Cause.RELEASED


@pytest.mark.parametrize("comes_up", ["one is idle", "the last one was of it"])
def test_a_released_machine_of_an_older_template_is_destroyed_where_the_current_one_comes_up(comes_up: str) -> None:
    """It would not be given to anybody."""
    world = World(fleet=a_fleet(a_machine(project="p")), spec=a_spec(template=NEW))
    if comes_up == "one is idle":
        world = World(fleet=a_fleet(a_machine("w2", template=NEW, port=9094), a_machine(project="p")), spec=world.spec)
    world.pool.proven_template = NEW if comes_up != "one is idle" else None
    reason = "The project released it. It was made from an older image or older settings."
    assert world.release("w1") == a_machine(state=STOPPING, reason=reason)
    assert world.last_change().cause is Cause.RELEASED
    assert world.watch("w1").since == world.now


def test_a_released_machine_of_an_older_template_is_used_again_while_the_current_one_has_not_come_up() -> None:
    """It may be the best there is: whoever builds a broken image must not lose what works, one release after another."""
    world = World(fleet=a_fleet(a_machine(project="p")), spec=a_spec(template=NEW))
    world.answer("w1")
    assert world.release("w1") == a_machine(reason="The project released it.")
    assert list(world.fleet.stale(DEFAULT_POOL, NEW)) == ["w1"]


def test_a_released_machine_stays_while_nobody_knows_what_to_run() -> None:
    """It may be all there is."""
    world = World(fleet=a_fleet(a_machine(project="p")), spec=a_spec(template=None))
    released = world.release("w1")
    assert released is not None
    assert released.state is STARTING


@pytest.mark.parametrize("state", [STARTING, FAILED])
def test_a_released_machine_that_does_not_serve_is_destroyed(state: State) -> None:
    """Its project gives up its files."""
    world = World(fleet=a_fleet(a_machine(state=state, project="p", reason="exited")))
    assert world.release("w1") == a_machine(state=STOPPING, reason="The project released it.")
    assert world.fleet.of_project("p") is None


def test_a_released_machine_whose_container_vanished_is_forgotten() -> None:
    """There is nothing left of it."""
    world = World(fleet=a_fleet(a_machine(state=FAILED, project="p", gone=True)))
    assert world.release("w1") is None
    assert world.last_change().cause is Cause.RELEASED
    assert world.fleet.tombstones.keys() == {"w1"}


@pytest.mark.parametrize("state", [STARTING, READY])
def test_a_free_machine_stays_as_it_is_when_it_is_released(state: State) -> None:
    """To release twice is no mistake."""
    world = World(fleet=a_fleet(a_machine(state=state)))
    assert world.release("w1") == a_machine(state=state)
    assert world.fleet.pending == []


@pytest.mark.parametrize("state", [STOPPING, FAILED])
def test_a_free_machine_on_its_way_out_is_not_found(state: State) -> None:
    """For people it is gone already."""
    world = World(fleet=a_fleet(a_machine(state=state)))
    with pytest.raises(MachineNotFound):
        world.release("w1")


# destroy


@pytest.mark.parametrize("state", [STARTING, READY, FAILED])
@pytest.mark.parametrize("project", [None, "p"])
def test_a_destroyed_machine_stops_whatever_it_was(state: State, project: str | None) -> None:
    """It holds its port and its slot until its container is known to be gone."""
    world = World(fleet=a_fleet(a_machine(state=state, project=project)))
    assert world.destroy("w1") == a_machine(state=STOPPING, reason="Its removal was requested.")
    assert world.last_change().cause is Cause.DESTROYED
    assert world.fleet.of_project("p") is None
    assert world.fleet.slots_held == 1


def test_a_stopping_machine_is_destroyed_already() -> None:
    """To destroy twice is no mistake."""
    world = World(fleet=a_fleet(a_machine(state=STOPPING)))
    assert world.destroy("w1") == a_machine(state=STOPPING)
    assert world.fleet.pending == []


@pytest.mark.parametrize("project", [None, "p"])
def test_a_destroyed_machine_that_is_gone_is_forgotten(project: str | None) -> None:
    """Nothing is left to remove."""
    world = World(fleet=a_fleet(a_machine(state=FAILED, project=project, gone=True)))
    assert world.destroy("w1") is None
    assert world.last_change().cause is Cause.DESTROYED
    assert world.fleet.tombstones.keys() == {"w1"}


# withdraw


def test_an_assignment_that_nobody_was_told_of_is_taken_back() -> None:
    """The machine is idle as before."""
    world = World(fleet=a_fleet(a_machine()))
    world.assign("p")
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now)
    assert world["w1"] == a_machine(generation=1, reason="It was assigned, but no client received it.")
    assert world.last_change().cause is Cause.WITHDRAWN
    assert world.idle == ["w1"]


def test_a_machine_that_was_not_taken_goes_to_whoever_waits() -> None:
    """Nobody waits while a machine is idle."""
    world = World(fleet=a_fleet(a_machine()))
    world.assign("p")
    world.assign("q")
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now)
    assert world["w1"].project == "q"
    assert world.line == []


def test_a_machine_that_does_not_answer_when_it_is_handed_out_failed() -> None:
    """It is free then, and an attempt of its image if it came up just now."""
    world = World()
    machine_id = world.up()
    world.assign("p")
    before = world[machine_id]
    world.now += 3.0
    commands.withdraw(world.fleet, world.spec, before, world.now, broken="did not answer")
    assert world[machine_id] == replace(before, state=FAILED, holding=None, reason="did not answer")
    assert world.last_change().cause is Cause.WITHDRAWN
    assert world.brake.reason == f"Machine {machine_id} failed. did not answer."
    assert world.fleet.of_project("p") is None


# since when


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(lambda world: world.release("w1"), id="released"),
        pytest.param(lambda world: world.destroy("w1"), id="destroyed"),
        pytest.param(withdraw, id="withdrawn"),
        pytest.param(lambda world: withdraw(world, broken="mute"), id="withdrawn as broken"),
    ],
)
@pytest.mark.parametrize("recycle", [False, True])
@pytest.mark.parametrize("state", [STARTING, READY])
def test_a_new_life_begins_when_a_project_gives_up_its_machine(
    move: Callable[[World], object], state: State, *, recycle: bool
) -> None:
    """What a probe found before then was found of another life, and time-outs are counted from then."""
    world = World(fleet=a_fleet(a_machine(state=state, project="p")), spec=a_spec(recycle=recycle))
    move(world)
    assert world["w1"].project is None
    assert world.watch("w1").since == world.now


@pytest.mark.parametrize("move", [lambda world: world.release("w1"), withdraw])
def test_a_machine_is_its_next_projects_from_the_moment_when_it_is_handed_on(move: Callable[[World], object]) -> None:
    """A probe that was under way says nothing of its time with the new one."""
    world = World(fleet=a_fleet(a_machine(project="p")))
    world.assign("q")
    world.answer("w1")
    move(world)
    assert world["w1"].project == "q"
    assert world.watch("w1").since == world.now


# the line


def test_the_line_is_served_first_come_first() -> None:
    """As far as there are machines."""
    world = World()
    for project in ("p", "q", "r"):
        world.assign(project)
    for port in (1, 2):
        world.fleet.apply(None, a_machine(f"w{port}", port=port), Cause.ADOPTED, world.now)
    waiting_line.serve_line(world.fleet, world.spec, DEFAULT_POOL, world.now)
    assert (world["w1"].project, world["w2"].project) == ("p", "q")
    assert world.line == ["r"]


def test_without_a_line_idle_machines_stay_idle() -> None:
    """Nobody asked for them."""
    world = World(fleet=a_fleet(a_machine()))
    waiting_line.serve_line(world.fleet, world.spec, DEFAULT_POOL, world.now)
    assert world.idle == ["w1"]
    assert world.fleet.pending == []


def test_a_project_that_got_its_machine_back_does_not_wait_for_another() -> None:
    """It released its machine and asked anew; then the release could not be stored."""
    world = World(fleet=a_fleet(a_machine(project="p")))
    world.release("w1")
    assert world.assign("p") is None
    world.fleet.undo(world.fleet.take_pending(), world.now)
    assert world.line == []
    world.up()
    assert world.assign("p") == "w1"


def test_a_machine_that_exited_before_anybody_was_told_is_let_go() -> None:
    """Nobody knows of it, so nobody's work is in it."""
    world = World(fleet=a_fleet(a_machine(state=STARTING, project="p", generation=1)))
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now)
    assert world["w1"] == a_machine(
        state=State.STOPPING, generation=1, reason="It was assigned, but no client received it."
    )


def test_a_machine_that_vanished_before_anybody_was_told_is_forgotten() -> None:
    """There is nothing left to give back."""
    world = World(fleet=a_fleet(a_machine(state=State.FAILED, project="p", generation=1, gone=True)))
    commands.withdraw(world.fleet, world.spec, world["w1"], world.now)
    assert world.fleet.machines == {}
    assert world.fleet.tombstones.keys() == {"w1"}


@pytest.mark.parametrize("how", ["release", "destroy"])
def test_a_machine_that_is_being_removed_shows_nothing_of_its_project_any_more(how: str) -> None:
    world = World(fleet=a_fleet(a_machine(state=State.FAILED, project="p", evidence="its last lines")))
    (world.release if how == "release" else world.destroy)("w1")
    assert (world["w1"].state, world["w1"].evidence) == (State.STOPPING, "")
