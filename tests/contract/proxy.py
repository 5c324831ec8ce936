"""A proxy before Docker's socket that loses the reply of the calls it is told to, after Docker carried them out.

It can also keep back what more comes of a reply that has begun, such as events.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

__all__ = ["Proxy"]

_CHUNK_BYTES: Final = 65536


class Proxy:
    """`lose` and `keep_back` are patterns of request lines (`POST .*/start`). `close` makes the engine unreachable.

    `asked`: the first line of each request that came.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._folder = tempfile.TemporaryDirectory(prefix="wo-proxy-")
        self._socket = Path(self._folder.name, "docker.sock")
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self.lose = "nothing"
        self.lost = 0
        self.keep_back = "nothing"
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        if self._open:  # the wait for them may have been cancelled: then Docker still waits for the rest of a request
            await asyncio.wait(self._open)
        self._folder.cleanup()

    async def close(self) -> None:
        """Cut every connection, and refuse new ones."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._socket.unlink(missing_ok=True)
        for task in self._open - self._ending:
            task.cancel()
        if self._open:
            await asyncio.wait(
                self._open
            )  # if this is cancelled they must go on: one may be about to close what it opened

    async def _serve(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        docker_reader, docker_writer = await asyncio.open_unix_connection(self._target)
        cut, lines = asyncio.Event(), list[str]()
        pumps = [
            asyncio.create_task(self._requests(client_reader, docker_writer, cut, lines)),
            asyncio.create_task(self._replies(docker_reader, client_writer, cut, lines)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # closed: the connection ends here
        finally:
            self._ending.add(task)  # it closes what it opened, and must not be stopped
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (client_writer, docker_writer):
                writer.close()
            for writer in (client_writer, docker_writer):
                with suppress(OSError):
                    await writer.wait_closed()
            self._open.discard(task)
            self._ending.discard(task)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event, lines: list[str]
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            lines.append(chunk.partition(b"\r\n")[0].decode("latin-1"))
            self.asked.append(lines[-1])
            if re.match(self.lose, lines[-1]):
                cut.set()
            writer.write(chunk)
            await writer.drain()

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event, lines: list[str]
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            if cut.is_set():
                self.lost += 1
                return
            if re.match(self.keep_back, lines[-1]):
                continue
            writer.write(chunk)
            await writer.drain()
