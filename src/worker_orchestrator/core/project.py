"""Which texts may name a project: an opaque id, but no path that belongs to the service or that browsers request."""

from __future__ import annotations

import re
import string
from collections.abc import Set as AbstractSet
from typing import Final

from worker_orchestrator.errors import InvalidProject

__all__ = [
    "BEHIND_KEY",
    "CHARACTERS",
    "LONGEST",
    "RESERVED_PROJECTS",
    "RESERVED_STARTS",
    "is_project_id",
    "is_reserved",
    "project_id",
]

RESERVED_PROJECTS: Final[AbstractSet[str]] = frozenset(
    {
        "health",
        "machines",
        "destroy",
        "v1",
        "docs",
        "openapi.json",
        "metrics",
        "livez",
        "readyz",
        "login",
        "logout",
        "assets",
        "static",
        "favicon.ico",
        "robots.txt",
    }
)
CHARACTERS: Final = f"{string.ascii_letters}{string.digits}._~:@+=,-"
"""The characters that a project id may consist of."""
LONGEST: Final = 128
BEHIND_KEY: Final = ":"
"""What stands between the name of a key and its project, as that is recorded (`core/key.py`)."""
_PROJECT: Final = re.compile(rf"(?!\.)[{re.escape(CHARACTERS)}]{{1,{LONGEST}}}")
RESERVED_STARTS: Final = (".", "apple-touch-icon")
"""How a path may begin that is no project id: `is_reserved` decides."""
_TOUCH_ICON: Final = re.compile(r"apple-touch-icon.*\.png")


def is_reserved(text: str) -> bool:
    """Whether this first segment of a path belongs to the service, or is one that browsers request by themselves."""
    if text in RESERVED_PROJECTS:
        return True
    return text.startswith(RESERVED_STARTS) and (
        text.startswith(".well-known") or _TOUCH_ICON.fullmatch(text) is not None
    )


def is_project_id(text: str) -> bool:
    return _PROJECT.fullmatch(text) is not None and not is_reserved(text)


def project_id(text: str) -> str:
    """`text` if it may name a project.

    Raises InvalidProject with one sentence that says what is wrong with it.
    """
    if is_reserved(text):
        raise InvalidProject(f"{text!r} is a reserved name and cannot be a project id.")
    if _PROJECT.fullmatch(text):
        return text
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    raise InvalidProject(
        f"{shown!r} is not a project id: use 1 to 128 letters, digits or . _ ~ : @ + = , - and do not start with a dot.",
    )
