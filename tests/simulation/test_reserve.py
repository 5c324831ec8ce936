"""A pool with a reserve, as clients and operators meet it: what is paused, what an assign costs, and what goes wrong."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from starlette.datastructures import Headers, QueryParams
from starlette.websockets import WebSocket
from tests.simulation.small import Small, lived

from worker_orchestrator.core import reasons
from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import EngineRejected
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.http.v1.terminal import TerminalSockets


def parked(small: Small) -> list[str]:
    return [one.id for one in small.fleet.machines.values() if one.state is State.PARKED]


def paused(small: Small) -> list[str]:
    return [one.id for one in small.engine.instances().values() if one.status is Status.PAUSED]


async def has_reserve(small: Small, count: int) -> list[str]:
    """So many machines are parked, and known to be paused. Returns their ids, the first to be woken first."""
    await small.until(lambda: len(paused(small)) == len(parked(small)) == count)
    await asyncio.sleep(0.1)
    return list(small.fleet.all_parked("default"))


def test_a_pool_fills_its_reserve_and_pauses_it() -> None:
    async def story(small: Small) -> None:
        await has_reserve(small, 2)
        assert len(small.idle) == 1
        shown = small.shown()
        assert shown['orchestrator_machines{pool="default",state="parked"}'] == 2
        assert shown['orchestrator_wanted_parked{pool="default"}'] == 2
        await asyncio.sleep(250)
        assert (len(small.idle), len(paused(small)), small.calls("create")) == (1, 2, 3)

    lived(story, min_idle=1, parked=2)


def test_an_assign_that_finds_nothing_idle_takes_a_parked_machine_with_one_call_and_one_probe() -> None:
    async def story(small: Small) -> None:
        first, _ = await has_reserve(small, 2)
        probes, begun_at = small.probes_answered(), asyncio.get_running_loop().time()
        machine = await small.assign("p1")
        assert (machine.id, machine.project) == (first, "p1")
        assert asyncio.get_running_loop().time() - begun_at < 0.005
        assert (small.calls("unpark"), small.probes_answered()) == (1, probes + 1)
        await small.until(lambda: len(paused(small)) == 2)
        assert small.calls("create") == 3, "it is refilled by a new one"

    lived(story, min_idle=0, parked=2)


def test_who_is_released_is_used_again_and_not_paused_at_once() -> None:
    """A pause per release and a wake per assign would cost more than they save."""

    async def story(small: Small) -> None:
        await has_reserve(small, 1)
        for _ in range(20):
            await small.assign("p1")
            await small.orchestrator.release("p1")
            await asyncio.sleep(0.5)
        assert small.calls("unpark") == 1
        assert small.calls("park") == 2, "the one that took its place is parked"

    lived(story, min_idle=0, parked=1)


def test_a_parked_machine_shows_every_five_minutes_that_it_answers() -> None:
    async def story(small: Small) -> None:
        (machine_id,) = await has_reserve(small, 1)
        probes = small.probes_answered()
        await asyncio.sleep(310)
        assert (small.calls("unpark"), small.calls("park"), small.probes_answered()) == (1, 2, probes + 1)
        assert await has_reserve(small, 1) == [machine_id]
        small.engine._containers[machine_id].mute = True
        await asyncio.sleep(320)
        (other,) = await has_reserve(small, 1)
        assert other != machine_id
        assert "did not answer" in small.fleet.machines[machine_id].reason

    lived(story, min_idle=0, parked=1)


def test_a_restart_of_the_engine_that_ends_what_is_paused_has_the_reserve_made_anew() -> None:
    async def story(small: Small) -> None:
        before = await has_reserve(small, 2)
        for machine_id in before:
            small.engine.kill(machine_id)
        after = await has_reserve(small, 2)
        assert not set(before) & set(after)
        assert small.fleet.pool("default").image_brake is None

    lived(story, min_idle=0, parked=2)


def test_an_engine_that_refuses_to_pause_leaves_the_reserve_idle_and_is_asked_once_a_minute() -> None:
    async def story(small: Small) -> None:
        await small.await_template()

        async def refuse(machine_id: str) -> None:
            refused.append(machine_id)
            raise EngineRejected(f"{machine_id} cannot be paused.")

        refused: list[str] = []
        small.engine.pause = refuse  # type: ignore[method-assign]
        await small.await_idle(2)
        await asyncio.sleep(170)
        assert len(refused) == 2 * 3
        assert (len(small.idle), small.calls("create")) == (2, 2)
        assert (await small.assign("p1")).project == "p1"

    lived(story, min_idle=0, parked=2)


def test_what_may_be_paused_late_is_given_to_nobody() -> None:
    """The call hangs until nobody waits for it any more, and is carried out after that."""

    async def story(small: Small) -> None:
        await small.await_template()
        await small.await_idle(1)
        late = small.idle[0].id
        small.engine.faults.late, small.engine.faults.late_s = 1.0, 60.0
        await small.until(lambda: late in parked(small))
        await asyncio.sleep(0.01)
        small.engine.faults.late = 0.0
        machine = await small.assign("p1")
        assert machine.id != late
        await asyncio.sleep(100)
        assert small.fleet.machines[machine.id].state is State.READY
        assert small.engine.instances()[machine.id].status is Status.RUNNING
        assert late not in small.engine.instances()

    lived(story, min_idle=0, parked=1)


def hangs(small: Small, *ids: str) -> asyncio.Event:
    """From now on these do not go on before this is set."""
    go_on, unpause = asyncio.Event(), small.engine.unpause

    async def late(machine_id: str) -> None:
        if machine_id in ids:
            await go_on.wait()
        await unpause(machine_id)

    small.engine.unpause = late  # type: ignore[method-assign]
    return go_on


@pytest.mark.parametrize("hanging", [1, 2])
def test_whoever_waits_for_a_wake_that_hangs_gets_another_machine_after_a_second(hanging: int) -> None:
    """After three, if that hangs too: each is waited for twice as long as the one before it."""

    async def story(small: Small) -> None:
        ids = await has_reserve(small, 3)
        go_on = hangs(small, *ids[:hanging])
        begun_at = asyncio.get_running_loop().time()
        machine = await small.assign("p1")
        assert machine.id == ids[hanging]
        assert asyncio.get_running_loop().time() - begun_at < 2**hanging - 1 + 0.1
        assert small.calls("unpark") <= hanging + 1
        go_on.set()
        await has_reserve(small, 3)

    lived(story, min_idle=0, parked=3, max_machines=9)


def test_a_wake_that_hangs_is_given_up() -> None:
    async def story(small: Small) -> None:
        (first,) = await has_reserve(small, 1)
        go_on = hangs(small, first)
        begun_at = asyncio.get_running_loop().time()
        machine = await small.assign("p1")
        assert machine.id != first
        assert asyncio.get_running_loop().time() - begun_at < 12
        assert small.fleet.machines[first].reason == reasons.started_too_slowly(5.0)
        go_on.set()

    lived(story, min_idle=0, parked=1)


def test_a_burst_on_an_engine_that_wakes_one_after_the_other_wakes_no_more_than_that() -> None:
    """Each takes 0.3 s, so the last one waits for six. Nothing is made up for, and nothing is given up."""

    async def story(small: Small) -> None:
        before = await has_reserve(small, 40)
        turn, unpause = asyncio.Lock(), small.engine.unpause

        async def one_by_one(machine_id: str) -> None:
            async with turn:
                await asyncio.sleep(0.3)
                await unpause(machine_id)

        small.engine.unpause = one_by_one  # type: ignore[method-assign]
        given = await asyncio.gather(*(small.assign(f"p{number}") for number in range(20)))
        assert {machine.id for machine in given} == set(before[:20])
        assert small.calls("unpark") == 20

    lived(story, min_idle=0, parked=40, max_machines=100)


def test_a_smaller_reserve_at_run_time_lets_go_what_is_being_made_for_it() -> None:
    async def story(small: Small) -> None:
        await small.until(lambda: len(small.fleet.machines) == 4)
        small.orchestrator.change_pool("default", {"parked": 1})
        await has_reserve(small, 1)
        await asyncio.sleep(10)
        assert len(small.idle) == 3
        await asyncio.sleep(300)
        assert (len(small.idle), len(parked(small))) == (0, 1)

    lived(story, min_idle=0, parked=4, slow_s=1.0)


class Socket:
    """The WebSocket of a client that asks for a terminal in a machine, and stays until `left` is set."""

    def __init__(self, machine_id: str) -> None:
        self.path_params, self.query_params, self.headers = {"id": machine_id}, QueryParams(""), Headers()
        self.scope: dict[str, Any] = {"subprotocols": []}
        self.left, self.got, self._asked = asyncio.Event(), list[str](), False

    async def receive(self) -> dict[str, Any]:
        if self._asked:
            await self.left.wait()
            return {"type": "websocket.disconnect"}
        self._asked = True
        return {"type": "websocket.connect"}

    async def accept(self, _: str | None) -> None:
        self.got.append("accepted")

    async def send_denial_response(self, _: object) -> None:
        self.got.append("denied")

    async def close(self, _: int = 1000) -> None:
        self.got.append("closed")


class Shell:
    """A terminal in which nothing ever happens."""

    is_closed = False

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def aclose(self) -> None:
        await asyncio.sleep(3)
        self.is_closed = True


@pytest.mark.parametrize("ends", ["well", "refused", "hung up"])
def test_a_machine_in_which_a_terminal_is_being_opened_is_not_parked(ends: str) -> None:
    """Nor until the terminal is closed: what is frozen meanwhile is neither opened nor ended."""

    async def story(small: Small) -> None:
        await small.await_template()
        await small.await_idle(1)
        machine, opens, shell = small.idle[0], asyncio.Event(), Shell()

        async def terminal(*_: object, **__: object) -> Shell:
            await opens.wait()
            if ends == "refused":
                raise EngineRejected("no")
            return shell

        small.engine.terminal = terminal  # type: ignore[attr-defined]
        socket = Socket(machine.id)
        serving = asyncio.create_task(TerminalSockets(small.orchestrator, ServiceEnd()).open(cast("WebSocket", socket)))
        await asyncio.sleep(10)
        assert parked(small) == []
        if ends == "hung up":
            socket.left.set()
        opens.set()
        if ends == "well":
            await asyncio.sleep(10)
            assert (parked(small), socket.got) == ([], ["accepted"])
            socket.left.set()
            await small.until(lambda: shell.is_closed or parked(small))
            assert shell.is_closed
        await serving
        await has_reserve(small, 1)

    lived(story, min_idle=0, parked=1)


def test_somebody_who_lets_a_parked_machine_go_on_has_it_paused_again() -> None:
    async def story(small: Small) -> None:
        (machine_id,) = await has_reserve(small, 1)
        small.engine._containers[machine_id].thaw()
        small.engine._tell()
        await small.until(lambda: small.calls("park") == 2)
        assert await has_reserve(small, 1) == [machine_id]

    lived(story, min_idle=0, parked=1)
