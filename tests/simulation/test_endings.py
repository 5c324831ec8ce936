"""What an engine says of an end, before any listing shows it: nobody is given such a machine, and nothing is decided."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.core.instance import Status
from worker_orchestrator.core.machine import State
from worker_orchestrator.errors import NoMachineAvailable
from worker_orchestrator.settings.settings import DEFAULT_POOL


class Slow:
    """An engine that says at once what its listings show a second later, as Docker does while it clears up."""

    def __init__(self, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown = asyncio.Event()
        self.asked = 0
        self._small, self._list = small, small.engine.list
        monkeypatch.setattr(small.engine, "until_shown", self._until_shown)

    async def _until_shown(self, _machine_id: str) -> None:
        self.asked += 1
        await self.shown.wait()

    def say_ended(self, machine_id: str) -> None:
        self._small.engine._tell(machine_id)


def unexpected(_told: object) -> None:
    pytest.fail("nobody is told now")


async def listed(small: Small) -> set[str]:
    return {view.machine.id for view in await small.orchestrator.machines()}


def test_what_is_said_to_have_ended_is_neither_listed_nor_given(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(2)
        dead, alive = (machine.id for machine in small.idle)
        assert await listed(small) == {dead, alive}
        slow = Slow(small, monkeypatch)
        slow.say_ended(dead)
        await asyncio.sleep(0.01)
        assert await listed(small) == {alive}
        assert small.fleet.machines[dead].state is State.READY
        assert (await small.assign("p")).id == alive
        await asyncio.sleep(15)  # listings go on meanwhile, and show what is old
        assert dead not in await listed(small)
        small.engine.kill(dead)
        slow.shown.set()
        await small.until(lambda: small.fleet.machines[dead].state is State.FAILED)

    lived(story, min_idle=2, max_idle=2)


def test_one_that_lives_after_all_serves_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has started it again meanwhile; or it was never true."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        first = small.idle[0].id
        slow = Slow(small, monkeypatch)
        slow.say_ended(first)
        await asyncio.sleep(0.01)
        assert first not in await listed(small)
        slow.shown.set()
        await asyncio.sleep(0.2)
        assert first in await listed(small)
        assert small.fleet.machines[first].state is State.READY

    lived(story, min_idle=2, max_idle=2)


def test_the_signs_of_one_end_ask_the_engine_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what comes while it is asked is not taken for shown: it may be another end."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        first = small.idle[0].id
        slow = Slow(small, monkeypatch)
        for _ in range(5):
            slow.say_ended(first)
            await asyncio.sleep(0.01)
        assert slow.asked == 1
        slow.shown.set()
        await asyncio.sleep(0.2)
        assert slow.asked == 2
        assert first in await listed(small)
        slow.say_ended(first)
        await asyncio.sleep(0.2)
        assert slow.asked == 3

    lived(story, min_idle=2, max_idle=2)


def test_a_project_whose_machine_is_said_to_have_ended_hears_of_it_when_it_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        own = await small.assign("p")
        slow = Slow(small, monkeypatch)
        slow.say_ended(own.id)
        await asyncio.sleep(0.01)
        assert not small.orchestrator.short_way.assign("p", DEFAULT_POOL, unexpected)
        asked = asyncio.create_task(small.assign("p"))
        await asyncio.sleep(0.2)
        assert not asked.done()
        small.engine.kill(own.id)
        slow.shown.set()
        told = await asked
        assert told == small.fleet.of_project("p")
        assert told.id == own.id
        assert (await small.engine.list()).instances[own.id].status is Status.RUNNING

    lived(story, min_idle=1)


@pytest.mark.parametrize(("is_shown", "least_s", "most_s"), [(True, 0.0, 0.3), (False, 1.5, 1.6)])
def test_a_project_whose_machine_lives_after_all_is_told_of_it(
    monkeypatch: pytest.MonkeyPatch, least_s: float, most_s: float, *, is_shown: bool
) -> None:
    """As soon as a listing shows it, or when none has shown its end in time."""

    async def story(small: Small) -> None:
        await small.await_idle(1)
        own = await small.assign("p")
        slow = Slow(small, monkeypatch)
        slow.say_ended(own.id)
        await asyncio.sleep(0.01)
        if is_shown:
            slow.shown.set()
        begun_at = asyncio.get_running_loop().time()
        assert await small.assign("p") == own
        assert least_s <= asyncio.get_running_loop().time() - begun_at <= most_s

    lived(story, min_idle=1)


def test_whoever_waits_for_a_listing_of_a_machine_that_its_project_gave_up_gets_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At once: a listing could only tell of what is not his any more."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        own = await small.assign("p")
        slow = Slow(small, monkeypatch)
        monkeypatch.setattr(small.engine, "list", slow.shown.wait)
        slow.say_ended(own.id)
        await asyncio.sleep(0.01)
        asked = asyncio.create_task(small.assign("p"))
        await asyncio.sleep(0.01)
        await small.orchestrator.release("p")
        begun_at = asyncio.get_running_loop().time()
        assert (await asked).id != own.id
        assert asyncio.get_running_loop().time() - begun_at < 0.1
        monkeypatch.undo()

    lived(story, min_idle=2)


def test_whoever_waits_for_a_listing_is_answered_when_the_service_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(small: Small) -> None:
        await small.await_idle(1)
        own = await small.assign("p")
        slow = Slow(small, monkeypatch)
        slow.say_ended(own.id)
        await asyncio.sleep(0.01)
        asked = asyncio.create_task(small.assign("p"))
        await asyncio.sleep(0.01)
        small.orchestrator.turn_all_away()
        begun_at = asyncio.get_running_loop().time()
        with pytest.raises(NoMachineAvailable, match="stopping"):
            await asked
        assert asyncio.get_running_loop().time() == begun_at
        slow.shown.set()

    lived(story, min_idle=1)


def test_whoever_hangs_up_meanwhile_is_given_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine is released, and the listing comes: nobody is there to be told of another one."""

    async def story(small: Small) -> None:
        await small.await_idle(2)
        own = await small.assign("p")
        await small.await_idle(2)
        slow, gone = Slow(small, monkeypatch), asyncio.Event()
        slow.say_ended(own.id)
        await asyncio.sleep(0.01)

        async def hung_up() -> None:
            await gone.wait()

        asked = asyncio.create_task(small.assign("p", hung_up))
        await asyncio.sleep(0.1)
        gone.set()
        await asyncio.wait({asked})
        assert asked.cancelled()
        await small.orchestrator.release("p")
        slow.shown.set()
        await asyncio.sleep(5)
        assert small.fleet.of_project("p") is None

    lived(story, min_idle=2)
