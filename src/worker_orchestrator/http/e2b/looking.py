"""Looks at a folder of a worker: one command that goes on, and looks each time it reads a line.

So its times are ours, and it ends with its input. The worker needs `sh`, `find`, `stat`, and `readlink` for links.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Final

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Exec
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.e2b.changes import FORMAT
from worker_orchestrator.http.e2b.refusal import Refusal
from worker_orchestrator.http.e2b.strays import RUN

__all__ = ["MOST_ENTRIES", "Looks", "Place"]

MOST_ENTRIES: Final = 10_000
_MOST_BYTES: Final = 4 * 1024 * 1024
_LONGEST_S: Final = 30.0
_GOES_ON_S: Final = 30 * 86_400.0
_MISSING, _NO_FOLDER = 3, 4
_LOOK: Final = r"""
[ -e "$1" ] || exit 3
[ -d "$1" ] || exit 4
cd "$1" && cd / || exit 1
while read -r _; do
  (
    cd "$1" || exit
    find . -maxdepth "$3" -exec stat -c "$2" -- {} +
    printf '\0'
    [ -z "$5" ] || find . -maxdepth "$3" -type l -exec \
      sh -c 'for it; do printf "%s\0%s\0" "$it" "$(readlink "$it")"; done' sh {} +
  ) </dev/null 2>/dev/null
  printf '\0%s\0' "$4"
done
"""
"""A folder that is gone shows nothing, and may come again."""


class Place:
    """What is looked at, as whom. `depth` is 1 for what is in the folder itself; `links`: also where links lead."""

    def __init__(self, machine: Machine, user: str, path: str, depth: int, *, links: bool) -> None:
        self.machine, self.user, self.path, self.depth, self.links = machine, user, path, depth, links


class Looks:
    """The looks at one place, one after the other."""

    def __init__(self, orchestrator: Orchestrator, place: Place, mark: str) -> None:
        self._orchestrator, self._place, self._mark = orchestrator, place, mark
        self._command: _Command | None = None

    async def look(self) -> bytes:
        """What is there now: lines of `stat`, NUL, and pairs of links and targets. Raises Refusal, OrchestratorError."""
        self._insist_on_the_assignment()
        if self._command is None or self._command.task.done():
            self._command = _Command(self._orchestrator, self._place, self._mark)
        try:
            return await self._command.look()
        except BaseException:  # what it still says must not be taken for the next look
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End the command. A later look begins another one."""
        command, self._command = self._command, None
        if command is not None:
            command.task.cancel()
            await asyncio.wait({command.task})
            if not command.task.cancelled():
                command.task.exception()  # nobody waits for it any more

    def _insist_on_the_assignment(self) -> None:
        """A machine may have been given to another project since. Raises Refusal."""
        given = self._place.machine
        now = self._orchestrator.fleet.machines.get(given.id)
        if now is None or now.gone or (now.generation, now.project) != (given.generation, given.project):
            raise Refusal(502, "unavailable", "The sandbox was not found. It has ended.")


class _Command:
    """The command that looks. It takes its own output."""

    def __init__(self, orchestrator: Orchestrator, place: Place, mark: str) -> None:
        self._place, self._end = place, f"\0{secrets.token_hex(8)}\0".encode()
        self._told, self._entries, self._said = bytearray(), 0, bytearray()
        self._whole, self._asked = asyncio.Event(), asyncio.Queue[None]()
        work = self._run(orchestrator.engine, mark)
        self.task = asyncio.create_task(
            orchestrator.uses.during(place.machine, work), name=f"a watch in {place.machine.id}"
        )

    async def look(self) -> bytes:
        self._told.clear()
        self._whole.clear()
        self._entries = 0
        self._asked.put_nowait(None)
        whole = asyncio.ensure_future(self._whole.wait())
        try:
            await asyncio.wait({whole, self.task}, timeout=_LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            whole.cancel()
        if self._whole.is_set():
            return bytes(self._told.removesuffix(self._end))
        if self.task.done():
            raise self._why()
        raise Refusal(504, "deadline_exceeded", f"A look at {self._place.path!r} took longer than {_LONGEST_S:g} s.")

    # what it writes

    def started(self) -> None:
        """The engine has begun it."""

    async def take(self, stream: str, data: bytes) -> None:
        self.keep(stream, data)
        if self._is_too_much:
            raise Refusal(
                413,
                "resource_exhausted",
                f"More than {MOST_ENTRIES} files and folders are in {self._place.path!r}, which is too much to watch. "
                "Watch a smaller folder, or do so without recursive.",
            )

    def keep(self, stream: str, data: bytes) -> None:
        if stream == "stderr":
            self._said += data[: 1024 - len(self._said)]
            return
        self._told += data
        self._entries += data.count(b"\n")
        if self._told.endswith(self._end) and not self._is_too_much:
            self._whole.set()

    @property
    def _is_too_much(self) -> bool:
        return self._entries > MOST_ENTRIES or len(self._told) > _MOST_BYTES

    async def _run(self, engine: object, mark: str) -> int | None:
        assert isinstance(engine, Exec), "its user was looked up"
        place, end = self._place, self._end.decode().strip("\0")
        words = ["sh", "-c", _LOOK, "sh", place.path, FORMAT, str(place.depth), end, "links" if place.links else ""]
        return await engine.exec_into(
            place.machine.id,
            words,
            self,
            stdin=_lines(self._asked),
            env={RUN: mark},
            user=place.user,
            timeout_s=_GOES_ON_S,
        )

    def _why(self) -> Refusal | OrchestratorError:
        """Why it has ended before it was told to."""
        path = self._place.path
        error = None if self.task.cancelled() else self.task.exception()
        if isinstance(error, Refusal | OrchestratorError):
            return error
        if error is not None:
            raise error
        code = None if self.task.cancelled() else self.task.result()
        if code == _MISSING:
            return Refusal(404, "not_found", f"The path {path!r} does not exist.")
        if code == _NO_FOLDER:
            return Refusal.invalid(f"The path {path!r} is not a directory.")
        said = self._said.decode(errors="replace").strip()[:300]
        return Refusal(503, "unavailable", f"The watch of {path!r} has ended. {said}".rstrip())


async def _lines(asked: asyncio.Queue[None]) -> AsyncIterator[bytes]:
    while True:
        await asked.get()
        yield b"\n"
