"""The output of a command as lines of JSON while it runs: what it wrote, an empty piece when it is silent, and how it ended.

The last line says how the command ended. A reply without one is not complete, whatever cut it off.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final

import msgspec

from worker_orchestrator.engines.extras import OUTPUT_BYTES
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.problems import details_of
from worker_orchestrator.http.server.streamed_response import ClosableStream
from worker_orchestrator.wire import v1 as wire

__all__ = ["JSONL", "OutputPipe", "RunningCommand"]

JSONL: Final = "application/jsonl"
PING_S: Final = 15.0
"""After so long a silence an empty piece is sent, since proxies cut a connection on which nothing comes."""
_ROOM_BYTES: Final = 64 * 1024
_PING: Final = wire.ExecOutput(stream="stdout", text="")


class OutputPipe:
    """What a command has written and its reader has not taken: when it is full, the command waits.

    `truncated`: the command wrote more while it was ended than there was room for.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.truncated = False
        self._pieces: list[tuple[str, bytearray]] = []
        self._size = 0
        self._news, self._room = asyncio.Event(), asyncio.Event()
        new_decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: new_decoder("replace") for name in ("stdout", "stderr")}

    def started(self) -> None:
        self.begun.set()

    async def take(self, stream: str, data: bytes) -> None:
        self._add(stream, data)
        while self._size >= _ROOM_BYTES:
            self._room.clear()
            await self._room.wait()

    def keep(self, stream: str, data: bytes) -> None:
        room = max(OUTPUT_BYTES - self._size, 0)
        self.truncated = self.truncated or len(data) > room
        self._add(stream, data[:room])

    def wake(self) -> None:
        """Let the reader look again."""
        self._news.set()

    async def news(self, within_s: float) -> bool:
        """Return when there may be something to read; False if there was nothing for so long."""
        try:
            async with asyncio.timeout(within_s):  # not wait_for, which in Python 3.11 may swallow a cancellation
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def read(self, *, is_over: bool) -> list[wire.ExecOutput]:
        """What there is, in the order in which it was written. A character is complete, or the rest of it still to come.

        `is_over`: nothing more will come.
        """
        pieces, self._pieces, self._size = self._pieces, [], 0
        self._news.clear()
        self._room.set()
        found = [(stream, self._decoders[stream].decode(data)) for stream, data in pieces]
        if is_over:
            found += [(stream, decoder.decode(b"", final=True)) for stream, decoder in self._decoders.items()]
        return [wire.ExecOutput(stream=stream, text=text) for stream, text in found if text]

    def _add(self, stream: str, data: bytes) -> None:
        if self._pieces and self._pieces[-1][0] == stream:
            self._pieces[-1][1].extend(data)
        else:
            self._pieces.append((stream, bytearray(data)))
        self._size += len(data)
        self._news.set()


class RunningCommand:
    """A command that runs into a pipe, and the reply that tells of it. `work` gives the exit code."""

    def __init__(self, pipe: OutputPipe, work: Coroutine[Any, Any, int | None]) -> None:
        self._pipe, self._running = pipe, asyncio.ensure_future(work)
        self._running.add_done_callback(lambda _: pipe.wake())

    async def begin(self) -> None:
        """Return when it has begun. Raises what prevented that."""
        begun = asyncio.ensure_future(self._pipe.begun.wait())
        try:
            await asyncio.wait({begun, self._running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
        if not self._pipe.begun.is_set():
            self._running.result()

    async def aclose(self) -> None:
        """End it, if it still runs."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def lines(self) -> ClosableStream:
        """The body of the reply. The command ends when this is closed."""
        return ClosableStream(self._lines(), self.aclose)

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        while not (is_over := self._running.done()):
            if found := self._pipe.read(is_over=False):
                yield _encoded(*found)
            elif not await self._pipe.news(PING_S):
                yield _encoded(_PING)
        yield _encoded(*self._pipe.read(is_over=is_over), self._end())

    def _end(self) -> wire.ExecEnd | wire.ExecError:
        try:
            return wire.ExecEnd(exit_code=self._running.result(), truncated=self._pipe.truncated)
        except OrchestratorError as error:
            return wire.ExecError(error=details_of(error))


def _encoded(*lines: msgspec.Struct) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
