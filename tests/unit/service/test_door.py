"""The door's process: it starts with the first visit, is watched, and ends with the service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from worker_orchestrator.door.messages import Config, Kind, Question, Route
from worker_orchestrator.http.previews.finding import Finding, Spawn, ToldRoutes
from worker_orchestrator.service import door as door_module
from worker_orchestrator.service.door import DoorProcess

REQUEST = b"GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n"


class Nobody:
    """In the place of `Finding`: no project has a machine."""

    async def answer(self, question: Question, spawn: Spawn) -> Route:
        return Route(question.id, Kind.NONE, question.host.partition(".")[0])


class Stage:
    def __init__(self) -> None:
        self.door = DoorProcess(Config("localhost", 10, 10), cast("Finding", Nobody()), ToldRoutes())
        self.beside = set[asyncio.Task[None]]()
        self.running = asyncio.create_task(self.door.run(self.spawn))

    def spawn(self, work: Coroutine[Any, Any, None], _: str) -> None:
        task = asyncio.create_task(work)
        self.beside.add(task)
        task.add_done_callback(self.beside.discard)

    async def visit(self) -> bytes:
        """What a client hears whose connection is handed over; empty if it cannot be."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            accepted, _ = listener.accept()
        try:
            with accepted:
                if not self.door.hand_over(accepted.fileno(), REQUEST):
                    return b""
            with contextlib.suppress(ConnectionError):
                return await reader.read()
            return b"(reset)"
        finally:
            writer.close()


def processes() -> list[int]:
    """The doors that this process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"door.process" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110 # whatever it is
        await asyncio.sleep(0.01)


def lived(story: Callable[[Stage], Awaitable[None]]) -> None:
    async def live() -> None:
        async with asyncio.timeout(60):
            stage = Stage()
            await asyncio.sleep(0)
            try:
                await story(stage)
            finally:
                stage.running.cancel()
                await asyncio.wait({stage.running})

    asyncio.run(live())
    assert processes() == []


def test_it_starts_with_the_first_visit_and_ends_with_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", "a-secret-of-at-least-16-characters")

    async def story(stage: Stage) -> None:
        assert processes() == []
        assert b"The project app has no machine." in await stage.visit()
        (pid,) = processes()
        assert b"ORCHESTRATOR" not in environment(pid)
        assert b"The project app has no machine." in await stage.visit()
        assert processes() == [pid]

    lived(story)


def test_one_that_hangs_does_not_outlive_the_service() -> None:
    async def story(stage: Stage) -> None:
        await stage.visit()
        (pid,) = processes()
        os.kill(pid, signal.SIGSTOP)

    lived(story)


def test_if_it_ends_another_one_is_started_for_the_next_visit() -> None:
    async def story(stage: Stage) -> None:
        await stage.visit()
        (pid,) = processes()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: processes() == [])
        while b"no machine" not in await stage.visit():
            pass
        assert processes() not in ([], [pid])

    lived(story)


@pytest.fixture
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "PING_S", 0.2)


@pytest.mark.usefixtures("quick_watch")
def test_one_that_hangs_is_replaced_and_visits_get_through_again() -> None:
    async def story(stage: Stage) -> None:
        await stage.visit()
        (pid,) = processes()
        await until(lambda: stage.door._has_answered)
        os.kill(pid, signal.SIGSTOP)
        assert b"no machine" not in await stage.visit()
        await until(lambda: pid not in processes())
        while b"no machine" not in await stage.visit():
            pass
        assert processes() not in ([], [pid])

    lived(story)


@pytest.mark.usefixtures("quick_watch")
def test_one_that_answers_is_left_alone_also_after_the_service_stood_still() -> None:
    async def story(stage: Stage) -> None:
        await stage.visit()
        (pid,) = processes()
        await until(lambda: stage.door._has_answered)
        for _ in range(3):
            time.sleep(1.5)  # noqa: ASYNC251 # the service stands still
            await asyncio.sleep(0.3)
        assert processes() == [pid]

    lived(story)


@pytest.mark.usefixtures("quick_watch")
def test_one_that_hangs_from_its_start_on_has_a_longer_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nkill -STOP $$\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hanging))
    monkeypatch.setattr(door_module, "START_S", 2.0)

    async def story(stage: Stage) -> None:
        begun_at = asyncio.get_running_loop().time()
        visiting = asyncio.create_task(stage.visit())
        await until(processes)
        (pid,) = processes()
        await until(lambda: pid not in processes())
        assert asyncio.get_running_loop().time() - begun_at > 2.0
        assert b"no machine" not in await visiting

    lived(story)


def test_one_that_cannot_start_is_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "MODULE", "worker_orchestrator.no_such_module")
    monkeypatch.setattr(door_module, "FIRST_PAUSE_S", 0.2)

    async def story(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + 1.5
        while loop.time() < ends_at:
            await stage.visit()
        assert 1 <= stage.door._ends <= 4
        assert not stage.running.done()

    lived(story)


def test_between_its_end_and_the_news_of_it_nobody_is_handed_over_to_nothing() -> None:
    async def story(stage: Stage) -> None:
        await stage.visit()
        (pid,) = processes()
        os.kill(pid, signal.SIGSTOP)
        try:
            channel = stage.door._channel
            assert channel is not None
            channel._end()  # as when it has gone: its end of the channel tells sooner than its exit code
            assert await stage.visit() == b""
        finally:
            os.kill(pid, signal.SIGCONT)
        while b"no machine" not in await stage.visit():
            pass

    lived(story)


def test_a_channel_that_breaks_before_its_process_is_there_costs_that_start_alone() -> None:
    async def story(stage: Stage) -> None:
        with socket.socket() as given:
            assert stage.door.hand_over(given.fileno(), REQUEST)
        channel = stage.door._channel
        assert channel is not None
        channel._end()
        while b"no machine" not in await stage.visit():
            pass
        assert not stage.running.done()

    lived(story)
