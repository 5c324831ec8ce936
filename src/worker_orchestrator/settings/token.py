"""The token that callers must send: which texts are allowed, and how it is read from a file.

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

__all__ = ["read", "token", "warn_if_readable"]

_LONGEST: Final = 4096
_ALLOWED: Final = re.compile(rf"[!-~]{{16,{_LONGEST}}}")
_DESCRIPTION: Final = f"16 to {_LONGEST} printable characters without spaces, as from `openssl rand -hex 32`"

_log = structlog.get_logger(__name__)


def token(value: Any) -> str:
    """Returns the token unchanged. Raises ValueError with what is allowed."""
    if isinstance(value, str) and _ALLOWED.fullmatch(value):
        return value
    raise ValueError(_DESCRIPTION)


def read(path: Path) -> str:
    """The token in a file, without the space around it. Logs a warning if other users can read it. Raises InvalidSetting."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(2 * _LONGEST)
    except OSError as error:
        raise InvalidSetting(f"The token file {path} cannot be read: {error.strerror}.") from None
    try:
        value = token(content.decode("latin-1").strip())
    except ValueError as error:
        raise InvalidSetting(f"The content of the token file {path} is not shown here, but must be {error}.") from None
    _warn_if_readable("other users can read the token file", path, mode)
    return value


def warn_if_readable(path: Path) -> None:
    """Log a warning if other users can read this configuration file, which holds the token."""
    with contextlib.suppress(OSError):  # it was read a moment ago
        _warn_if_readable(
            "other users can read the configuration file, which holds the token", path, path.stat().st_mode
        )


def _warn_if_readable(what: str, path: Path, mode: int) -> None:
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        _log.warning(what, file=str(path), remedy=f"chmod 600 {path}")
