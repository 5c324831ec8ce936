"""One file out of, or into, a tar archive that flows by: engines speak tar, callers mostly want a file.

https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

import posixpath
import tarfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.errors import InvalidInput

__all__ = ["File", "of_file", "single", "target"]

_BLOCK: Final = tarfile.BLOCKSIZE
_BEFORE_AN_ENTRY: Final = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}


@dataclass(frozen=True, slots=True)
class File:
    """A regular file that is about to flow by."""

    size: int
    content: AsyncGenerator[bytes, None]


class _Reader:
    """Takes whole pieces from a stream that comes in pieces of any size."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source, self._kept = source, b""

    async def some(self, most: int) -> bytes:
        """What comes next, at most so much; empty at the end."""
        if not self._kept:
            self._kept = await anext(self._source, b"")
        taken, self._kept = self._kept[:most], self._kept[most:]
        return taken

    async def exactly(self, count: int) -> bytes:
        """Raises InvalidInput where the archive ends before."""
        parts, missing = [], count
        while missing:
            part = await self.some(missing)
            if not part:
                raise InvalidInput("The engine's archive ends too early.")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    async def aclose(self) -> None:
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


async def single(source: AsyncIterator[bytes]) -> File | str | None:
    """The first entry of an archive: a file, the target of a link, or None for anything else."""
    reader = _Reader(source)
    try:
        while True:
            entry = tarfile.TarInfo.frombuf(await reader.exactly(_BLOCK), "utf-8", "surrogateescape")
            if entry.type not in _BEFORE_AN_ENTRY:
                break
            await reader.exactly(entry.size + -entry.size % _BLOCK)
    except BaseException:
        await reader.aclose()
        raise
    if entry.isreg():
        return File(entry.size, _content(reader, entry.size))
    await reader.aclose()
    return entry.linkname if entry.issym() else None


async def _content(reader: _Reader, size: int) -> AsyncGenerator[bytes, None]:
    try:
        while size:
            part = await reader.some(size)
            if not part:
                raise InvalidInput("The engine's archive ends too early.")
            size -= len(part)
            yield part
    finally:
        await reader.aclose()


def target(path: str, link: str) -> str:
    """Where a link at this path leads."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


async def of_file(name: str, size: int, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """An archive of one file of this size, for anybody to read."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, int(time.time())
    yield entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    async for part in content:
        if part:
            yield part
    yield bytes(-size % _BLOCK + 2 * _BLOCK)
