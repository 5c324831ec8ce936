"""HTTP/1.1 from callers that may be slow, broken or hostile: uvicorn's protocol on httptools, which itself has no limits.

* A head may have 32 KiB and 100 fields, and 10 s to come in; a body 1 MiB and 30 s; a reply must be read within 30 s.
* A file that is written into a worker may have 1 GiB, as long as some of it comes every 30 s.
* Only a terminal may become a WebSocket.
* What is too much, too late or not HTTP gets one JSON error, after the replies to the requests before it, and the end.
* A hundred requests may be sent ahead of their replies. With more the connection ends after these, as HTTP allows.

A good request costs a few comparisons; a timer is only set while something is missing. The package lists the parts.
https://www.rfc-editor.org/rfc/rfc9112, https://github.com/MagicStack/httptools
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from worker_orchestrator.door.connections import Connections
from worker_orchestrator.http.access.throttle import client_of
from worker_orchestrator.http.reply import Reply
from worker_orchestrator.http.server import limits, upgrades
from worker_orchestrator.http.server.deadline import Deadline
from worker_orchestrator.http.server.incoming_message import BETWEEN, BODY, HEAD, IncomingMessage, StopReadingError
from worker_orchestrator.http.server.outlet import Outlet
from worker_orchestrator.http.server.reply_writer import ReplyWriter
from worker_orchestrator.http.server.short_requests import AtOnce, Exchange, read_short_request
from worker_orchestrator.http.server.websocket import bounded_socket

__all__ = ["BoundedProtocol"]

_writer: Final = ReplyWriter()


class BoundedProtocol(HttpToolsProtocol):
    """One connection, bounded in size and time, and one of `open_connections`.

    `at_once` is `App.at_once`: what it takes over needs no task, no ASGI messages, and one write.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        open_connections: Connections,
        at_once: AtOnce,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._open_connections, self._at_once = open_connections, at_once
        self._message = IncomingMessage()
        self._declined_body = b""  # the `body_fields` of a request whose upgrade we decline, until its body has come
        self._running: RequestResponseCycle | Exchange | None = None  # the request that is being answered
        self._exchange = Exchange()  # stands for each request on the short way
        self._rests_since = 0.0  # time of the loop when the last reply was complete
        self._last_error: Reply | None = None  # to be sent when all requests before it have been answered
        self._is_deaf = False  # what comes in now is dropped
        self._dropped_bytes = 0
        self._deadline = Deadline(self.loop)  # for what is to come in
        self._idle = Deadline(self.loop)  # for the next request to begin

    # the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._outlet = Outlet(transport, self.loop)
        if self._open_connections.admit(self, client_of(self._address)):
            self._deadline.set(limits.HEAD_S, self._pass_deadline)
        else:
            self._outlet.send(_writer.encode_last(limits.NO_ROOM, self.server_state.default_headers))
            self._hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.leave(self)
        self._deadline.cancel()
        self._idle.cancel()
        self._outlet.forget()
        if self._running is not None:  # uvicorn tells the last one in the line only
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def give_way(self) -> None:
        """Close: another client needs the place."""
        self._is_deaf = True
        self.transport.abort()

    def _pass_idle_time(self) -> None:
        """There may have been requests since the timer was set: looking now is cheaper than setting it for each of them."""
        if self._running is not None or self._deadline.is_set or self._is_deaf:
            return  # the next reply sets it, or the connection ends anyway
        left_s = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._idle.set(left_s, self._pass_idle_time)
        else:
            self._hang_up()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._outlet.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._outlet.resume()

    # what comes in

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > limits.LINGER_BYTES:
                self.transport.abort()
            return
        message = self._message
        is_between = self._running is None and message.part == BETWEEN and not message.received
        if is_between and not self.flow.write_paused and self._takes_short_request(data):
            return
        self._feed(data)
        if self._is_deaf:
            return
        if not self._deadline.is_set and (message.part != BETWEEN or self._running is None):
            self._deadline.set(message.timeout_s(), self._pass_deadline)

    def _takes_short_request(self, data: bytes) -> bool:
        """Whether this is a request that the application answers at once: it may have done so when this returns."""
        request = read_short_request(data)
        if request is None:
            return False
        method, name, headers = request
        self._running = self._exchange
        if not self._at_once(method, name, self._address, headers, self._answer_short_request):
            self._running = None
            return False
        if self._running is not None:  # the reply comes in a later turn
            self._exchange.begin()
            self.cycle = self._exchange  # type: ignore[assignment] # it has all that is asked of a cycle
            self._open_connections.begin(self)
        self._deadline.cancel()
        return True

    def _feed(self, data: bytes) -> None:
        """Give these bytes to httptools, which calls the methods `on_…`."""
        self._message.received += len(data)
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    if self._should_upgrade():
                        self._is_deaf = True  # what comes from now on is the WebSocket's
                        self.handle_websocket_upgrade()
                        return
                    data = data[upgrade.args[0] :]  # we speak no other protocol: HTTP/1.1 goes on
                    if self._message.part == BODY:
                        self._read_declined_body()
        except httptools.HttpParserError:
            if not self._is_deaf:
                self._refuse(limits.NOT_HTTP)
            return
        refusal = self._message.size_refusal()
        if refusal is not None:
            self._refuse(refusal)

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._message.begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._message.part == HEAD:  # trailers, which follow a body, are not headers, and are dropped
            stripped = value.strip(b" \t")  # httptools leaves the blanks behind a value, which do not belong to it
            self._message.count_blanks(len(value) - len(stripped))
            super().on_header(name, stripped)

    def on_headers_complete(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # only now, since most requests (those on the short way) do not need it
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers
        if len(self.pipeline) >= limits.PIPELINE_LIMIT:
            self._is_deaf = True  # the connection ends with the reply to the last request in the line
            self._deadline.cancel()
            self.cycle.keep_alive = False
            self.cycle.transport = self._outlet.lingering_transport()
            raise StopReadingError
        refusal = self._message.head_refusal(self.parser.get_method(), self.url, self.headers)
        if refusal is not None:
            self._refuse(refusal)
            raise StopReadingError
        if self.parser.should_upgrade() and not self._should_upgrade():
            self._declined_body = upgrades.body_fields(self.headers)
        super().on_headers_complete()
        self._deadline.cancel()
        if self._should_upgrade():
            return
        self.cycle.transport = self._outlet.reply_transport
        self._message.begin_body()
        if self._running is None:
            self._running = self.cycle
            self._open_connections.begin(self)
        elif len(self.pipeline) < limits.PIPELINE_LIMIT:
            self.flow.resume_reading()  # else uvicorn would not notice that the client of the reply before this one has gone

    def on_message_complete(self) -> None:
        if self._declined_body:
            return  # it is not complete: only its head has been read, see `upgrades`
        super().on_message_complete()
        self._message.end()
        self._deadline.cancel()

    def _pass_deadline(self) -> None:
        """What was to come in has not come in time."""
        if self._message.part == BETWEEN:
            self._hang_up()
        elif self.flow.read_paused:  # it may all be there, and we do not read it
            self._deadline.set(limits.HEAD_S, self._pass_deadline)
        elif self._message.grows():
            self._deadline.set(limits.BODY_S, self._pass_deadline)
        else:
            self._refuse(self._message.late_refusal())

    def _should_upgrade(self) -> bool:
        """Whether this request opens a terminal, and no other is being answered on this connection."""
        is_alone = self._running is None and not self._declined_body
        return is_alone and upgrades.is_terminal(self.url) and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        """From now on the connection is the WebSocket's, and no time limit of a request before it counts any more."""
        self._open_connections.begin(self)
        self._deadline.cancel()
        self._idle.cancel()
        is_paused = self.flow.write_paused  # the last reply is not read yet
        self.resume_writing()
        self.ws_protocol_class = bounded_socket(lambda: self._open_connections.leave(self), is_paused=is_paused)  # type: ignore[assignment] # makes one
        super().handle_websocket_upgrade()

    def _read_declined_body(self) -> None:
        """Read the body of a request that asked for an upgrade. It is the last request of this connection."""
        self.cycle.keep_alive = False

        def complete() -> None:
            self._declined_body = b""
            self.on_message_complete()
            self._is_deaf = True
            raise StopReadingError

        self.parser = upgrades.body_parser(self._declined_body, self.on_body, complete)

    # what goes out

    def _answer_short_request(self, more: str, reply: Reply) -> None:
        """Send the reply to a request on the short way, with these header fields beside its own."""
        exchange = self._exchange
        if exchange.disconnected or self._running is not exchange:
            return  # the client has gone, or it was answered before something else went wrong
        keep_alive = exchange.keep_alive
        self._outlet.send(_writer.encode_reply(reply, more, self.server_state.default_headers, keep_alive=keep_alive))
        exchange.end()
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        self._outlet.flush()
        is_closing = self.transport.is_closing()
        if self.pipeline and not is_closing:  # else what stands behind gets no reply
            self._running = self.pipeline[-1][0]
            super().on_response_complete()
            return
        self._running = None
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._open_connections.rest(self)
        if is_closing:
            self._hang_up()
        elif self._last_error is not None:
            self._send_error(self._last_error)
        elif self._message.part == BETWEEN:  # else it has a deadline
            self._rests_since = self.loop.time()
            if not self._idle.is_set:
                self._idle.set(self.timeout_keep_alive, self._pass_idle_time)

    def _refuse(self, error: Reply) -> None:
        """Read no more of this connection, answer the requests before this one, then send the error, and end it."""
        self._is_deaf = True
        self._deadline.cancel()
        if self._message.part == BODY:
            if self.pipeline:
                self.pipeline.popleft()  # it is the last in the line
            elif self.cycle.response_started:
                self.cycle.keep_alive = False
                self._hang_up()
                return
            else:
                self.cycle.disconnected = True  # the application hears that the client has gone
                self.cycle.message_event.set()
                self._running = None
        if self._running is None:
            self._send_error(error)
        else:
            self._last_error = error

    def _send_error(self, error: Reply) -> None:
        if self.transport.is_closing():
            return
        self._idle.cancel()
        self._open_connections.rest(self)
        self._outlet.send_and_linger(_writer.encode_last(error, self.server_state.default_headers))

    def _hang_up(self) -> None:
        self._is_deaf = True
        self._deadline.cancel()
        self._outlet.close()
