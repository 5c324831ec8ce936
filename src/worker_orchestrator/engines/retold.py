"""Tells a tar archive again in the plainest form, so that every `tar` of a worker unpacks it alike, and checks it meanwhile.

What comes may be compressed, as Docker takes it. What goes on has users in numbers only, long names in the way of GNU, whole
files in the place of sparse ones, and no name that leads out of its folder. Nothing is held but headers and one piece.
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from worker_orchestrator.engines.archive import Reader, filled_up, first_entry
from worker_orchestrator.engines.decompressed import NotWhole, decompressed
from worker_orchestrator.errors import EngineUnavailable

__all__ = ["NotTaken", "Retold", "renamed"]

_BLOCK: Final = tarfile.BLOCKSIZE
_PLAIN: Final = frozenset(b"\001234567")
"""The types of entries that are one block, and the content."""
_TAKEN: Final = frozenset({*tarfile.REGULAR_TYPES, *tarfile.SUPPORTED_TYPES})


class NotTaken(Exception):
    """An entry of the archive cannot be unpacked there; its text says why."""


class Retold:
    """One archive for the folder at `place`.

    `entered` gets each entry before the first of its bytes is told: its name below the folder, and whether it is a folder.
    """

    def __init__(self, source: AsyncIterator[bytes], place: str, entered: Callable[[str, bool], None]) -> None:
        self._source, self._place, self._entered = source, place, entered

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The archive, to its end. Raises NotWhole, NotTaken, and what the source raises."""
        plain = decompressed(self._source)
        reader = Reader(plain)
        try:
            while (found := await _next_entry(reader)) is not None:
                entry, parts = found
                if not self._put_below(entry):
                    continue
                self._entered(entry.name, entry.isdir())
                yield _header(entry)
                if entry.isreg():
                    async for piece in _content(reader, entry.size, parts):
                        yield piece
            yield bytes(2 * _BLOCK)
            async for _ in plain:  # what comes after the end says whether it was whole
                pass
        finally:
            await plain.aclose()

    def _put_below(self, entry: tarfile.TarInfo) -> bool:
        """Name it below the folder. False for the folder itself, which is there. Raises NotTaken."""
        if entry.type not in _TAKEN:
            raise NotTaken(f"unhandled tar header type {entry.type!r} of {entry.name}")
        entry.name = self._below(entry.name)
        if entry.islnk():
            entry.linkname = self._below(entry.linkname)
        return entry.name != "."

    def _below(self, name: str) -> str:
        there = posixpath.normpath(posixpath.join(self._place, name.lstrip("/")))
        below = posixpath.relpath(there, self._place)
        if below == ".." or below.startswith("../"):
            raise NotTaken(f"{name} is outside of the folder")
        return below


async def renamed(source: AsyncGenerator[bytes, None], name: str) -> AsyncGenerator[bytes, None]:
    """An archive of what is in a folder as one of the folder under this name.

    Raises EngineUnavailable if it is not whole, and what the source raises.
    """
    try:
        async with aclosing(source), aclosing(_Renamed(source, name).pieces()) as pieces:
            async for piece in pieces:
                yield piece
    except NotWhole as error:
        raise EngineUnavailable(f"The archive of {name} cannot be read: {error}.") from error


class _Renamed(Retold):
    def __init__(self, source: AsyncIterator[bytes], name: str) -> None:
        super().__init__(source, "/", lambda _name, _is_folder: None)
        self._name = name

    def _put_below(self, entry: tarfile.TarInfo) -> bool:
        entry.name = posixpath.normpath(posixpath.join(self._name, entry.name))
        if entry.islnk():
            entry.linkname = posixpath.normpath(posixpath.join(self._name, entry.linkname))
        return True


def _header(entry: tarfile.TarInfo) -> bytes:
    """With the fraction of a second of its time for the programs that read it, and for none a reason to stop."""
    entry.uname = entry.gname = ""
    fraction = b""
    if entry.mtime != int(entry.mtime):
        record = f" mtime={entry.mtime:.9f}\n".encode()
        size = len(record) + 2
        record = str(size).encode() + record
        assert len(record) == size < 100, "a number of two digits"
        told = tarfile.TarInfo("./PaxHeaders/time")
        told.type, told.size = tarfile.XHDTYPE, size
        fraction = told.tobuf(tarfile.USTAR_FORMAT) + record + bytes(-size % _BLOCK)
    plain = tarfile.TarInfo(entry.name)
    plain.type = tarfile.REGTYPE if entry.isreg() else entry.type
    plain.size = entry.size if entry.isreg() else 0
    plain.mode, plain.uid, plain.gid, plain.mtime = entry.mode, entry.uid, entry.gid, int(entry.mtime)
    plain.linkname, plain.devmajor, plain.devminor = entry.linkname, entry.devmajor, entry.devminor
    return fraction + plain.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


async def _next_entry(reader: Reader) -> tuple[tarfile.TarInfo, list[tuple[int, int]]] | None:
    """The next entry, and the parts of its content; None at the end. Raises NotWhole."""
    if await reader.is_at_end():
        return None
    with _whole():
        block = await _exactly(reader, _BLOCK)
        if not any(block):
            return None
        if block[156] in _PLAIN:
            entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            return entry, [(0, entry.size)]
        reader.put_back(block)
        return await first_entry(reader)


async def _content(reader: Reader, size: int, parts: list[tuple[int, int]]) -> AsyncGenerator[bytes, None]:
    """The content of an entry, filled up to whole blocks, as is what it takes from the reader."""
    with _whole():
        async for piece in filled_up(reader, size, parts):
            yield piece
        yield bytes(-size % _BLOCK)
        await _exactly(reader, -sum(count for _, count in parts) % _BLOCK)


async def _exactly(reader: Reader, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await reader.some(count - len(data))
    return data


@contextmanager
def _whole() -> Iterator[None]:
    """Turns what is wrong with an archive into NotWhole."""
    try:
        yield
    except EngineUnavailable as error:
        raise NotWhole(error.message.partition(": ")[2].rstrip(".")) from error
    except tarfile.TarError as error:
        raise NotWhole(str(error)) from error
