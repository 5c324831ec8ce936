"""What a door needs for visitors that do not read, and for bodies that are larger than it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.previews.staged import MIB, Staged, staged

PIECE = b"\x00\xff" * 32_768
GIB = 1024 * MIB


@dataclass(frozen=True)
class Measured:
    """What was measured, in MiB and seconds."""

    name: str
    before_mib: float
    most_mib: float
    took_s: float
    cpu_s: float

    @property
    def grown_mib(self) -> float:
        return self.most_mib - self.before_mib

    def __str__(self) -> str:
        memory = f"{self.before_mib:.1f} MiB before, +{self.grown_mib:.1f} at most"
        return f"{self.name}: {memory}, {self.took_s:.1f} s, {self.cpu_s:.2f} s of processor"


async def _streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A worker that sends as much as is taken."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(PIECE)
        await writer.drain()


async def _watched(name: str, stage: Staged, work: Callable[[], Awaitable[object]]) -> Measured:
    """The most that the door needs while this goes on."""
    reader, writer = await stage.open()  # what is loaded and made the first time
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()  # else an endless reply would go on beside all that is measured
    before, begun_at, cpu_s, most = stage.memory_mib, time.monotonic(), stage.cpu_s, 0.0
    task = asyncio.ensure_future(work())
    while not task.done():
        await asyncio.wait({task}, timeout=0.2)
        most = max(most, stage.memory_mib)
    await task
    return Measured(name, before, most, time.monotonic() - begun_at, stage.cpu_s - cpu_s)


async def slow_readers(count: int, seconds: float) -> Measured:
    """So many visitors ask for an endless reply and read nothing of it for so long."""
    async with staged(_streams) as stage:

        async def work() -> None:
            ends = [await stage.open(receives=4096) for _ in range(count)]
            for reader, writer in ends:
                await reader.readuntil(b"\r\n\r\n")
                writer.transport.pause_reading()  # type: ignore[attr-defined] # asyncio's own can
            await asyncio.sleep(seconds)
            for _, writer in ends:
                writer.transport.abort()

        return await _watched(f"{count} visitors that do not read", stage, work)


async def _counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A worker that sends as many bytes as the path says, or says how many came."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.split(b" ")[1][1:] or b"0")
    if head.startswith(b"GET"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()
        return
    left = size
    while left:
        left -= len(await reader.read(65536)) or left
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


async def down(size: int) -> Measured:
    """A reply of so many bytes."""
    async with staged(_counts) as stage:

        async def work() -> None:
            reader, writer = await stage.open(b"GET /%d HTTP/1.1\r\nHost: app.localhost\r\n\r\n" % size)
            await reader.readuntil(b"\r\n\r\n")
            left = size
            while left:
                got = len(await reader.read(65536))
                assert got, f"{left} bytes are missing"
                left -= got
            writer.close()

        return await _watched(f"{size // MIB} MiB down", stage, work)


async def up(size: int) -> Measured:
    """A request with a body of so many bytes."""
    async with staged(_counts) as stage:

        async def work() -> None:
            head = b"POST /%d HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: %d\r\n\r\n" % (size, size)
            reader, writer = await stage.open(head)
            for _ in range(size // len(PIECE)):
                writer.write(PIECE)
                await writer.drain()
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
            writer.close()

        return await _watched(f"{size // MIB} MiB up", stage, work)
