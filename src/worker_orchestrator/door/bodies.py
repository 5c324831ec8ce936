"""Where the body of a message ends: after a length, after the last chunk, or with the connection.

Chunks are read strictly and written anew, so that nobody reads another length out of them than we do.
https://www.rfc-editor.org/rfc/rfc9112#section-7.1
"""

from __future__ import annotations

import re
from typing import Final

from worker_orchestrator.door.heads import CHUNKED, Fields, MalformedError, read_fields
from worker_orchestrator.door.stream import CutError, Stream

__all__ = ["Body", "Chunks", "chunk", "last_chunk"]

_LINE_BYTES: Final = 1024
_TRAILER_BYTES: Final = 8 * 1024
_TRAILER_LIMIT: Final = 50
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_NEW_LINE: Final = b"\r\n"
_NO_TRAILER: Final = frozenset(
    {
        *(b"content-length", b"transfer-encoding", b"host", b"trailer", b"te", b"connection", b"upgrade"),
        *(b"set-cookie", b"cookie", b"authorization", b"content-encoding", b"content-type", b"content-range"),
        *(b"forwarded", b"x-orchestrator-token"),
    }
)


class Chunks:
    """A body in chunks. `is_complete` when all has come; then `rest` is what belongs to the next message."""

    def __init__(self) -> None:
        self._held = b""  # the beginning of a line
        self._left = 0  # of the chunk, with its line end; 0: a size is next
        self._is_trailing = False
        self._trailing_bytes = 0
        self._lines: list[bytes] = []
        self.is_complete, self.rest = False, b""

    def feed(self, data: bytes) -> bytes:
        """The content in these bytes. Raises MalformedError."""
        pieces = list[bytes]()
        data, self._held, at = self._held + data, b"", 0
        while at < len(data) and not self.is_complete:
            if self._left > 0:
                at = self._take_content(data, at, pieces)
                continue
            end = data.find(_NEW_LINE, at, at + _LINE_BYTES)
            if end < 0:
                if len(data) - at >= _LINE_BYTES:
                    raise MalformedError("A line between chunks is too long.")
                self._held = data[at:]
                break
            self._read_line(data[at:end])
            at = end + len(_NEW_LINE)
        if self.is_complete:
            self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take_content(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take what there is of the chunk and the line end behind it. Returns where that ends."""
        content = min(self._left - len(_NEW_LINE), len(data) - at)
        if content > 0:
            pieces.append(data[at : at + content])
            at, self._left = at + content, self._left - content
        while 0 < self._left <= len(_NEW_LINE) and at < len(data):
            if data[at] != _NEW_LINE[-self._left]:
                raise MalformedError("A chunk is not as long as it says.")
            at, self._left = at + 1, self._left - 1
        return at

    def _read_line(self, line: bytes) -> None:
        if self._is_trailing:
            self._trailing_bytes += len(line)
            if self._trailing_bytes > _TRAILER_BYTES:
                raise MalformedError("There is too much behind the last chunk.")
            if line:
                self._lines.append(line)
            else:
                read_fields(self._lines, _TRAILER_LIMIT)
                self.is_complete = True
            return
        size = _SIZE.fullmatch(line)
        if size is None:
            raise MalformedError("A chunk does not begin with its size.")
        length = int(size[1], 16)
        self._left, self._is_trailing = (length + len(_NEW_LINE) if length else 0), not length

    @property
    def trailers(self) -> Fields:
        """The fields behind the last chunk that may stand there."""
        return [field for field in read_fields(self._lines, _TRAILER_LIMIT) if field[0] not in _NO_TRAILER]


class Body:
    """The body that comes next on this stream. `length` is that of its head: None until the end, CHUNKED, or bytes."""

    def __init__(self, stream: Stream, length: int | None) -> None:
        self._stream, self._left = stream, length
        self._chunks = Chunks() if length == CHUNKED else None
        self.is_complete = length == 0

    async def read(self) -> bytes:
        """The next piece; empty when it is complete. Raises CutError, MalformedError."""
        while not self.is_complete:
            data = await self._stream.read()
            if not data:
                if self._left is not None:
                    raise CutError
                self.is_complete = True
                return b""
            data = self._taken(data)
            if data:
                return data
        return b""

    def taken(self) -> bytes:
        """What has come of it so far; empty if that is nothing. Raises MalformedError if it comes in chunks."""
        data = b"" if self.is_complete else self._stream.take()
        return self._taken(data) if data else b""

    @property
    def trailers(self) -> Fields:
        return [] if self._chunks is None else self._chunks.trailers

    def _taken(self, data: bytes) -> bytes:
        if self._chunks is not None:
            data = self._chunks.feed(data)
            self.is_complete = self._chunks.is_complete
            if self._chunks.rest:
                self._stream.unread(self._chunks.rest)
            return data
        if self._left is None:
            return data
        if len(data) > self._left:
            self._stream.unread(data[self._left :])
            data = data[: self._left]
        self._left -= len(data)
        self.is_complete = not self._left
        return data


def chunk(data: bytes) -> bytes:
    """A piece of content, as a chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields) -> bytes:
    """The end of the body."""
    return b"0\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % (name, value) for _, name, value in trailers)
