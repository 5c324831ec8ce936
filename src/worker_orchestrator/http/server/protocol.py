"""HTTP/1.1 from callers that may be slow, broken or hostile: uvicorn's protocol on httptools, which itself has no limits.

* A head has 32 KiB, 100 fields and 10 s; a body 1 MiB and 30 s; a reply must be read within 30 s.
* A file that is written into a worker may have 1 GiB, as long as something of it comes every 30 s.
* Only a terminal may become a WebSocket.
* What is too much, too late or no HTTP gets one JSON error, after the replies to the requests before it. Then we hang up.
* Of the requests that are sent ahead of their replies, a hundred wait in line; what comes after is not read, and the
  connection ends with the last reply, as HTTP allows.

On the way of a good request there are a few comparisons; a timer is only set while something is missing.
https://www.rfc-editor.org/rfc/rfc9112, https://github.com/MagicStack/httptools
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, cast

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from worker_orchestrator.http.access.throttle import client_of
from worker_orchestrator.http.reply import Reply
from worker_orchestrator.http.server import limits
from worker_orchestrator.http.server.connections import Connections
from worker_orchestrator.http.server.short_requests import AtOnce, Exchange, Writer, plain_request
from worker_orchestrator.http.server.websocket import BoundedSocket

__all__ = ["BoundedProtocol"]

HEAD_S: Final = 10.0
BODY_S: Final = 30.0
_TERMINAL: Final = re.compile(rb"/v1/machines/[^/?]+/terminal/?(?:\?|$)")
UNREAD_S: Final = 30.0
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 16 * 1024 * 1024
"""So long we listen on after an error, for a client that writes first and reads then: closing at once would cut it off."""


_REQUEST, _HEAD, _BODY = range(3)
"""What the next byte belongs to. Plain numbers: they are compared on the way of every request."""


_writer: Final = Writer()


class _DeafError(Exception):
    """Stops the parser, when `_is_deaf` is set."""


class _Lingering:
    """The transport for the last reply of a connection: it is closed by lingering."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close


class BoundedProtocol(HttpToolsProtocol):
    """One connection, bounded in size and time, and one of `open_ones`.

    `at_once` is `App.at_once`: what it takes over needs no task, no ASGI messages, and one write.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        open_ones: Connections,
        at_once: AtOnce,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._open_ones, self._at_once = open_ones, at_once
        self._awaited = _REQUEST
        self._blank_bytes = 0  # that stood behind the values of this head's fields
        self._body_head = b""  # of a request that asks for an upgrade: the fields that say how long its body is
        self._received = 0  # bytes since the last message ended, of the body since its head did
        self._body_limit = 0
        self._seen = 0  # of these, when the deadline was set
        self._running: RequestResponseCycle | Exchange | None = None  # the request that is being answered
        self._exchange = Exchange()
        self._rests_since = 0.0
        self._last_words: Reply | None = None  # to be said when all before it is answered
        self._is_deaf = False  # what comes in now is dropped
        self._dropped = 0  # bytes
        self._deadline: asyncio.TimerHandle | None = None  # of what is to come in
        self._unread: asyncio.TimerHandle | None = None  # of what is to go out

    # its life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        opened = None if os.name == "nt" else transport.get_extra_info("socket")  # there a socket is no file
        self._descriptor = None if opened is None else opened.fileno()
        if not self._open_ones.admit(self, client_of(self._address)):
            self._is_deaf = True
            self._write(limits.NO_ROOM)
            transport.close()
        else:
            self._deadline = self.loop.call_later(HEAD_S, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.leave(self)
        self._cancel_deadline()
        self.resume_writing()
        if self._running is not None:  # uvicorn tells the last one in the line only
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def give_way(self) -> None:
        """Close: somebody else needs the place."""
        self._is_deaf = True
        self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        """Since the timer was set there may have been requests: it is cheaper to look now than to set it anew each time."""
        self.timeout_keep_alive_task = None
        if self._running is not None or self._deadline is not None:
            return  # the next reply sets it
        left_s = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            self._hang_up()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    # what comes in

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES:
                self.transport.abort()
            return
        is_between = self._running is None and self._awaited == _REQUEST and not self._received
        if is_between and not self.flow.write_paused and self._takes_plain(data):
            return
        self._feed(data)
        if self._is_deaf:
            return
        if self._deadline is None and (self._awaited != _REQUEST or self._running is None):
            self._deadline = self.loop.call_later(BODY_S if self._awaited == _BODY else HEAD_S, self._late)

    def _takes_plain(self, data: bytes) -> bool:
        """Whether this is a request that the application answers at once: it may have done so when this returns."""
        request = plain_request(data)
        if request is None:
            return False
        method, name, headers = request
        self._running = self._exchange
        if not self._at_once(method, name, self._address, headers, self._answered):
            self._running = None
            return False
        if self._running is not None:  # the reply comes in a later turn
            self._exchange.begin()
            self.cycle = self._exchange  # type: ignore[assignment] # all that is asked of a cycle
            self._open_ones.begin(self)
        self._cancel_deadline()
        return True

    def _feed(self, data: bytes) -> None:
        self._received += len(data)
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    if self._should_upgrade():
                        self._is_deaf = True  # the socket hears from now on
                        self.handle_websocket_upgrade()
                        return
                    # we speak nothing else: HTTP/1.1 goes on
                    data = data[upgrade.args[0] :]
                    if self._awaited == _BODY:
                        self.parser = self._body_parser()
        except httptools.HttpParserError:
            if not self._is_deaf:
                self._refuse(limits.NO_HTTP)
            return
        if self._awaited == _BODY:
            if self._received > self._body_limit + limits.HEAD_LIMIT_BYTES:  # with what stands around its chunks
                self._refuse(limits.body_too_large(self._body_limit))
        elif self._received > limits.HEAD_LIMIT_BYTES:
            self._refuse(limits.head_too_large())

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._awaited, self._blank_bytes = _HEAD, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._awaited == _HEAD:  # what trails a body is no header, and is dropped
            stripped = value.strip(b" \t")  # httptools leaves the blanks behind a value, which are no part of it
            self._blank_bytes += len(value) - len(stripped)
            super().on_header(name, stripped)

    def on_headers_complete(self) -> None:
        self._begin_scope()
        self._hear_head()

    def _begin_scope(self) -> None:
        """What uvicorn does with the first byte of a request, and most of them do not need."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers

    def _hear_head(self) -> None:
        if len(self.pipeline) >= limits.PIPELINE_LIMIT:
            self._is_deaf = True
            self.cycle.keep_alive = False
            self.cycle.transport = cast("asyncio.Transport", _Lingering(self.transport, self._linger))
            raise _DeafError
        self._body_limit = limits.body_limit(self.parser.get_method(), self.url)
        refusal = limits.head_refusal(self.url, self.headers, self._body_limit, self._blank_bytes)
        if refusal is not None:
            self._refuse(refusal)
            raise _DeafError
        if self.parser.should_upgrade() and not self._should_upgrade():
            self._body_head = b"".join(
                b"%s: %s\r\n" % field for field in self.headers if field[0] in limits.BODY_FIELDS
            )
        super().on_headers_complete()
        self._cancel_deadline()
        if self._should_upgrade():
            return
        self._awaited, self._received, self._seen = _BODY, 0, 0
        if self._running is None:
            self._running = self.cycle
            self._open_ones.begin(self)
        elif len(self.pipeline) < limits.PIPELINE_LIMIT:
            self.flow.resume_reading()  # uvicorn would not notice that the client of the reply before this one has gone

    def on_message_complete(self) -> None:
        if self._body_head:
            return  # httptools ends a message that asks for an upgrade at its head
        super().on_message_complete()
        self._awaited, self._received = _REQUEST, 0
        self._cancel_deadline()

    def _should_upgrade(self) -> bool:
        """Whether this request opens a terminal, and no other is being answered on this connection."""
        is_alone = self._running is None and not self._body_head
        return is_alone and _TERMINAL.match(self.url) is not None and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        """From now on the connection is the socket's, and no time limit of a request before it counts any more."""
        self._open_ones.begin(self)
        self._cancel_deadline()
        self._unset_keepalive_if_required()
        is_paused = self.flow.write_paused  # the last reply is not read yet
        self.resume_writing()
        leave = partial(self._open_ones.leave, self)
        self.ws_protocol_class = partial(BoundedSocket, on_lost=leave, is_paused=is_paused)  # type: ignore[assignment] # makes one
        super().handle_websocket_upgrade()

    def _body_parser(self) -> httptools.HttpRequestParser:
        """For the body of a request that asks for an upgrade, as Java's client does; it is the connection's last one."""
        self.cycle.keep_alive = False

        def complete() -> None:
            self._body_head = b""
            self.on_message_complete()
            self._is_deaf = True
            raise _DeafError

        parser = httptools.HttpRequestParser(SimpleNamespace(on_body=self.on_body, on_message_complete=complete))
        parser.feed_data(b"POST / HTTP/1.1\r\n" + self._body_head + b"\r\n")
        return parser

    def _late(self) -> None:
        self._deadline = None
        if self._awaited == _REQUEST:
            self._hang_up()
        elif self.flow.read_paused:  # it may all be there, and we do not look
            self._deadline = self.loop.call_later(HEAD_S, self._late)
        elif self._body_limit == limits.FILE_LIMIT_BYTES and self._awaited == _BODY and self._received > self._seen:
            self._seen = self._received
            self._deadline = self.loop.call_later(BODY_S, self._late)
        elif self._awaited == _HEAD:
            self._refuse(limits.late("head", HEAD_S))
        else:
            self._refuse(limits.late("body", BODY_S))

    # what goes out

    def _answered(self, more: str, reply: Reply) -> None:
        """The reply to a plain request, with these fields beside its own."""
        exchange = self._exchange
        if exchange.disconnected or self._running is not exchange:
            return  # nobody listens, or it was answered before something else went wrong
        keep_alive = exchange.keep_alive
        self._send(_writer.written(reply, more, self.server_state.default_headers, keep_alive=keep_alive))
        exchange.end()
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _send(self, data: bytes) -> None:
        """Now: uvloop's transport would wait until all that is due in this turn is done, the log and the metrics too."""
        if (
            self._descriptor is not None
            and not self.transport.is_closing()
            and not self.transport.get_write_buffer_size()
        ):
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError:  # its buffer is full, or nobody listens: the transport knows what to do
                self.transport.write(data)
                return
        if data:
            self.transport.write(data)

    def on_response_complete(self) -> None:
        is_closing = self.transport.is_closing()
        if self.pipeline and not is_closing:  # else what stands behind gets no reply
            self._running = self.pipeline[-1][0]
            super().on_response_complete()
            return
        self._running = None
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._open_ones.rest(self)
        if is_closing:
            self._hang_up()
        elif self._last_words is not None:
            self._say(self._last_words)
        elif self._awaited == _REQUEST:  # else it has a deadline
            self._rests_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

    def _refuse(self, reply: Reply) -> None:
        """Hear no more of this connection, answer the requests before this one, then say why, and hang up."""
        self._is_deaf = True
        self._cancel_deadline()
        if self._awaited == _BODY:
            if self.pipeline:
                self.pipeline.popleft()  # it is the last in the line
            elif self.cycle.response_started:
                self.cycle.keep_alive = False
                self._hang_up()
                return
            else:
                self.cycle.disconnected = True  # whoever answers it hears that nobody listens
                self.cycle.message_event.set()
                self._running = None
        if self._running is None:
            self._say(reply)
        else:
            self._last_words = reply

    def _say(self, reply: Reply) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._open_ones.rest(self)
        self._write(reply)
        self._linger()

    def _linger(self) -> None:
        """Say that this was all, and go on listening: closing on what still comes would lose what is not read yet."""
        self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)

    def _write(self, reply: Reply) -> None:
        self.transport.write(_writer.written(reply, "", self.server_state.default_headers, keep_alive=False))

    def _hang_up(self) -> None:
        """Close when all that was said is read, or not read in time."""
        self._is_deaf = True
        self._cancel_deadline()
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._deadline = self.loop.call_later(UNREAD_S, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
