"""Decompresses a stream as it comes: gzip, bzip2 or xz by its first bytes, as Docker takes archives. All else stays.

However much a piece holds, only a little of it is in memory at a time.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final, Protocol

__all__ = ["NotWhole", "decompressed"]

_MOST_BYTES: Final = 256 * 1024
_MAGIC_BYTES: Final = 6


class NotWhole(Exception):
    """What was sent is no whole archive; its text says why."""


class _Member(Protocol):
    """One compressed stream, of which several may follow each other. As those of `bz2` and `lzma`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """The same for `zlib`, which gives back what it has not read yet."""

    def __init__(self) -> None:
        self._member, self._unread = zlib.decompressobj(zlib.MAX_WBITS | 16), b""

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def needs_input(self) -> bool:
        return not self._unread and not self.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        piece = self._member.decompress(self._unread + data, max_length)
        self._unread = self._member.unconsumed_tail
        return piece


_KINDS: Final[dict[bytes, tuple[str, Callable[[], _Member]]]] = {
    b"\x1f\x8b\x08": ("gzip", _Gzip),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": ("xz", lzma.LZMADecompressor),
}


async def decompressed(source: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """What is in this stream. Raises NotWhole, and what the source raises."""
    pieces = _from_magic_on(source)
    first = await anext(pieces)
    known = next((known for magic, known in _KINDS.items() if first.startswith(magic)), None)
    if known is None:
        yield first
        async for piece in pieces:
            yield piece
        return
    name, begin = known
    try:
        async for piece in _members(first, pieces, begin):
            yield piece
    except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
        raise NotWhole(f"{name}: {error}".replace("(", "").replace(")", "")) from error


async def _members(
    first: bytes, pieces: AsyncIterator[bytes], begin: Callable[[], _Member]
) -> AsyncGenerator[bytes, None]:
    """Raises EOFError if the last one is not whole, and what `decompress` raises."""
    member, data = begin(), first
    while True:
        yield member.decompress(data, _MOST_BYTES)
        data = b""
        if member.eof:
            data = member.unused_data or await anext(pieces, b"")
            if not data:
                return
            member = begin()
        elif member.needs_input:
            following = await anext(pieces, None)
            if following is None:
                raise EOFError("it ends too early")
            data = following


async def _from_magic_on(source: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same pieces, of which the first is long enough to tell what it is, if there is so much."""
    first, is_told = b"", False
    async for piece in source:
        if is_told:
            yield piece
        elif len(first := first + piece) >= _MAGIC_BYTES:
            is_told = True
            yield first
    if not is_told:
        yield first
