"""Which paths of a container Docker's archives do not reach, and what it means when they refuse one. No I/O.

They reach the container's own file system and its volumes, and in the place of what is mounted in memory (a tmpfs) or by the
kernel they see an empty folder. What they write into it is nowhere.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath
from typing import Final

from aiodocker.containers import DockerContainer

from worker_orchestrator.errors import EngineRejected, InvalidInput, OrchestratorError, PathNotFound
from worker_orchestrator.outside import plain

__all__ = ["is_read_only", "out_of_reach", "refusal"]

_OF_THE_KERNEL: Final = frozenset({"/dev", "/proc", "/sys"})
_MEANINGS: Final[tuple[tuple[re.Pattern[str], type[OrchestratorError], str], ...]] = (
    (
        re.compile(r"\bl?stat .*: not a directory"),
        PathNotFound,
        "There is no {path} {inside}: a part of it is no folder.",
    ),
    (
        re.compile(r"too many links"),
        InvalidInput,
        "{path} leads from link to link {inside}: name what it should lead to.",
    ),
    (
        re.compile(r"\bl?stat .*: file name too long"),
        InvalidInput,
        "{path} has a name that is too long {inside}: choose a shorter one.",
    ),
    (
        re.compile(r"extraction point is not a directory"),
        InvalidInput,
        "{path} is no folder {inside}, so nothing can be put into it: name a folder.",
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
        re.compile(r"is outside of|invalid (?:sym|hard)link|: file name too long|: not a directory|: no such file"),
        InvalidInput,
        "The archive cannot be unpacked into {path} {inside}. {told}",
    ),
)
"""What Docker's words mean, the first that fits. All is the caller's doing."""
_SEEN_FROM_INSIDE: Final = "Error processing tar file"
"""Docker unpacks from within the container: the paths that it names there are not its host's."""
_ABSOLUTE: Final = re.compile(r'/[^\s:"]+')


def out_of_reach(container: DockerContainer, path: str) -> str:
    """The mount that hides this absolute path; empty where it is within reach. `container`: as Docker inspects it."""
    mounts = {mount["Destination"]: mount["Type"] for mount in container["Mounts"] or ()}
    in_memory = {place for place, kind in mounts.items() if kind == "tmpfs"}
    hidden = _OF_THE_KERNEL | in_memory | set(container["HostConfig"].get("Tmpfs") or ())
    asked = PurePosixPath(_plain(path))
    around = {asked, *asked.parents}
    innermost = max((place for place in hidden | set(mounts) if PurePosixPath(place) in around), key=len, default="")
    return innermost if innermost in hidden else ""


def is_read_only(container: DockerContainer) -> bool:
    """Whether only what is mounted can be written. `container`: as Docker inspects it."""
    return bool(container["HostConfig"].get("ReadonlyRootfs"))


def refusal(machine_id: str, path: str, said: str) -> OrchestratorError:
    """What is wrong with this path of a machine, or with the archive for it. `said`: Docker's words.

    EngineRejected where it is no caller's doing. No path of Docker's host is in it.
    """
    told = said if _SEEN_FROM_INSIDE in said else _ABSOLUTE.sub(lambda it: path if it[0].endswith(path) else "…", said)
    told = plain(told)
    for pattern, kind, words in _MEANINGS:
        if found := pattern.search(said):
            inside, entry = f"in the container of {machine_id}", _entry(path, found)
            return kind(words.format(path=path, inside=inside, entry=entry, said=plain(found[0], 100), told=told))
    return EngineRejected(told)


def _entry(path: str, found: re.Match[str]) -> str:
    """The path of what was to be unpacked at `path`, where Docker names one: both may lie elsewhere for Docker."""
    named = found.groupdict()
    return posixpath.normpath(posixpath.join(path, posixpath.relpath(named["entry"], named["base"]))) if named else ""


def _plain(path: str) -> str:
    return posixpath.normpath(f"/{path.lstrip('/')}")
