"""Programs that wait in idle containers for values to come: the quick way in, where the engine's archives are slow.

Docker below 24 starts itself anew for each archive, which takes 50 ms, and a command appears a tenth of a second after it
was asked for. So a command is started in advance: `tar`, always with the same arguments, as the worker's own user. It waits
for an archive on its standard input, and unpacks what comes there in 3 ms.

Nobody depends on it. Where there is no such program, where it has ended, or where it is not there yet, values go as an
archive of the engine. It is fed once. What proves that all is there is both that it named `ready`, which comes last, and
that it ended with 0: some of them take an input that was cut off between two files for a whole one.

It is frozen with its container, and goes on with it. None can be started in one that is paused, so one that is wanted is
there before its container is paused (`prepare`).

It waits only where no project has ever been, since a project could put something else in the place of `tar`, which would
take the values of the next one. It ends with its container's run, and with its input: if this process dies, the kernel
closes that.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Exec
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec
from aiodocker.stream import Message

from worker_orchestrator.engines.docker.calls import CONFLICT, NOT_FOUND, reading, status_of
from worker_orchestrator.engines.docker.connector import Client
from worker_orchestrator.engines.docker.programs import Programs
from worker_orchestrator.engines.docker.reach import send_request
from worker_orchestrator.engines.docker.wire import Wire
from worker_orchestrator.errors import EngineError, EngineRejected, NotRunning, OutcomeUnknown

__all__ = ["Fed", "Feed", "Feeds", "Waiting"]

MOST: Final = 200
"""So many wait at once: each takes a connection to the engine, and there a bit of memory."""
FAILURES: Final = 3
"""Of one template, after which its containers are left alone."""
PAUSE_S: Final = 30.0
"""Until another one is started in a container in which one has ended."""
_PARALLEL: Final = 2
_OPEN_LIMIT_S: Final = 10.0
_SEND_LIMIT_S: Final = 30.0
_CODE_LIMIT_S: Final = 5.0
_LOOK_PAUSE_S: Final = 0.02
_PREPARE_LIMIT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.02
_TAIL_BYTES: Final = 64
_LAST_NAME: Final = b"ready"
_STDOUT: Final = 1
_SIGNALLED: Final = 128


class Fed(Enum):
    """What became of the values."""

    DONE = "done"  # all of them are there
    UNTOUCHED = "untouched"  # nothing was sent
    BROKEN = "broken"  # some of them may be there, and nothing more of them comes


@dataclass(frozen=True, slots=True)
class Waiting:
    """Where a program is to wait: in which folder, and of which template its container is.

    `may_begin`: if none waits there yet, one can be started now.
    """

    folder: str
    template: str
    may_begin: bool = True


class _State(msgspec.Struct, rename="pascal"):
    """What the engine says of a program. It has a number from its beginning on, and an exit code at its end."""

    running: bool
    pid: int = 0
    exit_code: int | None = None


class Feed:
    """One program that waits for values."""

    def __init__(self, client: Client, program_id: str, wire: Wire) -> None:
        self._client, self._program_id, self._wire = client, program_id, wire
        self.is_taken = False  # by whoever feeds it, and closes it

    @classmethod
    async def open(cls, client: Client, container_id: str, folder: str) -> Feed:
        """Start it, and return when it is there or has ended. Raises EngineError."""
        words = ["tar", "-x", "-v", "-p", "-o", "-f", "-", "-C", folder]
        with reading():
            program = await client.containers.container(container_id).exec(words, stdin=True)
            wire = Wire(client, program.id, tty=False, options={})
            await wire.open()
        feed = cls(client, program.id, wire)
        try:
            await feed._until_there()
        except BaseException:
            await feed.aclose()
            raise
        return feed

    async def _until_there(self) -> None:
        """Wait until its process is there, or was."""
        while not self._wire.next_message().done():
            state = await self._state()
            if state.running and state.pid:
                return
            await asyncio.sleep(_LOOK_PAUSE_S)

    async def _state(self) -> _State:
        with reading():
            async with send_request(self._client, "GET", f"/exec/{self._program_id}/json", params={}) as response:
                return msgspec.json.decode(await response.read(), type=_State)

    async def until_over(self) -> None:
        """Wait until it says something or ends, which nobody asked it to do."""
        await asyncio.wait({self._wire.next_message()})

    async def send(self, archive: bytes) -> Fed:
        """Feed it this archive, and see it end. Raises EngineError, TimeoutError if it is not known that it has ended."""
        if self._wire.next_message().done():
            return Fed.UNTOUCHED
        said = _LastLine()
        with reading():
            writing = asyncio.create_task(self._write(archive))  # beside the reading: it names what it unpacks
            try:
                while (message := await self._wire.read()) is not None:
                    said.take(message)
            finally:
                writing.cancel()
                await asyncio.wait({writing})
        code = await self.exit_code()
        return Fed.DONE if code == 0 and said.is_ready else Fed.BROKEN

    async def _write(self, archive: bytes) -> None:
        await self._wire.write(archive)
        self._wire.end_input()

    async def exit_code(self) -> int:
        """How it ended, which the engine knows a moment after its output has ended. Raises EngineError, TimeoutError."""
        pause_s = _FIRST_PAUSE_S
        async with asyncio.timeout(_CODE_LIMIT_S):
            while True:
                state = await self._state()
                if not state.running and state.exit_code is not None:
                    return state.exit_code
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def aclose(self) -> None:
        """Hang up, whereupon it ends."""
        await self._wire.close()


class _LastLine:
    """The end of what a program names on its standard output."""

    def __init__(self) -> None:
        self._tail = b""

    def take(self, message: Message) -> None:
        if message.stream == _STDOUT:
            self._tail = (self._tail + message.data)[-_TAIL_BYTES:]

    @property
    def is_ready(self) -> bool:
        return self._tail.splitlines()[-1:] == [_LAST_NAME]


class Feeds:
    """The programs that wait, by the ids of their containers. `open_client`: opens a client for what lasts long."""

    def __init__(self, open_client: Callable[[], Client], programs: Programs) -> None:
        self._open_client, self._programs = open_client, programs
        self._client: Client | None = None
        self._open: dict[str, Feed] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # those that open one, and wait for its end
        self._opening: dict[str, asyncio.Event] = {}  # of those that are not there yet
        self._not_before: dict[str, float] = {}  # loop time
        self._failures: Counter[str] = Counter()  # by template
        self._unwanted: set[str] = set()
        self._wanted: Mapping[str, Waiting] = {}
        self._room = asyncio.Semaphore(_PARALLEL)

    def want(self, wanted: Mapping[str, Waiting], *, more: bool = False) -> None:
        """See to it that one waits in each of these containers, and in no other; with `more` in these as well.

        Returns at once. One that was wanted the last time still waits until the next: its values may be on their way.
        """
        if more:
            self._wanted = {**self._wanted, **wanted}
            return
        gone, now = self._tasks.keys() - wanted.keys(), asyncio.get_running_loop().time()
        for container_id in gone & self._unwanted:
            self.drop(container_id)
        self._unwanted, self._wanted = gone, wanted
        self._not_before = {key: when for key, when in self._not_before.items() if key in wanted}
        for container_id, waiting in wanted.items():
            if waiting.may_begin:
                self._begin(container_id, waiting, now)

    def _begin(self, container_id: str, waiting: Waiting, now: float) -> None:
        if self._may_open(container_id, waiting, now):
            self._not_before[container_id] = now + PAUSE_S
            task = asyncio.create_task(self._keep(container_id, waiting), name=f"feed of {container_id[:12]}")
            self._tasks[container_id], self._opening[container_id] = task, asyncio.Event()
            task.add_done_callback(functools.partial(self._over, container_id))

    async def prepare(self, container_id: str) -> None:
        """Return once one waits in this container, which is about to be paused, if one is wanted there; else soon anyway."""
        if container_id in self._wanted:
            self._begin(container_id, self._wanted[container_id], asyncio.get_running_loop().time())
        if container_id in self._opening:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PREPARE_LIMIT_S):
                    await self._opening[container_id].wait()

    def _may_open(self, container_id: str, waiting: Waiting, now: float) -> bool:
        is_due = container_id not in self._tasks and now >= self._not_before.get(container_id, now)
        return is_due and len(self._tasks) < MOST and self._failures[waiting.template] < FAILURES

    def _over(self, container_id: str, done: asyncio.Task[None]) -> None:
        if self._tasks.get(container_id) is done:
            del self._tasks[container_id]
            self._note_opened(container_id)

    def _note_opened(self, container_id: str) -> None:
        """It is there, or it will not be."""
        if container_id in self._opening:
            self._opening.pop(container_id).set()

    async def _keep(self, container_id: str, waiting: Waiting) -> None:
        """Open one, and count it as a failure if it ends by itself and not with its container."""
        try:
            async with self._room, asyncio.timeout(_OPEN_LIMIT_S):
                with self._programs.starting(container_id):
                    feed = await Feed.open(self._aside(), container_id, waiting.folder)
            self._open[container_id] = feed
            self._note_opened(container_id)
            try:
                await feed.until_over()
                self._failures[waiting.template] += await feed.exit_code() < _SIGNALLED
            finally:
                self._open.pop(container_id, None)
                if not feed.is_taken:
                    await feed.aclose()
        except EngineRejected as error:
            self._failures[waiting.template] += status_of(error) not in {NOT_FOUND, CONFLICT}
        except (EngineError, NotRunning, TimeoutError):
            pass  # the engine is away, or busy, or the container is being paused

    def _aside(self) -> Client:
        if self._client is None:
            self._client = self._open_client()
        return self._client

    async def give(self, container_id: str, template: str, archive: bytes) -> Fed:
        """Feed this archive to the program that waits there, if one does. Raises OutcomeUnknown if it may be at it yet."""
        feed = self._open.get(container_id)
        if feed is not None:
            feed.is_taken = True
        self.drop(container_id)
        if feed is None:
            return Fed.UNTOUCHED
        try:
            async with asyncio.timeout(_SEND_LIMIT_S):
                fed = await feed.send(archive)
        except (EngineError, TimeoutError) as error:
            raise OutcomeUnknown("The program that takes them did not end, as far as the engine says.") from error
        finally:
            await feed.aclose()
        if fed is Fed.DONE:
            del self._failures[template]
        self._failures[template] += fed is Fed.BROKEN
        return fed

    def drop(self, container_id: str) -> None:
        """Let none wait there any more, and have none started that is about to be."""
        self._open.pop(container_id, None)
        if container_id in self._tasks:
            self._tasks[container_id].cancel()

    def drop_all(self) -> None:
        for container_id in list(self._tasks):
            self.drop(container_id)

    async def aclose(self) -> None:
        tasks = list(self._tasks.values())
        self.drop_all()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
