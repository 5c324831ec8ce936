"""What an instance of the memory engine does: it answers every request with one page, and logs a line for each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

__all__ = ["Freezer", "Output", "Page", "Work"]

_KEPT_LINES: Final = 1000


class Output:
    """The last lines that an instance wrote, for those who read them and those who follow."""

    def __init__(self) -> None:
        self._lines: deque[tuple[datetime, str]] = deque(maxlen=_KEPT_LINES)
        self._written = 0
        self._ended = False
        self._news = asyncio.Event()

    def write(self, line: str) -> None:
        self._lines.append((datetime.now(UTC), line))
        self._written += 1
        self._tell(ended=False)

    def end(self) -> None:
        """Nothing comes after this, unless the instance is started again."""
        self._tell(ended=True)

    def _tell(self, *, ended: bool) -> None:
        self._ended = ended
        self._news.set()
        self._news = asyncio.Event()

    def last(self, count: int) -> str:
        return "\n".join(line for _, line in [*self._lines][-count:])

    async def lines(self, tail: int | None, *, follow: bool, timestamps: bool) -> AsyncIterator[bytes]:
        unread = len(self._lines) if tail is None else min(tail, len(self._lines))
        while True:
            news, read = self._news, self._written
            for time, line in [*self._lines][-unread:] if unread else ():
                stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S.%fZ')} " if timestamps else ""
                yield f"{stamp}{line}\n".encode()
            if read == self._written and (self._ended or not follow):
                return
            if read == self._written:
                await news.wait()
            unread = min(self._written - read, len(self._lines))


@dataclass(slots=True)
class Work:
    """What an instance has done since its start, and how many are connected to it."""

    run: int = 1
    received_bytes: int = 0
    sent_bytes: int = 0
    cpu_s: float = 0.0
    connections: int = 0

    def begin_anew(self) -> None:
        """The instance was started again."""
        self.run, self.received_bytes, self.sent_bytes, self.cpu_s = self.run + 1, 0, 0, 0.0


@dataclass(slots=True)
class _Hold:
    """Answers that are kept back, and what becomes of them in the end."""

    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: bool = False


class Freezer:
    """Keeps the answers of an instance back while it is paused."""

    def __init__(self) -> None:
        self._hold: _Hold | None = None

    def freeze(self) -> None:
        """Safe to repeat."""
        self._hold = self._hold or _Hold()

    def thaw(self) -> None:
        """Let all that waits be answered."""
        self._release(goes_on=True)

    def end(self) -> None:
        """Let nothing that waits be answered: the instance ended, or nobody reaches it."""
        self._release(goes_on=False)

    def _release(self, *, goes_on: bool) -> None:
        if self._hold is not None:
            self._hold.goes_on = goes_on
            self._hold.is_over.set()
            self._hold = None

    async def goes_on(self) -> bool:
        """Wait while the instance is paused; whether it goes on then."""
        hold = self._hold
        if hold is None:
            return True
        await hold.is_over.wait()
        return hold.goes_on


class Page:
    """What a demo worker answers to every request."""

    def __init__(self, machine_id: str, output: Output, work: Work, freezer: Freezer) -> None:
        body = f"Hello from {machine_id}, a worker of the memory engine.\n".encode()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._response = head.encode() + body
        self._output, self._work, self._freezer = output, work, freezer

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._work.connections += 1
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if not await self._freezer.goes_on():
                return
            writer.write(self._response)
            await writer.drain()
            self._work.received_bytes += len(request)
            self._work.sent_bytes += len(self._response)
            line = request.partition(b"\r\n")[0].decode("latin-1")
            self._output.write(f"{line.rpartition(' ')[0] or line}: 200")
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._work.connections -= 1
            writer.close()
