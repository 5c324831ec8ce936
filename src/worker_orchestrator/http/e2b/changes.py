"""What has changed in a folder from one look at it to the next, in the words of E2B's clients.

A look is what `find` and `stat` say, so this sees what there is, and not what was done: what came and went between two looks
is not told, and several changes of one file are one.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["FORMAT", "Change", "Seen", "changes", "seen_in"]

FORMAT: Final = "%i|%y|%z|%f %s %Y %U %G %n"
"""Of `stat`: for each entry its inode, when its content and anything of it changed, and what a listing shows."""
_LINE: Final = re.compile(
    r"(?P<inode>[0-9]+)\|(?P<written>[^|\n]*)\|(?P<touched>[^|\n]*)\|"
    r"(?P<shown>(?P<mode>[0-9a-f]+) (?P<size>[0-9]+) -?[0-9]+ (?P<owner>\S+ \S+) )(?P<path>\.(?:/.*)?)",
    re.DOTALL,
)
_CREATE, _WRITE, _REMOVE = "EVENT_TYPE_CREATE", "EVENT_TYPE_WRITE", "EVENT_TYPE_REMOVE"
_RENAME, _CHMOD = "EVENT_TYPE_RENAME", "EVENT_TYPE_CHMOD"


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry: times as `stat` writes them, `mode` with the type. `shown` is its line in a listing, but for the path."""

    inode: str
    written: str
    touched: str
    mode: int
    size: str
    owner: str
    shown: str

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def identity(self) -> tuple[str, int, str, str]:
        """It stays the same when the entry gets another name."""
        return self.inode, stat.S_IFMT(self.mode), self.size, self.written


@dataclass(frozen=True, slots=True)
class Change:
    """`name` is the path from the folder on; `.` is the folder itself. `kind` is E2B's word for the event."""

    name: str
    kind: str


def seen_in(told: str) -> dict[str, Seen]:
    """The entries by their path from the folder on, in these lines of `stat`. A name may contain a line end."""
    lines: list[str] = []
    for line in told.removesuffix("\n").split("\n"):
        if _LINE.fullmatch(line) or not lines:
            lines.append(line)
        else:
            lines[-1] += f"\n{line}"
    matches = (_LINE.fullmatch(line) for line in lines)
    return {_name(match["path"]): _seen(match) for match in matches if match is not None}


def _name(path: str) -> str:
    return path.removeprefix("./")


def _seen(match: re.Match[str]) -> Seen:
    return Seen(
        match["inode"],
        match["written"],
        match["touched"],
        int(match["mode"], 16),
        match["size"],
        match["owner"],
        match["shown"],
    )


def changes(before: Mapping[str, Seen], after: Mapping[str, Seen]) -> list[Change]:
    """What happened: first what has another name, then what is gone, what is new, and what is not as it was."""
    renamed = _renamed(before, after)
    arrived = set(renamed.values())
    told = [
        change
        for old, new in sorted(renamed.items())
        if not _goes_with_its_folder(old, new, renamed)
        for change in (Change(old, _RENAME), Change(new, _CREATE))
    ]
    gone = [name for name in before if name not in renamed and (name not in after or _is_another(before, after, name))]
    told += [Change(name, _REMOVE) for name in sorted(gone, reverse=True) if name not in arrived]
    for name in sorted(after.keys() - arrived):
        entry = after[name]
        if name not in before or _is_another(before, after, name):
            told.append(Change(name, _CREATE))
            told += [Change(name, _WRITE)] if entry.is_file and entry.size != "0" else []
        else:
            told += [Change(name, kind) for kind in _differences(before[name], entry)]
    return told


def _renamed(before: Mapping[str, Seen], after: Mapping[str, Seen]) -> dict[str, str]:
    """The new name of each entry that has another one."""
    places: dict[tuple[str, int, str, str], list[str]] = {}
    for name, entry in after.items():
        if name not in before or before[name].inode != entry.inode:
            places.setdefault(entry.identity, []).append(name)
    renamed = {}
    for name, entry in before.items():
        if name not in after and (found := places.get(entry.identity)):
            renamed[name] = found.pop()
    return renamed


def _goes_with_its_folder(old: str, new: str, renamed: Mapping[str, str]) -> bool:
    folder, _, name = old.rpartition("/")
    return bool(folder) and renamed.get(folder) is not None and f"{renamed[folder]}/{name}" == new


def _is_another(before: Mapping[str, Seen], after: Mapping[str, Seen], name: str) -> bool:
    """Whether what has this name now is something else, and no new content of the same file."""
    old, new = before[name], after[name]
    return stat.S_IFMT(old.mode) != stat.S_IFMT(new.mode) or (old.inode != new.inode and not new.is_file)


def _differences(old: Seen, new: Seen) -> list[str]:
    """In what the same entry is not as it was. The times of a folder say only that something in it has changed."""
    has_content = new.is_file and (old.inode, old.written, old.size) != (new.inode, new.written, new.size)
    is_touched = not has_content and not stat.S_ISDIR(new.mode) and old.touched != new.touched
    told = [_CHMOD] if (old.mode, old.owner) != (new.mode, new.owner) or is_touched else []
    return [*told, *([_WRITE] if has_content else [])]
