"""How a secret is read from a file of its own. No error and no log line shows what is in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from worker_orchestrator.errors import InvalidSetting

__all__ = ["read_secret", "warn_of_mode"]

_LONGEST: Final = 8192

_log = structlog.get_logger(__name__)


def read_secret(path: Path, what: str, parse: Callable[[Any], str]) -> str:
    """The secret in `what`, such as "token file", without the space around it.

    `parse` raises ValueError with what is allowed. Logs a warning if other users can read it. Raises InvalidSetting.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LONGEST)
    except OSError as error:
        raise InvalidSetting(f"The {what} {path} cannot be read: {error.strerror}.") from None
    try:
        secret = parse(content.decode("latin-1").strip())
    except ValueError as error:
        raise InvalidSetting(f"The content of the {what} {path} is not shown here, but must be {error}.") from None
    warn_of_mode(f"other users can read the {what}", path, mode)
    return secret


def warn_of_mode(warning: str, path: Path, mode: int) -> None:
    """Log this warning if other users can read a file of this mode."""
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        _log.warning(warning, file=str(path), remedy=f"chmod 600 {path}")
