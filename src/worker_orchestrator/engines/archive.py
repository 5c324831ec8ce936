"""Reads the first entry of a tar archive from a stream, as Python's `tarfile` does, with its extended headers.

https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from worker_orchestrator.errors import EngineUnavailable

__all__ = ["Reader", "content_of", "filled_up", "first_entry", "in_large_pieces", "link_alone", "printable"]

_MOST_HEADERS_BYTES: Final = 4 * 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024


def link_alone(path: str, target: str) -> bytes:
    """An archive that holds one link: the one at this path, which leads to `target`. To the same folder it is relative."""
    packed = io.BytesIO()
    folder, name = posixpath.split(target)
    target = name if name and folder == posixpath.dirname(path) else target
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(posixpath.basename(path))
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        archive.addfile(entry)
    return packed.getvalue()


class _More(Exception):
    """More of the archive is needed: this many bytes from its beginning."""

    def __init__(self, needed: int) -> None:
        super().__init__()
        self.needed = needed


class _Beginning(io.BytesIO):
    """The beginning of an archive. Reading beyond it raises _More, so that it never looks like a truncated archive."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None, "an archive is read in blocks"
        needed = self.tell() + size
        data = super().read(size)
        if len(data) < size:
            raise _More(needed)
        return data


class Reader:
    """Reads a stream that comes in pieces of any size, and takes bytes back."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source, self._buffer = source, b""

    async def is_at_end(self) -> bool:
        """Whether the stream brings nothing more."""
        while not self._buffer:
            part = await anext(self._source, None)
            if part is None:
                return True
            self._buffer = part
        return False

    async def some(self, most: int) -> bytes:
        """The next bytes, at least one and at most `most`. Raises EngineUnavailable at the end of the stream."""
        if await self.is_at_end():
            raise _broken("it ends too early")
        data, self._buffer = self._buffer[:most], self._buffer[most:]
        return data

    def put_back(self, data: bytes) -> None:
        """Let this come next."""
        self._buffer = data + self._buffer

    async def aclose(self) -> None:
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


async def first_entry(reader: Reader) -> tuple[tarfile.TarInfo, list[tuple[int, int]]]:
    """The first entry, and the parts of its content that the stream brings next (offset and count); all else is zeros.

    `entry.isreg()` says what it is, `entry.size` is in bytes, and bytes of `entry.linkname` that are not text are lone
    surrogates. Raises EngineUnavailable if the archive is not whole, or has no entry.
    """
    beginning = bytearray()
    while True:
        try:
            entry = _first_of(bytes(beginning))
        except _More as more:
            if more.needed > _MOST_HEADERS_BYTES:
                raise _broken("its headers are too long") from None
            while len(beginning) < more.needed:
                beginning += await reader.some(more.needed - len(beginning))
            continue
        reader.put_back(bytes(beginning[entry.offset_data :]))
        return entry, _parts(entry)


def _first_of(beginning: bytes) -> tarfile.TarInfo:
    """Raises _More, EngineUnavailable. From the beginning each time: there are only a few blocks before the content."""
    try:
        with tarfile.open(
            fileobj=_Beginning(beginning), mode="r:", encoding="utf-8", errors="surrogateescape"
        ) as archive:
            entry = archive.next()
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise _broken(str(error)) from error
    if entry is None:
        raise _broken("it is empty")
    return entry


async def in_large_pieces(source: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes in pieces of 64 KiB and more; only the last may be smaller. A small archive is one piece.

    An engine makes a file as soon as it has its header. If the content came later, a server for development that watches
    files in the worker would read it empty.
    """
    held, size = list[bytes](), 0
    async for piece in source:
        held.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


async def content_of(reader: Reader, size: int, parts: list[tuple[int, int]]) -> AsyncGenerator[bytes, None]:
    """`size` bytes: these parts of them from the reader, which is closed in the end, and zeros between."""
    try:
        async for piece in filled_up(reader, size, parts):
            yield piece
    finally:
        await reader.aclose()


async def filled_up(reader: Reader, size: int, parts: list[tuple[int, int]]) -> AsyncGenerator[bytes, None]:
    """The same, with the reader left open."""
    written = 0
    for offset, count in [*parts, (size, 0)]:
        while written < offset:
            zeros = min(offset - written, _PIECE_BYTES)
            written += zeros
            yield bytes(zeros)
        while written < offset + count:
            part = await reader.some(offset + count - written)
            written += len(part)
            yield part


def _parts(entry: tarfile.TarInfo) -> list[tuple[int, int]]:
    sparse = getattr(entry, "sparse", None)
    # GNU fills its table up with parts without a length.
    parts = [(0, entry.size)] if sparse is None else [part for part in sparse if part != (0, 0)]
    end = 0
    for offset, count in parts:
        if offset < end or count < 0:
            raise _broken("the parts of a file overlap")
        end = offset + count
    if end > entry.size or entry.size < 0:
        raise _broken("a file has an impossible size")
    return parts


def printable(path: str) -> str:
    """A path for a message: its lone surrogates (bytes that are not text) are written as backslash, x and two digits."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _broken(why: str) -> EngineUnavailable:
    return EngineUnavailable(f"The engine's archive cannot be read: {why}.")
