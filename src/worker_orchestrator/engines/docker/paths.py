"""Which paths of a container Docker's archives do not reach, and what it means when they refuse one. No I/O.

They reach the container's own file system and its volumes. In the place of what is mounted in memory (a tmpfs) or by the
kernel they see an empty folder, and what they write into it is lost.
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

__all__ = [
    "Mounts", "in_the_way", "is_read_only", "lost_link", "name_too_long", "no_folder", "no_place", "not_whole", "refusal",
    "too_many_links", "unpackable",
]  # fmt: skip

_OF_THE_KERNEL: Final = frozenset({"/dev", "/proc", "/sys"})
_NO_PLACE: Final = "{path} is not a folder {inside}, so nothing can be put into it: name a folder."
_NO_FOLDER: Final = "There is no {path} {inside}: a part of it is not a folder."
_TOO_MANY_LINKS: Final = "{path} leads from link to link {inside}: name what it should lead to."
_FOLDER_IN_THE_WAY: Final = (
    "{entry} is a folder {inside}, and no file takes its place: name a file in it, or send an application/x-tar."
)
_FILE_IN_THE_WAY: Final = (
    "{entry} is not a folder {inside}, and no folder takes its place: remove it, or choose another name."
)
_NAME_TOO_LONG: Final = "{path} has a name that is too long {inside}: choose a shorter one."
_NOT_WHOLE: Final = "What was sent for {path} is not a whole tar archive ({said}): send all that `tar c` makes."
_UNPACKABLE: Final = "The archive cannot be unpacked into {path} {inside}. {message}"
_MEANINGS: Final[tuple[tuple[re.Pattern[str], type[OrchestratorError], str], ...]] = (
    (
        re.compile(r"\bl?stat .*: not a directory"),
        PathNotFound,
        _NO_FOLDER,
    ),
    (
        re.compile(r"too many (?:links|levels of symbolic links)"),
        InvalidInput,
        _TOO_MANY_LINKS,
    ),
    (
        re.compile(r"\bl?stat .*: file name too long"),
        InvalidInput,
        _NAME_TOO_LONG,
    ),
    (
        re.compile(r"extraction point is not a directory|exists but is not a directory"),
        InvalidInput,
        _NO_PLACE,
    ),
    (
        re.compile(
            r'cannot overwrite directory "(?P<entry>.*)" with non-directory "(?P<base>.*)"|'
            r'error creating file at "(?P<podmans>[^"]*)": open .*: file exists'
        ),
        InvalidInput,
        _FOLDER_IN_THE_WAY,
    ),
    (
        re.compile(
            r'cannot overwrite non-directory "(?P<entry>.*)" with directory "(?P<base>.*)"|'
            r'error creating "(?P<podmans>[^"]*)": mkdir .*: file exists'
        ),
        InvalidInput,
        _FILE_IN_THE_WAY,
    ),
    (
        re.compile(r"unexpected EOF|(?:archive/tar|gzip|flate|unpigz|xz: \(stdin\)|bzip2 data invalid): [^)\n]*"),
        InvalidInput,
        _NOT_WHOLE,
    ),
    (
        re.compile(
            r"is outside of|unhandled tar header|invalid (?:sym|hard)link|invalid entry name|: file name too long|"
            r": not a directory|: no such file"
        ),
        InvalidInput,
        _UNPACKABLE,
    ),
)
"""What the texts of Docker mean; the first that matches counts. All of these are mistakes of the caller."""
_SEEN_FROM_INSIDE: Final = "Error processing tar file"
"""Docker unpacks from within the container: the paths that it names there are not its host's."""
_ABSOLUTE: Final = re.compile(r'(?<![\w.-])/[^\s:"]+')


@dataclass(frozen=True, slots=True)
class Mounts:
    """Absolute paths at which something is mounted: `hidden` from Docker's archives, or `reached` by them."""

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
        """Whether only those mounts are hidden that are in every container, and always have their own name."""
        return self.hidden == _OF_THE_KERNEL

    def over(self, path: str) -> str:
        """The mount that hides this plain path; empty where it is within reach."""
        around = {path, *map(str, PurePosixPath(path).parents)}
        innermost = max((place for place in self.hidden | self.reached if place in around), key=len, default="")
        return innermost if innermost in self.hidden else ""

    def is_folder(self, path: str) -> bool:
        """Whether this hidden path is a folder in any case: a mount, or what leads to one."""
        return any(f"{place}/".startswith(f"{path}/") for place in self.hidden | self.reached)


def is_read_only(container: DockerContainer) -> bool:
    """Whether only what is mounted can be written. `container`: as Docker inspects it."""
    return bool(container["HostConfig"].get("ReadonlyRootfs"))


def refusal(machine_id: str, path: str, said: str) -> OrchestratorError:
    """What is wrong with this path of a machine, or with the archive for it. `said`: Docker's message.

    It is EngineRejected if it is not a mistake of the caller. No path of Docker's host is in it.
    """
    path = printable(path)
    is_inside = _SEEN_FROM_INSIDE in said
    message = plain(said if is_inside else _ABSOLUTE.sub(lambda it: _shown(it[0], path), said))
    for pattern, kind, words in _MEANINGS:
        if match := pattern.search(said):
            inside, entry, quote = _inside(machine_id), _entry(path, match), plain(match[0], 100)
            return kind(words.format(path=path, inside=inside, entry=entry, said=quote, message=message))
    return EngineRejected(message)


def unpackable(machine_id: str, path: str, message: str) -> InvalidInput:
    """For an archive that Docker refuses where it takes another. `message`: of the refusal."""
    return InvalidInput(_UNPACKABLE.format(path=printable(path), inside=_inside(machine_id), message=message))


def no_place(machine_id: str, path: str) -> InvalidInput:
    """For a path under something that is not a folder, to which something is to be written."""
    return InvalidInput(_NO_PLACE.format(path=printable(path), inside=_inside(machine_id)))


def no_folder(machine_id: str, path: str) -> PathNotFound:
    """For a path in which a name that is not the last one stands for a file."""
    return PathNotFound(_NO_FOLDER.format(path=printable(path), inside=_inside(machine_id)))


def too_many_links(machine_id: str, path: str) -> InvalidInput:
    """For a path that leads through so many links that it is taken for a circle."""
    return InvalidInput(_TOO_MANY_LINKS.format(path=printable(path), inside=_inside(machine_id)))


def lost_link(machine_id: str, path: str) -> InvalidInput:
    """For an archive with a hard link to a file that is not there."""
    return InvalidInput(
        f"The archive cannot be unpacked into {printable(path)} {_inside(machine_id)}: there is no such file as a hard link "
        "in it names."
    )


def name_too_long(machine_id: str, path: str) -> InvalidInput:
    """For a path with a name that no file system takes."""
    return InvalidInput(_NAME_TOO_LONG.format(path=printable(path), inside=_inside(machine_id)))


def not_whole(path: str, said: str) -> InvalidInput:
    """For what is no archive, or only a part of one. `said`: what is wrong with it."""
    return InvalidInput(_NOT_WHOLE.format(path=printable(path), said=said))


def in_the_way(machine_id: str, path: str, name: str, *, is_folder: bool) -> InvalidInput:
    """For an entry of this name in an archive for `path`, where a folder (or what is none) has its place."""
    entry = printable(posixpath.normpath(posixpath.join(path, name)))
    words = _FOLDER_IN_THE_WAY if is_folder else _FILE_IN_THE_WAY
    return InvalidInput(words.format(entry=entry, inside=_inside(machine_id)))


def _shown(named: str, path: str) -> str:
    """A path that Docker names, without what may be its host's: some engines unpack from within the container."""
    return path if named.endswith(path) else f"…/{posixpath.basename(named)}"


def _inside(machine_id: str) -> str:
    return f"in the container of {machine_id}"


def _entry(path: str, match: re.Match[str]) -> str:
    """The path of what was to be unpacked at `path`, if Docker names it.

    Older engines may name both by other paths; newer ones name it as the archive does.
    """
    named = match.groupdict()
    if not named:
        return ""
    if named.get("podmans"):  # Podman names it by its path in the container
        return posixpath.normpath(named["podmans"])
    entry = named["entry"]
    inside = posixpath.relpath(entry, named["base"]) if entry.startswith("/") else entry
    return posixpath.normpath(posixpath.join(path, inside))


def _plain(path: str) -> str:
    return posixpath.normpath(f"/{path.lstrip('/')}")
