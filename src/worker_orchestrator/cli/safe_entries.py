"""Which entries of a stranger's tar archive may be unpacked, and as what.

As Python's own `tarfile.data_filter`, and not that one for two reasons: 3.11.0 to 3.11.3 have none (Debian 12 has 3.11.2),
and many later ones can be led astray by a path that is too long for the system to follow (CVE-2025-4517).

Source: https://docs.python.org/3/library/tarfile.html#tarfile.data_filter
"""

from __future__ import annotations

import copy
import os
import tarfile
from pathlib import Path
from typing import Any, Final

__all__ = ["LeftOut", "renamed", "safe"]

_LEADS_OUT: Final = "it is a link that leads out of what is copied"
_FOR_NOBODY: Final = 0o7022
"""Bits of a mode that no archive gives: set-uid, set-gid, sticky, and writing for others than the owner."""


class LeftOut(Exception):
    """An entry is not unpacked; the text says why."""


def renamed(entry: tarfile.TarInfo, **fields: Any) -> tarfile.TarInfo:
    """The same entry with other values."""
    other = copy.copy(entry)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def safe(entry: tarfile.TarInfo, folder: Path) -> tarfile.TarInfo:
    """The entry as it may be unpacked into this folder: below it, ours, and without special bits.

    Raises LeftOut.
    """
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        raise LeftOut("it is no file, folder or link")
    name = entry.name.lstrip("/" + os.sep)
    _require_below(folder, name, "it would land outside of the target")
    if entry.issym():
        _require_below(folder, entry.linkname, _LEADS_OUT, seen_from=Path(name).parent)
    elif entry.islnk():
        _require_below(folder, entry.linkname, _LEADS_OUT)
        if not (folder / entry.linkname).exists():
            raise LeftOut("it is a link to a file that was left out")
    mode = entry.mode & ~_FOR_NOBODY | (0o700 if entry.isdir() else 0o600)
    if not entry.isdir() and not mode & 0o100:
        mode &= ~0o111
    owner = {"uid": os.getuid(), "gid": os.getgid()} if hasattr(os, "getuid") else {}
    return renamed(entry, name=name, mode=mode, uname="", gname="", **owner)


def _require_below(folder: Path, path: str, refusal: str, *, seen_from: Path = Path()) -> None:
    """Raise LeftOut with this text, unless the path, seen from there, leads into the folder; or if nobody can tell."""
    if Path(path).is_absolute():
        raise LeftOut(refusal)
    try:
        found = _followed(folder / seen_from / path)
    except (OSError, ValueError) as error:
        raise LeftOut(f"where it leads cannot be told ({getattr(error, 'strerror', None) or error})") from None
    if found is None or not found.is_relative_to(folder.resolve()):
        raise LeftOut(refusal)


def _followed(path: Path) -> Path | None:
    """Where this path leads through every link, also where nothing is; None if it leaves a folder that is not there.

    Raises OSError, ValueError for one that the system cannot follow.
    """
    missing: list[str] = []
    while True:
        try:
            return Path(os.path.realpath(path, strict=True), *reversed(missing))
        except FileNotFoundError:
            if path.is_symlink():
                path = path.parent / path.readlink()
            elif path.name == os.pardir:
                return None
            else:
                missing.append(path.name)
                path = path.parent
