"""Keys: callers beside the operator, which projects are theirs, and how many machines they may have at once.

A project of a key is recorded as `NAME:PROJECT`. So it is stored with the assignment whose it is, two keys may use the same
project id, and the operator reaches every project by its full name. A project without such a beginning is the operator's.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.project import BEHIND_KEY
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.key_errors import KeyLimitReached

__all__ = [
    "SEPARATOR",
    "Key",
    "Right",
    "beyond_limit",
    "full_name",
    "held",
    "insist_on_limit",
    "is_full",
    "key_name",
    "own_name",
]

SEPARATOR: Final = BEHIND_KEY
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class Right(StrEnum):
    """What a key may do with its projects."""

    ASSIGN = "assign"  # assign, release, keep, sleep, wake, restart, destroy, links to previews
    EXEC = "exec"  # commands and terminals
    FILES = "files"  # files, both ways
    READ = "read"  # machines, events, logs, stats, why


class Key(msgspec.Struct, frozen=True):
    """A key. `digest`: SHA-256 of its value. `pools`: none for all. `max_machines`: assigned at once; None: no limit.

    Times are milliseconds of wall time; `used_ms` is 0 until it was used.
    """

    name: str
    digest: bytes
    pools: tuple[str, ...]
    max_machines: int | None
    may: frozenset[Right]
    created_ms: int
    used_ms: int = 0


def key_name(text: str) -> str:
    """`text` if it may name a key. Raises InvalidInput."""
    if _NAME.fullmatch(text):
        return text
    raise InvalidInput(
        f"{text[:40]!r} is not the name of a key: use 1 to 32 small letters, digits or -, and begin with no -."
    )


def full_name(key: str, project: str) -> str:
    """How the project that this key calls `project` is recorded."""
    return f"{key}{SEPARATOR}{project}"


def own_name(key: str, project: str | None) -> str | None:
    """What this key calls the recorded project; None if it is not its own."""
    if project is None or not project.startswith(f"{key}{SEPARATOR}"):
        return None
    return project[len(key) + 1 :]


def held(fleet: Fleet, key: str) -> set[str]:
    """The projects of this key that have a machine, or wait for one. `Fleet.count_of_key` counts them at once."""
    begin = f"{key}{SEPARATOR}"
    return {
        project for projects in (fleet.projects, fleet.waiting) for project in projects if project.startswith(begin)
    }


def is_full(fleet: Fleet, project: str) -> bool:
    """Whether this project, which has no machine yet, is of a key that has as many as it may have."""
    key, separator, _ = project.partition(SEPARATOR)
    most = fleet.keys.get(key) if separator else None
    return most is not None and fleet.count_of_key(key) - (project in fleet.waiting) >= most


def beyond_limit(fleet: Fleet) -> list[str]:
    """The projects in line that are more than their keys may have, the last to come first.

    There are some where a project came in the place of one whose release was taken back.
    """
    more = {key: fleet.count_of_key(key) - most for key, most in fleet.keys.items() if most is not None}
    beyond = []
    for project in reversed(fleet.waiting):
        key, separator, _ = project.partition(SEPARATOR)
        if separator and more.get(key, 0) > 0:
            more[key] -= 1
            beyond.append(project)
    return beyond


def insist_on_limit(fleet: Fleet, project: str) -> None:
    """Raises KeyLimitReached where `is_full`."""
    if is_full(fleet, project):
        key = project.partition(SEPARATOR)[0]
        most = fleet.keys[key]
        raise KeyLimitReached(
            f"The key {key} may have {most} machine{'' if most == 1 else 's'} at once (max_machines), and its projects have "
            "or wait for as many. Release one of them, or have the operator make a key with a higher limit."
        )
