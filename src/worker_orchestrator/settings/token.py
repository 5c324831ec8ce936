"""The token that callers must send: what one looks like, and how it is read from a file.

It is a secret: no error, log line, repr, flag or reply ever shows it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import Any, Final

import structlog

from worker_orchestrator.errors import InvalidSetting

__all__ = ["read", "tell_if_open", "token"]

_LONGEST: Final = 4096
_FIT: Final = re.compile(rf"[!-~]{{16,{_LONGEST}}}")
_KIND: Final = f"16 to {_LONGEST} printable characters without spaces, as from `openssl rand -hex 32`"

_log = structlog.get_logger(__name__)


def token(value: Any) -> str:
    """A token as it was given. Raises ValueError with what is allowed."""
    if isinstance(value, str) and _FIT.fullmatch(value):
        return value
    raise ValueError(_KIND)


def read(path: Path) -> str:
    """The token in a file, without the space around it; says so where others may read it. Raises InvalidSetting."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(2 * _LONGEST)
    except OSError as error:
        raise InvalidSetting(f"The token file {path} cannot be read: {error.strerror}.") from None
    try:
        found = token(content.decode("latin-1").strip())
    except ValueError as error:
        raise InvalidSetting(f"The content of the token file {path} is not shown here, but must be {error}.") from None
    _tell_if_open("the token file can be read by others", path, mode)
    return found


def tell_if_open(path: Path) -> None:
    """Say so where others may read this file of settings, which holds the token."""
    with contextlib.suppress(OSError):  # it was read a moment ago
        _tell_if_open("the configuration file holds the token and can be read by others", path, path.stat().st_mode)


def _tell_if_open(what: str, path: Path, mode: int) -> None:
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        _log.warning(what, file=str(path), remedy=f"chmod 600 {path}")
