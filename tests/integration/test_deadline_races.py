"""A deadline against what a client asks in the same instant: one of them wins, and both are told the truth.

RACES=10000 runs so many; that takes six minutes.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import pytest
from tests.integration.running import Running, a_service

RACES: Final = int(os.environ.get("RACES", "240"))
AT_ONCE: Final = 30
TTL_S: Final = 1.0
GRACE_S: Final = 60.0
LATEST_S: Final = 2.0
"""So much later than its time an assignment may end."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """It has run for a minute, so that deadlines act."""
    flags = ("--engine", "memory", "--min-idle", "4", "--max-machines", "40", "--ttl", "1s", "--assign-timeout", "20")
    with a_service(tmp_path_factory.mktemp("races"), *flags) as service:
        time.sleep(GRACE_S + 1)
        yield service


@dataclass
class Races:
    """The clients of one service."""

    session: aiohttp.ClientSession
    chance: random.Random
    seen: Counter[str] = field(default_factory=Counter)

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.session.request(method, path, json=body) as reply:
            return reply.status, await reply.json() if reply.content_type.endswith("json") else None

    async def generation(self, project: str) -> int | None:
        """That of the machine that the project has now; None without one."""
        status, told = await self.call("GET", f"/v1/projects/{project}/machine")
        return int(told["generation"]) if status == 200 else None

    async def run(self, name: str) -> None:
        """One race after the other, each in the moment at which the lease of an own project ends."""
        ways: list[Callable[[str, dict[str, Any]], Awaitable[str]]] = [self.keep, self.ask, self.release, self.destroy]
        for number in range(RACES // AT_ONCE):
            project, way = f"{name}-{number}", self.chance.choice(ways)
            status, machine = await self.call("PUT", f"/v1/projects/{project}/machine")
            assert status == 201, machine
            ends_at = time.monotonic() + TTL_S
            await asyncio.sleep(TTL_S + self.chance.uniform(-0.02, 0.02))
            self.seen[f"{way.__name__}: {await way(project, machine)}"] += 1
            await self.until_ended(project, ends_at)

    async def until_ended(self, project: str, ends_at: float) -> None:
        """Whatever is left of it ends in time."""
        ends_at = max(ends_at, time.monotonic() + TTL_S)
        while await self.generation(project) is not None:
            assert time.monotonic() < ends_at + LATEST_S, f"{project} has its machine for too long"
            await asyncio.sleep(0.1)

    async def holds(self, project: str, generation: int, asked_at: float) -> None:
        """Whoever asked at this time and was told that it has the machine has it for the whole time that its lease lasts."""
        await asyncio.sleep(max(0.0, asked_at + TTL_S * 0.7 - time.monotonic()))
        found = await self.generation(project)
        assert found == generation or time.monotonic() > asked_at + TTL_S, "it was told that it has it for longer"

    async def keep(self, project: str, machine: dict[str, Any]) -> str:
        asked_at = time.monotonic()
        status, told = await self.call("POST", f"/v1/projects/{project}/machine/keepalive")
        if status == 204:
            await self.holds(project, machine["generation"], asked_at)
            return "kept"
        assert (status, told["code"]) == (404, "project_has_no_machine")
        assert await self.generation(project) is None
        return "too late"

    async def ask(self, project: str, machine: dict[str, Any]) -> str:
        asked_at = time.monotonic()
        status, told = await self.call("PUT", f"/v1/projects/{project}/machine")
        assert status in {200, 201}, told
        is_same = told["id"] == machine["id"]
        assert (status == 200) is is_same is (told["generation"] == machine["generation"]), (
            "an expired one comes never back"
        )
        await self.holds(project, told["generation"], asked_at)
        return "kept" if is_same else "another one"

    async def release(self, project: str, machine: dict[str, Any]) -> str:
        path = f"/v1/projects/{project}/machine?generation={machine['generation']}"
        status, told = await self.call("DELETE", path)
        assert await self.generation(project) is None
        if status == 200:
            return "released"
        assert (status, told["code"]) == (404, "project_has_no_machine")
        return "too late"

    async def destroy(self, project: str, machine: dict[str, Any]) -> str:
        """That of a machine which is being removed already is the same end."""
        path = f"/v1/machines/{machine['id']}?generation={machine['generation']}"
        status, told = await self.call("DELETE", path)
        assert status in {200, 404}, told
        assert await self.generation(project) is None
        left, shown = await self.call("GET", f"/v1/machines/{machine['id']}")
        assert left == 404 or shown["state"] == "stopping", shown
        return "destroyed" if status == 200 else "too late"


def test_a_deadline_and_a_client_in_the_same_instant_have_one_winner(service: Running) -> None:
    async def race() -> Counter[str]:
        limit = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{service.ports.api}", timeout=limit) as session:
            races = Races(session, random.Random(RACES))
            async with asyncio.TaskGroup() as group:
                for number in range(AT_ONCE):
                    group.create_task(races.run(f"racer-{number}"))
            return races.seen

    seen = asyncio.run(race())
    assert seen.total() == RACES // AT_ONCE * AT_ONCE
    print(dict(seen))
    for way in (
        "keep: kept",
        "keep: too late",
        "ask: kept",
        "ask: another one",
        "release: released",
        "release: too late",
    ):
        assert seen[way], f"{way} never happened: {seen}"
    assert service.process is not None
    assert service.process.poll() is None, service.log
