"""The files that come with an assign: a tar archive that is checked, and written again with nothing else in it.

Whoever unpacks it later sees the entries that were checked here, and none that another reader of tar would find: no second
entry of a name, no owner, no extension. Equal files make equal archives, whoever packed them and when: that decides whether
values that come again are the same.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import Final

from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.v1.tar_headers import insist_on_plain_headers, refused_entry

__all__ = ["ENTRIES", "FILES_BYTES", "checked_archive"]

FILES_BYTES: Final = 1024 * 1024
"""The most bytes that an archive may have."""
ENTRIES: Final = 1000
_LONGEST_PATH_BYTES: Final = 1024
_LONGEST_NAME_BYTES: Final = 255
_DEEPEST: Final = 32
_Entries = dict[str, tuple[tarfile.TarInfo, bytes]]
"""By their paths, with the content of files."""


def checked_archive(archive: bytes) -> bytes:
    """An archive of the same files, folders and links, sorted by path. Raises InvalidInput, which shows no content."""
    try:
        entries = _read(archive)
    except InvalidInput:
        raise
    except Exception:  # noqa: BLE001 # tarfile lets what is wrong in an archive be any error, such as IndexError
        raise InvalidInput("files is not a complete tar archive that is not compressed.") from None
    for path in list(entries):
        _add_folders(entries, path)
    if len(entries) > ENTRIES:
        raise _too_many()
    return _written(entries) if entries else b""


def _read(archive: bytes) -> _Entries:
    """All that is in it. Raises InvalidInput for an entry that is not taken, and anything for what is no archive."""
    insist_on_plain_headers(archive)
    entries: _Entries = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        for number, entry in enumerate(_entries(opened), 1):
            path = _path(entry, number)
            if path:
                _insist_on_new(entries, path, entry)
                entries[path] = entry, _content(opened, entry, path)
        if any(archive[opened.offset : opened.offset + tarfile.BLOCKSIZE]):  # else zeros, or its end
            raise tarfile.ReadError
    return entries


def _entries(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for count, entry in enumerate(opened):
        if count >= ENTRIES:
            raise _too_many()
        yield entry


def _too_many() -> InvalidInput:
    return InvalidInput(
        f"The archive in files has more than {ENTRIES} entries, with the folders that they are in. Write them afterwards "
        "with PUT /v1/machines/{id}/files."
    )


def _path(entry: tarfile.TarInfo, number: int) -> str:
    """Where it is to be, relative; empty for the folder that holds all. Raises InvalidInput."""
    path = "/".join(part for part in entry.name.split("/") if part not in {"", "."})
    is_relative = not entry.name.startswith("/") and ".." not in path.split("/") and "\0" not in path
    if not is_relative or path.count("/") >= _DEEPEST or not _is_short(path):
        raise refused_entry(
            number,
            "has a path that is not allowed: it must be relative, without .. and NUL, and have at most "
            f"{_LONGEST_PATH_BYTES} bytes and {_DEEPEST} names",
        )
    if not path and not entry.isdir():
        raise refused_entry(number, "has no name")
    if entry.issym() and not _stays_inside(path, entry.linkname):
        raise refused_entry(number, "is a link that is absolute, or may lead out of the folder")
    return path


def _is_short(path: str) -> bool:
    as_bytes = path.encode("utf-8", "surrogateescape")
    return len(as_bytes) <= _LONGEST_PATH_BYTES and all(
        len(part) <= _LONGEST_NAME_BYTES for part in as_bytes.split(b"/")
    )


def _stays_inside(path: str, target: str) -> bool:
    """Whether a link at this path leads no higher than the folder. Its `..` stand first, since behind the name of another
    link they would lead out of wherever that leads.
    """
    parts = [part for part in target.split("/") if part not in {"", "."}]
    ups = next((count for count, part in enumerate(parts) if part != ".."), len(parts))
    is_relative = bool(target) and not target.startswith("/") and ".." not in parts[ups:]
    return is_relative and ups <= path.count("/") and _is_short(target) and "\0" not in target


def _insist_on_new(entries: _Entries, path: str, entry: tarfile.TarInfo) -> None:
    there = entries.get(path)
    if there is not None and not (there[0].isdir() and entry.isdir()):
        raise InvalidInput(f"The archive in files has two entries of one path: the second is entry {len(entries) + 1}.")


def _add_folders(entries: _Entries, path: str) -> None:
    """All that are above this path and not in the archive. Raises InvalidInput if one of them is a file, or a link, which
    may lead elsewhere.
    """
    above = path.rpartition("/")[0]
    while above and above not in entries:
        folder = tarfile.TarInfo(above)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        entries[above] = folder, b""
        above = above.rpartition("/")[0]
    if above and not entries[above][0].isdir():
        raise InvalidInput("The archive in files has an entry below one that is no folder.")


def _content(opened: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> bytes:
    if not entry.isreg():
        return b""
    file = opened.extractfile(entry)
    content = b"" if file is None else file.read()
    if len(content) != entry.size:
        raise tarfile.ReadError(path)
    return content


def _written(entries: _Entries) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(entries):
            given, content = entries[path]
            entry = tarfile.TarInfo(path)
            entry.type = tarfile.DIRTYPE if given.isdir() else tarfile.SYMTYPE if given.issym() else tarfile.REGTYPE
            entry.mode = 0o777 if given.issym() else given.mode & 0o777
            entry.linkname = "/".join(filter(None, given.linkname.split("/"))) if given.issym() else ""
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()
