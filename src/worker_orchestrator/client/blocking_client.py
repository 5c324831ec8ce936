"""Moves the bytes of calls on the caller's own thread, with urllib3, which is loaded at the first of them."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from worker_orchestrator.client.call_steps import Emit, Flow, Lost, Outcome, Pause, Reply, Scope, Send, Step, Steps
from worker_orchestrator.client.machine_calls import MachineCalls
from worker_orchestrator.client.project_calls import ProjectCalls
from worker_orchestrator.client.request_encoding import PIECE_BYTES, headers_of, pieces, target, why
from worker_orchestrator.client.service_address import socket_options
from worker_orchestrator.client.service_calls import ServiceCalls
from worker_orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

__all__ = ["Client"]

_T = TypeVar("_T")
_KEPT: Final = 64


class Client(ProjectCalls, MachineCalls, ServiceCalls):
    """A service, called from ordinary code. Threads may share one.

    It keeps connections until `close`, or the end of its `with` block; a later call opens new ones.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._connections.close()

    @cached_property
    def _connections(self) -> _Connections:
        return _Connections(self.url, self._headers)

    def _run(self, steps: Steps[_T]) -> _T:
        with closing(_Carrier(self._connections)) as carrier:
            outcome: Outcome = None
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    return cast("_T", end.value)
                outcome = carrier.perform(step)

    def _flow(self, flow: Flow[_T]) -> Generator[_T, None, None]:
        with closing(_Carrier(self._connections)) as carrier:
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
                    outcome = carrier.perform(step)

    @contextmanager
    def _within(self, scope: Scope[_T]) -> Iterator[_T]:
        value = self._run(scope.enter())
        try:
            yield value
        except BaseException as error:
            try:
                self._run(scope.leave(value))
            except OrchestratorError as failed:
                error.add_note(f"Its machine was not released: {failed}")
            raise
        self._run(scope.leave(value))


class _Connections:
    """Those that wait to be used again, and how to make one."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self.headers = headers
        self._pool: HTTPConnectionPool | None = None

    def kept(self) -> HTTPConnectionPool:
        if self._pool is None:
            self._pool = self.new()
        return self._pool

    def new(self) -> HTTPConnectionPool:
        from urllib3 import connection_from_url  # noqa: PLC0415 # see above

        return connection_from_url(self.url, maxsize=_KEPT, socket_options=socket_options())

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


class _Carrier:
    """Performs the steps of one call, and holds what it opened for it."""

    def __init__(self, connections: _Connections) -> None:
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
        """What was read to its end went back to the pool before; anything else cannot be used again."""
        if self._response is not None:
            self._response.close()

    def _send(self, send: Send) -> Reply | Lost:
        """What must not go out twice gets a connection of its own: on an old one nobody knows whether it arrived."""
        if send.request.repeatable:
            return self._send_over(self._connections.kept(), send)
        with closing(self._connections.new()) as pool:
            return self._send_over(pool, send)

    def _send_over(self, pool: HTTPConnectionPool, send: Send) -> Reply | Lost:
        from urllib3 import Timeout  # noqa: PLC0415 # loaded by now
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        request = send.request
        body = request.body
        self.close()
        try:
            response = self._response = pool.urlopen(
                request.method,
                target(self._connections.url, request),
                body=body if body is None or isinstance(body, bytes) else pieces(body),
                headers=headers_of(request, self._connections.headers),
                retries=False,
                redirect=False,
                timeout=Timeout(connect=send.connect_s, read=send.silence_s),
                preload_content=False,
                decode_content=False,
            )
            names = {name.lower(): value for name, value in response.headers.items()}
            if not send.streamed or response.status >= 300:
                return Reply(status=response.status, headers=names, body=response.read())
            self._pieces = _pieces_of(response)
            return Reply(status=response.status, headers=names, body=b"")
        except (HTTPError, OSError) as error:
            return _lost(error)

    def _read(self) -> bytes | Lost:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            return next(self._pieces, b"")
        except (HTTPError, OSError) as error:
            return _lost(error)


def _pieces_of(response: BaseHTTPResponse) -> Iterator[bytes]:
    """What is there, as soon as it is there."""
    if response.headers.get("transfer-encoding", "").lower() == "chunked":
        return response.read_chunked(PIECE_BYTES, decode_content=False)
    return iter(lambda: response.read1(PIECE_BYTES, decode_content=False), b"")


def _lost(error: Exception) -> Lost:
    from urllib3 import exceptions  # noqa: PLC0415

    unsent = isinstance(error, (exceptions.NewConnectionError, exceptions.ConnectTimeoutError))
    hopeless = isinstance(error, (exceptions.SSLError, exceptions.LocationValueError)) and not _is_cut_tls(error)
    return Lost(why=why(error), sent=not (unsent or hopeless), hopeless=hopeless)


def _is_cut_tls(error: Exception) -> bool:
    """The other side went away, as a proxy does that is started again; urllib3 calls it an error of TLS all the same."""
    import ssl  # noqa: PLC0415

    return any(isinstance(below, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for below in error.args)
