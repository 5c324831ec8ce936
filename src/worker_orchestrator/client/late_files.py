"""Files for a worker that is running already, as the archive that an assign takes. Equal files make equal archives."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.errors import InvalidInput

__all__ = ["LateFiles", "encoded_files"]

LateFiles = str | os.PathLike[str] | bytes | Mapping[str, bytes]
"""The path of a folder whose content is sent, a tar archive, or files by their relative paths."""

_MOST_BYTES: Final = 1024 * 1024
_AFTERWARDS: Final = "Assign with fewer of them, and write the others afterwards (`write_tar`, `orchestrator cp`)."


def encoded_files(files: LateFiles) -> str:
    """These as base64 of a tar archive. Raises InvalidInput."""
    if isinstance(files, bytes):
        archive = files
    elif isinstance(files, Mapping):
        archive = _packed(_in_memory(files))
    else:
        archive = _packed(_in_folder(Path(files)))
    if len(archive) > _MOST_BYTES:
        raise InvalidInput(f"The files are {len(archive)} bytes as an archive, but may be {_MOST_BYTES}. {_AFTERWARDS}")
    return b64encode(archive).decode()


def _packed(entries: Iterator[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    file, size = io.BytesIO(), 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry, content in entries:
            size += len(content)
            if size > _MOST_BYTES:
                raise InvalidInput(f"The files are larger than {_MOST_BYTES} bytes. {_AFTERWARDS}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _in_memory(files: Mapping[str, bytes]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    given: Mapping[Any, Any] = files
    for path, content in given.items():
        if not isinstance(path, str) or not isinstance(content, bytes):
            raise InvalidInput(f"files has something else than bytes under {path!r}.")
        yield tarfile.TarInfo(path), content


def _in_folder(folder: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Everything below this folder, sorted; links as links. Raises InvalidInput."""
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}. `files` is a folder, whose content is sent.")
    try:
        for path in sorted(folder.rglob("*")):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            found = path.lstat()
            entry.mode = stat.S_IMODE(found.st_mode)
            content = b""
            if stat.S_ISLNK(found.st_mode):
                entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
            elif stat.S_ISDIR(found.st_mode):
                entry.type = tarfile.DIRTYPE
            elif not stat.S_ISREG(found.st_mode):
                raise InvalidInput(f"{path} is neither a file, a folder nor a link, so it cannot be sent.")
            elif found.st_size > _MOST_BYTES:
                raise InvalidInput(f"{path} is larger than {_MOST_BYTES} bytes. {_AFTERWARDS}")
            else:
                content = path.read_bytes()
            yield entry, content
    except OSError as error:
        raise InvalidInput(f"{error.filename or folder} cannot be read: {error.strerror or error}.") from None
