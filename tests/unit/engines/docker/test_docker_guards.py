"""What must hold on engines that no test here can be: ones that drop options, forget their id, or switch their image store.

A server answers in the engine's place, as the real ones were seen to do.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.template import DockerOptions, make_template
from worker_orchestrator.errors import EngineRejected, OutcomeUnknown
from worker_orchestrator.http.server import uvicorn_server

MACHINE = Machine("worker-1700000000000-abcdefghi", "default", "f00d", State.STARTING, 9093)
TEMPLATE = make_template(DockerOptions("image"), {"Id": "sha256:1"}, "network", DOCKER)
DROPPED = "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded."
LABELS = {"worker-orchestrator.owner": "owner", "worker-orchestrator.machine": MACHINE.id}
INFO = {"ID": "abc", "Name": "host", "DockerRootDir": "/data"}
PODMAN = Dialect.of({**INFO, "BuildahVersion": "1.43.2"})


class Fake:
    """An engine with one container at most. `hangs_up`: at so many removals, without having carried them out."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = dict(INFO)
        self.networks: list[dict[str, Any]] = []
        self.container: dict[str, Any] | None = None
        self.warnings = [DROPPED]
        self.hangs_up = 0
        self.started = self.removed = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        method, path = head.split()[:2]
        said = self._said(method, path.partition("?")[0], body)
        if said is not None:
            status, told = said
            data = msgspec.json.encode(told) if status != 204 else b""
            writer.write(
                b"HTTP/1.1 %d Word\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                % (status, len(data))
            )
            writer.write(data)
        writer.close()

    def _said(self, method: str, path: str, body: bytes) -> tuple[int, Any] | None:
        if path.endswith("/info"):
            return 200, self.info
        if path.endswith("/networks/create"):
            made = msgspec.json.decode(body)
            self.networks.append({"Name": made["name"], "Labels": made["labels"]})
            return 200, {}
        if path.endswith("/networks"):
            return 200, self.networks
        if path.endswith("/containers/create"):
            if self.container is not None:
                return 409, {"message": f"The name {MACHINE.id} is already in use by container c1"}
            self.container = {"Id": "c1", **msgspec.json.decode(body)}
            return 201, {"Id": "c1", "Warnings": self.warnings}
        if method == "DELETE":
            if self.hangs_up:
                self.hangs_up -= 1
                return None
            self.container, self.removed = None, self.removed + 1
            return 204, None
        if path.endswith("/start"):
            self.started += 1
            return 204, None
        return self._shown(path)

    def _shown(self, path: str) -> tuple[int, Any]:
        found = self.container
        if path.endswith("/containers/json"):
            listed = {"Id": "c1", "ImageID": "i1", "Names": [f"/{MACHINE.id}"], "State": "running", "Labels": LABELS}
            return 200, [] if found is None else [listed]
        if "/images/" in path:
            return 200, {}
        if found is None:
            return 404, {"message": "No such container"}
        config = {"Labels": found["Labels"]}
        return 200, {**found, "Config": config, "State": {"Status": "created"}, "Image": "i1"}


@asynccontextmanager
async def an_engine(fake: Fake, dialect: Dialect = DOCKER) -> AsyncIterator[DockerEngine]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="wo-") as folder:  # short: a socket's path has 104 bytes
        path = Path(folder, "s")
        async with await asyncio.start_unix_server(fake.answer, path):
            endpoint = Endpoint(f"unix://{path}", "test")
            client = open_client(endpoint)
            client.api_version = "v1.41"
            engine = DockerEngine(endpoint, client, "owner", {"default": DockerOptions("image")}, dialect=dialect)
            engine._templates["default", "f00d"] = TEMPLATE
            try:
                async with asyncio.timeout(20):
                    yield engine
            finally:
                await engine.aclose()


def test_a_worker_that_would_lack_a_limit_is_never_started() -> None:
    """Also if its removal was cut off, so that the next create finds its container."""

    async def story() -> None:
        fake = Fake()
        async with an_engine(fake) as engine:
            fake.hangs_up = 2  # aiohttp asks once more by itself
            with pytest.raises(OutcomeUnknown):
                await engine.create(MACHINE)
            with pytest.raises(EngineRejected, match="without something that was asked for: Your kernel does not"):
                await engine.create(MACHINE)
        assert (fake.started, fake.removed, fake.container) == (0, 2, None)

    asyncio.run(story())


def test_what_a_cut_off_create_left_is_started_where_nothing_is_known_against_it() -> None:
    async def story() -> None:
        fake = Fake()
        fake.container = {"Id": "c1", **TEMPLATE.create_body("owner", MACHINE)}
        async with an_engine(fake) as engine:
            assert await engine.create(MACHINE)
        assert (fake.started, fake.removed) == (1, 0)

    asyncio.run(story())


def test_an_engine_that_shows_another_image_store_is_another_engine() -> None:
    """Without any network of ours too, as after a prune there."""

    async def story() -> None:
        fake = Fake()
        async with an_engine(fake) as engine:
            assert (await engine.identity()).id == "abc"
            fake.info["DriverStatus"] = [["driver-type", "io.containerd.snapshotter.v1"]]
            switched = await engine.identity()
            assert (switched.id, switched.marked) == ("abc with its containerd image store", False)
            labels = {"worker-orchestrator.owner": "owner", "worker-orchestrator.image-store": "containerd"}
            fake.networks.append({"Name": "worker-orchestrator-owner", "Labels": labels})
            assert switched == await engine.identity(), "whoever made that network, our machines are in the other store"

    asyncio.run(story())


def test_podman_is_known_by_our_mark_and_never_by_its_name_alone() -> None:
    """Two hosts may have one name. A mark that somebody removed comes back where a container of ours is."""

    async def story() -> None:
        fake = Fake()
        fake.info["BuildahVersion"] = "1.43.2"
        async with an_engine(fake, PODMAN) as engine, an_engine(fake, PODMAN) as other:
            before = await engine.identity()
            assert not before.marked
            assert before == await engine.identity()
            assert before.id != (await other.identity()).id
            fake.container = {"Id": "c1", **TEMPLATE.create_body("owner", MACHINE)}
            marked = await engine.identity()
            assert marked.marked
            assert [network["Name"] for network in fake.networks] == ["worker-orchestrator-owner"]
            assert marked == await other.identity()
            fake.container = None
            fake.networks.clear()
            assert (await engine.identity()).id not in {marked.id, before.id}

    asyncio.run(story())


@pytest.mark.parametrize("descriptors", [1024, 4096, 20_000])
def test_descriptors_are_left_when_callers_and_followed_workers_have_all_of_theirs(
    descriptors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_server, "_raise_descriptor_limit", lambda: descriptors)
    connections, backlog = uvicorn_server._connection_limits()
    assert connections + 2 * backlog + descriptors // 4 + uvicorn_server.RESERVE <= descriptors
