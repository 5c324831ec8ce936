"""Tar archives on their way: read as they come, unpacked where they belong, packed for a worker.

What a worker sends was made by strangers: an entry that would land outside of the target, or is neither a file, a folder nor
a link that stays inside, is left out and named.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from worker_orchestrator.cli.exit_codes import FAILED, Failed
from worker_orchestrator.cli.safe_unpacking import LeftOut, make_folder, put
from worker_orchestrator.cli.text_formats import printable

__all__ = ["Counted", "Stream", "packed", "unpack"]

_IN_MEMORY_BYTES: Final = 8 * 1024 * 1024


class Stream(io.RawIOBase):
    """What an iterator yields, as a file to read from."""

    def __init__(self, parts: Iterable[bytes], count: Callable[[int], Any] = lambda _: None) -> None:
        super().__init__()
        self._parts, self._count, self._rest = iter(parts), count, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = part
            self._count(len(part))
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)

    def close(self) -> None:
        closing = getattr(self._parts, "close", None)
        if closing is not None:
            closing()
        super().close()


class Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, count: Callable[[int], Any]) -> None:
        super().__init__()
        self._file, self._count = file, count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._file.read(len(buffer))
        buffer[: len(part)] = part
        self._count(len(part))
        return len(part)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def unpack(stream: Stream, target: Path, *, only_content: bool, as_folder: bool) -> list[str]:
    """Put what the archive holds at this path, or into it where it is a folder. Returns what was left out, and why.

    Raises Failed, and whatever reading the stream raises.
    """
    is_folder = target.is_dir()
    if as_folder and not is_folder:
        raise Failed(f"There is no folder {target}: make it first.", FAILED)
    if not is_folder and not target.parent.is_dir():
        raise Failed(f"There is no folder {target.parent}: make it first.", FAILED)
    left_out: list[str] = []
    buffered = io.BufferedReader(stream)
    try:
        with tarfile.open(fileobj=buffered, mode="r|") as archive:
            for entry in archive:
                try:
                    if is_folder and not only_content:
                        put(archive, entry, target, entry.name, entry.linkname)
                    else:
                        _put_renamed(archive, entry, target, is_folder=is_folder)
                except LeftOut as why:
                    left_out.append(f"{printable(entry.name)}: {why}")
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise Failed(f"What the service sent is no whole tar archive ({error}).", FAILED) from None
    except OSError as error:
        raise Failed(f"{error.filename or target} cannot be written: {error.strerror or error}.", FAILED) from None
    return left_out


def _put_renamed(archive: tarfile.TarFile, entry: tarfile.TarInfo, target: Path, *, is_folder: bool) -> None:
    """Its content goes into the target if that was a folder before; else it becomes the target."""
    first, rest = _split(entry.name)
    if is_folder and not rest and entry.isdir():
        return
    if is_folder or rest:
        if not is_folder:
            make_folder(target)
        put(archive, entry, target, rest or first, _split(entry.linkname)[1])
    elif not (entry.isdir() and target.is_dir()):
        put(archive, entry, target.parent, target.name)


def _split(name: str) -> tuple[str, str]:
    """What is copied, and the place within it."""
    first, _, rest = name.lstrip("/").partition("/")
    return first, rest


@contextmanager
def packed(source: Path, name: str, *, keep_owner: bool) -> Iterator[tuple[BinaryIO, int]]:
    """An archive of this file or folder, whose entries begin with this name, and its size in bytes. Raises Failed."""

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if not keep_owner:
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
        return entry

    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        try:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                archive.add(source, name, filter=owned)
        except OSError as error:
            raise Failed(f"{error.filename or source} cannot be read: {error.strerror or error}.", FAILED) from None
        size = file.tell()
        file.seek(0)
        yield file, size  # type: ignore[misc] # a binary file in all but its declared class
