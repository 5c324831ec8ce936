"""Moves the bytes of calls on an event loop, with aiohttp."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    InvalidURL,
    ServerDisconnectedError,
    TCPConnector,
)
from yarl import URL

from worker_orchestrator.client.call_steps import NoReply, Outcome, Pause, Reply, Request, Send, Step, Upload
from worker_orchestrator.client.failure_reason import reason_of
from worker_orchestrator.client.keepalive import socket_options
from worker_orchestrator.client.request_encoding import body_pieces, headers_of, request_target

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

__all__ = ["Connections", "Transport"]


class Connections:
    """The open connections to one service, kept for later calls."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self.headers = headers
        self._session: ClientSession | None = None

    def transport(self) -> Transport:
        """What performs the steps of one call."""
        return Transport(self)

    def kept_session(self) -> ClientSession:
        if self._session is None:
            self._session = self.new_session()
        return self._session

    def new_session(self) -> ClientSession:
        return ClientSession(
            connector=TCPConnector(limit=0, socket_factory=_new_socket),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            timeout=ClientTimeout(total=None),
            middlewares=(_send_once,),
        )

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class Transport:
    """Performs the steps of one call, and holds the reply that it opened for it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._response: ClientResponse | None = None
        self._own_session: ClientSession | None = None

    async def perform(self, step: Step) -> Outcome:
        match step:
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return None
            case Send():
                return await self._send(step)
        return await self._read()

    async def close(self) -> None:
        """A reply that was read to its end gave its connection back before; any other connection cannot be used again."""
        if self._response is not None:
            self._response.close()
        if self._own_session is not None:
            await self._own_session.close()

    async def _send(self, send: Send) -> Reply | NoReply:
        """What must not be sent twice gets a new connection: when a kept one breaks, the request may have arrived."""
        await self.close()
        if send.request.repeatable:
            return await self._send_over(self._connections.kept_session(), send)
        self._own_session = self._connections.new_session()
        return await self._send_over(self._own_session, send)

    async def _send_over(self, session: ClientSession, send: Send) -> Reply | NoReply:
        url = URL(self._connections.url)
        try:
            response = self._response = await session.request(
                send.request.method,
                URL(f"{url.origin()}{request_target(self._connections.url, send.request)}", encoded=True),
                data=_body(send.request),
                headers=headers_of(send.request, self._connections.headers),
                allow_redirects=False,
                timeout=ClientTimeout(sock_connect=send.connect_s, sock_read=send.silence_s),
            )
            headers = {name.lower(): value for name, value in response.headers.items()}
            body = b"" if send.streamed and response.status < 300 else await response.read()
            return Reply(status=response.status, headers=headers, body=body)
        except (ClientError, OSError, _ConnectionLostError) as error:
            return _no_reply(error)

    async def _read(self) -> bytes | NoReply:
        assert self._response is not None, "nothing was sent"
        content = self._response.content
        try:
            return await content.readany()
        except (ClientError, OSError) as error:
            # aiohttp raises the error before it returns the bytes that came first, and then keeps those back.
            content.set_exception(None)  # type: ignore[arg-type] # no exception again
            rest = content.read_nowait()
            content.set_exception(error)
            return rest or _no_reply(error)


class _ConnectionLostError(Exception):
    """Stands for an error of aiohttp after which aiohttp would send the request again."""


async def _send_once(request: ClientRequest, pass_on: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from repeating idempotent requests, DELETE included: only `retries` decides what is sent again."""
    try:
        return await pass_on(request)
    except ClientConnectorError:
        raise
    except (ClientOSError, ServerDisconnectedError) as error:
        raise _ConnectionLostError from error


def _new_socket(address: tuple[Any, ...]) -> socket.socket:
    new = socket.socket(*address[:3])
    for option in socket_options():
        new.setsockopt(*option)
    return new


def _body(request: Request) -> AsyncIterator[bytes] | None:
    return None if request.body is None else _body_pieces(request.body)


async def _body_pieces(body: bytes | Upload) -> AsyncIterator[bytes]:
    """Read files on a thread, so that a slow disk delays no other call."""
    pieces = body_pieces(body)
    while piece := next(pieces, b"") if isinstance(body, bytes) else await asyncio.to_thread(next, pieces, b""):
        yield piece


def _no_reply(error: Exception) -> NoReply:
    hopeless = isinstance(error, (ClientSSLError, InvalidURL))
    unsent = isinstance(error, (ClientConnectorError, ConnectionTimeoutError))
    return NoReply(reason=reason_of(error), sent=not (unsent or hopeless), hopeless=hopeless)
