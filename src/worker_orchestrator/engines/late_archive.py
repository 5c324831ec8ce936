"""The archive in which a running worker gets its values, in the order in which they are to appear. No I/O.

One archive, unpacked from its beginning to its end: `env`, `env.json`, `secrets/`, `files/`, and `ready` last, so that a
worker that sees `ready` finds all of the others whole. Each folder has an entry of its own, so that a link that stands in
its place is replaced, and nothing is written to where it leads.

What is there already can be removed by the same archive, without any program in the container: where an entry is of another
kind than what has its name, engines remove that with all that is in it. `ready` becomes a link to nothing meanwhile, which
does not exist for whoever opens it.

The format is that of GNU tar, in which names are bytes, and which Go, GNU tar and busybox read alike. With that of PAX
busybox loses a long name.
Source: https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

import io
import posixpath
import shlex
import tarfile
from collections.abc import Mapping
from typing import Final

import msgspec

from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.errors import InvalidInput

__all__ = ["NAMES", "ROOM_BYTES", "Owner", "late_archive", "may_be_too_large", "survives_umask"]

NAMES: Final = ("ready", "env", "env.json", "secrets", "files")
"""Of all that is in the folder of a worker's values."""
ROOM_BYTES: Final = 16 * 1024 * 1024
"""How much memory that folder may take."""
_KEPT_FREE_BYTES: Final = 1024 * 1024
_PAGE_BYTES: Final = 4096
_NOTHING: Final = "not-yet"
_LATEST: Final = 2**33 - 1
_RIGHTS: Final = 0o777
_OTHERS_WRITE: Final = 0o022
_HEADER_BYTES: Final = 512
_MOST_FILES: Final = 1000
_QUOTED: Final = 11
"""A character of a variable becomes at most so many: five in `env`, six in `env.json`."""

Owner = tuple[int, int]
"""The numbers of a user and a group, as the container has them."""


def late_archive(values: LateValues, owner: Owner, now_s: int, *, anew: bool = False) -> bytes:
    """What is to be unpacked into a worker's folder for values. All of it becomes its `owner`'s.

    `now_s`: the time that new files get. `anew`: what was unpacked there before is removed first. Raises InvalidInput for
    values that are no text, files that cannot be unpacked there, and more than there is room for.
    """
    packed = _Packed(owner, now_s)
    if anew:
        packed.link("ready", _NOTHING)
        packed.file("secrets", b"", 0o400)
        packed.file("files", b"", 0o400)
    packed.file("env", _env(values.env), 0o400)
    packed.file("env.json", msgspec.json.encode(dict(values.env)), 0o400)
    packed.folder("secrets", 0o700)
    for name, value in values.secrets.items():
        packed.file(f"secrets/{name}", _bytes("secret", name, value), 0o400)
    packed.folder("files", 0o755)
    if values.files:
        _add_files(packed, values.files)
    packed.file("ready", b"", 0o444)
    return packed.finished()


def may_be_too_large(values: LateValues) -> bool:
    """Whether there may be no room for these: only then it is worth while to make the archive in order to know."""
    texts = _QUOTED * sum(map(len, values.env.values())) + sum(map(len, values.secrets.values()))
    files = len(values.secrets) + min(len(values.files) // _HEADER_BYTES, _MOST_FILES) + 4
    return 4 * texts + len(values.files) + 2 * _PAGE_BYTES * files > ROOM_BYTES - _KEPT_FREE_BYTES


def survives_umask(archive: bytes) -> bool:
    """Whether this archive is the same to a program that lets nobody but the owner write to what it makes.

    Of those that are made here. busybox does so, unless it is root, whatever it is told.
    """
    at = 0
    while archive[at]:
        header = archive[at : at + _HEADER_BYTES]
        if header[156:157] != tarfile.SYMTYPE and int(header[100:107], 8) & _OTHERS_WRITE:
            return False
        size = int(header[124:135], 8)
        at += _HEADER_BYTES * (1 + -(-size // _HEADER_BYTES))
    return True


def _env(env: Mapping[str, str]) -> bytes:
    """A line for each variable, which a shell reads as it was meant, whatever is in it."""
    return b"".join(b"%s=%s\n" % (name.encode(), _bytes("env", name, shlex.quote(env[name]))) for name in env)


def _bytes(kind: str, name: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"The value of {kind} {name} is no text: it has half of a surrogate pair in it.") from None


class _Packed:
    """An archive that is being made."""

    def __init__(self, owner: Owner, now_s: int) -> None:
        self._held, self._owner, self._now_s = io.BytesIO(), owner, now_s
        self._archive = tarfile.open(  # noqa: SIM115 # `finished` closes it
            fileobj=self._held, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        )
        self._taken_bytes = 0

    def file(self, name: str, content: bytes, mode: int, mtime: int | None = None) -> None:
        entry = self._entry(name, tarfile.REGTYPE, mode, mtime)
        entry.size = len(content)
        self._take(len(content))
        self._archive.addfile(entry, io.BytesIO(content))

    def folder(self, name: str, mode: int, mtime: int | None = None) -> None:
        self._take(0)
        self._archive.addfile(self._entry(name, tarfile.DIRTYPE, mode, mtime))

    def link(self, name: str, target: str, mtime: int | None = None) -> None:
        entry = self._entry(name, tarfile.SYMTYPE, 0o777, mtime)
        entry.linkname = target
        self._take(len(target))
        self._archive.addfile(entry)

    def finished(self) -> bytes:
        self._archive.close()
        return self._held.getvalue()

    def _entry(self, name: str, kind: bytes, mode: int, mtime: int | None) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = kind, mode
        entry.uid, entry.gid = self._owner
        entry.mtime = self._now_s if mtime is None else mtime
        return entry

    def _take(self, count_bytes: int) -> None:
        """Memory is taken in pages, and one more for each name is more than enough."""
        self._taken_bytes += (-(-count_bytes // _PAGE_BYTES) + 1) * _PAGE_BYTES
        if self._taken_bytes > ROOM_BYTES - _KEPT_FREE_BYTES:
            raise InvalidInput(
                f"These values do not fit into the {ROOM_BYTES // 1024 // 1024} MiB of memory that a worker has for them: "
                "leave some out, and send large files afterwards."
            )


def _add_files(packed: _Packed, files: bytes) -> None:
    """All entries of this archive, below `files`. They were looked at before; here they only must not lead elsewhere."""
    folders = {""}
    try:
        with tarfile.open(fileobj=io.BytesIO(files), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            for entry in archive:
                name = _plain_name(entry.name)
                if name:
                    _add_parents(packed, name, folders)
                    _add(packed, archive, entry, name, folders)
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise InvalidInput(f"files is not a whole tar archive ({type(error).__name__}).") from None


def _plain_name(name: str) -> str:
    """The path below `files`; empty for that folder itself. Raises InvalidInput."""
    plain = posixpath.normpath(name)
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise InvalidInput("An entry of files has a path that is absolute, or has .. in it.")
    return "" if plain == "." else plain


def _add_parents(packed: _Packed, name: str, folders: set[str]) -> None:
    missing: list[str] = []
    parent = posixpath.dirname(name)
    while parent not in folders:
        missing.append(parent)
        parent = posixpath.dirname(parent)
    for folder in reversed(missing):
        packed.folder(f"files/{folder}", 0o755)
        folders.add(folder)


def _add(packed: _Packed, archive: tarfile.TarFile, entry: tarfile.TarInfo, name: str, folders: set[str]) -> None:
    path, mode = f"files/{name}", entry.mode & _RIGHTS
    mtime = (
        min(max(int(entry.mtime), 0), _LATEST) or None
    )  # 0: it is not told, so that equal files are an equal archive
    if entry.isdir():
        packed.folder(path, mode, mtime)
        folders.add(name)
    elif name in folders:
        raise InvalidInput("An entry of files has the path of a folder that is in it too.")
    elif entry.isreg() and not entry.issparse():
        content = archive.extractfile(entry)
        assert content is not None, "it is a regular file"
        packed.file(path, content.read(), mode, mtime)
    elif entry.issym() and _stays_inside(name, entry.linkname):
        packed.link(path, entry.linkname, mtime)
    else:
        raise InvalidInput(
            "An entry of files is neither a file, nor a folder, nor a relative link that stays among them."
        )


def _stays_inside(name: str, target: str) -> bool:
    leads_to = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return bool(target) and not target.startswith("/") and leads_to.partition("/")[0] != ".."
