"""Moves the bytes of calls on the caller's own thread, with urllib3."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Final

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout, connection_from_url
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    SSLError,
)

from worker_orchestrator.client.call_steps import NoReply, Outcome, Pause, Reply, Send, Step
from worker_orchestrator.client.failure_reason import reason_of
from worker_orchestrator.client.keepalive import socket_options
from worker_orchestrator.client.request_encoding import PIECE_BYTES, body_pieces, headers_of, request_target

__all__ = ["Connections", "Transport"]

_KEPT_CONNECTIONS: Final = 64


class Connections:
    """The open connections to one service, kept for later calls."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self.headers = headers
        self._pool: HTTPConnectionPool | None = None

    def transport(self) -> Transport:
        """What performs the steps of one call."""
        return Transport(self)

    def kept_pool(self) -> HTTPConnectionPool:
        if self._pool is None:
            self._pool = self.new_pool()
        return self._pool

    def new_pool(self) -> HTTPConnectionPool:
        return connection_from_url(self.url, maxsize=_KEPT_CONNECTIONS, socket_options=socket_options())

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


class Transport:
    """Performs the steps of one call, and holds the reply that it opened for it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._response: BaseHTTPResponse | None = None
        self._pieces: Iterator[bytes] = iter(())

    def perform(self, step: Step) -> Outcome:
        match step:
            case Pause(seconds):
                time.sleep(seconds)
                return None
            case Send():
                return self._send(step)
        return self._read()

    def close(self) -> None:
        """A reply that was read to its end gave its connection back before; any other connection cannot be used again."""
        if self._response is not None:
            self._response.close()

    def _send(self, send: Send) -> Reply | NoReply:
        """What must not be sent twice gets a new connection: when a kept one breaks, the request may have arrived."""
        if send.request.repeatable:
            return self._send_over(self._connections.kept_pool(), send)
        with closing(self._connections.new_pool()) as pool:
            return self._send_over(pool, send)

    def _send_over(self, pool: HTTPConnectionPool, send: Send) -> Reply | NoReply:
        request = send.request
        body = request.body
        self.close()
        try:
            response = self._response = pool.urlopen(
                request.method,
                request_target(self._connections.url, request),
                body=body if body is None or isinstance(body, bytes) else body_pieces(body),
                headers=headers_of(request, self._connections.headers),
                retries=False,
                redirect=False,
                timeout=Timeout(connect=send.connect_s, read=send.silence_s),
                preload_content=False,
                decode_content=False,
            )
            headers = {name.lower(): value for name, value in response.headers.items()}
            if not send.streamed or response.status >= 300:
                return Reply(status=response.status, headers=headers, body=response.read())
            self._pieces = _pieces_of(response)
            return Reply(status=response.status, headers=headers, body=b"")
        except (HTTPError, OSError) as error:
            return _no_reply(error)

    def _read(self) -> bytes | NoReply:
        try:
            return next(self._pieces, b"")
        except (HTTPError, OSError) as error:
            return _no_reply(error)


def _pieces_of(response: BaseHTTPResponse) -> Iterator[bytes]:
    """The bytes of the body, each piece as soon as it arrives."""
    if response.headers.get("transfer-encoding", "").lower() == "chunked":
        return response.read_chunked(PIECE_BYTES, decode_content=False)
    return iter(lambda: response.read1(PIECE_BYTES, decode_content=False), b"")


def _no_reply(error: Exception) -> NoReply:
    unsent = isinstance(error, (NewConnectionError, ConnectTimeoutError))
    hopeless = isinstance(error, (SSLError, LocationValueError)) and not _is_cut_tls(error)
    return NoReply(reason=reason_of(error), sent=not (unsent or hopeless), hopeless=hopeless)


def _is_cut_tls(error: Exception) -> bool:
    """Whether the other side closed the connection, as a restarted proxy does: urllib3 reports that as an error of TLS."""
    return any(isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for cause in error.args)
