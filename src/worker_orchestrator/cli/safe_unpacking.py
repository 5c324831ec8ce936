"""Puts the entries of an archive that may be hostile into a folder, and nowhere else.

Nothing is written through a link, also not through one that was there before, and no link is made that leads out of the
folder. So neither the order of the entries matters nor what the folder contains. Existing folders stay as they are.
A file replaces what has its name once it is complete, belongs to the user, and has no special mode bits.

Python's own `tarfile.data_filter` does not suffice: 3.11.0 to 3.11.3 have none (Debian 12 has 3.11.2), later ones had holes
(CVE-2025-4517), and `extract` writes through links that stay inside.

Source: https://docs.python.org/3/library/tarfile.html#extraction-filters
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["EntrySkippedError", "make_folder", "put_entry"]

_OUTSIDE: Final = "it would be written outside of the target"
_LEADS_OUT: Final = "it is a link that leads out of what is copied"
_NAME_ERRORS: Final = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
"""Errors that mean that this system allows no such name: the archive causes them, not the disk."""


class EntrySkippedError(Exception):
    """This entry is left out; the message is the reason."""


def put_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path, name: str, linked: str = "") -> None:
    """Put this entry of an archive that is being read into the folder, under this name.

    `linked`: the name in the folder to which a hard link leads. Raises EntrySkippedError, OSError.
    """
    try:
        _put(archive, entry, folder, _parts(name, _OUTSIDE), linked)
    except ValueError as error:  # a NUL in a name
        raise EntrySkippedError(f"it cannot have that name here ({error})") from None
    except OSError as error:
        if error.errno in _NAME_ERRORS:
            raise EntrySkippedError(f"it cannot have that name here ({error.strerror})") from None
        raise


def make_folder(place: Path) -> None:
    """Make this folder, unless it exists. It must not be a link. Raises EntrySkippedError, OSError."""
    _within(place.parent, [place.name], make=True)


def _put(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path, parts: Sequence[str], linked: str) -> None:
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        raise EntrySkippedError("it is not a file, folder or link")
    if not parts:
        if entry.isdir():
            return
        raise EntrySkippedError("it would replace the target")
    place = _within(folder, parts[:-1], make=True) / parts[-1]
    if entry.isdir():
        if _is_missing(_within(folder, parts, make=False)):
            place.mkdir()
            place.chmod(entry.mode & 0o755 | 0o700)
        return
    if place.is_dir() and not place.is_symlink():
        raise EntrySkippedError("a folder has its name")
    if entry.issym():
        _require_inside(entry.linkname, depth=len(parts) - 1)
        with _in_place_of(place) as part:
            part.symlink_to(entry.linkname)
    elif entry.islnk():
        _link(_within(folder, _parts(linked, _LEADS_OUT), make=False), place)
    else:
        _write(archive, entry, place)


def _parts(name: str, refusal: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if any(part == os.pardir or Path(part).name != part for part in parts):  # the latter: "C:" and the like on Windows
        raise EntrySkippedError(refusal)
    return parts


def _within(folder: Path, parts: Sequence[str], *, make: bool) -> Path:
    """The path of these names below the folder. Only the last may be a link. `make`: make those folders that are missing.

    Raises EntrySkippedError.
    """
    path = folder
    for number, part in enumerate(parts, 1):
        path /= part
        if (make or number < len(parts)) and path.is_symlink():
            raise EntrySkippedError("it would be written through a link")
        if make and _is_missing(path):
            path.mkdir()
        elif make and not path.is_dir():
            raise EntrySkippedError("its folder is a file here")
    return path


def _is_missing(path: Path) -> bool:
    if path.is_symlink():
        raise EntrySkippedError("a link has its name")
    return not path.exists()


def _require_inside(leads_to: str, *, depth: int) -> None:
    """Raise EntrySkippedError unless a link at this depth leads into the folder, even if a name on its way is a link too.

    So ".." is only allowed at the beginning: after the name of another link it would start where that link leads.
    """
    names = [name for name in leads_to.split("/") if name not in {"", "."}]
    steps_up = next((number for number, name in enumerate(names) if name != os.pardir), len(names))
    if leads_to.startswith("/") or steps_up > depth or os.pardir in names[steps_up:]:
        raise EntrySkippedError(_LEADS_OUT)


def _link(source: Path, place: Path) -> None:
    if source.is_symlink() or not source.is_file():
        raise EntrySkippedError("it is a link to a file that was left out")
    if place.exists() and place.samefile(source) and not place.is_symlink():
        return
    with _in_place_of(place) as part:
        try:
            part.hardlink_to(source)
        except OSError:
            shutil.copy2(source, part)  # this disk has no hard links


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
    content = archive.extractfile(entry)
    assert content is not None, "it is a file"
    mode = entry.mode & 0o755 | 0o600
    with _in_place_of(place) as part:
        with part.open("xb") as file:
            shutil.copyfileobj(content, file)
        part.chmod(mode if mode & 0o100 else mode & ~0o111)
        with contextlib.suppress(OSError, OverflowError, ValueError):  # the time of the entry is not valid
            os.utime(part, (entry.mtime, entry.mtime))


@contextlib.contextmanager
def _in_place_of(place: Path) -> Iterator[Path]:
    """An unused name beside the place. What is made under it replaces what is there, at the end of the block."""
    part = place.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield part
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
