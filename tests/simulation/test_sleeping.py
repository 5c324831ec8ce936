"""Machines that sleep, as clients and operators meet them: with whom a request waits, and what each of them hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.lease import Asked, OnExpiry, Terms
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import (
    CommitFailed,
    EngineUnavailable,
    GenerationMismatch,
    HostPortTaken,
    MachineFailed,
    NoMachineAvailable,
    NotRunning,
    NotSupported,
    ProjectHasNoMachine,
)


def status_of(small: Small, machine_id: str) -> Status:
    return small.engine.instances()[machine_id].status


def calls_of(small: Small, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the engine from now on: stops, restarts, creates and destroys."""
    told: list[str] = []

    def watched(name: str) -> Callable[..., Any]:
        call = getattr(small.engine, name)

        async def noted(what: Any, *more: Any, **named: Any) -> Any:
            told.append(name)
            return await call(what, *more, **named)

        return noted

    for name in ("stop", "restart", "create", "destroy"):
        monkeypatch.setattr(small.engine, name, watched(name))
    return told


async def slept(small: Small, project: str = "p1") -> str:
    """The id of the machine of this project, which sleeps."""
    await small.await_template()
    machine = await small.assign(project)
    after = await small.orchestrator.sleepers.sleep(project)
    assert after.id == machine.id
    assert after.is_asleep
    return machine.id


def test_the_next_assign_wakes_it_in_place_and_waits_for_its_answer() -> None:
    async def story(small: Small) -> None:
        machine_id = await slept(small)
        assert status_of(small, machine_id) is Status.EXITED
        generation = small.fleet.machines[machine_id].generation
        assert [view.machine.id for view in await small.orchestrator.machines()] != [machine_id]
        machine = await small.assign("p1")
        assert (machine.id, machine.generation, machine.state) == (machine_id, generation, State.READY)
        assert status_of(small, machine_id) is Status.RUNNING
        trace = small.orchestrator.trace("p1")
        assert trace is not None
        assert trace.why == "Its machine slept, and was woken with its files."

    lived(story, min_idle=1)


def test_a_wake_is_no_new_assignment() -> None:
    """It is none in the counts by which people size a pool."""

    async def story(small: Small) -> None:
        await slept(small)
        before = small.history.assigns_per_minute("default")
        await small.orchestrator.sleepers.wake("p1")
        assert small.history.assigns_per_minute("default") == before

    lived(story, min_idle=1)


def test_a_wake_loses_no_time() -> None:
    """Nothing waits for a listing: what a start of the container takes, and its first answer."""

    async def story(small: Small) -> None:
        machine_id = await slept(small)
        await asyncio.sleep(100)
        begun_at = asyncio.get_running_loop().time()
        machine = await small.orchestrator.sleepers.wake("p1")
        assert machine.id == machine_id
        assert asyncio.get_running_loop().time() - begun_at < 0.005

    lived(story, min_idle=1)


def test_an_assign_while_it_is_being_stopped_waits_for_that_and_starts_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p1")
        small.engine._containers[machine.id].end_s = 5.0
        calls = calls_of(small, monkeypatch)
        sleep = asyncio.create_task(small.orchestrator.sleepers.sleep("p1"))
        await asyncio.sleep(1.0)
        assert small.fleet.machines[machine.id].state is State.SLEEPING
        woken = asyncio.create_task(small.assign("p1"))
        await asyncio.sleep(1.0)
        assert small.fleet.machines[machine.id].state is State.STARTING
        assert not woken.done(), "what answers now is about to end"
        assert (await woken).id == machine.id
        assert calls == ["stop", "restart"]
        assert status_of(small, machine.id) is Status.RUNNING
        assert (await sleep).state in {State.STARTING, State.READY}, "somebody has woken it meanwhile"

    lived(story, min_idle=0)


def test_a_destroy_at_once_does_not_wait_for_the_worker_that_is_being_stopped() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p1")
        small.engine._containers[machine.id].end_s = 60.0
        sleep = asyncio.create_task(small.orchestrator.sleepers.sleep("p1"))
        await asyncio.sleep(1.0)
        begun_at = asyncio.get_running_loop().time()
        await small.orchestrator.destroy(machine.id, at_once=True)
        assert asyncio.get_running_loop().time() - begun_at < 1.0
        with pytest.raises(EngineUnavailable):
            await sleep

    lived(story, min_idle=0)


def test_what_sleeps_stays_asleep_whatever_ticks_and_one_that_was_started_by_hand_is_awake() -> None:
    async def story(small: Small) -> None:
        machine_id = await slept(small)
        await asyncio.sleep(1000)
        assert small.fleet.machines[machine_id].is_asleep
        await small.engine.start(machine_id)
        await small.until(lambda: small.fleet.machines[machine_id].state is State.READY)
        assert small.fleet.machines[machine_id].project == "p1"

    lived(story, min_idle=1)


def test_a_deadline_puts_it_to_sleep_and_does_not_act_again() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p1")
        await small.until(lambda: small.fleet.machines[machine.id].is_asleep, within_s=75)
        assert small.fleet.machines[machine.id].reason.startswith("Its project had not asked for it for 5 s.")
        await asyncio.sleep(5000)
        assert small.fleet.machines[machine.id].is_asleep
        assert (await small.assign("p1")).id == machine.id

    lived(story, min_idle=1, terms=Terms(ttl=5), on_expiry=OnExpiry.SLEEP)


def test_a_port_that_is_taken_is_told_at_once_and_tried_again() -> None:
    async def story(small: Small) -> None:
        machine_id = await slept(small)
        machine = small.fleet.machines[machine_id]
        assert machine.port is not None
        small.engine.taken_ports = {machine.port}
        begun_at = asyncio.get_running_loop().time()
        with pytest.raises(HostPortTaken, match=f"Host port {machine.port} is in use"):
            await small.assign("p1")
        with pytest.raises(HostPortTaken):
            await small.assign("p1")
        assert asyncio.get_running_loop().time() - begun_at < 1
        await asyncio.sleep(3600)
        assert small.fleet.machines[machine_id].state is State.STARTING, "however long it lasts"
        assert small.fleet.watches[machine_id].tries == 1
        small.engine.taken_ports = set()
        assert (await small.orchestrator.sleepers.wake("p1")).id == machine_id, "at once, and not at the next try"
        assert asyncio.get_running_loop().time() - begun_at < 3605

    lived(story, min_idle=1)


def test_by_itself_it_is_tried_again_too() -> None:
    async def story(small: Small) -> None:
        machine_id = await slept(small)
        small.engine.taken_ports = {small.fleet.machines[machine_id].port or 0}
        with pytest.raises(HostPortTaken):
            await small.assign("p1")
        small.engine.taken_ports = set()
        await small.until(lambda: small.fleet.machines[machine_id].state is State.READY, within_s=5)

    lived(story, min_idle=1)


def test_without_room_it_waits_in_line_and_an_idle_machine_goes_for_it() -> None:
    async def story(small: Small) -> None:
        machine_id = await slept(small)
        await small.await_idle(2)
        others = {machine.id for machine in small.idle}
        assert (await small.assign("p1")).id == machine_id
        assert small.fleet.awake <= 2
        await small.until(lambda: len(others & set(small.fleet.machines)) == 1)

    lived(story, min_idle=2, max_awake=2)


def test_who_waits_in_vain_hears_why() -> None:
    async def story(small: Small) -> None:
        await slept(small)
        await small.assign("p2")
        with pytest.raises(NoMachineAvailable, match=r"As many machines are awake as max_awake allows \(1\)"):
            await small.orchestrator.assign("p1", None, wait_s=2.0)
        with pytest.raises(NoMachineAvailable, match="sleeps, with its files, and cannot be woken now"):
            await small.orchestrator.sleepers.wake("p1", wait_s=0)
        assert not small.fleet.wakers
        waits = asyncio.create_task(small.assign("p1"))
        await asyncio.sleep(1)
        machine_id = small.fleet.projects["p1"]
        with pytest.raises(NoMachineAvailable, match="cannot be woken now"):
            await small.orchestrator.restart(machine_id)
        await small.orchestrator.sleepers.sleep("p2")
        assert (await waits).id == machine_id

    lived(story, min_idle=0, max_awake=1)


def test_who_does_not_wait_has_it_woken_all_the_same() -> None:
    async def story(small: Small) -> None:
        machine_id = await slept(small)
        with pytest.raises(NoMachineAvailable, match="is being woken"):
            await small.orchestrator.assign("p1", None, wait_s=0)
        await small.until(lambda: small.fleet.machines[machine_id].state is State.READY)

    lived(story, min_idle=1)


def test_a_wake_that_cannot_be_stored_is_told() -> None:
    async def story(small: Small) -> None:
        machine_id = await slept(small)
        commit = small.store.commit

        def refuse(*_: Any) -> None:
            raise CommitFailed

        small.store.commit = refuse  # type: ignore[method-assign, assignment]
        with pytest.raises(CommitFailed):
            await small.assign("p1")
        assert small.fleet.machines[machine_id].is_asleep
        small.store.commit = commit  # type: ignore[method-assign]
        assert (await small.assign("p1")).id == machine_id

    lived(story, min_idle=1)


def test_a_wake_for_which_there_is_room_later_and_that_cannot_be_stored_is_told() -> None:
    async def story(small: Small) -> None:
        await slept(small)
        await small.assign("p2")
        waits = asyncio.create_task(small.assign("p1"))
        await asyncio.sleep(1)
        commit = small.store.commit

        def refuse(changes: Any, *more: Any) -> None:
            changes = list(changes)
            if any(change.cause == "woken" for change in changes):
                raise CommitFailed
            commit(changes, *more)

        small.store.commit = refuse  # type: ignore[method-assign, assignment]
        await small.orchestrator.sleepers.sleep("p2")
        with pytest.raises(CommitFailed):
            await waits
        small.store.commit = commit  # type: ignore[method-assign]

    lived(story, min_idle=0, max_awake=1)


def test_the_fence_holds_for_both() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p1")
        sleepers = small.orchestrator.sleepers
        for call in (sleepers.sleep, sleepers.wake):
            with pytest.raises(GenerationMismatch):
                await call("p1", machine.generation + 1)
            with pytest.raises(ProjectHasNoMachine):
                await call("nobody")
        assert (await sleepers.sleep("p1", machine.generation)).is_asleep
        assert (await sleepers.sleep("p1", machine.generation)).is_asleep, "again changes nothing"
        assert (await sleepers.wake("p1", machine.generation)).state is State.READY

    lived(story, min_idle=1)


def test_a_wake_never_gives_a_project_another_machine() -> None:
    async def story(small: Small) -> None:
        machine_id = await slept(small)
        small.engine.remove(machine_id)
        await small.until(lambda: small.fleet.machines[machine_id].state is State.FAILED)
        with pytest.raises(NotRunning, match="no longer exists, so it cannot be woken"):
            await small.orchestrator.sleepers.wake("p1")

    lived(story, min_idle=1)


def test_one_that_failed_is_neither_put_to_sleep_nor_woken() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p1")
        small.fleet.watches[machine.id].tries = 6
        container = small.engine._containers[machine.id]
        small.engine.kill(machine.id)
        await small.until(lambda: small.fleet.machines[machine.id].state is State.FAILED)
        assert container.instance.status is Status.EXITED
        with pytest.raises(NotRunning, match="has failed"):
            await small.orchestrator.sleepers.sleep("p1")
        with pytest.raises(MachineFailed):
            await small.orchestrator.sleepers.wake("p1")

    lived(story, min_idle=1)


def test_an_engine_that_cannot_restart_in_place_lets_nobody_sleep() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        await small.assign("p1")
        with pytest.raises(NotSupported, match="so none can sleep"):
            await small.orchestrator.sleepers.sleep("p1")

    lived(story, min_idle=1, restarts_in_place=False)


def test_while_the_engine_is_away_it_is_told_that_it_sleeps_later() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p1")
        small.engine.up = False
        with pytest.raises(EngineUnavailable):
            await small.orchestrator.sleepers.sleep("p1")
        small.engine.up = True
        await small.until(lambda: small.fleet.machines[machine.id].is_asleep)

    lived(story, min_idle=1)


def test_a_wake_gives_no_other_machine_than_the_one_that_vanished() -> None:
    """Whoever assigns meanwhile gets another one; whoever wakes hears that there is none to wake, and changes nothing."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = await small.assign("p1")
        await small.await_idle(2)
        small.engine.remove(machine.id)
        small.fleet.doubt(machine.id, asyncio.get_running_loop().time())
        with pytest.raises((NotRunning, ProjectHasNoMachine)):
            await small.orchestrator.sleepers.wake("p1")
        own = small.fleet.of_project("p1")
        assert own is not None
        assert (own.id, own.gone) == (machine.id, True)
        assert (await small.assign("p1")).id != machine.id

    lived(story)


@pytest.mark.parametrize("left_after_s", [0.0, 0.6, 3.0])
def test_a_wake_is_left_with_nothing_once_nobody_waits_who_takes_another_machine(left_after_s: float) -> None:
    """Else the project would get a machine that nobody has asked for, and nobody is told of."""

    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p1")
        await small.orchestrator.sleepers.sleep("p1")
        small.engine._containers[machine.id].answer_s = 3600.0
        wakes = asyncio.create_task(small.orchestrator.sleepers.wake("p1"))
        await asyncio.sleep(0.1)
        gives_up = asyncio.Event()

        async def hung_up() -> None:
            await gives_up.wait()

        assigns = asyncio.create_task(small.assign("p1", hung_up=hung_up))
        await asyncio.sleep(0.1)
        await small.orchestrator.release("p1")
        await asyncio.sleep(left_after_s)
        assert not assigns.done()
        gives_up.set()
        with pytest.raises(ProjectHasNoMachine):
            await wakes
        with pytest.raises(asyncio.CancelledError):
            await assigns
        for _ in range(30):
            assert small.fleet.of_project("p1") is None
            await asyncio.sleep(1)

    lived(story, min_idle=0, max_machines=1, slow_s=2.0, recycle=True)


def test_nobody_is_told_of_a_machine_that_was_found_to_serve_nobody_while_that_was_stored() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        await asyncio.sleep(10)
        wakes = asyncio.create_task(small.orchestrator.sleepers.wake("p1"))
        await asyncio.sleep(0)
        assert small.fleet.pending, "that its project keeps it is not stored yet"
        small.fleet.doubted.add(machine.id)
        small.fleet.ailing[machine.id] = "The container is paused."
        with pytest.raises(NoMachineAvailable, match=r"cannot serve now\. The container is paused"):
            await wakes

    lived(story, min_idle=1, terms=Terms(ttl=100))


def test_no_deadline_that_is_set_with_an_assignment_is_longer_than_its_pool_lets_it_be() -> None:
    """Not even where it was judged by the limits of another pool, from which the machine did not come in the end."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        noted = await small.orchestrator.leases.note(machine, Asked(terms=Terms(ttl=5, max_age=0)))
        assert noted.lease is not None
        assert noted.lease.terms == Terms(ttl=5, max_age=100)

    lived(story, min_idle=1, terms=Terms(max_age=100))
