"""Commands with a terminal in a container, which find the right size when they first look at it.

Docker since API 1.42 makes the terminal in a given size. Older versions make it without a size, and Podman sets the size a
moment after its program has begun. There a shell waits for Enter in it, which we send once the size is set, and then becomes
the command. Without a shell in the container, the size is set a moment late.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog

from worker_orchestrator.engines.docker.attach import Attached, Command
from worker_orchestrator.engines.docker.reach import DockerReach
from worker_orchestrator.engines.extras import Terminal
from worker_orchestrator.errors import EngineError, EngineRejected, EngineUnavailable, NotRunning

__all__ = ["DockerTerminals"]

_OPEN_LIMIT_S: Final = 20.0
_PAUSE_S: Final = 0.01
_LOOK_S: Final = 0.1
_SIZED_SINCE: Final = (1, 42)
_ON_ENTER: Final = ("sh", "-c", 'read -r _ && exec "$@"', "sh")
_ENTER: Final = b"\n"
_ECHO: Final = b"\r\n"

_log = structlog.get_logger(__name__)


class DockerTerminals(DockerReach):
    """Opens terminals in containers."""

    async def terminal(
        self,
        machine_id: str,
        command: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
    ) -> Terminal:
        native_id = await self._own(machine_id, running=True)
        wanted = Command(command, env, user, workdir)
        sized = {"ConsoleSize": [rows, columns], "h": rows, "w": columns}  # Podman takes the latter
        if self._takes_size_at_start:
            async with self._opening(machine_id, native_id) as terminal:
                await terminal.attached.start(wanted, tty=sized, stdin=True)
            return terminal
        async with self._opening(machine_id, native_id) as terminal:
            await terminal.attached.start(replace(wanted, words=[*_ON_ENTER, *command]), tty={}, stdin=True)
            await terminal.take_size(columns, rows)
            if await terminal.enter():
                return terminal
        await terminal.aclose()  # there is no shell
        async with self._opening(machine_id, native_id) as terminal:
            await terminal.attached.start(wanted, tty=sized, stdin=True)
            await terminal.take_size(columns, rows)
        return terminal

    @property
    def _takes_size_at_start(self) -> bool:
        if self._dialect.sizes_terminals_late:
            return False
        version = re.fullmatch(r"v(\d+)\.(\d+)", self._client.api_version)
        return version is not None and (int(version[1]), int(version[2])) >= _SIZED_SINCE

    @asynccontextmanager
    async def _opening(self, machine_id: str, native_id: str) -> AsyncIterator[_Terminal]:
        """A terminal that is closed if its opening fails or takes too long."""
        attached = Attached(self._open_aside(), machine_id, native_id, self._programs, is_local=self._endpoint.is_local)
        terminal = _Terminal(attached, machine_id)
        try:
            async with asyncio.timeout(_OPEN_LIMIT_S):
                yield terminal
        except TimeoutError:
            await terminal.aclose()
            raise EngineUnavailable(f"{self._dialect.name} opened no terminal within {_OPEN_LIMIT_S:g} s.") from None
        except BaseException:
            await terminal.aclose()
            raise


class _Terminal:
    def __init__(self, attached: Attached, machine_id: str) -> None:
        self.attached, self._machine_id = attached, machine_id
        self._unread = b""

    async def take_size(self, columns: int, rows: int) -> None:
        """Set its first size. It may not be there yet, or have ended: if it never began, Docker answers very late."""
        while await self.attached.exit_code() is None:
            resizing = asyncio.ensure_future(self.attached.resize(columns, rows))
            try:
                while not resizing.done():
                    await asyncio.wait({resizing}, timeout=_LOOK_S)
                    if not resizing.done() and await self.attached.exit_code() is not None:
                        return
                await resizing
            except (EngineRejected, NotRunning):
                await asyncio.sleep(_PAUSE_S)
            else:
                return
            finally:
                resizing.cancel()
                await asyncio.gather(resizing, return_exceptions=True)

    async def enter(self) -> bool:
        """Press Enter for the shell that waits for it, and remove its echo; False if there is no shell."""
        await self.write(_ENTER)
        while len(self._unread) < len(_ECHO) and (more := await self.attached.read()):
            self._unread += more.data
        if not self._unread.startswith(_ECHO):
            return False
        self._unread = self._unread.removeprefix(_ECHO)
        return True

    async def read(self) -> bytes:
        if self._unread:
            unread, self._unread = self._unread, b""
            return unread
        try:
            message = await self.attached.read()
        except NotRunning:
            return b""
        return message.data if message is not None else b""

    async def write(self, data: bytes) -> None:
        await self.attached.write(data)

    async def resize(self, columns: int, rows: int) -> None:
        try:
            await self.attached.resize(columns, rows)
        except (EngineRejected, NotRunning):
            if await self.exit_code() is None:
                raise

    async def exit_code(self) -> int | None:
        try:
            return await self.attached.exit_code()
        except NotRunning:
            return None

    async def aclose(self) -> None:
        try:
            await self.attached.aclose()
        except EngineError as error:
            _log.warning("a terminal was closed whose program may run on", machine=self._machine_id, why=error.message)
