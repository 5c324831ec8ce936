"""aiodocker's connection to the input and output of an exec, made sound for input that ends and programs that end first.

Sources: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Exec/operation/ExecStart,
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import aiodocker
import aiohttp
from aiodocker.stream import Stream
from yarl import URL

__all__ = ["Wire"]


class Wire(Stream):
    """Starts an exec when it is opened. `options`: what goes to Docker with the start."""

    def __init__(self, client: aiodocker.Docker, exec_id: str, *, tty: bool, options: Mapping[str, Any]) -> None:
        body = json.dumps({"Detach": False, "Tty": tty, **options}).encode()

        async def setup() -> tuple[URL, bytes, bool]:
            return URL(f"exec/{exec_id}/start"), body, tty

        super().__init__(client, setup)

    async def open(self) -> None:
        try:
            await self._init()
        except BaseException:
            await self.close()
            raise

    async def write(self, data: bytes) -> None:
        """Return when there is room for more. What ended takes nothing, which is no error."""
        if self._transport() is not None:
            with contextlib.suppress(OSError, aiohttp.ClientError):
                await self.write_in(data)

    def end_input(self) -> None:
        """Its input ends here, its output goes on."""
        transport = self._transport()
        if transport is not None and transport.can_write_eof():
            transport.write_eof()

    def _transport(self) -> asyncio.Transport | None:
        connection = self._resp.connection if self._resp is not None and not self._closed else None
        transport = connection.transport if connection is not None else None
        return None if transport is None or transport.is_closing() else transport

    async def close(self) -> None:
        self._closed = True
        if self._resp is not None:
            self._resp.close()
