"""Docker over its socket with nothing in between: the least that a program has to do for a container that answers.

The options are those of the service's own workers, so that both ask the same of the engine.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from bench.subjects import IMAGE
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.template import DockerOptions, Template, make_template
from worker_orchestrator.engines.probe import http_probe
from worker_orchestrator.settings.settings import DEFAULT_ENV

__all__ = ["RawDocker", "raw_docker"]

DOCKER: Final = "http://docker/v1.41"
SOCKET: Final = "/var/run/docker.sock"
FIRST_PORT: Final = 19_000
_PAUSE_S: Final = 0.005


class RawDocker:
    """One HTTP client for all calls."""

    def __init__(self, session: aiohttp.ClientSession, template: Template) -> None:
        self.session, self._template = session, template
        self._ports = itertools.cycle(range(FIRST_PORT, FIRST_PORT + 900))

    async def one(self) -> str:
        """Create a container, start it and wait until it is ready. Returns Docker's id."""
        port = next(self._ports)
        machine = Machine(f"raw-{port}-{time.time_ns()}", "default", "t", State.STARTING, port)
        body = self._template.create_body("bench", machine)
        async with self.session.post(f"{DOCKER}/containers/create", params={"name": machine.id}, json=body) as reply:
            made = await reply.json()
            assert reply.status == 201, made
        async with self.session.post(f"{DOCKER}/containers/{made['Id']}/start") as reply:
            assert reply.status == 204, await reply.text()
        while await http_probe("127.0.0.1", port) is not None:
            await asyncio.sleep(_PAUSE_S)
        return str(made["Id"])

    async def remove(self, ids: list[str]) -> None:
        async def one(native: str) -> None:
            async with self.session.delete(f"{DOCKER}/containers/{native}", params={"force": "1"}) as reply:
                await reply.read()

        await asyncio.gather(*map(one, ids))

    async def kill(self, native: str) -> None:
        async with self.session.post(f"{DOCKER}/containers/{native}/kill") as reply:
            await reply.read()


@asynccontextmanager
async def raw_docker() -> AsyncIterator[RawDocker]:
    """A client, and a network like that of the workers, which is removed at the end."""
    connector = aiohttp.UnixConnector(SOCKET, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
        image = await _json(session, f"{DOCKER}/images/{IMAGE}/json")
        engine = await _json(session, f"{DOCKER}/info")
        name = f"bench-{time.time_ns()}"
        wanted = {"Name": name, "Driver": "bridge", "Options": {"com.docker.network.bridge.enable_icc": "false"}}
        async with session.post(f"{DOCKER}/networks/create", json=wanted) as reply:
            assert reply.status == 201, await reply.text()
        options = DockerOptions(IMAGE, env=DEFAULT_ENV, publish_addresses=("127.0.0.1", "::1"))
        try:
            yield RawDocker(session, make_template(options, image, name, engine))
        finally:
            async with session.delete(f"{DOCKER}/networks/{name}") as reply:
                await reply.read()


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as reply:
        return await reply.json()
