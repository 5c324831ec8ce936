"""Programs that wait for values: which are started, what ends them, and what is proved. A server answers for the engine."""

from __future__ import annotations

import asyncio
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from worker_orchestrator.engines.docker import late_feed
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.late_feed import FAILURES, Fed, Feeds, Waiting
from worker_orchestrator.engines.docker.programs import Programs
from worker_orchestrator.errors import OutcomeUnknown

CONTAINER, OTHER = "c" * 64, "d" * 64
WAITING = Waiting("/run/project", "f00d")
ARCHIVE = b"\x10\x11\x00 an archive" * 50_000


class Program:
    """One `tar` in a container."""

    def __init__(self) -> None:
        self.taken = b""
        self.has_begun = asyncio.Event()
        self.killed = asyncio.Event()
        self.is_over = asyncio.Event()
        self.code: int | None = None


class Fake:
    """An engine whose containers have a `tar` that ends with `code` when its input does, and names `named` before that.

    `refused`: what it answers instead of making one. `hides`: what it says instead of how one has ended.
    """

    def __init__(self, code: int = 0, named: bytes = b"env\nready\n") -> None:
        self.code, self.named = code, named
        self.refused: tuple[int, str] | None = None
        self.hides: tuple[int, Any] | None = None
        self.ends_at_once = False
        self.programs: list[Program] = []
        self.commands: list[Any] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        path = head.split()[1]
        if path.endswith("/start"):
            writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            await self._run(self.programs[int(path.split("/")[-2])], reader, writer)
        elif path.endswith("/exec"):
            self.commands.append(msgspec.json.decode(body))
            self.programs.append(Program())
            status, said = self.refused or (201, "")
            _write(writer, status, {"Id": f"{len(self.programs) - 1}", "message": said})
        elif self.hides is not None:
            status, said = self.hides
            _write(writer, status, said)
        else:
            program = self.programs[int(path.split("/")[-2])]
            runs = program.has_begun.is_set() and not program.is_over.is_set()
            state = {"Running": runs, "Pid": 7 * runs, "ExitCode": program.code, "ProcessConfig": {"tty": False}}
            _write(writer, 200, state)
        writer.close()

    async def _run(self, program: Program, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        program.has_begun.set()
        code = self.code
        if not self.ends_at_once:
            taking, killed = asyncio.ensure_future(reader.read(-1)), asyncio.ensure_future(program.killed.wait())
            await asyncio.wait({taking, killed}, return_when=asyncio.FIRST_COMPLETED)
            program.taken, code = (taking.result(), code) if taking.done() else (b"", 137)
            killed.cancel()
        if program.taken:
            writer.write(struct.pack(">BxxxL", 1, len(self.named)) + self.named)
        program.code = code
        program.is_over.set()

    @property
    def waiting(self) -> int:
        return sum(program.has_begun.is_set() and not program.is_over.is_set() for program in self.programs)


def _write(writer: asyncio.StreamWriter, status: int, said: Any) -> None:
    data = msgspec.json.encode(said)
    writer.write(
        b"HTTP/1.1 %d Word\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(data))
    )
    writer.write(data)


@asynccontextmanager
async def feeds_of(fake: Fake) -> AsyncIterator[Feeds]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="wo-") as folder:  # short: a socket's path has 104 bytes
        path = Path(folder, "s")
        async with await asyncio.start_unix_server(fake.answer, path), asyncio.timeout(20):

            def opened() -> Any:
                client = open_client(Endpoint(f"unix://{path}", "test"), None)
                client.api_version = "v1.41"
                return client

            feeds = Feeds(opened, Programs())
            try:
                yield feeds
            finally:
                await feeds.aclose()
                await until(lambda: not fake.waiting)


async def until(holds: Callable[[], object]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(0.005)


async def waits(feeds: Feeds, fake: Fake, count: int = 1) -> None:
    feeds.want(dict.fromkeys((CONTAINER, OTHER)[:count], WAITING))
    await until(lambda: len(feeds._open) == count)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_one_that_waits_takes_the_whole_archive_once() -> None:
    """Nothing but fixed arguments goes to the engine before."""

    async def story() -> None:
        fake = Fake()
        async with feeds_of(fake) as feeds:
            assert await feeds.give(CONTAINER, "f00d", ARCHIVE) is Fed.UNTOUCHED, "none waits yet"
            await waits(feeds, fake, 2)
            assert await feeds.give(CONTAINER, "f00d", ARCHIVE) is Fed.DONE
            assert [program.taken for program in fake.programs] in ([ARCHIVE, b""], [b"", ARCHIVE])
            assert fake.waiting == 1, "the other container is not touched"
            assert await feeds.give(CONTAINER, "f00d", ARCHIVE) is Fed.UNTOUCHED, "it is fed once"
            for command in fake.commands:
                assert command["Cmd"] == ["tar", "-x", "-v", "-p", "-o", "-f", "-", "-C", "/run/project"]
                assert not command.get("Env")
                assert not command.get("User")

    run(story)


@pytest.mark.parametrize(
    ("code", "named"),
    [(1, b"env\nready\n"), (0, b"env\n"), (0, b""), (0, b"files/ready\n"), (137, b"ready\n")],
    ids=["failed", "cut off", "silent", "of a file", "killed"],
)
def test_only_one_that_named_ready_and_ended_well_has_all_of_it(code: int, named: bytes) -> None:
    async def story() -> None:
        fake = Fake(code, named)
        async with feeds_of(fake) as feeds:
            await waits(feeds, fake)
            assert await feeds.give(CONTAINER, "f00d", ARCHIVE) is Fed.BROKEN

    run(story)


def test_names_may_come_in_pieces_and_be_many() -> None:
    async def story() -> None:
        fake = Fake(named=b"files/some-name\n" * 50_000 + b"ready\n")
        async with feeds_of(fake) as feeds:
            await waits(feeds, fake)
            assert await feeds.give(CONTAINER, "f00d", ARCHIVE) is Fed.DONE

    run(story)


@pytest.mark.parametrize(
    "instead",
    [
        (500, {"message": "mangled"}),
        (404, {"message": "No such exec instance"}),
        (200, {}),
        (200, {"Running": "no"}),
        (200, {"Running": True, "Pid": 7}),
        (200, [None]),
    ],
    ids=str,
)
def test_one_of_which_nothing_is_known_may_be_at_it_yet(
    monkeypatch: pytest.MonkeyPatch, instead: tuple[int, Any]
) -> None:
    monkeypatch.setattr(late_feed, "_SEND_LIMIT_S", 0.3)

    async def story() -> None:
        fake = Fake()
        async with feeds_of(fake) as feeds:
            await waits(feeds, fake)
            fake.hides = instead
            with pytest.raises(OutcomeUnknown):
                await feeds.give(CONTAINER, "f00d", ARCHIVE)

    run(story)


def test_one_that_has_ended_is_not_fed() -> None:
    async def story() -> None:
        fake = Fake()
        async with feeds_of(fake) as feeds:
            await waits(feeds, fake)
            fake.programs[0].killed.set()
            await until(lambda: not feeds._open and not feeds._tasks)
            assert await feeds.give(CONTAINER, "f00d", ARCHIVE) is Fed.UNTOUCHED
            feeds.want({CONTAINER: WAITING})
            assert not feeds._tasks, "another one is not started at once"

    run(story)


@pytest.mark.parametrize("code", [1, 126, 127])
def test_where_some_ended_by_themselves_no_more_are_started(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """As where the image has no `tar`."""
    monkeypatch.setattr(late_feed, "PAUSE_S", 0.0)

    async def story() -> None:
        fake = Fake(code)
        fake.ends_at_once = True
        async with feeds_of(fake) as feeds:
            for _ in range(FAILURES + 2):
                feeds.want({CONTAINER: WAITING})
                await until(lambda: not feeds._tasks)
            assert len(fake.programs) == FAILURES
            feeds.want({CONTAINER: WAITING, OTHER: Waiting("/run/project", "another")})
            assert list(feeds._tasks) == [OTHER], "of another template it is not known"

    run(story)


@pytest.mark.parametrize(
    ("status", "counts"),
    [(400, True), (404, False), (409, False), (503, False)],
    ids=["refused", "gone", "off", "busy"],
)
def test_a_refusal_counts_unless_the_container_or_the_engine_is_away(
    monkeypatch: pytest.MonkeyPatch, status: int, *, counts: bool
) -> None:
    monkeypatch.setattr(late_feed, "PAUSE_S", 0.0)

    async def story() -> None:
        fake = Fake()
        fake.refused = (status, "no")
        async with feeds_of(fake) as feeds:
            for _ in range(FAILURES + 2):
                feeds.want({CONTAINER: WAITING})
                await until(lambda: not feeds._tasks)
            assert len(fake.programs) == (FAILURES if counts else FAILURES + 2)

    run(story)


def test_the_end_of_a_container_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_feed, "PAUSE_S", 0.0)

    async def story() -> None:
        fake = Fake()
        async with feeds_of(fake) as feeds:
            for number in range(FAILURES + 2):
                await waits(feeds, fake)
                fake.programs[number].killed.set()
                await until(lambda: not feeds._tasks)

    run(story)


def test_those_that_are_not_wanted_twice_end() -> None:
    """Once may be in the midst of an assign. What is dropped ends at once."""

    async def story() -> None:
        fake = Fake()
        async with feeds_of(fake) as feeds:
            await waits(feeds, fake, 2)
            feeds.want({OTHER: WAITING})
            assert len(feeds._open) == 2
            feeds.want({OTHER: WAITING})
            await until(lambda: fake.waiting == 1)
            await until(lambda: list(feeds._open) == [OTHER])
            feeds.drop(OTHER)
            feeds.drop(CONTAINER)  # nothing happens
            await until(lambda: not fake.waiting)
            assert [program.taken for program in fake.programs] == [b"", b""]

    run(story)


def test_one_that_is_about_to_be_started_can_be_dropped() -> None:
    async def story() -> None:
        fake = Fake()
        async with feeds_of(fake) as feeds:
            feeds.want({CONTAINER: WAITING})
            feeds.drop_all()
            await until(lambda: not feeds._tasks)
            assert fake.programs == []

    run(story)


def test_before_a_container_is_paused_one_waits_in_it_if_it_is_wanted() -> None:
    """None is begun in one that is paused already, and one that waits there goes on waiting."""

    async def story() -> None:
        fake = Fake()
        async with feeds_of(fake) as feeds:
            paused = Waiting(WAITING.folder, WAITING.template, may_begin=False)
            feeds.want({CONTAINER: paused})
            await asyncio.sleep(0.05)
            assert fake.programs == []
            feeds.want({CONTAINER: paused}, more=True)
            await feeds.prepare(CONTAINER)
            assert len(fake.programs) == 1
            await feeds.prepare(CONTAINER)
            for _ in range(3):
                feeds.want({CONTAINER: paused})
            assert len(fake.programs) == 1
            assert await feeds.give(CONTAINER, "f00d", ARCHIVE) is Fed.DONE
            assert fake.programs[0].taken == ARCHIVE

    run(story)


def test_a_pause_waits_for_none_that_is_not_wanted_or_cannot_be() -> None:
    async def story() -> None:
        fake = Fake()
        async with feeds_of(fake) as feeds:
            await feeds.prepare(CONTAINER)
            assert fake.commands == []
            fake.refused = (409, "Container is paused")
            feeds.want({CONTAINER: WAITING}, more=True)
            await feeds.prepare(CONTAINER)
            assert (len(fake.commands), fake.waiting, feeds._open) == (1, 0, {})

    run(story)


def test_what_is_told_of_besides_gives_nothing_else_up() -> None:
    async def story() -> None:
        fake = Fake()
        async with feeds_of(fake) as feeds:
            feeds.want({CONTAINER: WAITING})
            await waits(feeds, fake)
            for _ in range(3):
                feeds.want({OTHER: WAITING}, more=True)
            assert not fake.programs[0].killed.is_set()
            assert await feeds.give(CONTAINER, "f00d", ARCHIVE) is Fed.DONE

    run(story)
