"""Signs of an end before Docker knows of it. A real process and a server in Docker's place, which knows things late."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.base import INSTANCES, EndOf
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.template import LABEL, DockerOptions

INVISIBLE = "f" * 64
"""The id of a container that is named in no control group."""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs until it is killed."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture
def visible(child: subprocess.Popen[bytes]) -> str:
    """The shortest id of a container that is found in the child's control groups."""
    return Path(f"/proc/{child.pid}/cgroup").read_text(encoding="utf-8")[0]


class Late:
    """Answers in Docker's place. An inspection shows its container running `shown_running` times more (None: always)."""

    def __init__(self, container_id: str, pid: int) -> None:
        self.container_id, self.pid = container_id, pid
        self.shown_running: int | None = None
        self.inspected = 0
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.answers = asyncio.Event()  # inspections wait for it
        self.answers.set()

    def say(self, action: str, **attributes: str) -> None:
        said = {"name": "w1", f"{LABEL}.machine": "w1", f"{LABEL}.owner": "owner", **attributes}
        self.events.put_nowait({
            "Type": "container", "Action": action, "Actor": {"ID": self.container_id, "Attributes": said},
        })  # fmt: skip

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        if b"/events" in head:
            await writer.drain()
            while (event := await self.events.get()) is not None:
                writer.write(msgspec.json.encode(event) + b"\n")
            writer.close()
            self.closed.set()
            return
        await self.answers.wait()
        self.inspected += 1
        runs = self.shown_running is None or self.shown_running > 0
        if self.shown_running is not None:
            self.shown_running -= 1
        state = {"Running": runs, "Pid": self.pid if runs else 0}
        writer.write(msgspec.json.encode({"Id": self.container_id, "State": state}))
        writer.close()


@asynccontextmanager
async def watched(docker: Late) -> AsyncIterator[tuple[DockerEngine, AsyncGenerator[str | None]]]:
    """An engine with one container of ours, and its open watch."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="wo-") as folder:  # short: a socket's path has 104 bytes
        path = Path(folder, "s")
        server = await asyncio.start_unix_server(docker.answer, path)
        endpoint = Endpoint(f"unix://{path}", "test")
        client = open_client(endpoint)
        client.api_version = "v1.41"
        engine = DockerEngine(endpoint, client, "owner", {"default": DockerOptions("image")})
        list_it(engine, docker)
        watch = engine.watch()
        assert isinstance(watch, AsyncGenerator)
        try:
            async with asyncio.timeout(20), aclosing(watch):
                assert await anext(watch) is None
                yield engine, watch
        finally:
            await engine.aclose()
            docker.events.put_nowait(None)
            await docker.closed.wait()
            server.close()
            await server.wait_closed()


def list_it(engine: DockerEngine, docker: Late) -> None:
    """What a listing of this one container leaves behind."""
    engine._take_listed([Instance("w1", "owner", "default", "f00d", Status.RUNNING, docker.container_id)])


def played(
    story: Callable[[Late, DockerEngine, AsyncGenerator[str | None]], Awaitable[None]], container_id: str, pid: int
) -> None:
    async def play() -> None:
        docker = Late(container_id, pid)
        async with watched(docker) as (engine, watch):
            await story(docker, engine, watch)

    asyncio.run(play())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 # nobody tells of it
        await asyncio.sleep(0.005)


def test_an_end_is_told_and_then_waited_for_until_docker_knows_of_it(
    child: subprocess.Popen[bytes], visible: str
) -> None:
    """A listing that begins before would show it as running, and it would be handed out again."""

    async def story(docker: Late, engine: DockerEngine, watch: AsyncGenerator[str | None]) -> None:
        await until(lambda: visible in engine._processes)
        docker.shown_running = 5
        child.kill()
        sign = await anext(watch)
        assert sign == "w1"
        assert isinstance(sign, EndOf), "it is certain, whatever the listing shows then"
        await engine.until_shown("w1")
        assert docker.shown_running < 0

    played(story, visible, child.pid)


def test_what_docker_says_of_another_run_is_not_waited_for(child: subprocess.Popen[bytes], visible: str) -> None:
    """Somebody has started it again meanwhile."""

    async def story(docker: Late, engine: DockerEngine, watch: AsyncGenerator[str | None]) -> None:
        await until(lambda: visible in engine._processes)
        child.kill()
        assert await anext(watch) == "w1"
        docker.pid += 1
        inspected = docker.inspected
        await engine.until_shown("w1")
        assert docker.inspected == inspected + 1

    played(story, visible, child.pid)


@pytest.mark.parametrize("signal", [{"signal": "15"}, {"signal": "9"}, {}])
def test_the_end_that_a_signal_asks_for_is_waited_for(child: subprocess.Popen[bytes], signal: dict[str, str]) -> None:
    """Where its process is not visible, nothing else would tell until Docker reports the death."""

    async def story(docker: Late, engine: DockerEngine, watch: AsyncGenerator[str | None]) -> None:
        docker.say("kill", **signal)
        assert await anext(watch) == "w1"
        docker.shown_running = 5
        await engine.until_shown("w1")
        assert docker.shown_running < 0

    played(story, INVISIBLE, child.pid)


def test_a_signal_of_which_nothing_comes_is_forgotten_soon(child: subprocess.Popen[bytes]) -> None:
    async def story(docker: Late, engine: DockerEngine, watch: AsyncGenerator[str | None]) -> None:
        docker.say("kill", signal="15")
        assert await anext(watch) == "w1"
        begun_at = asyncio.get_running_loop().time()
        await engine.until_shown("w1")
        assert 0.3 < asyncio.get_running_loop().time() - begun_at < 2
        inspected = docker.inspected
        docker.say("pause")
        assert await anext(watch) == "w1"
        await engine.until_shown("w1")
        assert docker.inspected == inspected + 1

    played(story, INVISIBLE, child.pid)


def test_a_start_is_followed_and_a_process_that_is_not_visible_is_looked_for_once_per_start(
    child: subprocess.Popen[bytes],
) -> None:
    """The second inspection rules out that it just ended. Listings come all the time, and ask no more."""

    async def story(docker: Late, engine: DockerEngine, _watch: AsyncGenerator[str | None]) -> None:
        await until(lambda: not engine._look_ups)
        assert docker.inspected == 2
        list_it(engine, docker)
        await until(lambda: not engine._look_ups)
        assert docker.inspected == 2
        docker.say("start")
        await until(lambda: docker.inspected == 4)
        assert not len(engine._processes.ended)

    played(story, INVISIBLE, child.pid)


def test_listings_ask_no_more_while_a_look_up_is_under_way(child: subprocess.Popen[bytes], visible: str) -> None:
    """However many come before a slow engine has answered the first."""

    async def story(docker: Late, engine: DockerEngine, _watch: AsyncGenerator[str | None]) -> None:
        for _ in range(10):
            list_it(engine, docker)
        assert len(engine._look_ups) == 1
        await until(lambda: visible in engine._processes and not engine._look_ups)
        assert docker.inspected == 1

    played(story, visible, child.pid)


def test_a_container_that_has_ended_when_its_process_is_looked_up_is_told(child: subprocess.Popen[bytes]) -> None:
    async def story(docker: Late, engine: DockerEngine, watch: AsyncGenerator[str | None]) -> None:
        await until(lambda: not engine._look_ups)
        docker.shown_running = 0
        docker.say("start")
        assert await anext(watch) == "w1"

    played(story, INVISIBLE, child.pid)


def test_each_start_is_followed_without_a_listing(child: subprocess.Popen[bytes], visible: str) -> None:
    async def story(docker: Late, engine: DockerEngine, watch: AsyncGenerator[str | None]) -> None:
        await until(lambda: visible in engine._processes)
        former = await asyncio.create_subprocess_exec("sleep", "1000")
        docker.pid = former.pid
        docker.say("start")
        await until(lambda: docker.inspected == 2 and not engine._look_ups)
        former.kill()
        assert await anext(watch) == "w1"
        await former.wait()

    played(story, visible, child.pid)


def test_whoever_counts_waits_until_the_process_of_a_new_container_is_known(
    child: subprocess.Popen[bytes], visible: str
) -> None:
    """A worker may be given away before a listing shows it: else Docker would be asked first, which counts otherwise."""

    async def story(docker: Late, engine: DockerEngine, _watch: AsyncGenerator[str | None]) -> None:
        await until(lambda: visible in engine._processes)
        assert await engine._looked_up_container("w1") == visible
        assert await engine._looked_up_container("w2") == "w2", "nobody told of it"
        engine._processes.close()
        engine._take_listed([])
        docker.answers.clear()
        docker.say("start")
        await until(lambda: bool(engine._look_ups))
        engine._take_listed([])  # one that began before
        asyncio.get_running_loop().call_later(0.05, docker.answers.set)
        assert await engine._looked_up_container("w1") == visible
        assert visible in engine._processes
        list_it(engine, docker)
        child.kill()
        await until(lambda: bool(engine._processes.ended))

    played(story, visible, child.pid)


def test_a_container_that_was_removed_says_nothing_of_images(child: subprocess.Popen[bytes], visible: str) -> None:
    """Else each release of a worker that is not used again would have the images of all pools looked at."""
    tagged = {"Type": "image", "Action": "tag", "Actor": {"ID": "sha256:1", "Attributes": {"name": "image"}}}

    async def story(docker: Late, _engine: DockerEngine, watch: AsyncGenerator[str | None]) -> None:
        docker.say("destroy")
        docker.events.put_nowait(tagged)
        assert await anext(watch) == INSTANCES
        assert await anext(watch) is None

    played(story, visible, child.pid)
