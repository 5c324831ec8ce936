"""What every engine promises, checked on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest
from msgspec.structs import replace
from tests.contract.worlds import World, listening_on, soon

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.base import EndOf, Engine
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, PortTaken

# create


async def test_what_was_created_is_listed_as_running(world: World) -> None:
    """With its owner, pool, template and port, be it ours or the engine's, and an id of the engine's own."""
    machine = await world.running()
    instance = await world.instance(machine)
    assert instance is not None
    assert (instance.id, instance.owner, instance.pool) == (machine.id, world.owner, machine.pool)
    assert instance.template == machine.template
    assert instance.port == (machine.port if world.engine.plans_ports else instance.port)
    assert instance.port
    assert instance.status is Status.RUNNING
    assert instance.native_id
    assert instance.address
    assert world.engine.is_native_id(instance.native_id)


async def test_an_engine_that_gives_addresses_gives_each_instance_its_own(world: World) -> None:
    """With the host for URLs; where we plan the ports, that is the one of the settings."""
    first, second = await world.instance(await world.running()), await world.instance(await world.running())
    assert first is not None
    assert second is not None
    assert (first.address, first.port) != (second.address, second.port)
    assert bool(first.host) is not world.engine.plans_ports


async def test_a_create_can_be_repeated(world: World) -> None:
    """The second one finds what the first one made, and leaves it alone."""
    machine = await world.running()
    first = await world.instance(machine)
    await world.engine.create(machine)
    assert await world.instance(machine) == first


async def test_creates_of_the_same_machine_at_once_make_one(world: World) -> None:
    """A repeated create may overtake the first one."""
    machine = await world.machine()
    await asyncio.gather(*(world.engine.create(machine) for _ in range(3)))
    await world.serves(machine)
    assert await world.status(machine) is Status.RUNNING


async def test_a_create_that_was_cut_off_before_the_start_is_finished(restarting_world: World) -> None:
    """What stands there with the same port is started."""
    machine = await restarting_world.machine()
    restarting_world.put_created(machine)
    assert await restarting_world.status(machine) is Status.CREATED
    await restarting_world.engine.create(machine)
    assert await restarting_world.status(machine) is Status.RUNNING
    await restarting_world.serves(machine)


async def test_a_create_with_another_port_replaces_what_stands_there(planned_world: World) -> None:
    """After a refused port the container keeps the old one: it is removed and made again."""
    machine = await planned_world.machine()
    planned_world.put_created(machine)
    moved = replace(machine, port=planned_world.port())
    await planned_world.engine.create(moved)
    await planned_world.serves(moved)
    instance = await planned_world.instance(machine)
    assert instance is not None
    assert (instance.status, instance.port) == (Status.RUNNING, moved.port)


async def test_a_container_of_another_owner_under_the_same_name_stays(world: World) -> None:
    """The create is refused, and what stands there is not touched."""
    machine = await world.machine()
    world.put(machine, world.somebody_else)
    before = await world.instance(machine)
    moved = replace(machine, port=world.port()) if world.engine.plans_ports else machine
    for wanted in (machine, moved):
        with pytest.raises(EngineRejected):
            await world.engine.create(wanted)
        assert await world.instance(machine) == before


async def test_a_port_of_another_process_is_taken_and_leaves_nothing_behind(planned_world: World) -> None:
    """The caller chooses another port; there is no half-made container that holds the name."""
    machine = await planned_world.machine()
    assert machine.port is not None
    with listening_on(machine.port):
        with pytest.raises(PortTaken):
            await planned_world.engine.create(machine)
        assert await planned_world.instance(machine) is None
    await planned_world.engine.create(machine)
    await planned_world.serves(machine)


async def test_a_port_of_another_instance_is_taken_and_leaves_nothing_behind(planned_world: World) -> None:
    """And the one that has it goes on serving."""
    first = await planned_world.running()
    second = await planned_world.machine(first.port)
    with pytest.raises(PortTaken):
        await planned_world.engine.create(second)
    assert await planned_world.instance(second) is None
    await planned_world.serves(first)


# destroy


async def test_what_was_destroyed_is_gone(world: World) -> None:
    """If destroy says so when it returns, it is not listed any more, in any status, and its port is free."""
    machine = await world.running()
    await world.destroyed(machine)
    assert await world.instance(machine) is None
    again = await world.machine(machine.port)
    await world.engine.create(again)
    await world.serves(again)


async def test_a_destroy_can_be_repeated(world: World) -> None:
    """Absent is success."""
    machine = await world.running()
    await asyncio.gather(*(world.engine.destroy(machine.id) for _ in range(3)))
    await world.engine.destroy(machine.id)
    assert await world.engine.destroy("worker-1700000000000-neverwas1")
    await world.destroyed(machine)
    assert await world.instance(machine) is None


async def test_destroying_one_leaves_the_others(world: World) -> None:
    """Only what runs under this id goes."""
    first, second = await world.running(), await world.running()
    await world.destroyed(first)
    assert await world.instance(first) is None
    await world.serves(second)


# restart


async def test_a_killed_instance_is_restarted_in_place(restarting_world: World) -> None:
    """It is the same one, on the same port."""
    machine = await restarting_world.running()
    before = await restarting_world.instance(machine)
    restarting_world.kill(machine)
    assert await restarting_world.status(machine) is Status.EXITED
    await restarting_world.engine.restart(machine.id)
    await restarting_world.serves(machine)
    after = await restarting_world.instance(machine)
    assert before is not None
    assert after is not None
    assert (after.native_id, after.port, after.status) == (before.native_id, before.port, Status.RUNNING)


async def test_a_restart_can_be_repeated(restarting_world: World) -> None:
    """What runs already goes on running."""
    machine = await restarting_world.running()
    before = await restarting_world.instance(machine)
    await restarting_world.engine.restart(machine.id)
    assert await restarting_world.instance(machine) == before


async def test_a_restart_whose_port_was_taken_says_so(planned_world: World) -> None:
    """What it holds stays where it is, for the next try."""
    machine = await planned_world.running()
    assert machine.port is not None
    planned_world.kill(machine)
    with listening_on(machine.port):
        with pytest.raises(PortTaken):
            await planned_world.engine.restart(machine.id)
        assert await planned_world.status(machine) is Status.EXITED
    await planned_world.engine.restart(machine.id)
    await planned_world.serves(machine)


async def test_what_does_not_exist_cannot_be_restarted(world: World) -> None:
    """Asking again will not help."""
    with pytest.raises(EngineRejected):
        await world.engine.restart("worker-1700000000000-neverwas1")


# list


async def test_a_listing_holds_instances_of_every_owner_in_any_status(world: World) -> None:
    """What belongs to somebody else is shown with its owner."""
    mine, dead, theirs = await world.running(), await world.running(), await world.machine()
    world.kill(dead)
    world.put(theirs, world.somebody_else)
    listed = (await world.engine.list()).instances
    assert {mine.id, dead.id, theirs.id} <= set(listed)
    assert listed[mine.id].status is Status.RUNNING
    assert listed[dead.id].status is Status.EXITED
    assert listed[dead.id].detail
    assert (listed[theirs.id].owner, listed[mine.id].owner) == (world.somebody_else, world.owner)


async def test_a_listing_is_never_older_than_its_call(world: World) -> None:
    """What was acknowledged before the call, it shows."""
    machine = await world.running()
    await world.destroyed(machine)
    now = asyncio.get_running_loop().time
    begun_at = now()
    listing = await world.engine.list()
    assert begun_at <= listing.as_of <= now()
    assert machine.id not in listing.instances


async def test_a_machine_id_is_no_id_of_the_engine(world: World) -> None:
    """Whoever names a machine means one of the two."""
    assert not world.engine.is_native_id((await world.machine()).id)
    assert not world.engine.is_native_id("")


# probe


async def test_a_probe_tells_who_serves(world: World) -> None:
    """Before the create and after the end it says in words what is missing."""
    machine = await world.machine()
    assert await world.probe(machine)
    await world.engine.create(machine)
    await world.serves(machine)
    world.kill(machine)

    async def is_missing() -> str | None:
        return await world.probe(machine)

    assert "answer" in (await soon(is_missing, "the probe misses it") or "")


# watch


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_the_end_of_an_instance_is_told_when_the_listing_shows_it(world: World, how: str) -> None:
    """One item when the watch begins, and one that names a worker that ended: whoever waits until it is shown, sees it."""
    machine = await world.running()
    watch = world.engine.watch()
    async with asyncio.timeout(10):
        await anext(watch)
        end = world.kill if how == "kill" else world.remove
        end(machine)
        while not isinstance(sign := await anext(watch), EndOf) or sign != machine.id:
            pass  # it is told to end before
        await world.engine.until_shown(machine.id)
    assert await world.status(machine) is (Status.EXITED if how == "kill" else None)
    assert isinstance(watch, AsyncGenerator)
    await watch.aclose()


# template and identity


async def test_the_template_stays_until_the_image_is_rebuilt(world: World) -> None:
    """Even under the same name it is another one then, and machines of the old one stay as they are."""
    machine = await world.running()
    assert await world.engine.template(DEFAULT_POOL) == machine.template
    world.rebuild()
    assert await world.engine.template(DEFAULT_POOL) != machine.template
    instance = await world.instance(machine)
    assert instance is not None
    assert (instance.template, instance.status) == (machine.template, Status.RUNNING)


async def test_the_identity_is_stable_and_marked(world: World) -> None:
    """With a machine on it, the engine carries our mark."""
    await world.running()
    first = await world.engine.identity()
    assert first.id
    assert first.marked
    assert await world.engine.identity() == first


# an engine that cannot be reached

Call = Callable[[Engine, Machine], Coroutine[Any, Any, object]]
CALLS: dict[str, Call] = {
    "ping": lambda engine, _: engine.ping(),
    "identity": lambda engine, _: engine.identity(),
    "template": lambda engine, _: engine.template(DEFAULT_POOL),
    "list": lambda engine, _: engine.list(),
    "create": lambda engine, machine: engine.create(machine),
    "restart": lambda engine, machine: engine.restart(machine.id),
    "destroy": lambda engine, machine: engine.destroy(machine.id),
}


@pytest.mark.parametrize("name", CALLS)
async def test_an_engine_that_cannot_be_reached_is_unavailable(world: World, name: str) -> None:
    """Nothing was carried out: it may be asked again later."""
    machine = await world.machine()
    async with world.unreachable() as engine:
        with pytest.raises(EngineUnavailable):
            await CALLS[name](engine, machine)
    assert await world.instance(machine) is None
