"""Moves the bytes of calls on an event loop, with aiohttp, which is loaded at the first of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from worker_orchestrator.client.call_steps import (
    Emit,
    Flow,
    Lost,
    Outcome,
    Pause,
    Reply,
    Request,
    Scope,
    Send,
    Step,
    Steps,
    Upload,
)
from worker_orchestrator.client.machine_calls import MachineCalls
from worker_orchestrator.client.project_calls import ProjectCalls
from worker_orchestrator.client.request_encoding import headers_of, pieces, target, why
from worker_orchestrator.client.service_address import socket_options
from worker_orchestrator.client.service_calls import ServiceCalls
from worker_orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    import socket

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession

__all__ = ["AsyncClient"]

_T = TypeVar("_T")


class AsyncClient(ProjectCalls, MachineCalls, ServiceCalls):
    """A service, called from one event loop.

    It keeps connections until `aclose`, or the end of its `async with` block; a later call opens new ones.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.close()

    @cached_property
    def _connections(self) -> _Connections:
        return _Connections(self.url, self._headers)

    async def _run(self, steps: Steps[_T]) -> _T:
        carrier = _Carrier(self._connections)
        try:
            outcome: Outcome = None
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    return cast("_T", end.value)
                outcome = await carrier.perform(step)
        finally:
            carrier.close()

    async def _flow(self, flow: Flow[_T]) -> AsyncGenerator[_T, None]:
        carrier = _Carrier(self._connections)
        try:
            outcome: Outcome = None
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration:
                    return
                if isinstance(step, Emit):
                    outcome = None
                    yield step.value
                else:
                    outcome = await carrier.perform(step)
        finally:
            carrier.close()

    @asynccontextmanager
    async def _within(self, scope: Scope[_T]) -> AsyncIterator[_T]:
        value = await self._run(scope.enter())
        try:
            yield value
        except BaseException as error:
            try:
                await self._run(scope.leave(value))
            except OrchestratorError as failed:
                error.add_note(f"Its machine was not released: {failed}")
            raise
        await self._run(scope.leave(value))


class _Connections:
    """Those that wait to be used again, and how to make one."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self.headers = headers
        self._session: ClientSession | None = None

    def kept(self) -> ClientSession:
        if self._session is None:
            self._session = self.new()
        return self._session

    def new(self) -> ClientSession:
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector  # noqa: PLC0415 # see above

        return ClientSession(
            connector=TCPConnector(limit=0, socket_factory=_socket),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            timeout=ClientTimeout(total=None),
            middlewares=(_once,),
        )

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _Carrier:
    """Performs the steps of one call, and holds what it opened for it."""

    def __init__(self, connections: _Connections) -> None:
        self._connections = connections
        self._response: ClientResponse | None = None

    async def perform(self, step: Step) -> Outcome:
        import asyncio  # noqa: PLC0415 # for the command line, which has no event loop, it takes long to load

        match step:
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return None
            case Send():
                return await self._send(step)
        return await self._read()

    def close(self) -> None:
        """What was read to its end went back to the pool before; anything else cannot be used again."""
        if self._response is not None:
            self._response.close()

    async def _send(self, send: Send) -> Reply | Lost:
        """What must not go out twice gets a connection of its own: on an old one nobody knows whether it arrived."""
        if send.request.repeatable:
            return await self._send_over(self._connections.kept(), send)
        async with self._connections.new() as session:
            return await self._send_over(session, send)

    async def _send_over(self, session: ClientSession, send: Send) -> Reply | Lost:
        from aiohttp import ClientError, ClientTimeout  # noqa: PLC0415 # loaded by now
        from yarl import URL  # noqa: PLC0415

        self.close()
        url = URL(self._connections.url)
        try:
            response = self._response = await session.request(
                send.request.method,
                URL(f"{url.origin()}{target(self._connections.url, send.request)}", encoded=True),
                data=_body(send.request),
                headers=headers_of(send.request, self._connections.headers),
                allow_redirects=False,
                timeout=ClientTimeout(sock_connect=send.connect_s, sock_read=send.silence_s),
            )
            names = {name.lower(): value for name, value in response.headers.items()}
            body = b"" if send.streamed and response.status < 300 else await response.read()
            return Reply(status=response.status, headers=names, body=body)
        except (ClientError, OSError, _LostError) as error:
            return _lost(error)

    async def _read(self) -> bytes | Lost:
        from aiohttp import ClientError  # noqa: PLC0415

        assert self._response is not None, "nothing was sent"
        content = self._response.content
        try:
            return await content.readany()
        except (ClientError, OSError) as error:
            # aiohttp tells of the cut before what came before it, and then keeps that to itself.
            content.set_exception(None)  # type: ignore[arg-type] # none again
            rest = content.read_nowait()
            content.set_exception(error)
            return rest or _lost(error)


class _LostError(Exception):
    """An error of aiohttp that it would answer by sending the request again."""


async def _once(request: ClientRequest, pass_on: ClientHandlerType) -> ClientResponse:
    """Of itself aiohttp repeats every idempotent request, DELETE too; here only `exchange` decides what goes out twice."""
    from aiohttp import ClientConnectorError, ClientOSError, ServerDisconnectedError  # noqa: PLC0415

    try:
        return await pass_on(request)
    except ClientConnectorError:
        raise
    except (ClientOSError, ServerDisconnectedError) as error:
        raise _LostError from error


def _socket(address: tuple[Any, ...]) -> socket.socket:
    import socket  # noqa: PLC0415

    made = socket.socket(*address[:3])
    for option in socket_options():
        made.setsockopt(*option)
    return made


def _body(request: Request) -> AsyncIterator[bytes] | None:
    return None if request.body is None else _slowly(request.body)


async def _slowly(body: bytes | Upload) -> AsyncIterator[bytes]:
    """Files are read on a thread, so that a slow disk stops nobody else."""
    import asyncio  # noqa: PLC0415

    left = pieces(body)
    while piece := next(left, b"") if isinstance(body, bytes) else await asyncio.to_thread(next, left, b""):
        yield piece


def _lost(error: Exception) -> Lost:
    import aiohttp  # noqa: PLC0415

    hopeless = isinstance(error, (aiohttp.ClientSSLError, aiohttp.InvalidURL))
    unsent = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
    return Lost(why=why(error), sent=not (unsent or hopeless), hopeless=hopeless)
