"""An engine over its socket with nothing in between: the least that a program has to do for a container that answers.

The options are those of the service's own workers, and where these have a network each, so have these containers: both ask
the same of the engine.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from bench.subjects import IMAGE
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.template import PublishOptions, Template, make_template
from worker_orchestrator.engines.probe import http_probe
from worker_orchestrator.service.engine_options import docker_options
from worker_orchestrator.settings.settings import DEFAULT_POOL, Settings

__all__ = ["RawDocker", "raw_docker"]

DOCKER: Final = "http://docker/v1.41"
LIBPOD: Final = "http://docker/v4.0.0/libpod"
SOCKET: Final = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
FIRST_PORT: Final = 19_000
_PAUSE_S: Final = 0.005


class RawDocker:
    """One HTTP client for all calls. `engine` is its name and version."""

    def __init__(self, session: aiohttp.ClientSession, template: Template, engine: str = "") -> None:
        self.session, self._template, self.engine = session, template, engine
        self._networks: dict[str, str] = {}  # by container id: those that have one of their own
        self._port_of: dict[str, int] = {}  # by container id
        self._ports = itertools.cycle(range(FIRST_PORT, FIRST_PORT + 900))

    async def one(self, *, plain: bool = False) -> str:
        """Create a container, start it and wait until it is ready. Returns Docker's id.

        A plain one is what `docker run --publish 127.0.0.1:PORT:PORT` makes, without the options of our workers.
        """
        port = next(self._ports)
        machine = Machine(f"raw-{port}-{time.time_ns()}", "default", "t", State.STARTING, port)
        body = self._template.create_body("bench", machine)
        if plain:
            bindings = {name: bound[:1] for name, bound in body["HostConfig"]["PortBindings"].items()}
            body = {
                "Image": body["Image"],
                "ExposedPorts": {name: {} for name in bindings},
                "HostConfig": {"PortBindings": bindings},
            }
        elif self._template.network is None:
            await self._make_network(machine.id)
        async with self.session.post(f"{DOCKER}/containers/create", params={"name": machine.id}, json=body) as reply:
            made = await reply.json()
            assert reply.status == 201, made
        if self._template.network is None and not plain:
            self._networks[made["Id"]] = machine.id
        async with self.session.post(f"{DOCKER}/containers/{made['Id']}/start") as reply:
            assert reply.status == 204, await reply.text()
        self._port_of[made["Id"]] = port
        await self.until_ready(made["Id"])
        return str(made["Id"])

    async def until_ready(self, native: str) -> None:
        """Ask this container until it answers HTTP."""
        while await http_probe("127.0.0.1", self._port_of[native]) is not None:
            await asyncio.sleep(_PAUSE_S)

    async def pause(self, native: str) -> None:
        await self._switch(native, "pause")

    async def unpause(self, native: str) -> None:
        await self._switch(native, "unpause")

    async def _switch(self, native: str, action: str) -> None:
        async with self.session.post(f"{DOCKER}/containers/{native}/{action}") as reply:
            assert reply.status == 204, await reply.text()

    async def _make_network(self, name: str) -> None:
        wanted = {"name": name, "driver": "bridge", "dns_enabled": False, "options": {"isolate": "strict"}}
        async with self.session.post(f"{LIBPOD}/networks/create", json=wanted) as reply:
            assert reply.status == 200, await reply.text()

    async def remove(self, ids: list[str]) -> None:
        async def one(native: str) -> None:
            network = self._networks.pop(native, None)
            if network is None:
                async with self.session.delete(f"{DOCKER}/containers/{native}", params={"force": "1"}) as reply:
                    await reply.read()
                return
            forced = {"force": "true", "timeout": "0"}
            async with self.session.delete(f"{LIBPOD}/containers/{native}", params=forced) as reply:
                await reply.read()
            async with self.session.delete(f"{LIBPOD}/networks/{network}") as reply:
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
        dialect = Dialect.of(await _json(session, f"{DOCKER}/info"))
        both = ("127.0.0.1", "::1") if dialect.answers_on_ipv6 else ("127.0.0.1",)
        options, publish = docker_options(Settings(image=IMAGE))[DEFAULT_POOL], PublishOptions(both)
        engine = f"{dialect.name} {dialect.version}"
        if dialect.isolates_by_network:
            yield RawDocker(session, make_template(options, image, None, dialect, publish), engine)
            return
        name = f"bench-{time.time_ns()}"
        wanted = {"Name": name, "Driver": "bridge", "Options": {"com.docker.network.bridge.enable_icc": "false"}}
        async with session.post(f"{DOCKER}/networks/create", json=wanted) as reply:
            assert reply.status == 201, await reply.text()
        try:
            yield RawDocker(session, make_template(options, image, name, dialect, publish), engine)
        finally:
            async with session.delete(f"{DOCKER}/networks/{name}") as reply:
                await reply.read()


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as reply:
        return await reply.json()
