"""Pauses on engines that no test here can be: what Podman says of them, and what each refusal means.

A server answers in the engine's place, in the words of Docker 20.10 or Podman 5.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.pausable import Pausable
from worker_orchestrator.errors import EngineRejected

MACHINE = "worker-1700000000000-abcdefghi"
LABELS = {"worker-orchestrator.owner": "owner", "worker-orchestrator.machine": MACHINE}
PODMAN = Dialect.of({"Name": "host", "DockerRootDir": "/data", "BuildahVersion": "1.43.2", "ServerVersion": "5.8.6"})


class Fake:
    """An engine with one container. `state` is what it is in, `asked` has the calls."""

    def __init__(self, *, is_podman: bool = False, state: str = "running") -> None:
        self.is_podman, self.state = is_podman, state
        self.asked: list[str] = []
        self.old_news: list[str] = []  # what it refuses the next calls with, as it takes the container for running

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target = head.split()[:2]
        path = target.partition("?")[0].partition("/containers")[2]
        self.asked.append(f"{method} {path}" if path else f"{method} {target.partition('?')[0]}")
        status, told = self._said(path)
        data = b"" if status == 204 else msgspec.json.encode(told)
        head = f"HTTP/1.1 {status} Word\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        writer.close()

    def _said(self, path: str) -> tuple[int, Any]:
        if path == "/json":
            listed = {"Id": "c1", "ImageID": "i1", "Names": [f"/{MACHINE}"], "State": self.state, "Labels": LABELS}
            return 200, [] if self.state == "gone" else [listed]
        if not path:
            return 200, {}  # the image
        if self.state == "gone" or not path.startswith("/c1/"):
            return 404, {"message": "No such container"}
        if path == "/c1/json":
            return 200, {
                "Id": "c1",
                "State": {"Paused": self.state == "paused", "Running": self.state in {"running", "paused"}},
            }
        if self.old_news:
            return 500, {"message": self.old_news.pop(0)}
        if path == "/c1/stop":
            return self._stopped()
        return self._switched(path.removeprefix("/c1/"))

    def _switched(self, action: str) -> tuple[int, Any]:
        before, after = ("running", "paused") if action == "pause" else ("paused", "running")
        if self.state == before:
            self.state = after
            return 204, None
        if self.is_podman:
            return 500, {"message": f'"c1" is not {before}, can\'t {action}: container state improper'}
        if action == "unpause":
            return 500, {"message": "Container c1 is not paused"}
        return 409, {"message": f"Container c1 is {'already paused' if self.state == 'paused' else 'not running'}"}

    def _stopped(self) -> tuple[int, Any]:
        if self.is_podman and self.state == "paused":
            improper = "can only stop created or running containers. c1 is in state paused: container state improper"
            return 500, {"message": improper}
        self.state = "exited"
        return 204, None


@asynccontextmanager
async def an_engine(fake: Fake, *, listed: bool = True) -> AsyncIterator[DockerEngine]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="wo-") as folder:  # short: a socket's path has 104 bytes
        path = Path(folder, "s")
        async with await asyncio.start_unix_server(fake.answer, path):
            endpoint = Endpoint(f"unix://{path}", "test")
            client = open_client(endpoint)
            client.api_version = "v1.41"
            options = {"default": DockerOptions("image")}
            engine = DockerEngine(endpoint, client, "owner", options, dialect=PODMAN if fake.is_podman else DOCKER)
            if listed:
                engine._take_listed([Instance(MACHINE, "owner", "default", "f00d", Status.RUNNING, native_id="c1")])
            try:
                async with asyncio.timeout(20):
                    yield engine
            finally:
                await engine.aclose()


def with_engine(fake: Fake, story: Callable[[DockerEngine], Awaitable[None]], *, listed: bool = True) -> None:
    async def told() -> None:
        async with an_engine(fake, listed=listed) as engine:
            await story(engine)

    asyncio.run(told())


@pytest.mark.parametrize("is_podman", [False, True])
def test_each_is_one_call_and_that_it_is_so_already_is_success(*, is_podman: bool) -> None:
    """Docker and Podman refuse it, each with a status of its own: then it is looked at."""
    fake = Fake(is_podman=is_podman)

    async def story(engine: DockerEngine) -> None:
        for switch, path, state in ((engine.pause, "/c1/pause", "paused"), (engine.unpause, "/c1/unpause", "running")):
            await switch(MACHINE)
            assert (fake.asked, fake.state) == ([f"POST {path}"], state)
            fake.asked.clear()
            await switch(MACHINE)
            assert fake.state == state
            assert fake.asked[:2] == [f"POST {path}", "GET /c1/json"]
            fake.asked.clear()

    with_engine(fake, story)


@pytest.mark.parametrize(
    ("refusal", "state"),
    [("Container c1 is not paused", "running"), ("cannot pause a paused container: unknown", "paused")],
)
def test_what_docker_refuses_by_old_news_is_tried_again(refusal: str, state: str) -> None:
    """It has heard of an unpause, and not yet of the pause after it."""
    before = {"running": "paused", "paused": "running"}[state]
    fake = Fake(state=before)
    fake.old_news = [refusal]

    async def story(engine: DockerEngine) -> None:
        await (engine.unpause if state == "running" else engine.pause)(MACHINE)
        assert fake.state == state
        assert sum(call.startswith("POST") for call in fake.asked) == 2

    with_engine(fake, story)


@pytest.mark.parametrize("state", ["running", "paused"])
def test_what_is_refused_each_time_is_refused(state: str) -> None:
    fake = Fake(state=state)
    fake.old_news = ["freezer not supported"] * 4

    async def story(engine: DockerEngine) -> None:
        with pytest.raises(EngineRejected, match="freezer not supported"):
            await (engine.pause if state == "running" else engine.unpause)(MACHINE)
        assert fake.state == state

    with_engine(fake, story)


@pytest.mark.parametrize("is_podman", [False, True])
@pytest.mark.parametrize("state", ["exited", "gone"])
def test_what_does_not_run_is_refused_with_what_was_to_be_done(state: str, *, is_podman: bool) -> None:
    fake = Fake(is_podman=is_podman, state=state)

    async def story(engine: DockerEngine) -> None:
        for switch, deed in ((engine.pause, "pause"), (engine.unpause, "go on")):
            with pytest.raises(EngineRejected, match=deed):
                await switch(MACHINE)
        assert fake.state == state

    with_engine(fake, story)


def test_one_that_no_listing_has_shown_is_looked_up_by_its_labels() -> None:
    fake = Fake()

    async def story(engine: DockerEngine) -> None:
        await engine.pause(MACHINE)
        assert fake.state == "paused"
        assert "GET /json" in fake.asked

    with_engine(fake, story, listed=False)


def test_one_that_was_made_anew_since_the_last_listing_is_looked_up() -> None:
    """The id that the listing showed is unknown by now."""
    fake = Fake()

    async def story(engine: DockerEngine) -> None:
        engine._take_listed([Instance(MACHINE, "owner", "default", "f00d", Status.RUNNING, native_id="c0")])
        await engine.pause(MACHINE)
        assert (fake.asked[0], fake.state) == ("POST /c0/pause", "paused")

    with_engine(fake, story)


@pytest.mark.parametrize("is_podman", [False, True])
def test_one_that_is_paused_goes_on_before_it_is_stopped(*, is_podman: bool) -> None:
    """Podman refuses it otherwise."""
    fake = Fake(is_podman=is_podman, state="paused")

    async def story(engine: DockerEngine) -> None:
        await engine.stop(MACHINE, 5.0)
        calls = [call for call in fake.asked if call.startswith("POST")]
        assert (calls, fake.state) == (["POST /c1/unpause", "POST /c1/stop"], "exited")

    with_engine(fake, story)


def event(action: str, container: str = "c1") -> dict[str, Any]:
    return {"Type": "container", "Action": action, "Actor": {"ID": container, "Attributes": LABELS}}


def test_of_each_own_call_one_event_is_no_sign() -> None:
    """One that was refused brings none, so the next event of that kind is somebody else's."""

    async def story(engine: DockerEngine) -> None:
        await engine.pause(MACHINE)
        await engine.pause(MACHINE)
        assert [engine._is_own_event(event("pause", of)) for of in ("c2", "c1", "c1")] == [False, True, False]
        await engine.unpause(MACHINE)
        assert [engine._is_own_event(event(it)) for it in ("pause", "unpause", "unpause")] == [False, True, False]

    with_engine(Fake(), story)


def test_an_event_that_never_came_is_not_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_orchestrator.engines.docker.pausing.EVENT_WITHIN_S", 0.0)

    async def story(engine: DockerEngine) -> None:
        await engine.pause(MACHINE)
        assert not engine._is_own_event(event("pause"))

    with_engine(Fake(), story)


def test_an_engine_says_for_each_pool_whether_its_workers_can_be_parked() -> None:
    async def story(engine: DockerEngine) -> None:
        assert isinstance(engine, Pausable)
        options = {"default": DockerOptions("image"), "checked": DockerOptions("image", ready="healthcheck")}
        engine.take_options(options)
        assert [engine.cannot_park(pool) for pool in ("default", "unknown")] == ["", ""]
        assert engine.cannot_park("checked").startswith("In pool checked: parked is for workers that go on within")

    with_engine(Fake(), story)
