"""What an engine says of an end, before any listing shows it: nobody is given such a machine, and nothing is decided."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.small import Small, lived

from worker_orchestrator.machine import State


class Slow:
    """An engine that says at once what its listings show a second later, as Docker does while it clears up."""

    def __init__(self, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown = asyncio.Event()
        self._small, self._list = small, small.engine.list
        monkeypatch.setattr(small.engine, "until_shown", self._until_shown)

    async def _until_shown(self, _machine_id: str) -> None:
        await self.shown.wait()

    def say_ended(self, machine_id: str) -> None:
        self._small.engine._tell(machine_id)


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
        assert (await small.orchestrator.assign("p")).id == alive
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
