"""The token that callers must send: which texts are allowed, and how it is read from a file.

It is a secret: no error, log line, repr, flag or reply ever shows it.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.settings.secret_file import read_secret, warn_of_mode

__all__ = ["read", "token", "warn_if_readable"]

_LONGEST: Final = 4096
_ALLOWED: Final = re.compile(rf"[!-~]{{16,{_LONGEST}}}")
_DESCRIPTION: Final = f"16 to {_LONGEST} printable characters without spaces, as from `openssl rand -hex 32`"


def token(value: Any) -> str:
    """Returns the token unchanged. Raises ValueError with what is allowed."""
    if isinstance(value, str) and _ALLOWED.fullmatch(value):
        return value
    raise ValueError(_DESCRIPTION)


def read(path: Path) -> str:
    """The token in a file, without the space around it. Logs a warning if other users can read it. Raises InvalidSetting."""
    return read_secret(path, "token file", token)


def warn_if_readable(path: Path) -> None:
    """Log a warning if other users can read this configuration file, which holds a secret."""
    with contextlib.suppress(OSError):  # it was read a moment ago
        warn_of_mode("other users can read the configuration file, which holds a secret", path, path.stat().st_mode)
