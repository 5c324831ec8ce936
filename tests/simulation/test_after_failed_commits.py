"""Stories of commits that fail once: what goes on beside them goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.errors import CommitFailed, NoMachineAvailable
from worker_orchestrator.http.v1.health import Health


def slow_to_answer(small: Small, answer_s: float) -> None:
    """From now on every worker takes so long for its answers."""
    for place in small.engine._places.values():
        for container in place.values():
            container.answer_s = answer_s


async def the_machine(small: Small) -> Machine:
    await small.until(small.engine.instances)
    (machine,) = small.fleet.machines.values()
    return machine


async def fails_once(small: Small, monkeypatch: pytest.MonkeyPatch, what: str, machine_id: str) -> None:
    """This is asked for while nothing can be stored."""

    def refuse(*_: Any) -> None:
        raise CommitFailed("no space left")

    with monkeypatch.context() as full:
        full.setattr(small.store, "commit", refuse)
        with pytest.raises(CommitFailed):
            await getattr(small.orchestrator, what)(machine_id)


def test_a_starting_machine_is_asked_on_after_its_destruction_could_not_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers what was asked before, which proves nothing by then: so it is asked again at once."""

    async def story(small: Small) -> None:
        small.engine.faults.sluggish, small.engine.faults.sluggish_s = 1.0, 6.0
        machine = await the_machine(small)
        await asyncio.sleep(0.5)
        await fails_once(small, monkeypatch, "destroy", machine.id)
        await small.until(lambda: small.fleet.machines[machine.id].state is State.READY, within_s=9.0)

    lived(story, min_idle=1, max_machines=1)


def test_a_restarting_machine_is_asked_on_after_another_restart_could_not_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p")
        slow_to_answer(small, 4.0)
        await small.orchestrator.restart(machine.id)
        await asyncio.sleep(0.5)
        assert small.fleet.machines[machine.id].state is State.STARTING
        await fails_once(small, monkeypatch, "restart", machine.id)
        await small.until(lambda: small.fleet.machines[machine.id].state is State.READY, within_s=9.0)

    lived(story, min_idle=1, max_machines=1)


def test_who_waited_in_vain_hears_how_things_are_once_his_machine_is_given_back() -> None:
    """It was reserved, ended, and is let go with the line: that it is restarted for him would be untrue."""

    async def story(small: Small) -> None:
        small.engine.faults.sluggish, small.engine.faults.sluggish_s = 1.0, 6.0
        machine = await the_machine(small)
        await small.until(lambda: small.fleet.machines[machine.id].state is State.READY)
        await asyncio.sleep(3)
        waiting = asyncio.create_task(small.assign_machine("p", wait_s=3))
        await asyncio.sleep(1)
        small.engine.kill(machine.id)
        with pytest.raises(NoMachineAvailable) as refused:
            await waiting
        assert machine.id not in refused.value.message

    lived(story, min_idle=1, max_machines=1)


def test_an_engine_that_chooses_the_hosts_is_no_reason_to_give_machines_up() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        await small.assign("p")
        await asyncio.sleep(11)
        assert Health(small.orchestrator, "elsewhere", "recover").problems() == []

    lived(story, min_idle=2, plans_ports=False, host="10.0.0.7")
