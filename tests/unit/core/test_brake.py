"""The brake on a broken image: it counts attempts, lets one at a time through, and forgives."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.core.build import NEW, OLD, World, a_fleet, a_machine, with_one

from worker_orchestrator.core.brake import (
    RESTART_PAUSES_S,
    Failure,
    fail_machine,
    failed_predecessor,
    has_restarts_left,
    next_restart_at,
    raise_brake,
    schedule_restart,
    schedule_retry,
)
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Cause, State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.watch import Watch
from worker_orchestrator.settings.settings import DEFAULT_POOL

DOUBLING_S = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]


def broken(world: World, machine_id: str, failure: Failure | None = None) -> None:
    fail_machine(
        world.fleet, world.spec, world[machine_id], world.now, failure or Failure(FailureKind.EXITED, "It exited.")
    )


def fails_to_start(world: World) -> float:
    """One attempt that never comes up; the pause that it costs."""
    machine_id = world.start()
    world.now += 0.5
    broken(world, machine_id)
    return world.brake.until - world.now


def dies_soon(world: World, after_s: float = 1.0) -> float:
    """One machine that answers and dies soon; the pause that it costs."""
    machine_id = world.up()
    world.now += after_s
    broken(world, machine_id)
    return world.brake.until - world.now


# failing


def test_a_failed_machine_says_why() -> None:
    """With its last log lines; it is still there until it is known to be gone."""
    world = World()
    machine_id = world.start()
    before = world[machine_id]
    broken(world, machine_id, Failure(FailureKind.EXITED, "It exited.", "the last line"))
    assert world[machine_id] == replace(before, state=State.FAILED, reason="It exited.", evidence="the last line")
    assert world.last_change().cause is Cause.FAILED
    assert world.watch(machine_id).since == world.now


def test_a_failed_machine_may_be_gone_at_once() -> None:
    """Where its container is known not to exist."""
    world = World()
    machine_id = world.up()
    broken(world, machine_id, Failure(FailureKind.VANISHED, "removed", gone=True))
    assert world[machine_id].gone
    assert world.fleet.slots_held == 0


def test_a_failed_machine_keeps_its_project_and_spares_the_brake() -> None:
    """How a project's machine dies is the project's business, not the image's."""
    world = World(fleet=a_fleet(a_machine(state=State.STARTING, project="p")))
    broken(world, "w1")
    assert world["w1"].project == "p"
    assert world.pool.image_brake is None


def test_a_harmless_failure_spares_the_brake() -> None:
    """It says nothing of the image."""
    world = World()
    broken(world, world.start(), Failure(FailureKind.KILLED, "killed", harmless=True))
    assert world.pool.image_brake is None


# the first failures


def test_a_machine_that_never_came_up_costs_one_second() -> None:
    """The brake knows the template, the machine, the reason and the log lines."""
    world = World()
    machine_id = world.start()
    world.now += 5.0
    broken(world, machine_id, Failure(FailureKind.EXITED, "It exited.", "the last line"))
    assert world.brake == Brake(
        OLD,
        1,
        world.now,
        world.now + 1.0,
        is_on=True,
        reason=f"Machine {machine_id} failed. It exited.",
        evidence="the last line",
    )


def test_the_first_quick_death_is_free() -> None:
    """A machine that came up shows that the image can; it is noted and nothing more."""
    world = World()
    assert dies_soon(world) == 0.0
    assert world.brake == Brake(
        OLD, 0, world.now, world.now, is_on=False, reason="Machine m1 failed. It exited.", good_since=world.now
    )


def test_the_second_quick_death_costs_one_second_and_each_later_one_twice_as_much() -> None:
    """Up to 300 s."""
    world = World()
    dies_soon(world)
    pauses = []
    for _ in DOUBLING_S:
        world.now += 0.1
        pauses.append(dies_soon(world))
        assert world.brake.is_on
    assert pauses == pytest.approx(DOUBLING_S)


def test_each_failed_start_costs_twice_as_much() -> None:
    """1 s doubling to 300 s."""
    world = World()
    pauses = []
    for _ in DOUBLING_S:
        world.now += 1.0
        pauses.append(fails_to_start(world))
    assert pauses == pytest.approx(DOUBLING_S)


def test_an_image_that_is_broken_for_weeks_costs_300_seconds_each_time() -> None:
    """And never an error of arithmetic."""
    world = World()
    for _ in range(1100):
        world.now += 300.0
        broken(world, world.start(), Failure(FailureKind.EXITED, "It exited.", gone=True))
    assert world.brake.until - world.now == 300.0


def test_a_failed_start_after_a_free_death_costs_one_second() -> None:
    """The free death was noted."""
    world = World()
    dies_soon(world)
    world.now += 0.1
    assert fails_to_start(world) == 1.0


# what is not counted


def test_a_death_is_quick_within_ten_seconds() -> None:
    """Ten seconds are included; what lived longer worked."""
    world = World()
    dies_soon(world, after_s=10.0)
    assert world.brake.level == 0
    world = World()
    broken_later = world.up()
    world.now += 10.001
    broken(world, broken_later)
    assert world.pool.image_brake is None


def test_only_the_first_coming_up_counts() -> None:
    """A machine that was released and starts anew has shown long ago that its image works."""
    world = World()
    machine_id = world.up()
    world.assign("p")
    world.now += 60.0
    world.release(machine_id)
    broken(world, machine_id)
    assert world.pool.image_brake is None


def test_a_machine_that_was_up_before_the_service_restarted_spares_the_brake() -> None:
    """It worked for who knows how long."""
    world = World(fleet=a_fleet(a_machine()))
    broken(world, "w1")
    assert world.pool.image_brake is None


def test_an_older_template_spares_the_brake_of_the_current_one() -> None:
    """The new image has not failed."""
    world = World()
    machine_id = world.start()
    world.wants(template=NEW)
    broken(world, machine_id)
    assert world.pool.image_brake is None


def test_machines_begun_before_the_last_count_belong_to_its_attempt() -> None:
    """Ten machines of one broken image are one attempt, not ten."""
    world = World()
    together = [world.start() for _ in range(3)]
    world.now += 1.0
    broken(world, together[0])
    noted = world.brake
    world.now += 5.0
    for machine_id in together[1:]:
        broken(world, machine_id)
    assert world.brake == noted
    assert noted.level == 1


def test_a_machine_begun_as_the_last_failure_was_counted_is_the_next_attempt() -> None:
    """The tick that counts a failure begins the replacement at the same time."""
    world = World()
    dies_soon(world)
    replacement = world.up()
    world.now += 1.0
    broken(world, replacement)
    assert world.brake.level == 1
    assert world.brake.until == world.now + 1.0


def test_another_template_begins_a_brake_of_its_own() -> None:
    """A new image is not punished for the old one, and the other way round."""
    world = World()
    for _ in range(3):
        world.now += 1.0
        fails_to_start(world)
    world.wants(template=NEW)
    world.now += 1.0
    assert fails_to_start(world) == 1.0
    assert (world.brake.template, world.brake.level) == (NEW, 1)


# an image that was replaced


def failed_and_replaced() -> World:
    """An image that did not come up, and was rebuilt a second ago."""
    world = World()
    world.wants(min_idle=2)
    fails_to_start(world)
    world.now += 1.0
    world.wants(template=NEW)
    return world


def predecessor(world: World) -> Brake | None:
    return failed_predecessor(world.fleet, world.spec, DEFAULT_POOL)


def test_an_image_that_replaced_a_broken_one_is_on_trial_until_it_comes_up() -> None:
    """Until then nobody knows whether it is better, so nobody may be told that the image works."""
    world = failed_and_replaced()
    assert predecessor(world) == world.brake
    machine_id = world.start()
    assert predecessor(world) == world.brake
    world.answer(machine_id)
    assert predecessor(world) is None


def test_an_image_on_trial_that_fails_has_a_brake_of_its_own() -> None:
    world = failed_and_replaced()
    fails_to_start(world)
    assert (predecessor(world), world.brake.template) == (None, NEW)


def test_a_failure_long_ago_says_nothing_of_the_image_after_the_next() -> None:
    """The one between came up."""
    world = failed_and_replaced()
    world.up()
    world.wants(template="template-3")
    assert predecessor(world) is None


def test_an_image_that_came_up_before_the_broken_one_is_not_on_trial() -> None:
    """Somebody went back to what worked."""
    world = World()
    world.wants(min_idle=2, template=NEW)
    world.up()
    world.now += 1.0
    world.wants(template=OLD)
    fails_to_start(world)
    world.wants(template=NEW)
    assert predecessor(world) is None


def test_what_came_up_at_the_moment_of_the_failure_came_up() -> None:
    world = failed_and_replaced()
    world.pool.proven_at = world.brake.raised_at
    assert predecessor(world) is None
    world.pool.proven_at = world.brake.raised_at - 0.5
    assert predecessor(world) == world.brake


def test_no_image_is_on_trial_without_a_broken_one_before_it() -> None:
    """None failed; the brake is of the current one; or that one came up in the end."""
    world = World()
    world.wants(min_idle=2)
    assert predecessor(world) is None
    fails_to_start(world)
    assert predecessor(world) is None
    world.now += 1.0
    world.up()
    world.wants(template=NEW)
    assert predecessor(world) is None


def test_no_image_is_on_trial_after_one_that_may_be_tried_freely() -> None:
    world = failed_and_replaced()
    world.pool.image_brake = replace(world.brake, is_on=False)
    assert predecessor(world) is None


def test_no_image_is_on_trial_while_it_is_unknown_or_nothing_is_tried() -> None:
    """A paused pool tries nothing. A pool that keeps nothing idle tries what a project waits for."""
    world = failed_and_replaced()
    world.wants(template=None)
    assert predecessor(world) is None
    world.wants(template=NEW, paused=True)
    assert predecessor(world) is None
    world.wants(paused=False, min_idle=0)
    assert predecessor(world) is None
    world.start()
    assert predecessor(world) == world.brake


# forgiving


def test_coming_up_opens_the_brake_and_keeps_its_level() -> None:
    """If it dies soon, the next pause is longer."""
    world = World()
    world.now += 1.0
    fails_to_start(world)
    world.now += 1.0
    machine_id = world.up()
    assert (world.brake.level, world.brake.is_on, world.brake.until) == (1, False, world.now)
    world.now += 5.0
    broken(world, machine_id)
    assert (world.brake.level, world.brake.until) == (2, world.now + 2.0)


@pytest.mark.parametrize(("good_s", "level"), [(600.0, 2), (600.5, 1)])
def test_a_failed_start_is_forgiven_after_ten_good_minutes(good_s: float, level: int) -> None:
    """Counted from when the pool recovered; exactly ten minutes are not enough."""
    world = World()
    fails_to_start(world)
    world.now += 1.0
    world.up()
    world.now += good_s
    machine_id = world.start()
    broken(world, machine_id)
    assert world.brake.level == level


def test_a_quick_death_is_forgiven_after_ten_good_minutes() -> None:
    """Two of them in an hour are two times the first one, though the machine that died last came up just now."""
    world = World()
    dies_soon(world)
    world.now += 3600.0
    assert dies_soon(world) == 0.0
    assert (world.brake.level, world.brake.is_on) == (0, False)


def test_machines_that_come_up_all_the_time_do_not_put_off_forgiveness() -> None:
    """A pool that replaces each machine after its release is forgiven like any other."""
    world = World()
    fails_to_start(world)
    for _ in range(11):
        world.now += 60.0
        world.up()
    world.now += 1.0
    assert fails_to_start(world) == 1.0


def test_a_brake_that_holds_is_not_forgiven_by_time() -> None:
    """Ten minutes in which nothing came up were no good ones."""
    world = World()
    world.up()
    fails_to_start(world)
    world.now += 3600.0
    assert fails_to_start(world) == 2.0


# retries


def test_a_retry_waits_one_second_and_twice_as_long_each_time() -> None:
    """Up to a minute."""
    watch = Watch(born=0.0, since=0.0)
    pauses = []
    for _ in range(8):
        schedule_retry(watch, 100.0)
        pauses.append(watch.not_before - 100.0)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert watch.tries == 8


def test_a_removal_that_is_refused_for_days_is_tried_every_minute() -> None:
    """And never an error of arithmetic."""
    watch = Watch(born=0.0, since=0.0)
    for _ in range(1100):
        schedule_retry(watch, 100.0)
    assert watch.not_before == 160.0


def test_restarts_of_a_projects_machine_grow_over_minutes() -> None:
    """Whoever broke it has minutes to mend it, not seconds; yet they end before what went before is forgiven."""
    assert RESTART_PAUSES_S == (0.0, 10.0, 30.0, 60.0, 120.0, 240.0)
    assert sum(RESTART_PAUSES_S) < 600.0
    watch = Watch(born=0.0, since=0.0)
    pauses = []
    while has_restarts_left(watch):
        schedule_restart(watch, 100.0)
        pauses.append(watch.not_before - 100.0)
    assert (tuple(pauses), watch.tries) == (RESTART_PAUSES_S, 6)
    schedule_restart(watch, 100.0)
    assert (watch.not_before, watch.tries) == (340.0, 7)


def test_a_failure_is_serious_unless_said_otherwise() -> None:
    """Nothing is harmless or gone by default."""
    assert Failure(FailureKind.EXITED, "It exited.") == Failure(
        FailureKind.EXITED, "It exited.", evidence="", gone=False, harmless=False
    )


def test_the_brake_may_be_told_of_a_machine_that_nobody_got() -> None:
    """A machine that does not answer when it is handed out is an attempt like the others."""
    world = World()
    machine_id = world.up()
    world.now += 2.0
    raise_brake(world.fleet, world.spec, replace(world[machine_id], reason="mute"), world.now)
    assert world.brake.reason == f"Machine {machine_id} failed. mute."
    assert world.brake.level == 0


def test_the_next_restart_is_known_while_a_projects_machine_waits_for_it() -> None:
    """Not of one that was started again, that serves, that nobody has, or that is not on record any more."""
    world = with_one(a_machine(project="p"), Status.EXITED)
    assert next_restart_at(world.fleet, world["w1"]) is None
    world.watch("w1").tries = 2
    world.tick()
    assert next_restart_at(world.fleet, world["w1"]) == world.now + RESTART_PAUSES_S[2]
    waiting = world["w1"]
    world.restarted("w1")
    assert next_restart_at(world.fleet, world["w1"]) is None
    world.destroy("w1")
    world.remove("w1")
    world.destroyed("w1")
    world.now += 1.0
    world.tick()
    assert next_restart_at(world.fleet, waiting) is None
    assert next_restart_at(a_fleet(a_machine(state=State.STARTING)), a_machine(state=State.STARTING)) is None
