"""How a connection sends what the protocol itself writes, and how it ends in good order.

uvicorn writes the replies of the ASGI application by itself: the head, then each part of the body, to what stands for the
transport here, which sends the head together with what follows it. All else goes through here as well: replies on the short
way, errors of the protocol, and the end of the connection, which never waits longer for its client than `limits` says.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, cast

from worker_orchestrator.http.server import limits
from worker_orchestrator.http.server.deadline import Deadline

__all__ = ["Outlet"]

_JOINED_BYTES: Final = 64 * 1024
"""The most that is copied behind its head; what is longer is written by itself."""


class _LingeringTransport:
    """The transport for the last reply of a connection: whoever closes it lets the connection linger instead."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close


class _JoiningTransport:
    """The transport for all replies of the application: the head waits for what follows it in the same turn of the loop.

    In two packets a reply wakes its client twice; and on asyncio's own loop, which leaves Nagle's algorithm on for what it
    accepts, it took 44 ms.
    """

    __slots__ = ("_head", "_loop", "_send", "_transport", "_turn", "is_closing")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, send: Callable[[bytes], None]
    ) -> None:
        self._transport, self._loop, self._send = transport, loop, send
        self._head = b""
        self._turn: asyncio.Handle | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        head = self._head
        if not head and data.startswith(b"HTTP/1.1 "):
            self._head, self._turn = data, self._loop.call_soon(self.flush)
        elif head and len(data) <= _JOINED_BYTES:
            self._let_go()
            self._send(head + data)
        else:
            self.flush()
            self._transport.write(data)

    def flush(self) -> None:
        """Send the head that waits, if there is one."""
        if self._head:
            self._send(self._let_go())

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def forget(self) -> None:
        if self._head:
            self._let_go()

    def _let_go(self) -> bytes:
        assert self._turn is not None, "a head waits for a turn of the loop"
        self._turn.cancel()
        head, self._head, self._turn = self._head, b"", None
        return head


class Outlet:
    """The outgoing side of one connection."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        opened = None if os.name == "nt" else transport.get_extra_info("socket")  # on Windows a socket is not a file
        self._descriptor = None if opened is None else opened.fileno()
        self._unread = Deadline(loop)  # set while the client reads too slowly
        self._end = Deadline(loop)  # set when the connection is to end
        self._joining = _JoiningTransport(transport, loop, self.send)
        self.flush = self._joining.flush
        self.reply_transport = cast("asyncio.Transport", self._joining)
        """For the replies of the application. `flush` before anything else is sent."""

    def send(self, data: bytes) -> None:
        """Write now: uvloop's transport would wait until all that is due in this turn is done, the log and metrics too."""
        if (
            self._descriptor is not None
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        ):
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError:  # its buffer is full, or the client has gone: the transport knows what to do
                self._transport.write(data)
                return
        if data:
            self._transport.write(data)

    def pause(self) -> None:
        """The client reads too slowly: give it up if that does not change in time."""
        if not self._unread.is_set:
            self._unread.set(limits.UNREAD_S, self._transport.abort)

    def resume(self) -> None:
        """The client reads again."""
        self._unread.cancel()

    def send_and_linger(self, data: bytes) -> None:
        """Write the last bytes of this connection."""
        self.flush()
        self._transport.write(data)
        self.linger()

    def linger(self) -> None:
        """Say that this was all, and go on reading for a while: see `limits.LINGER_S`."""
        self._transport.write_eof()
        self._end.set(limits.LINGER_S, self._transport.abort)

    def lingering_transport(self) -> asyncio.Transport:
        """The transport for the last reply, which lets the connection linger when it is closed."""
        return cast("asyncio.Transport", _LingeringTransport(self._transport, self.linger))

    def close(self) -> None:
        """Close when all that was sent has been read, or was not read in time."""
        self.flush()
        self._end.cancel()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._end.set(limits.UNREAD_S, self._transport.abort)

    def forget(self) -> None:
        """The connection is lost: none of its timers may fire."""
        self._end.cancel()
        self._unread.cancel()
        self._joining.forget()
