"""Resolves a path of a container name by name, as the kernel does for its worker.

Docker does not do so: it removes `..` from the text of a path before it looks for links, and sees an empty folder in the
place of what is mounted in memory or by the kernel. So it would read, or write, another file than the worker has there.
Source: https://man7.org/linux/man-pages/man7/path_resolution.7.html
"""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Final, NamedTuple

from worker_orchestrator.engines.archive import printable
from worker_orchestrator.engines.docker.paths import Mounts, no_folder, no_place, too_many_links
from worker_orchestrator.errors import InvalidInput, PathNotFound

__all__ = ["Kind", "Walk", "Way", "as_named"]

_MOST_LINKS: Final = 40
_MOST_QUESTIONS: Final = 1000


class Kind(Enum):
    """What a name stands for."""

    FOLDER = auto()
    LINK = auto()
    OTHER = auto()
    MISSING = auto()


class Way(NamedTuple):
    """Where a path leads. `path` is absolute, without `.` and `..`, and no name before its last is a link.

    `hidden_by` is the mount that Docker does not see, if the path leads into one; `path` then ends where that is entered.
    """

    path: str
    hidden_by: str = ""


class Walk:
    """Resolves paths in one container.

    `kind_of` and `target_of` ask the engine about a plain path without links before its last name.
    """

    def __init__(
        self,
        machine_id: str,
        mounts: Mounts,
        kind_of: Callable[[str], Awaitable[Kind]],
        target_of: Callable[[str], Awaitable[str]],
    ) -> None:
        self._machine_id, self._mounts = machine_id, mounts
        self.kind_of, self._target_of = kind_of, target_of
        self._known: dict[str, Kind] = {}

    async def to(self, path: str, *, follow: bool, may_be_new: bool = False) -> Way:
        """Where this absolute path leads; `follow`: what a link at its end leads to, else the link itself.

        `may_be_new`: something is to be put there, so the last name need not exist.

        Raises PathNotFound, InvalidInput, and what `kind_of` and `target_of` raise.
        """
        here, links = "/", 0
        ahead = path.split("/")[::-1]
        while ahead:
            name = ahead.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                here = posixpath.dirname(here)
                continue
            there = posixpath.join(here, name)
            mount = self._mounts.over(there)
            if mount and not self._mounts.is_folder(there):
                return Way(there, mount)
            kind = Kind.FOLDER if mount else await self._kind(path, there)
            if kind is Kind.MISSING and may_be_new and not any(ahead):
                return Way(there)
            if kind is Kind.MISSING:
                raise PathNotFound(f"There is no {printable(path)} in the container of {self._machine_id}.")
            if kind is Kind.LINK and (ahead or follow):
                links += 1
                if links > _MOST_LINKS:
                    raise too_many_links(self._machine_id, path)
                target = await self._target_of(there)
                here = "/" if target.startswith("/") else here
                ahead += target.split("/")[::-1]
                continue
            if kind is not Kind.FOLDER and ahead:
                raise no_place(self._machine_id, there) if may_be_new else no_folder(self._machine_id, path)
            here = there
        return Way(here, self._mounts.over(here))

    async def place_mounts(self) -> None:
        """Resolve the places of the mounts: the path that one was given may lead through links."""
        if not self._mounts.is_usual:
            given, self._mounts = self._mounts, Mounts.of_the_kernel()
            hidden = frozenset([await self._place(mount) for mount in given.hidden])
            self._mounts = Mounts(hidden, frozenset([await self._place(mount) for mount in given.reached]))

    async def _place(self, mount: str) -> str:
        try:
            return (await self.to(mount, follow=True)).path
        except (PathNotFound, InvalidInput):
            return mount  # it is not mounted yet

    async def _kind(self, path: str, there: str) -> Kind:
        if there not in self._known:
            if len(self._known) >= _MOST_QUESTIONS:
                raise InvalidInput(
                    f"{printable(path)} leads through more than {_MOST_QUESTIONS} names: use a shorter way."
                )
            self._known[there] = await self.kind_of(there)
        return self._known[there]


async def as_named(walk: Walk, path: str, place: str) -> str:
    """The resolved place of a path, ending so that what is packed there is named as it would be for the path itself."""
    if path.endswith("/."):
        return f"{place}/."
    bare = path.rstrip("/")
    return path if not bare else place if bare == path else f"{(await walk.to(bare, follow=False)).path}/"
