"""Where one request meets another, or a cause outside: short stories, in which everything else works."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import EngineObstructed, EngineUnavailable, MachineNotFound, NoMachineAvailable
from worker_orchestrator.http.document import Document, Request


def noted(small: Small, monkeypatch: pytest.MonkeyPatch, *names: str) -> list[tuple[float, str, str]]:
    """When what was asked of the engine about which machine, from now on."""
    told: list[tuple[float, str, str]] = []

    def watch(name: str) -> None:
        call = getattr(small.engine, name)

        async def noting(machine_id: str, *more: Any, **options: Any) -> None:
            told.append((asyncio.get_running_loop().time(), name, machine_id))
            await call(machine_id, *more, **options)

        monkeypatch.setattr(small.engine, name, noting)

    for name in names:
        watch(name)
    return told


@pytest.mark.parametrize("refused", ["stop", "destroy"])
def test_a_removal_that_a_cause_outside_stands_in_the_way_of_is_tried_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")

        async def obstructed(*_: Any) -> None:
            raise EngineObstructed("A plug-in of Docker's forbids it.", kind="denied")

        with monkeypatch.context() as while_it_lasts:
            while_it_lasts.setattr(small.engine, refused, obstructed)
            calls = noted(small, while_it_lasts, refused)
            with pytest.raises(EngineObstructed):
                await small.orchestrator.destroy(machine.id)
            await asyncio.sleep(100)
            assert 5 <= len(calls) <= 10, f"{len(calls)} calls in 100 s"
            assert small.fleet.machines[machine.id].state is State.STOPPING
        await small.until(lambda: machine.id not in small.fleet.machines, within_s=61)
        assert machine.id not in small.engine.instances()

    lived(story, min_idle=1)


def test_what_is_destroyed_meanwhile_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both wait until a restart that nobody asked for is through."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        restart, began, goes_on = small.engine.restart, asyncio.Event(), asyncio.Event()

        async def slow(machine_id: str, *, stop_first: bool = False) -> None:
            began.set()
            await goes_on.wait()
            await restart(machine_id, stop_first=stop_first)

        monkeypatch.setattr(small.engine, "restart", slow)
        small.engine.kill(machine.id)
        await began.wait()
        calls = noted(small, monkeypatch, "restart", "destroy")
        restarted = asyncio.create_task(small.orchestrator.restart(machine.id))
        await asyncio.sleep(0.1)
        destroyed = asyncio.create_task(small.orchestrator.destroy(machine.id))
        await asyncio.sleep(0.1)
        goes_on.set()
        with pytest.raises(MachineNotFound, match=f"{machine.id} was removed in the meantime"):
            await restarted
        await destroyed
        assert [name for _, name, _ in calls] == ["destroy"]

    lived(story, min_idle=1)


def test_when_the_service_stops_whoever_asked_for_a_restart_hears_that_it_comes() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        small.engine.freeze()
        restarted = asyncio.create_task(small.orchestrator.restart(machine.id))
        await asyncio.sleep(1)
        small.orchestrator.turn_all_away()
        with pytest.raises(EngineUnavailable, match=f"{machine.id} will be restarted when the service runs again"):
            await restarted
        fleet = Fleet("owner")
        fleet.load(small.store.machines(), (), 0.0)
        assert fleet.watches[machine.id].restart_requests
        small.engine.thaw()

    lived(story, min_idle=1)


def test_what_another_engine_refuses_is_asked_of_the_right_one_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        small.engine.switch("another")
        await small.until(lambda: small.orchestrator.status().is_lost)
        with pytest.raises(EngineUnavailable, match=f"{machine.id} will be restarted when the container"):
            await small.orchestrator.restart(machine.id)
        await asyncio.sleep(1)
        calls = noted(small, monkeypatch, "restart")
        small.engine.switch()
        await small.until(lambda: small.fleet.machines[machine.id].state is State.READY, within_s=5)
        assert [machine_id for _, _, machine_id in calls] == [machine.id]

    lived(story, min_idle=1)


def test_restarts_of_workers_that_take_their_time_to_end_hold_up_no_new_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(40)
        machines = [await small.assign(f"p{number}") for number in range(40)]
        await small.await_idle(40)
        restart = small.engine.restart

        async def slow(machine_id: str, *, stop_first: bool = False) -> None:
            await asyncio.sleep(10)
            await restart(machine_id, stop_first=stop_first)

        monkeypatch.setattr(small.engine, "restart", slow)
        restarts = [asyncio.create_task(small.orchestrator.restart(machine.id)) for machine in machines]
        await asyncio.sleep(0.1)
        begun_at = asyncio.get_running_loop().time()
        for number in range(41):  # the last one is made for it
            await small.assign(f"q{number}")
        assert asyncio.get_running_loop().time() - begun_at < 2
        await asyncio.gather(*restarts)

    lived(story, min_idle=40, max_machines=130)


def test_a_machine_that_is_started_again_is_asked_anew() -> None:
    """The question that its worker left without an answer, for minutes perhaps, was another worker's."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        container = small.engine._containers[machine.id]
        container.answer_s = 3600.0  # it hangs from now on
        small.engine.kill(machine.id)
        await asyncio.sleep(40)
        assert small.fleet.machines[machine.id].state is State.STARTING
        container.answer_s = 0.0  # somebody mended it
        await small.orchestrator.restart(machine.id)
        await small.until(lambda: small.fleet.machines[machine.id].state is State.READY, within_s=1)

    lived(story, min_idle=1)


def test_whoever_waits_for_a_paused_machine_that_is_started_again_hears_that_it_is_paused() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        small.engine._containers[machine.id].answer_s = 3600.0
        small.engine.kill(machine.id)
        await small.until(lambda: small.fleet.machines[machine.id].state is State.STARTING)
        waiting = asyncio.create_task(small.assign("p1"))
        await small.until(lambda: small.engine.instances()[machine.id].status is Status.RUNNING)
        await asyncio.sleep(1)
        small.engine.kill(machine.id, Status.PAUSED)
        with pytest.raises(NoMachineAvailable, match=r"cannot serve now\. The container is paused"):
            await waiting

    lived(story, min_idle=1)


def test_a_machine_that_ends_while_its_assignment_is_stored_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is told, and no listing has shown it yet: that it answered a moment ago means nothing."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        short_way, journal = small.orchestrator.short_way, small.orchestrator._journal
        durable, ended = journal.durable, list[str]()

        async def slow() -> None:
            await durable()
            if not ended and small.fleet.of_project("p1") is not None:
                ended.append(small.fleet.projects["p1"])
                small.engine.faults.slow_s = 0.2  # so the listing comes later
                small.engine.kill(ended[0])
                await asyncio.sleep(0.01)

        monkeypatch.setattr(short_way, "take_ready", lambda *_: None)
        monkeypatch.setattr(journal, "durable", slow)
        given = await small.assign("p1")
        assert ended
        assert small.engine.instances()[given.id].status is Status.RUNNING

    lived(story, min_idle=2)


def test_nobody_waits_for_a_port_of_a_worker_that_takes_its_time_to_end() -> None:
    async def story(small: Small) -> None:
        machine = await small.assign("p1")
        small.engine._containers[machine.id].end_s = 60.0
        await small.orchestrator.release("p1")
        await asyncio.sleep(1)
        begun_at = asyncio.get_running_loop().time()
        await small.assign("p2")
        assert asyncio.get_running_loop().time() - begun_at < 1

    lived(story, min_idle=0, recycle=True, last_port=9093)


def test_head_tells_of_no_machine_that_get_would_not_give() -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        machine = await small.assign("p1")
        document = Document(small.orchestrator, "localhost")

        async def nothing() -> bytes:
            return b""

        async def never() -> None:
            await asyncio.Event().wait()

        async def status(method: str) -> int:
            reply = await document.answer(Request(method, "/p1", None, nothing, never))
            return reply.status

        assert [await status("GET"), await status("HEAD")] == [200, 200]
        small.engine.kill(machine.id, Status.PAUSED)
        await asyncio.sleep(2)
        assert [await status("GET"), await status("HEAD")] == [503, 404]
        await small.engine.restore(machine.id, machine.port)
        await asyncio.sleep(2)
        assert [await status("GET"), await status("HEAD")] == [200, 200]

    lived(story, min_idle=1)
