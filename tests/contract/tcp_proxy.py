"""A TCP proxy before Docker's socket, or before `tcp://HOST:PORT`. As networks do, it refuses, is silent, is late."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from enum import Enum
from threading import Thread
from typing import Final, Self

__all__ = ["BesideTcpProxy", "How", "TcpProxy"]

_CHUNK_BYTES: Final = 65536


class How(Enum):
    """What becomes of those who connect, and of those who are connected."""

    WELL = "passes everything on"
    REFUSES = "hangs up at once"
    SILENT = "accepts and says nothing"
    LATE = "passes each answer on after `late_s`"


class TcpProxy:
    """Listens on a port of 127.0.0.1 from its `async with` on. `open` counts the connections of clients."""

    def __init__(self, target: str, late_s: float = 20.0) -> None:
        self._target, self._late_s = target, late_s
        self._how = How.WELL
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        return len(self._serving)

    def behave(self, how: How) -> None:
        """From now on, also to those who are connected: those who get no answer never get the rest of it either."""
        self._how = how
        self._changed.set()
        self._changed = asyncio.Event()
        if how is How.REFUSES:
            for task in self._serving:
                task.cancel()

    async def __aenter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None, "it was begun"
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._target.startswith("tcp://"):
            return await asyncio.open_unix_connection(self._target)
        host, _, port = self._target.removeprefix("tcp://").rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _serve(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        pumps: list[asyncio.Task[None]] = []
        docker_writer = None
        try:
            if self._how is not How.REFUSES:
                docker_reader, docker_writer = await self._connect()
                pumps = [
                    asyncio.create_task(self._pump(client_reader, docker_writer, is_answer=False)),
                    asyncio.create_task(self._pump(docker_reader, client_writer, is_answer=True)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            for writer in (client_writer, docker_writer):
                if writer is not None:
                    writer.transport.abort()
            self._serving.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                while self._how is How.SILENT and is_answer:
                    await self._changed.wait()
                if self._how is How.LATE and is_answer:
                    await asyncio.sleep(self._late_s)
                writer.write(chunk)
                await writer.drain()


class BesideTcpProxy:
    """One on a thread of its own, for tests that are no coroutines."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.proxy = proxy
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)

    def behave(self, how: How) -> None:
        self._loop.call_soon_threadsafe(self.proxy.behave, how)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.proxy.__aenter__(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.proxy.__aexit__(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
