"""What goes between the service and the door: messages, and connections that the service hands over.

Both ends hold one socket of a pair. A frame is its kind, its length, and so many bytes; with a connection comes its file
descriptor, which the kernel gives to the other process together with the first byte of the frame.
https://man7.org/linux/man-pages/man7/unix.7.html (SCM_RIGHTS)
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Channel", "Heard"]

_HEADER: Final = struct.Struct("!BI")
_MESSAGE: Final = 1
_CONNECTION: Final = 2
_READ_BYTES: Final = 256 * 1024
_MOST_SOCKETS: Final = 64
WAITING_BYTES: Final = 64 * 1024 * 1024
"""So much may wait for a door that does not read, before connections are refused."""
WAITING_CONNECTIONS: Final = 200
"""And so many connections: each is a descriptor of the service, which counts it no more. The kernel holds some besides."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is called with what comes. `ended`: the other process has gone, or closed its end."""

    message: Callable[[bytes], None]
    connection: Callable[[socket.socket, bytes], None]
    ended: Callable[[], None]


class Channel:
    """One end. It is closed by `close`, or by the end of the other process."""

    def __init__(self, own: socket.socket, heard: Heard) -> None:
        self._socket, self._heard = own, heard
        own.settimeout(0)
        self._loop = asyncio.get_running_loop()
        self._held = b""
        self._came: deque[int | None] = deque()  # descriptors whose frames are not complete; None: it was lost
        self._to_send: deque[tuple[bytes, int | None]] = deque()
        self._waiting_bytes, self._waiting_connections, self._is_closed = 0, 0, False
        self._loop.add_reader(own, self._receive)
        self._seen = select.poll()
        self._seen.register(own, select.POLLIN)

    def tell(self, message: bytes) -> None:
        """Send a message. It is dropped if the channel is closed."""
        if not self._is_closed:
            self._queue(_HEADER.pack(_MESSAGE, len(message)) + message, None)

    def hand_over(self, descriptor: int, read: bytes) -> bool:
        """Give the other process this connection, of which these bytes were read. The caller closes its own copy.

        False if that cannot be done now.
        """
        if self._is_closed or self._waiting_bytes > WAITING_BYTES or self._waiting_connections >= WAITING_CONNECTIONS:
            return False
        try:
            copy = os.dup(descriptor)
        except OSError:
            return False
        self._queue(_HEADER.pack(_CONNECTION, len(read)) + read, copy)
        return True

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        for _, descriptor in self._to_send:
            if descriptor is not None:
                os.close(descriptor)
        for came in self._came:
            if came is not None:
                os.close(came)
        self._to_send.clear()
        self._came.clear()
        self._socket.close()

    # sending

    def _queue(self, frame: bytes, descriptor: int | None) -> None:
        self._to_send.append((frame, descriptor))
        self._waiting_bytes += len(frame)
        self._waiting_connections += descriptor is not None
        if len(self._to_send) == 1:
            self._send()

    def _send(self) -> None:
        while self._to_send:
            data, descriptor = self._to_send[0]
            try:
                sent = (
                    self._socket.send(data)
                    if descriptor is None
                    else socket.send_fds(self._socket, [data], [descriptor])
                )
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket, self._send)
                return
            except OSError:
                self._end()
                return
            self._waiting_bytes -= sent
            self._to_send.popleft()
            if descriptor is not None:
                os.close(descriptor)
                self._waiting_connections -= 1
            if sent < len(data):
                self._to_send.appendleft((data[sent:], None))
        self._loop.remove_writer(self._socket)

    # receiving

    def catch_up(self) -> None:
        """Hear now what the other process has said so far."""
        while not self._is_closed and self._seen.poll(0) and self._receive():
            pass

    def _receive(self) -> bool:
        """Take what has come. Returns whether there was anything."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._socket, _READ_BYTES, _MOST_SOCKETS)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data, descriptors, flags = b"", [], 0
        # Out of descriptors, the kernel closes what came. Its frame must not take the connection of the next one.
        is_lost = not descriptors and bool(flags & socket.MSG_CTRUNC)
        self._came.extend([None] if is_lost else descriptors)
        if not data:
            self._end()
            return False
        self._held += data
        while not self._is_closed and len(self._held) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._held)
            if len(self._held) < _HEADER.size + length:
                break
            content = self._held[_HEADER.size : _HEADER.size + length]
            self._held = self._held[_HEADER.size + length :]
            self._take(kind, content)
        return True

    def _take(self, kind: int, content: bytes) -> None:
        if kind == _MESSAGE:
            self._heard.message(content)
        elif kind == _CONNECTION and self._came and (came := self._came.popleft()) is not None:
            self._heard.connection(socket.socket(fileno=came), content)

    def _end(self) -> None:
        if not self._is_closed:
            self.close()
            self._heard.ended()
