"""What a stranger packed, put into a folder and nowhere else.

Nothing is written through a link, whoever made it, and no link is made that leads out of the folder: so it does not
matter in what order entries come, nor what was there before. Folders that are there stay as they are; a file takes the
place of what has its name once it is whole, as ours and without special bits.

Python's own `tarfile.data_filter` is not it: 3.11.0 to 3.11.3 have none (Debian 12 has 3.11.2), later ones had holes
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

__all__ = ["LeftOut", "make_folder", "put"]

_OUTSIDE: Final = "it would land outside of the target"
_LEADS_OUT: Final = "it is a link that leads out of what is copied"
_NO_NAMES: Final = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
"""The system has no such name: the archive is to blame, not the disk."""


class LeftOut(Exception):
    """An entry is not unpacked; the text says why."""


def put(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path, name: str, linked: str = "") -> None:
    """Put this entry of an archive that is being read under this name into the folder.

    A hard link leads to what has the name `linked` there. Raises LeftOut, OSError.
    """
    try:
        _put(archive, entry, folder, _parts(name, _OUTSIDE), linked)
    except ValueError as error:  # a NUL in a name
        raise LeftOut(f"it cannot have that name here ({error})") from None
    except OSError as error:
        if error.errno in _NO_NAMES:
            raise LeftOut(f"it cannot have that name here ({error.strerror})") from None
        raise


def make_folder(place: Path) -> None:
    """Let there be a folder, which is no link. Raises LeftOut, OSError."""
    _within(place.parent, [place.name], make=True)


def _put(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path, parts: Sequence[str], linked: str) -> None:
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        raise LeftOut("it is no file, folder or link")
    if not parts:
        if entry.isdir():
            return
        raise LeftOut("it would take the place of the target")
    place = _within(folder, parts[:-1], make=True) / parts[-1]
    if entry.isdir():
        if _is_missing(_within(folder, parts, make=False)):
            place.mkdir()
            place.chmod(entry.mode & 0o755 | 0o700)
        return
    if place.is_dir() and not place.is_symlink():
        raise LeftOut("a folder has its name")
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
    if any(part == os.pardir or Path(part).name != part for part in parts):  # the latter: "C:", and others of Windows
        raise LeftOut(refusal)
    return parts


def _within(folder: Path, parts: Sequence[str], *, make: bool) -> Path:
    """The path of these names, of which none but the last is a link; `make`: they are folders, made where they are missing.

    Raises LeftOut.
    """
    path = folder
    for number, part in enumerate(parts, 1):
        path /= part
        if (make or number < len(parts)) and path.is_symlink():
            raise LeftOut("it would be written through a link")
        if make and _is_missing(path):
            path.mkdir()
        elif make and not path.is_dir():
            raise LeftOut("its folder is a file here")
    return path


def _is_missing(path: Path) -> bool:
    if path.is_symlink():
        raise LeftOut("a link has its name")
    return not path.exists()


def _require_inside(leads_to: str, *, depth: int) -> None:
    """Raise LeftOut unless a link in this depth of the folder leads into it, whatever the names on the way turn out to be.

    So a ".." may only come first: behind the name of another link it would lead from where that one does.
    """
    names = [name for name in leads_to.split("/") if name not in {"", "."}]
    steps_up = next((number for number, name in enumerate(names) if name != os.pardir), len(names))
    if leads_to.startswith("/") or steps_up > depth or os.pardir in names[steps_up:]:
        raise LeftOut(_LEADS_OUT)


def _link(source: Path, place: Path) -> None:
    if source.is_symlink() or not source.is_file():
        raise LeftOut("it is a link to a file that was left out")
    if place.exists() and place.samefile(source) and not place.is_symlink():
        return
    with _in_place_of(place) as part:
        try:
            part.hardlink_to(source)
        except OSError:
            shutil.copy2(source, part)  # this disk has no such links


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
    content = archive.extractfile(entry)
    assert content is not None, "it is a file"
    mode = entry.mode & 0o755 | 0o600
    with _in_place_of(place) as part:
        with part.open("xb") as file:
            shutil.copyfileobj(content, file)
        part.chmod(mode if mode & 0o100 else mode & ~0o111)
        with contextlib.suppress(OSError, OverflowError, ValueError):  # a time that is none
            os.utime(part, (entry.mtime, entry.mtime))


@contextlib.contextmanager
def _in_place_of(place: Path) -> Iterator[Path]:
    """A free name beside the place. What is made under it takes the place of what is there, once the block has ended."""
    part = place.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield part
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
