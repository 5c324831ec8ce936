"""A command that runs in a container, on a client of its own, from its start until none of its processes is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiodocker
from aiodocker.execs import Exec
from aiodocker.stream import Message

from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.docker.kill import kill_inside, kill_on_this_computer
from worker_orchestrator.engines.docker.programs import Programs
from worker_orchestrator.engines.docker.reach import while_it_runs
from worker_orchestrator.engines.docker.wire import Wire
from worker_orchestrator.engines.marked import MARK, Search, new_mark
from worker_orchestrator.errors import EngineError, EngineRejected, EngineUnavailable, NotRunning

__all__ = ["Attached", "Command"]

_START_LIMIT_S: Final = 10.0
_KILL_LIMIT_S: Final = 5.0
_BEGIN_LIMIT_S: Final = 10.0
"""For a process that Docker says is running, until it has a number: a busy host takes long for it."""
_LAND_LIMIT_S: Final = 2.0
"""For a start whose answer never came, until Docker knows of it: then it was lost."""
_END_LIMIT_S: Final = 0.3
_CLOSE_LIMIT_S: Final = _START_LIMIT_S + _BEGIN_LIMIT_S + _KILL_LIMIT_S + 1
_REPLY_LIMIT_S: Final = 5.0
_REST_LIMIT_S: Final = 0.5
_PAUSE_S: Final = 0.02
_HANG_UP: Final = b"\x03\x04"  # ^C ^D


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run, and how. The container's own values are used for what is empty."""

    words: Sequence[str]
    env: Mapping[str, str] | None = None
    user: str = ""
    workdir: str = ""


class Attached:
    """One command in the container of one machine. `is_local`: its processes may be visible on this computer."""

    def __init__(
        self, client: aiodocker.Docker, machine_id: str, native_id: str, programs: Programs, *, is_local: bool
    ) -> None:
        self._client, self._machine_id, self._native_id = client, machine_id, native_id
        self._programs, self._is_local = programs, is_local
        self._is_inside = False
        self._mark = new_mark()
        self._user = ""
        self._tty = False
        self._exec: Exec | None = None
        self._wire: Wire | None = None
        self._code: int | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._leaves = False

    async def start(self, command: Command, *, tty: Mapping[str, Any] | None = None, stdin: bool) -> None:
        """Start it; with `tty` in a terminal, for which these options go to Docker. Raises NotRunning, EngineError."""
        self._user, self._tty = command.user, tty is not None
        others = [f"{name}={value}" for name, value in (command.env or {}).items() if name != MARK]
        made = {
            "cmd": list(command.words),
            "tty": self._tty,
            "stdin": stdin,
            "environment": [*others, self._mark],
            "user": command.user,
            "workdir": command.workdir or None,
            # The keys that Docker takes for "hang up" must never be typed: a key that few have, then a long secret sequence.
            "detach_keys": ",".join(["ctrl-@", *self._mark[-16:]]),
        }
        self._programs.begin(self._native_id)
        self._is_inside = True
        # A start may land although its caller has gone, so it goes on, and `aclose` waits for it.
        self._starting = asyncio.create_task(self._start(made, tty or {}))
        await asyncio.shield(self._starting)

    async def _start(self, made: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        with while_it_runs(self._machine_id):
            self._exec = await self._client.containers.container(self._native_id).exec(**made)
            self._wire = Wire(self._client, self._exec.id, tty=self._tty, options=options)
            await self._wire.open()

    async def read(self) -> Message | None:
        """What it writes next, on stream 1 or 2; None when it has ended. Raises EngineUnavailable if it may run on."""
        assert self._wire is not None, "it was started"
        with reading():
            message = await self._wire.read()
        if message is None:
            await self._until_ended()
        return message

    async def _until_ended(self) -> None:
        """Docker says how a command ended a moment after its output has ended."""
        try:
            async with asyncio.timeout(_REPLY_LIMIT_S):
                while True:
                    if self._closing is not None or await self.exit_code() is not None:
                        return
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise EngineUnavailable("The connection to the engine broke.") from None
        except EngineUnavailable:
            if self._closing is None:
                raise

    async def write(self, data: bytes) -> None:
        assert self._wire is not None, "it was started"
        await self._wire.write(data)

    def end_input(self) -> None:
        assert self._wire is not None, "it was started"
        self._wire.end_input()

    async def resize(self, columns: int, rows: int) -> None:
        assert self._exec is not None, "it was started"
        with while_it_runs(self._machine_id):
            async with asyncio.timeout(_REPLY_LIMIT_S):
                await self._exec.resize(h=rows, w=columns)

    async def exit_code(self) -> int | None:
        """None while it runs, and after `aclose` if nobody asked before. Raises NotRunning, EngineError."""
        if self._code is None and self._closing is None:
            await self._ask()
        return self._code

    async def _ask(self, limit_s: float = _REPLY_LIMIT_S) -> Mapping[str, Any]:
        """What Docker says of it; how it ended is kept."""
        assert self._exec is not None, "it was started"
        with while_it_runs(self._machine_id):
            async with asyncio.timeout(limit_s):
                state = await self._exec.inspect()
            if not state["Running"] and not self._may_be_unstarted(state):
                self._code = state["ExitCode"]
        return state

    def _may_be_unstarted(self, state: Mapping[str, Any]) -> bool:
        """Whether this may be a command that Docker made and has not started yet. Podman says that it ended with 0."""
        is_starting = self._starting is not None and not self._starting.done()
        return is_starting and not state["Running"] and not state.get("Pid")

    async def aclose(self, take: Callable[[Message], None] | None = None, *, leaves: bool = False) -> None:
        """End it, also if cancelled meanwhile. Can be repeated. Raises EngineError if a process of it may be left.

        `take` gets what it writes until its end. `leaves`: it has ended by itself, and what it started goes on.
        """
        if self._closing is None:
            self._leaves = leaves
            self._closing = asyncio.create_task(self._aclose(take))
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            await asyncio.wait({self._closing}, timeout=_CLOSE_LIMIT_S)
            _look_at(self._closing)
            raise

    async def _aclose(self, take: Callable[[Message], None] | None) -> None:
        try:
            if self._starting is not None:
                await asyncio.wait({self._starting}, timeout=_START_LIMIT_S)
                if self._exec is None:
                    self._starting.cancel()  # Docker knows of no command, and will be told of none
                elif not self._leaves and not _was_refused(self._starting):
                    async with self._read_on(take):
                        await self._kill()
        finally:
            if self._wire is not None:
                await self._wire.close()
            await self._client.close()
            if self._starting is not None:
                self._starting.cancel()
            if self._is_inside:
                self._programs.end(self._native_id)

    @contextlib.asynccontextmanager
    async def _read_on(self, take: Callable[[Message], None] | None) -> AsyncIterator[None]:
        """Read its output while it is being ended: Docker reports no end as long as it has output that nobody reads.

        If somebody takes that output, its rest is waited for as well.
        """
        rest = asyncio.create_task(self._rest(take or (lambda _: None)))
        try:
            yield
            if take is not None:
                await asyncio.wait({rest}, timeout=_REST_LIMIT_S)
        finally:
            rest.cancel()
            await asyncio.wait({rest})

    async def _rest(self, take: Callable[[Message], None]) -> None:
        assert self._starting is not None, "it was started"
        if self._wire is None or not self._starting.done() or _look_at(self._starting) is not None:
            return  # there is nothing to read: reading would start it again
        with contextlib.suppress(EngineError), reading():
            while (message := await self._wire.read()) is not None:
                take(message)

    async def _kill(self) -> None:
        try:
            if await self._has_begun():
                async with asyncio.timeout(_KILL_LIMIT_S):
                    while True:
                        if await self._is_killed():
                            return
                        await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise EngineRejected(
                f"A command in the container of {self._machine_id} runs on: it could not be killed."
            ) from None
        except NotRunning:
            pass  # all of it ended with the container

    async def _has_begun(self) -> bool:
        """Wait until its process is there, or was. False if its start never reached Docker. Raises TimeoutError.

        Docker answers a start before the process is there, and newer engines run a search for it meanwhile, which would
        find nothing.
        """
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        async with asyncio.timeout(_BEGIN_LIMIT_S):
            while self._code is None:
                state = await self._ask(_BEGIN_LIMIT_S)  # some engines answer only when it has begun
                if state["Running"] and state.get("Pid", 1):
                    return True
                is_unknown = not state["Running"] and self._code is None
                if is_unknown and loop.time() - begun_at > _LAND_LIMIT_S:
                    return False
                await asyncio.sleep(_PAUSE_S)
        return True

    async def _is_killed(self) -> bool:
        search, had_ended = None, self._code is not None
        try:
            with while_it_runs(self._machine_id):
                search = await kill_inside(self._client, self._native_id, self._mark, self._user)
        except EngineRejected:
            pass  # newer engines refuse what is not there: a shell
        if search is not None:
            if search is Search.NONE and not had_ended:
                await self._until_told_of_its_end()
                return False
            return search is not Search.SOME
        if self._is_local:
            await asyncio.to_thread(kill_on_this_computer, self._mark)
        if self._tty and self._wire is not None:
            await self._wire.write(_HANG_UP)
        await self._ask()
        return self._code is not None

    async def _until_told_of_its_end(self) -> None:
        """Wait a moment for Docker to say that the command ended. Only then a search that finds none has missed none.

        A process has its number before it has become the command, with the mark: on a busy host, or with few processors,
        for a quarter of a second. If a child that escaped holds the output, Docker says it after two seconds.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_LIMIT_S):
                while self._code is None:
                    await self._ask()
                    await asyncio.sleep(_PAUSE_S)


def _was_refused(starting: asyncio.Task[None]) -> bool:
    return starting.done() and isinstance(_look_at(starting), EngineRejected | NotRunning)


def _look_at(task: asyncio.Task[None]) -> BaseException | None:
    """How it failed. asyncio would report an error that nobody looked at as a defect."""
    return task.exception() if task.done() and not task.cancelled() else None
