"""Tar archives for `cp`: unpacked while they arrive from a worker, and packed for a worker.

An archive from a worker may be hostile: an entry that would be written outside of the target, or is neither a file, a folder
nor a link that stays inside, is left out and reported.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from worker_orchestrator.cli.exit_codes import FAILED, CommandFailed
from worker_orchestrator.cli.safe_unpacking import EntrySkippedError, make_folder, put_entry
from worker_orchestrator.cli.text_formats import printable

__all__ = ["CountingFile", "IterableFile", "packed_archive", "unpack_archive"]

_IN_MEMORY_BYTES: Final = 8 * 1024 * 1024


class IterableFile(io.RawIOBase):
    """The bytes of an iterator as a file to read from. Calls `count` with the size of each piece."""

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
        piece = self._rest[: len(buffer)]
        buffer[: len(piece)] = piece
        self._rest = self._rest[len(piece) :]
        return len(piece)

    def close(self) -> None:
        closing = getattr(self._parts, "close", None)
        if closing is not None:
            closing()
        super().close()


class CountingFile(io.RawIOBase):
    """A file that calls `count` with the number of bytes of each read."""

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


def unpack_archive(file: IterableFile, target: Path, *, only_content: bool, as_folder: bool) -> list[str]:
    """Unpack an archive to this path, or into it if it is a folder. Returns the entries that were left out, with reasons.

    Raises CommandFailed, and the errors of reading the file.
    """
    is_folder = target.is_dir()
    if as_folder and not is_folder:
        raise CommandFailed(f"There is no folder {target}. Make it first.", FAILED)
    if not is_folder and not target.parent.is_dir():
        raise CommandFailed(f"There is no folder {target.parent}. Make it first.", FAILED)
    skipped: list[str] = []
    buffered = io.BufferedReader(file)
    try:
        with tarfile.open(fileobj=buffered, mode="r|") as archive:
            for entry in archive:
                try:
                    if is_folder and not only_content:
                        put_entry(archive, entry, target, entry.name, entry.linkname)
                    else:
                        _put_renamed(archive, entry, target, is_folder=is_folder)
                except EntrySkippedError as reason:
                    skipped.append(f"{printable(entry.name)}: {reason}")
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise CommandFailed(f"The service did not send a complete tar archive ({error}).", FAILED) from None
    except OSError as error:
        raise CommandFailed(
            f"{error.filename or target} cannot be written: {error.strerror or error}.", FAILED
        ) from None
    return skipped


def _put_renamed(archive: tarfile.TarFile, entry: tarfile.TarInfo, target: Path, *, is_folder: bool) -> None:
    """Put the content of the copied folder into the target if that was a folder before; else the copy becomes the target."""
    first, rest = _split(entry.name)
    if is_folder and not rest and entry.isdir():
        return
    if is_folder or rest:
        if not is_folder:
            make_folder(target)
        put_entry(archive, entry, target, rest or first, _split(entry.linkname)[1])
    elif not (entry.isdir() and target.is_dir()):
        put_entry(archive, entry, target.parent, target.name)


def _split(name: str) -> tuple[str, str]:
    """The name of what is copied, and the path below it."""
    first, _, rest = name.lstrip("/").partition("/")
    return first, rest


@contextmanager
def packed_archive(source: Path, name: str, *, keep_owner: bool) -> Iterator[tuple[BinaryIO, int]]:
    """An archive of this file or folder, whose entries begin with `name`, and its size in bytes. Raises CommandFailed."""

    def with_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if not keep_owner:
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
        return entry

    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        try:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                archive.add(source, name, filter=with_owner)
        except OSError as error:
            raise CommandFailed(
                f"{error.filename or source} cannot be read: {error.strerror or error}.", FAILED
            ) from None
        size = file.tell()
        file.seek(0)
        yield file, size  # type: ignore[misc] # a binary file in all but its declared class
