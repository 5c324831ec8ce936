"""A client and connectors that hang up: closing one must not leave a socket open until the engine closes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import aiodocker
import aiohttp

from worker_orchestrator.engines.docker.calls import note_call

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace
    from yarl import URL

__all__ = ["Client", "HangingUp", "HangingUpTCP", "HangingUpUnix"]


class HangingUp(aiohttp.BaseConnector):
    """A connector whose connections can be broken off.

    aiohttp keeps a connection open until the engine has read all that was written, which it may never do after a refusal.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._opened: WeakKeyDictionary[asyncio.Transport, ResponseHandler] = WeakKeyDictionary()

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 # aiohttp's
    ) -> ResponseHandler:
        protocol = await super()._create_connection(req, traces, timeout)
        if protocol.transport is not None:
            self._opened[protocol.transport] = protocol
        return protocol

    def hang_up(self) -> None:
        """Break off every connection, also one that is closing already."""
        for transport, protocol in list(self._opened.items()):
            if protocol.closed is not None and not protocol.closed.done():  # what is closed cannot be aborted
                # Before 3.11.4 one over TLS that was closed twice has lost what it would abort.
                with contextlib.suppress(AttributeError):
                    transport.abort()


class HangingUpUnix(HangingUp, aiohttp.UnixConnector): ...


class HangingUpTCP(HangingUp, aiohttp.TCPConnector): ...


class Client(aiodocker.Docker):
    """Closes its connector with itself, which aiodocker leaves open. Its errors name the call."""

    @contextlib.asynccontextmanager
    async def _query(
        self, path: str | URL, method: str = "GET", **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with super()._query(path, method, **options) as response:
                yield response
        except Exception as error:
            note_call(error, method, path)
            raise

    async def _do_query(self, path: str | URL, method: str, **options: Any) -> aiohttp.ClientResponse:
        try:
            return await super()._do_query(path, method, **options)
        except Exception as error:
            note_call(error, method, path)
            if type(error).__module__.partition(".")[0] == "asyncssh":  # which need not be installed
                raise aiohttp.ClientConnectionError(f"SSH: {error}") from error
            raise

    async def close(self) -> None:
        await super().close()
        if isinstance(self.connector, HangingUp):
            self.connector.hang_up()
        await self.connector.close()
