"""The first entry of a tar archive that flows by, as Python's own `tarfile` reads it: with its extended headers and all.

https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from worker_orchestrator.errors import EngineUnavailable

__all__ = ["Reader", "content_of", "first_entry", "printable"]

_MOST_HEADERS_BYTES: Final = 4 * 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024


class _More(Exception):
    """More of the archive is needed: this many bytes from its beginning."""

    def __init__(self, needed: int) -> None:
        super().__init__()
        self.needed = needed


class _Held(io.BytesIO):
    """The beginning of an archive, which never seems to end in the middle."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None, "an archive is read in blocks"
        needed = self.tell() + size
        taken = super().read(size)
        if len(taken) < size:
            raise _More(needed)
        return taken


class Reader:
    """Takes whole pieces from a stream that comes in pieces of any size."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source, self._kept = source, b""

    async def some(self, most: int) -> bytes:
        """What comes next, at least one byte and at most so many. Raises EngineUnavailable at the end."""
        while not self._kept:
            part = await anext(self._source, None)
            if part is None:
                raise _broken("it ends too early")
            self._kept = part
        taken, self._kept = self._kept[:most], self._kept[most:]
        return taken

    def put_back(self, data: bytes) -> None:
        """Let this come next."""
        self._kept = data + self._kept

    async def aclose(self) -> None:
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


async def first_entry(reader: Reader) -> tuple[tarfile.TarInfo, list[tuple[int, int]]]:
    """The first entry, and the parts of its content that come next (offset and count); the rest of it are zeros.

    What it is: `entry.isreg()`, `entry.size` in bytes; `entry.linkname` of a link may have bytes that are no text, as lone
    surrogates. Raises EngineUnavailable where it is no whole archive, or has none.
    """
    held = bytearray()
    while True:
        try:
            entry = _first_of(bytes(held))
        except _More as more:
            if more.needed > _MOST_HEADERS_BYTES:
                raise _broken("its headers are too long") from None
            while len(held) < more.needed:
                held += await reader.some(more.needed - len(held))
            continue
        reader.put_back(bytes(held[entry.offset_data :]))
        return entry, _parts(entry)


def _first_of(held: bytes) -> tarfile.TarInfo:
    """Raises _More, EngineUnavailable. From the beginning each time: there are only a few blocks before the content."""
    try:
        with tarfile.open(fileobj=_Held(held), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            entry = archive.next()
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise _broken(str(error)) from error
    if entry is None:
        raise _broken("it is empty")
    return entry


async def content_of(reader: Reader, size: int, parts: list[tuple[int, int]]) -> AsyncGenerator[bytes, None]:
    """So many bytes: these parts of them from the reader, which is closed in the end, and zeros between."""
    written = 0
    try:
        for offset, count in [*parts, (size, 0)]:
            while written < offset:
                zeros = min(offset - written, _PIECE_BYTES)
                written += zeros
                yield bytes(zeros)
            while written < offset + count:
                part = await reader.some(offset + count - written)
                written += len(part)
                yield part
    finally:
        await reader.aclose()


def _parts(entry: tarfile.TarInfo) -> list[tuple[int, int]]:
    sparse = getattr(entry, "sparse", None)
    parts = [(0, entry.size)] if sparse is None else sparse
    end = 0
    for offset, count in parts:
        if offset < end or count < 0:
            raise _broken("the parts of a file overlap")
        end = offset + count
    if end > entry.size or entry.size < 0:
        raise _broken("a file has an impossible size")
    return parts


def printable(path: str) -> str:
    """A path as it can stand in a message, its lone surrogates (bytes that are no text) as backslash, x and two digits."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _broken(why: str) -> EngineUnavailable:
    return EngineUnavailable(f"The engine's archive cannot be read: {why}.")
