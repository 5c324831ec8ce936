"""aiodocker's connection to the input and output of an exec, made sound for input that ends and programs that end first.

Sources: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Exec/operation/ExecStart,
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any, Final

import aiodocker
import aiohttp
from aiodocker.stream import Message, Stream
from yarl import URL

__all__ = ["Wire"]

_LOOK_S: Final = 0.1


class Wire(Stream):
    """Starts an exec when it is opened. `options`: what goes to Docker with the start."""

    def __init__(self, client: aiodocker.Docker, exec_id: str, *, tty: bool, options: Mapping[str, Any]) -> None:
        body = json.dumps({"Detach": False, "Tty": tty, **options}).encode()

        async def setup() -> tuple[URL, bytes, bool]:
            return URL(f"exec/{exec_id}/start"), body, tty

        super().__init__(client, setup)
        self._reading: asyncio.Task[Message | None] | None = None

    async def open(self) -> None:
        try:
            await self._init()
        except BaseException:
            await self.close()
            raise

    async def read(self) -> Message | None:
        """The next message, on stream 1 or 2; None at the end. A caller that is cancelled while it waits has taken nothing.

        Two callers that wait at the same time get the same message.

        Docker ends the output of a program that ended, but reads no more of its input, and a connection does not close
        before its input is read. So the connection is broken off then.
        """
        reading = self.next_message()
        while not reading.done():
            await asyncio.wait({reading}, timeout=_LOOK_S)
            transport = self._transport()
            if transport is not None and transport.is_closing():
                transport.abort()
        if self._reading is reading:
            self._reading = None
        return reading.result()

    def next_message(self) -> asyncio.Task[Message | None]:
        """The reading of the next message, for whoever waits for a sign of life only, as long as nothing is written."""
        if self._reading is None:
            self._reading = asyncio.create_task(self.read_out())
        return self._reading

    async def write(self, data: bytes) -> None:
        """Return when there is room for more. A program that has ended takes nothing, which is not an error."""
        transport = self._transport()
        if transport is not None and not transport.is_closing():
            with contextlib.suppress(OSError, aiohttp.ClientError):
                await self.write_in(data)

    def end_input(self) -> None:
        """Its input ends here, its output goes on."""
        transport = self._transport()
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    def _transport(self) -> asyncio.Transport | None:
        connection = self._resp.connection if self._resp is not None and not self._closed else None
        return connection.transport if connection is not None else None

    async def close(self) -> None:
        """Hang up. What came until now can still be read; input that was not taken is dropped, else it would stay open."""
        transport = self._transport()
        self._closed = True
        if transport is not None:
            transport.abort()
        if self._resp is not None:
            self._resp.close()
        if self._reading is not None:
            await asyncio.wait({self._reading})
