"""A client and connectors that hang up: closing one must not leave a socket open until the engine closes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import aiodocker
import aiohttp
import msgspec
from aiodocker.containers import DockerContainer
from aiodocker.utils import clean_filters

from worker_orchestrator.engines.docker.calls import note_call
from worker_orchestrator.engines.docker.listed import Listed, containers_in

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
        # A closed protocol forgets its transport. No weak references: those of uvloop for TLS take none.
        self._opened: list[tuple[asyncio.Transport, ResponseHandler]] = []

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 # aiohttp's
    ) -> ResponseHandler:
        protocol = await super()._create_connection(req, traces, timeout)
        self._opened = [one for one in self._opened if _is_open(one[1])]
        if protocol.transport is not None:
            self._opened.append((protocol.transport, protocol))
        return protocol

    def hang_up(self) -> None:
        """Break off every connection, also one that is closing already."""
        for transport, protocol in self._opened:
            if _is_open(protocol):  # what is closed cannot be aborted
                # Before 3.11.4 one over TLS that was closed twice has lost what it would abort.
                with contextlib.suppress(AttributeError):
                    transport.abort()


def _is_open(protocol: ResponseHandler) -> bool:
    return protocol.closed is not None and not protocol.closed.done()


class HangingUpUnix(HangingUp, aiohttp.UnixConnector): ...


class HangingUpTCP(HangingUp, aiohttp.TCPConnector): ...


class Client(aiodocker.Docker):
    """Closes its connector with itself, which aiodocker leaves open. Its errors name the call and the engine."""

    engine_name = "Docker"
    """Until the engine has said that it is another."""

    @contextlib.asynccontextmanager
    async def _query(
        self, path: str | URL, method: str = "GET", **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with super()._query(path, method, **options) as response:
                yield response
        except Exception as error:
            note_call(error, method, path, self.engine_name)
            raise

    async def _do_query(self, path: str | URL, method: str, **options: Any) -> aiohttp.ClientResponse:
        try:
            return await super()._do_query(path, method, **options)
        except Exception as error:
            note_call(error, method, path, self.engine_name)
            if type(error).__module__.partition(".")[0] == "asyncssh":  # which need not be installed
                raise aiohttp.ClientConnectionError(f"SSH: {error}") from error
            raise

    async def list_containers(self, label: str) -> list[Listed]:
        """All that carry this label, in any state. Raises DockerError, msgspec.DecodeError."""
        params = {"all": "true", "filters": clean_filters({"label": [label]})}
        async with self._query("containers/json", params=params) as response:
            return containers_in(await response.read())

    async def create_container(self, body: Mapping[str, Any], name: str) -> tuple[DockerContainer, Sequence[object]]:
        """The container, and what the engine warned of, which aiodocker's own call drops. Raises DockerError."""
        params, data = {"name": name}, msgspec.json.encode(body)
        created = await self._query_json("containers/create", method="POST", params=params, data=data)
        return DockerContainer(self, id=created["Id"]), created.get("Warnings") or ()

    async def close(self) -> None:
        await super().close()
        if isinstance(self.connector, HangingUp):
            self.connector.hang_up()
        await self.connector.close()
