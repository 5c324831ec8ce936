"""An engine that is not like Docker: it gives the addresses, takes its time to remove, and has no room now and then."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.small import Small, lived
from tests.simulation.test_ending_workers import takes_to_end

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import EngineUnavailable, MachineFailed, NoMachineAvailable, NotSupported

HOST = "10.0.0.7"


def test_an_assign_gives_the_address_that_the_engine_reported_and_it_is_stored() -> None:
    """With the first answer, and for URLs as well."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        machine = await small.assign("p1")
        instance = small.engine.instances()[machine.id]
        assert (machine.host, machine.port) == (HOST, instance.port)
        assert small.orchestrator.elsewhere[machine.id] == HOST
        stored = {row.id: row for row in small.store.machines()}
        assert stored[machine.id] == machine
        ports = {row.port for row in stored.values() if row.state is State.READY}
        assert len(ports) == len([row for row in stored.values() if row.state is State.READY])
        assert small.fleet.last_port is None, "we planned none"

    lived(story, plans_ports=False, host=HOST, min_idle=2)


def test_a_cold_assign_waits_for_the_address() -> None:
    async def story(small: Small) -> None:
        await small.await_template()
        machine = await small.assign("p1")
        assert (machine.host, machine.port) == (HOST, small.engine.instances()[machine.id].port)

    lived(story, plans_ports=False, host=HOST, min_idle=0)


def test_a_machine_that_is_given_back_keeps_its_address_and_is_given_out_again() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        await small.orchestrator.release(machine.id)
        again = await small.assign("p2")
        assert (again.id, again.host, again.port) == (machine.id, machine.host, machine.port)

    lived(story, plans_ports=False, host=HOST, min_idle=1, max_machines=1)


def test_a_machine_that_is_restarted_in_place_has_its_address_again() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        small.engine.kill(machine.id)
        await small.until(lambda: "restarted" in [event.cause for event in small.store.events()])
        again = await small.assign("p1")
        assert (again.id, again.host, again.port) == (machine.id, machine.host, machine.port)

    lived(story, plans_ports=False, host=HOST, min_idle=1)


def test_after_a_restart_of_the_service_the_stored_address_is_known_before_the_first_listing() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        state = small.orchestrator._state
        state.snapshot = type(state.snapshot)(-1.0, {})
        state.note_hosts()
        assert state.elsewhere == {one.id: HOST for one in small.fleet.machines.values() if one.host}
        assert machine.id in state.elsewhere

    lived(story, plans_ports=False, host=HOST, min_idle=1)


def test_a_destroy_is_answered_when_a_listing_shows_that_the_instance_is_gone() -> None:
    """Though the engine accepts it at once; and the engine is not asked again and again meanwhile."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        small.engine.lingers_s = 5.0
        begun_at, calls = asyncio.get_running_loop().time(), small.calls("destroy")
        await small.orchestrator.destroy(machine.id)
        assert 5.0 <= asyncio.get_running_loop().time() - begun_at < 5.5
        assert machine.id not in small.engine.instances()
        assert machine.id not in small.fleet.machines
        assert small.calls("destroy") - calls <= 3

    lived(story, min_idle=1)


def test_two_who_destroy_the_same_machine_wait_for_the_same_end() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        small.engine.lingers_s = 5.0
        first = asyncio.create_task(small.orchestrator.destroy(machine.id))
        await asyncio.sleep(2)
        assert small.engine.instances()[machine.id].status is Status.TERMINATING
        assert not first.done()
        await asyncio.gather(first, small.orchestrator.destroy(machine.id))
        assert machine.id not in small.engine.instances()

    lived(story, min_idle=1)


def test_a_removal_that_does_not_end_is_told_after_a_while_and_goes_on() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        small.engine.lingers_s = 60.0
        with pytest.raises(EngineUnavailable, match="is being removed, but still exists after 30 s"):
            await small.orchestrator.destroy(machine.id)
        await small.until(lambda: machine.id not in small.fleet.machines)
        assert machine.id in small.fleet.tombstones

    lived(story, min_idle=1)


def test_when_the_service_stops_nobody_waits_for_a_removal_that_was_accepted() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        small.engine.lingers_s = 20.0
        slow = asyncio.create_task(small.orchestrator.destroy(machine.id))
        await asyncio.sleep(1)
        small.orchestrator.turn_all_away()
        with pytest.raises(EngineUnavailable, match=f"{machine.id} will be removed when the service runs again"):
            await asyncio.wait_for(slow, 0.1)

    lived(story, min_idle=1)


def test_a_worker_has_time_to_end_before_a_removal_that_is_only_accepted() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        takes_to_end(small, machine.id, 4.0)
        small.engine.lingers_s = 2.0
        begun_at = asyncio.get_running_loop().time()
        await small.orchestrator.destroy(machine.id)
        assert 6.0 <= asyncio.get_running_loop().time() - begun_at < 6.6

    lived(story, min_idle=1)


def test_what_was_removed_and_lingers_is_not_asked_for_all_the_time() -> None:
    """An orphan has no record that could say when it was asked for last."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        instance = small.engine.instances()[machine.id]
        await small.orchestrator.destroy(machine.id)
        small.engine.lingers_s = 5.0
        calls = small.calls("destroy")
        small.engine.put(instance)
        await small.until(lambda: machine.id not in small.engine.instances())
        assert small.calls("destroy") - calls <= 8

    lived(story, min_idle=1)


def test_while_there_is_no_room_projects_hear_it_and_the_image_is_not_blamed() -> None:
    """Once there is room again, machines come up without anybody's doing."""

    async def story(small: Small) -> None:
        small.engine.no_room = "no node has 2 GiB of memory left"
        await small.await_template()
        with pytest.raises(NoMachineAvailable, match="no node has 2 GiB of memory left"):
            await small.assign("p1")
        await asyncio.sleep(60)
        pool = small.fleet.pool("default")
        assert pool.image_brake is None
        assert pool.obstacle is not None
        assert pool.obstacle.level > 3
        assert small.shown()['orchestrator_machine_failures_total{reason="start_timeout"}'] == 0
        small.engine.no_room = ""
        await small.await_idle(2)
        assert pool.obstacle is None

    lived(story, plans_ports=False, min_idle=2)


def test_a_worker_that_ends_where_nothing_is_restarted_fails_for_good() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        calls = small.calls("restart")
        small.engine.kill(machine.id)
        await small.until(lambda: small.fleet.machines[machine.id].state is State.FAILED)
        with pytest.raises(MachineFailed, match=r"The container was killed\. Release or destroy it"):
            await small.assign("p1")
        with pytest.raises(NotSupported, match="cannot restart a machine in place"):
            await small.orchestrator.restart(machine.id)
        assert small.calls("restart") == calls
        await small.orchestrator.release(machine.id)
        assert (await small.assign("p1")).id != machine.id

    lived(story, restarts_in_place=False, min_idle=1)
