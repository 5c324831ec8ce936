"""One TCP connection as both sides of a relay use it: read as it comes, written as fast as the other side reads.

Nothing is read ahead beyond `HIGH_BYTES`, so what one side does not take is not fetched from the other one. While one side
does not read, next to nothing of what is on its way to it is held here: a piece that was read, and what the kernel took.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, cast

__all__ = ["HIGH_BYTES", "STALL_S", "CutError", "StalledError", "Stream", "TooLongError"]

PIECE_BYTES: Final = 32 * 1024
"""So much is read at once. For a side that takes nothing two such pieces may be held, one read and one half written."""
LARGE_PIECE_BYTES: Final = 256 * 1024
"""So much of a large body that both sides move quickly: each piece costs the same, whatever its size."""
LARGE_BYTES: Final = 1024 * 1024
"""After so much without a small piece a body is a large one. What the kernel holds for a peer that does not read is less."""
SLOW_S: Final = 0.1
"""A side that has to be waited for so long is a slow one: while it is, small pieces are held for it."""
HIGH_BYTES: Final = 32 * 1024
"""If more than this came in and nobody has read it, nothing more is fetched."""
WRITE_HIGH_BYTES: Final = 16 * 1024
"""If more than this is to go out, who writes has to wait."""
UNSENT_BYTES: Final = 64 * 1024
"""So much at most waits in the kernel for a peer that does not read, beside what is on its way: else it is megabytes."""
STALL_S: Final = 120.0
"""So long a side may take nothing of what is sent to it."""
LINGER_S: Final = 2.0
CLOSE_S: Final = 5.0
"""So long the last of what was written may wait for a peer that takes nothing."""
LINGER_BYTES: Final = 16 * 1024 * 1024
_NEW_LINE: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_large_piece: Final = memoryview(bytearray(LARGE_PIECE_BYTES))
"""Where all connections read to, one after the other: it is copied from before the next one reads."""
_piece: Final = _large_piece[:PIECE_BYTES]
_VANISHED: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 120_000))
"""After a minute of silence the kernel asks a peer whether it is there still, and after two it has vanished."""


class CutError(Exception):
    """The other side ended the connection before it had sent what it had begun."""


class StalledError(CutError):
    """The other side took nothing for so long that the connection was ended."""


class TooLongError(Exception):
    """A head is longer than it may be."""


class Stream(asyncio.BufferedProtocol):
    """`first` was read from this connection before. `client` is the address of the other side."""

    def __init__(self, first: bytes = b"") -> None:
        self._loop = asyncio.get_running_loop()
        self._held = first
        self._searched = 0  # so far there is no end of a head
        self._bulk_bytes = 0  # that came in pieces of some size, one after the other, for a side that took them
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._is_reading_paused = self._is_writing_paused = False
        self._transport: asyncio.Transport | None = None
        self.has_ended = False  # nothing more will come
        self.is_lost = False  # nothing can be sent any more
        self.on_end: Callable[[], None] | None = None
        self.on_loss: Callable[[], None] | None = None
        self.client = ""

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        own = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # else a tunnel whose peer has vanished stays for ever
            own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _VANISHED:
                if hasattr(socket, name):
                    own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if isinstance(peer, tuple) else ""

    def get_buffer(self, _: int) -> memoryview:
        return _piece if self._bulk_bytes < LARGE_BYTES else _large_piece

    def buffer_updated(self, count: int) -> None:
        self._bulk_bytes = self._bulk_bytes + count if count >= HIGH_BYTES else 0
        self.data_received(bytes(_large_piece[:count]))

    def data_received(self, data: bytes) -> None:
        self._held = self._held + data if self._held else data
        # At the size of a whole piece, so that large bodies go on as they came and are never put together.
        if len(self._held) >= HIGH_BYTES:
            self._pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        self._end()
        return True  # the other direction goes on

    def connection_lost(self, _: Exception | None) -> None:
        self.is_lost = True
        for writer in self._writers:
            if not writer.done():
                writer.set_result(None)
        self._end()
        on_loss, self.on_loss = self.on_loss, None
        if on_loss is not None:
            on_loss()

    def pause_writing(self) -> None:
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        for writer in self._writers:
            if not writer.done():
                writer.set_result(None)

    # reading

    @property
    def is_clean(self) -> bool:
        """Whether it is open, and nothing came that nobody has read."""
        return not self._held and not self.has_ended

    async def read(self) -> bytes:
        """What has come, at least a byte; empty at the end."""
        if not self._held:
            await self.wait()
        return self.take()

    def unread(self, data: bytes) -> None:
        """Put back what was read too much."""
        self._held, self._searched = data + self._held, 0

    def skip_blank_lines(self, most: int) -> int:
        """Drop the blank lines at the beginning of what has come, so many at most. Returns how many these were."""
        count = 0
        while count < most and self._held.startswith(_NEW_LINE, count * len(_NEW_LINE)):
            count += 1
        if count:
            self._held, self._searched = self._held[count * len(_NEW_LINE) :], 0
        return count

    async def wait_for_more_than_blank_lines(self, most: int, limit_s: float) -> None:
        """Return when something else has come, or nothing will. So many blank lines are dropped at most.

        Raises TimeoutError if nothing at all comes for so long.
        """
        while not self.has_ended:
            most -= self.skip_blank_lines(most)
            if self._held not in {b"", _NEW_LINE[:1]}:
                return
            await self._wait(limit_s)

    def take_head(self, limit_bytes: int) -> bytes | None:
        """Up to and with the next empty line; None if that has not come yet. Raises TooLongError."""
        if not self._held:
            return None
        end = self._held.find(_END, max(0, self._searched - len(_END)))
        if end < 0:
            self._searched = len(self._held)
            if len(self._held) > limit_bytes:
                raise TooLongError
            return None
        end += len(_END)
        if end > limit_bytes:
            raise TooLongError
        head, self._held, self._searched = self._held[:end], self._held[end:], 0
        if self._is_reading_paused:
            self._go_on_reading()
        return head

    async def read_head(self, limit_bytes: int) -> bytes | None:
        """Up to and with the next empty line; None if the connection ends before it begins.

        Raises TooLongError, and CutError if the connection ends within.
        """
        while (head := self.take_head(limit_bytes)) is None:
            if self.has_ended:
                if self._held:
                    raise CutError
                return None
            self._resume_reading()  # a head may be longer than what is held of a body
            await self._wait()
        return head

    def now(self) -> float:
        """The time of its loop, in seconds."""
        return self._loop.time()

    async def wait(self, limit_s: float | None = None) -> None:
        """Return when something has come, or nothing will. Raises TimeoutError after so long."""
        while not self._held and not self.has_ended:
            await self._wait(limit_s)

    def take(self) -> bytes:
        """What has come; empty if that is nothing."""
        data, self._held, self._searched = self._held, b"", 0
        if self._is_reading_paused:
            self._go_on_reading()
        return data

    def _go_on_reading(self) -> None:
        if len(self._held) <= HIGH_BYTES:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = False
            self._transport.resume_reading()

    async def _wait(self, limit_s: float | None = None) -> None:
        """A timer of its own costs less than asyncio.timeout, which cancels the task."""
        self._reader = reader = self._loop.create_future()
        timer = None if limit_s is None else self._loop.call_later(limit_s, _is_late, reader)
        try:
            await reader
        finally:
            self._reader = None
            if timer is not None:
                timer.cancel()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _end(self) -> None:
        if self.has_ended and self.on_end is None:
            return
        self.has_ended = True
        self._wake_reader()
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()

    # writing

    def write(self, data: bytes) -> None:
        if not self.is_lost and self._transport is not None:
            self._transport.write(data)

    @property
    def is_full(self) -> bool:
        """Whether `drain` has something to wait for, or to raise."""
        return self._is_writing_paused or self.is_lost

    async def drain(self, source: Stream | None = None) -> None:
        """Return when more may be written; meanwhile nothing is fetched from `source`. Raises CutError if it is lost."""
        if self._is_writing_paused and not self.is_lost:
            if source is not None:
                source._pause_reading()  # noqa: SLF001 # the other side of the same relay
            writer, since = self._loop.create_future(), self._loop.time()
            self._writers.append(writer)
            try:
                async with asyncio.timeout(STALL_S):
                    await writer
            except TimeoutError:
                self.abort()
                raise StalledError from None
            finally:
                self._writers.remove(writer)
                if source is not None:
                    if self._loop.time() - since > SLOW_S:
                        source._bulk_bytes = 0  # noqa: SLF001 # as above
                    source._go_on_reading()  # noqa: SLF001
        if self.is_lost:
            raise CutError

    def write_eof(self) -> None:
        """Nothing more will be sent."""
        if not self.is_lost and self._transport is not None and self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()

    def close(self) -> None:
        """End it when what was written has gone out, or is not taken for `CLOSE_S`."""
        if self._transport is not None and not self.is_lost:
            if self._transport.get_write_buffer_size():
                self._loop.call_later(CLOSE_S, self.abort)
            self._transport.close()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    async def linger(self) -> None:
        """End it so that the other side can read what was written, though it has sent more than was read."""
        self.write_eof()
        dropped = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while dropped <= LINGER_BYTES and (data := await self.read()):
                    dropped += len(data)
        self.close()


def _is_late(reader: asyncio.Future[None]) -> None:
    if not reader.done():
        reader.set_exception(TimeoutError())
