"""Which paths of a container Docker's archives do not reach, and what it means when they refuse one. No I/O.

They reach the container's own file system and its volumes, and in the place of what is mounted in memory (a tmpfs) or by the
kernel they see an empty folder. What they write into it is nowhere.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from aiodocker.containers import DockerContainer

from worker_orchestrator.engines.archive import printable
from worker_orchestrator.errors import EngineRejected, InvalidInput, OrchestratorError, PathNotFound
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["Mounts", "is_read_only", "lost_link", "no_folder", "no_place", "refusal", "too_many_links"]

_OF_THE_KERNEL: Final = frozenset({"/dev", "/proc", "/sys"})
_NO_PLACE: Final = "{path} is no folder {inside}, so nothing can be put into it: name a folder."
_NO_FOLDER: Final = "There is no {path} {inside}: a part of it is no folder."
_TOO_MANY_LINKS: Final = "{path} leads from link to link {inside}: name what it should lead to."
_MEANINGS: Final[tuple[tuple[re.Pattern[str], type[OrchestratorError], str], ...]] = (
    (
        re.compile(r"\bl?stat .*: not a directory"),
        PathNotFound,
        _NO_FOLDER,
    ),
    (
        re.compile(r"too many links"),
        InvalidInput,
        _TOO_MANY_LINKS,
    ),
    (
        re.compile(r"\bl?stat .*: file name too long"),
        InvalidInput,
        "{path} has a name that is too long {inside}: choose a shorter one.",
    ),
    (
        re.compile(r"extraction point is not a directory"),
        InvalidInput,
        _NO_PLACE,
    ),
    (
        re.compile(r'cannot overwrite directory "(?P<entry>.*)" with non-directory "(?P<base>.*)"'),
        InvalidInput,
        "{entry} is a folder {inside}, and no file takes its place: name a file in it, or send an application/x-tar.",
    ),
    (
        re.compile(r'cannot overwrite non-directory "(?P<entry>.*)" with directory "(?P<base>.*)"'),
        InvalidInput,
        "{entry} is no folder {inside}, and no folder takes its place: remove it, or choose another name.",
    ),
    (
        re.compile(r"unexpected EOF|(?:archive/tar|gzip|flate|unpigz|xz: \(stdin\)|bzip2 data invalid): [^)\n]*"),
        InvalidInput,
        "What came for {path} is no whole tar archive ({said}): send all that `tar c` makes.",
    ),
    (
        re.compile(
            r"is outside of|unhandled tar header|invalid (?:sym|hard)link|invalid entry name|: file name too long|"
            r": not a directory|: no such file"
        ),
        InvalidInput,
        "The archive cannot be unpacked into {path} {inside}. {told}",
    ),
)
"""What Docker's words mean, the first that fits. All is the caller's doing."""
_SEEN_FROM_INSIDE: Final = "Error processing tar file"
"""Docker unpacks from within the container: the paths that it names there are not its host's."""
_ABSOLUTE: Final = re.compile(r'(?<![\w.-])/[^\s:"]+')


@dataclass(frozen=True, slots=True)
class Mounts:
    """Absolute paths at which something is mounted: what Docker's archives do not reach, and what they do within it."""

    hidden: frozenset[str]
    reached: frozenset[str]

    @classmethod
    def of(cls, container: DockerContainer) -> Mounts:
        """`container`: as Docker inspects it."""
        mounts = {_plain(mount["Destination"]): mount["Type"] for mount in container["Mounts"] or ()}
        in_memory = {place for place, kind in mounts.items() if kind == "tmpfs"}
        in_memory |= {_plain(place) for place in container["HostConfig"].get("Tmpfs") or ()}
        return cls(_OF_THE_KERNEL | in_memory, frozenset(mounts) - in_memory)

    @classmethod
    def of_the_kernel(cls) -> Mounts:
        """Those of every container."""
        return cls(_OF_THE_KERNEL, frozenset())

    @property
    def is_usual(self) -> bool:
        """Whether nothing is hidden but what is in every container, and always at its own name."""
        return self.hidden == _OF_THE_KERNEL

    def over(self, path: str) -> str:
        """The mount that hides this plain path; empty where it is within reach."""
        asked = PurePosixPath(path)
        around = {path, *map(str, asked.parents)}
        innermost = max((place for place in self.hidden | self.reached if place in around), key=len, default="")
        return innermost if innermost in self.hidden else ""

    def is_folder(self, path: str) -> bool:
        """Whether this hidden path is a folder in any case: a mount, or what leads to one."""
        return any(f"{place}/".startswith(f"{path}/") for place in self.hidden | self.reached)


def is_read_only(container: DockerContainer) -> bool:
    """Whether only what is mounted can be written. `container`: as Docker inspects it."""
    return bool(container["HostConfig"].get("ReadonlyRootfs"))


def refusal(machine_id: str, path: str, said: str) -> OrchestratorError:
    """What is wrong with this path of a machine, or with the archive for it. `said`: Docker's words.

    EngineRejected where it is no caller's doing. No path of Docker's host is in it.
    """
    path = printable(path)
    told = said if _SEEN_FROM_INSIDE in said else _ABSOLUTE.sub(lambda it: path if it[0].endswith(path) else "…", said)
    told = plain(told)
    for pattern, kind, words in _MEANINGS:
        if found := pattern.search(said):
            inside, entry = _inside(machine_id), _entry(path, found)
            return kind(words.format(path=path, inside=inside, entry=entry, said=plain(found[0], 100), told=told))
    return EngineRejected(told)


def no_place(machine_id: str, path: str) -> InvalidInput:
    """For a path under something that is no folder, to which something is to be written."""
    return InvalidInput(_NO_PLACE.format(path=printable(path), inside=_inside(machine_id)))


def no_folder(machine_id: str, path: str) -> PathNotFound:
    """A name that is not the last of this path stands for a file."""
    return PathNotFound(_NO_FOLDER.format(path=printable(path), inside=_inside(machine_id)))


def too_many_links(machine_id: str, path: str) -> InvalidInput:
    """This path leads in a circle, or so it seems."""
    return InvalidInput(_TOO_MANY_LINKS.format(path=printable(path), inside=_inside(machine_id)))


def lost_link(machine_id: str, path: str) -> InvalidInput:
    """A hard link in an archive for this path names what is not there."""
    return InvalidInput(
        f"The archive cannot be unpacked into {printable(path)} {_inside(machine_id)}: there is no such file as a hard link "
        "in it names."
    )


def _inside(machine_id: str) -> str:
    return f"in the container of {machine_id}"


def _entry(path: str, found: re.Match[str]) -> str:
    """The path of what was to be unpacked at `path`, where Docker names one.

    To older engines both may lie elsewhere; newer ones name it as the archive does.
    """
    named = found.groupdict()
    if not named:
        return ""
    entry = named["entry"]
    inside = posixpath.relpath(entry, named["base"]) if entry.startswith("/") else entry
    return posixpath.normpath(posixpath.join(path, inside))


def _plain(path: str) -> str:
    return posixpath.normpath(f"/{path.lstrip('/')}")
